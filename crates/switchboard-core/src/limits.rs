//! Every bound, with its default and its reason. In all of them 0 means: no limit.

use std::time::Duration;

/// The bounds that the operator can set, as in the section `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one frame. A session description with many candidates has 20 KiB; ten times that is room enough.
    pub frame_bytes: usize,
    /// Depth of nesting in a JSON frame. Signaling needs five; more is an attack on parsers behind us.
    pub json_depth: usize,
    /// Bytes of a room's, a peer's or a user's name.
    pub name_bytes: usize,
    /// Rooms one connection may be in.
    pub rooms_per_peer: usize,
    /// Members of one room. A join is told to all of them.
    pub room_members: usize,
    /// Connections to this node.
    pub connections: usize,
    /// Connections from one address (IPv6: from one /64).
    pub connections_per_address: usize,
    /// Frames per second from one connection, on average.
    pub frames_per_second: u32,
    /// Frames one connection may send at once before the average counts.
    pub frames_burst: u32,
    /// Time for an HTTP request head to arrive, in seconds.
    pub handshake_secs: u64,
    /// Time for the first frame, where the dialect waits for one and says nothing else, in seconds.
    pub first_frame_secs: u64,
    /// Bytes that wait for one connection that does not read.
    pub outbox_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 256 * 1024,
            json_depth: 64,
            name_bytes: 128,
            rooms_per_peer: 8,
            room_members: 1000,
            connections: 100_000,
            connections_per_address: 1000,
            frames_per_second: 100,
            frames_burst: 400,
            handshake_secs: 10,
            first_frame_secs: 30,
            outbox_bytes: 1024 * 1024,
        }
    }
}

/// `value` against `limit`, where a limit of 0 is none.
#[must_use]
pub(crate) fn exceeds(value: usize, limit: usize) -> bool {
    limit != 0 && value > limit
}

/// How long the holder of a claimed address has to show that it is alive (promise 8).
pub(crate) const CHALLENGE: Duration = Duration::from_secs(2);

/// With a timeout that comes so much too late, the driver stood still: whoever has answered in the
/// meantime has not been heard.
pub(crate) const STANDSTILL: Duration = Duration::from_millis(50);

/// What a peer may ask of a room while its join is under way, and its bytes: two frames of the
/// largest kind.
pub(crate) const EARLY_MAX: usize = 32;
pub(crate) const EARLY_BYTES_MAX: usize = 512 * 1024;

/// Claimants that may wait for one challenge; more are refused at once.
pub(crate) const CLAIMANTS_MAX: usize = 16;
