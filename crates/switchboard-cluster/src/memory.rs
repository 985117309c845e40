//! The engine of a single node: every proposal is committed at once at the next position.

use std::sync::Arc;

use switchboard_core::{Change, LogId, NodeId, NodeMessage, Position};

use crate::{CloseFuture, Engine, EngineHandler, ProposeOutcome, Status};

/// The default engine. It has no state: the hub that proposes a change has the only replica of the log, and its
/// lock determines the order of changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Engine for Memory {
    fn attach(&self, _handler: Arc<dyn EngineHandler>) {}

    fn propose(&self, _log: &LogId, at: Position, _change: &Change) -> ProposeOutcome {
        ProposeOutcome::Committed(at.next())
    }

    fn send(&self, _to: NodeId, message: NodeMessage) -> Option<NodeMessage> {
        Some(message)
    }

    fn status(&self) -> Option<Status> {
        None
    }

    fn close(&self) -> CloseFuture<'_> {
        Box::pin(std::future::ready(()))
    }
}
