//! What makes several nodes act as one. A room's membership is an ordered log of changes; an
//! [`Engine`] orders them.
//!
//! To add an engine: one file, one line here, and [`contract`] run over it.
#![warn(missing_docs)]

use std::fmt;

use switchboard_core::{Change, Position, RoomId};

pub mod contract;
mod memory;

pub use memory::Memory;

/// When a proposed change has its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// At once, at this position.
    Now(Position),
    /// Later: the change comes to the [`Sink`], as every other node's changes do.
    Later,
}

/// Orders the changes of rooms. It guarantees:
///
/// * every proposed change is committed exactly once, on every node that has members in the room;
/// * all nodes get a room's changes in one order, at positions that follow each other without gaps;
/// * the changes that one node proposes to one room are committed in the order it proposed them.
///
/// Rooms are independent of each other.
pub trait Engine: Send + Sync + fmt::Debug {
    /// Where changes go that are ordered later. Called once, before anything is proposed.
    fn attach(&self, sink: Box<dyn Sink>);

    /// Orders `change` in the log of `room`, whose last position known to the caller is `at`.
    /// The caller holds the room's shard locked and does not wait.
    fn propose(&self, room: &RoomId, at: Position, change: &Change) -> Ordered;
}

/// A node that is told of ordered changes.
pub trait Sink: Send + Sync {
    /// `change` stands at `position` in the log of `room`.
    fn committed(&self, room: RoomId, position: Position, change: Change);
}
