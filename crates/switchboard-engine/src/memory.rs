//! The engine of a single node: there is nobody to agree with, so the next position is the one.

use std::sync::Arc;

use switchboard_core::{Change, LogId, NodeId, NodeMessage, Position};

use crate::{CloseFuture, Engine, EngineHandler, ProposeOutcome, Status};

/// The default engine. It keeps nothing and costs nothing: the shard that proposes is the only
/// replica of the log and holds it locked, so its order is the order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Engine for Memory {
    fn attach(&self, _sink: Arc<dyn EngineHandler>) {}

    fn propose(&self, _log: &LogId, at: Position, _change: &Change) -> ProposeOutcome {
        ProposeOutcome::Committed(at.next())
    }

    fn send(&self, _to: NodeId, letter: NodeMessage) -> Option<NodeMessage> {
        Some(letter)
    }

    fn status(&self) -> Option<Status> {
        None
    }

    fn close(&self) -> CloseFuture<'_> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    #[test]
    fn keeps_the_contract() {
        contract::check(|| Box::new(Memory));
    }
}
