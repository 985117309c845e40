//! The types of an engine of the host program: [`Engine`], [`store::Store`] and all that they use.
//!
//! [`Builder::engine`](crate::Builder::engine) sets the engine of a server. `examples/own-dialect` of the repository has
//! one.

pub use switchboard_cluster::{
    CloseFuture, DialectRegistry, Driver, DriverSettings, Engine, EngineHandler, Memory, NodeLine,
    ProposeOutcome, Status, store,
};
pub use switchboard_core::{
    Change, ElectionId, Entry, LeaveCause, LogId, MembershipRef, NodeId, NodeMessage,
    NodeMessageBody, Position, Recipient, RejectReason,
};
