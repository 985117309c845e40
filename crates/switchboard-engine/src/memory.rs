//! The engine of a single node: there is nobody to agree with, so the next position is the one.

use std::sync::Arc;

use switchboard_core::{Change, Letter, LogId, NodeId, Position};

use crate::{Closing, Engine, Ordered, Sink, Status};

/// The default engine. It keeps nothing and costs nothing: the shard that proposes is the only
/// replica of the log and holds it locked, so its order is the order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Engine for Memory {
    fn attach(&self, _sink: Arc<dyn Sink>) {}

    fn propose(&self, _log: &LogId, at: Position, _change: &Change) -> Ordered {
        Ordered::Now(at.next())
    }

    fn send(&self, _to: NodeId, letter: Letter) -> Option<Letter> {
        Some(letter)
    }

    fn status(&self) -> Option<Status> {
        None
    }

    fn close(&self) -> Closing<'_> {
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
