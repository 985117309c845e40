//! The parts of the application that the admin API uses.

use std::fmt;

use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use switchboard_core::RoomId;

use crate::{
    caller::AdminCaller,
    error::ApiError,
    types::{MemberInfo, NodeInfo, NodeState, RoomLock, SessionSummary, Settings, VoiceOverview},
};

/// The reason why a node has not answered a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NodeCallError(pub String);

/// The application on one node: its state, and the orders that it carries out. No function acts on other nodes, except
/// where it says so.
pub trait AdminHost: fmt::Debug + Send + Sync + 'static {
    /// Authenticates the caller of a request. It also delays and counts failed attempts by address.
    fn authenticate<'a>(
        &'a self,
        request: &'a Parts,
    ) -> BoxFuture<'a, Result<AdminCaller, ApiError>>;

    /// The time in milliseconds since 1970.
    fn now_ms(&self) -> u64;

    /// The id of this node.
    fn this_node(&self) -> String;

    /// All nodes as this one knows them, this one included, without their states.
    fn nodes(&self) -> Vec<NodeInfo>;

    /// Sends a call to the node at this URL, authenticated as a node of the cluster, and returns its answer.
    fn ask<'a>(
        &'a self,
        url: &'a str,
        call: Vec<u8>,
    ) -> BoxFuture<'a, Result<Vec<u8>, NodeCallError>>;

    /// The state of this node.
    fn state(&self) -> NodeState;

    /// The rooms that this node has members in, with the number of members on all nodes.
    fn rooms(&self) -> Vec<(RoomId, usize)>;

    /// The members of a room on all nodes. Those of this node have their node and client address. Empty if this node
    /// has no member in the room.
    fn members(&self, room: &RoomId) -> Vec<MemberInfo>;

    /// The sessions on this node, sorted by id.
    fn sessions(&self) -> Vec<SessionSummary>;

    /// The voice calls and rooms, if this node does the work of voice.
    fn voice(&self) -> VoiceOverview;

    /// Ends a session on this node. Returns whether there was one.
    fn end_session(&self, id: &str, reason: &str) -> bool;

    /// Ends the voice streams of a user, if this node does the work of voice. Returns their number.
    fn end_voice_user(&self, user: &str) -> usize;

    /// Removes a member from a room, whatever its node is. Returns whether there was one.
    fn evict(&self, room: &RoomId, address: &str, reason: &str) -> bool;

    /// Sends text from the server to the members of a room on all nodes. Returns the number of members that can read
    /// it.
    fn broadcast(&self, room: &RoomId, text: &str) -> usize;

    /// The rooms that operators have locked or unlocked.
    fn locks(&self) -> Vec<RoomLock>;

    /// Locks or unlocks a room, unless there is a later order about it.
    ///
    /// # Errors
    /// If there are too many orders.
    fn set_lock(&self, lock: &RoomLock) -> Result<(), ApiError>;

    /// Begins or ends the drain of this node.
    fn set_draining(&self, is_draining: bool);

    /// The settings of this node, without secrets.
    fn settings(&self) -> Settings;
}
