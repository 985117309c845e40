//! The engine of a single node: there is nobody to agree with, so the next position is the one.

use switchboard_core::{Change, Position, RoomId};

use crate::{Engine, Ordered, Sink};

/// The default engine. It keeps nothing and costs nothing: the shard that proposes is the only
/// replica of the room and holds it locked, so its order is the order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Engine for Memory {
    fn attach(&self, _sink: Box<dyn Sink>) {}

    fn propose(&self, _room: &RoomId, at: Position, _change: &Change) -> Ordered {
        Ordered::Now(at.next())
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
