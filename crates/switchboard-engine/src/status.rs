//! How a node stands in its cluster.

use std::time::Duration;

use switchboard_core::NodeId;

/// This node's view.
#[derive(Clone, Debug)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: u32,
    /// Where the other nodes reach it.
    pub url: String,
    /// Since when the engine cannot be reached; none while it can.
    pub down_for: Option<Duration>,
    /// Why it could not be reached the last time.
    pub why: String,
    /// All nodes, this one included.
    pub nodes: Vec<NodeLine>,
    /// Requests that wait.
    pub queue: usize,
    /// The last round trip to the engine.
    pub lag: Duration,
    /// What all nodes of the cluster know, and nobody else.
    pub secret: Option<String>,
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct NodeLine {
    /// Which.
    pub node: NodeId,
    /// Where the other nodes reach it.
    pub url: String,
}
