//! Every bound, with its default and its reason. In all of them 0 means: no limit.

use std::time::Duration;

use crate::introduction::Member;

/// The bounds that the operator can set, as in the section `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one frame. A session description with many candidates has 20 KiB; ten times that is room enough.
    pub frame_bytes: usize,
    /// Levels of nesting that are interpreted in a JSON frame, and that a web service is sent. Signaling needs
    /// five. A payload that is only passed on may be nested deeper: the server does not read it.
    pub json_depth: usize,
    /// Bytes of a room's, a peer's or a user's name.
    pub name_bytes: usize,
    /// Rooms one connection may be in. Only y-webrtc enters more than one: a page with many documents
    /// subscribes to one topic for each.
    pub rooms_per_peer: usize,
    /// Members of one room. A join is told to all of them.
    pub room_members: usize,
    /// Members of one room who are not told of each other: in dialects that tell nobody, and in circles of a
    /// few.
    pub directory_members: usize,
    /// Connections to this node.
    pub connections: usize,
    /// Connections from one address (IPv6: from one /64).
    pub connections_per_address: usize,
    /// Frames per second from one connection, on average.
    pub frames_per_second: u32,
    /// Frames one connection may send at once before the average counts.
    pub frames_burst: u32,
    /// Frames of burst for each distinct peer that a connection was told of or has reached, where that is
    /// more than `frames_burst`: a call takes an offer or an answer and a few candidates.
    pub frames_per_peer: u32,
    /// Frames per second that the server sends because of one connection's frames: joins, leaves and
    /// broadcasts count once for each receiver, lists once for each entry.
    pub deliveries_per_second: u32,
    /// Deliveries that one connection may cause at once: several joins into a room of `room_members`.
    pub deliveries_burst: u32,
    /// Bytes per second that the server sends because of one connection's frames.
    pub delivered_bytes_per_second: u32,
    /// Delivered bytes that one connection may cause at once.
    pub delivered_bytes_burst: u32,
    /// Bytes per second that one connection may send to receivers of whose outbox more than half is
    /// waiting.
    pub slow_receiver_bytes_per_second: u32,
    /// Bytes that one connection may send at once to such receivers. With one frame of `frame_bytes` it
    /// must be less than half of `outbox_bytes`, so that no sender alone can fill an outbox.
    pub slow_receiver_bytes_burst: u32,
    /// Seconds that a connection may be in debt without a break until it is closed.
    pub flood_secs: u64,
    /// Expensive requests per second from one address (IPv6: from one /64), on average.
    pub expensive_requests_per_second: u32,
    /// Expensive requests one address may make at once before the average counts.
    pub expensive_requests_burst: u32,
    /// Time for an HTTP request head to arrive, in seconds.
    pub handshake_secs: u64,
    /// Time without a request until an HTTP connection is closed, in seconds. Longer than the 60 s for which nginx,
    /// HAProxy and the load balancers of clouds keep one, so that none sends a request into a closed connection.
    pub keep_alive_secs: u64,
    /// Time for the first frame, where the dialect waits for one and says nothing else, in seconds.
    pub first_frame_secs: u64,
    /// Bytes that wait for one connection that does not read.
    pub outbox_bytes: usize,
    /// Bytes beyond `outbox_bytes` that may wait for one connection for each peer that it was told of or has
    /// reached: an offer or answer and its candidates, which all may send at once.
    pub outbox_bytes_per_peer: usize,
    /// Bytes that may wait for all connections of this node together, without the first 64 KiB of each.
    pub queued_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 256 * 1024,
            json_depth: 64,
            name_bytes: 512,
            rooms_per_peer: 1024,
            room_members: 1000,
            directory_members: 100_000,
            connections: 100_000,
            connections_per_address: 1000,
            frames_per_second: 100,
            frames_burst: 400,
            frames_per_peer: 32,
            deliveries_per_second: 4000,
            deliveries_burst: 20_000,
            delivered_bytes_per_second: 8 * 1024 * 1024,
            delivered_bytes_burst: 64 * 1024 * 1024,
            slow_receiver_bytes_per_second: 128 * 1024,
            slow_receiver_bytes_burst: 512 * 1024,
            flood_secs: 60,
            expensive_requests_per_second: 20,
            expensive_requests_burst: 1000,
            handshake_secs: 10,
            keep_alive_secs: 75,
            first_frame_secs: 30,
            outbox_bytes: 2 * 1024 * 1024,
            outbox_bytes_per_peer: 16 * 1024,
            queued_bytes: 1024 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Members that a room may have when this one joins it. A join that is told to few may be one of many.
    #[must_use]
    pub fn members_max(&self, newcomer: &Member) -> usize {
        let usual = match newcomer.dialect.announces_presence && newcomer.group.is_none() {
            true => self.room_members,
            false => self.directory_members,
        };
        lower_limit(usual, newcomer.dialect.members_max)
    }
}

/// The tighter of two limits, where 0 is none.
#[must_use]
pub(crate) fn lower_limit(a: usize, b: usize) -> usize {
    match (a, b) {
        (0, only) | (only, 0) => only,
        (a, b) => a.min(b),
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

/// Bytes that a notice of a join or leave, or one entry of a list, is charged for. Most dialects write
/// about so many.
pub(crate) const NOTICE_BYTES: usize = 128;

/// Claimants that may wait for one challenge; more are refused at once.
pub(crate) const CLAIMANTS_MAX: usize = 16;

/// How long a frame waits for somebody to come whom it names.
pub(crate) const ABSENT_PATIENCE: Duration = Duration::from_secs(5);

/// Frames of one sender that wait for one absent address: a page opens up to eight connections to a peer
/// at once, each with its description and up to 64 candidates.
pub(crate) const ABSENT_DESCRIPTIONS_MAX: usize = 8;
pub(crate) const ABSENT_CANDIDATES_MAX: usize = 8 * 64;

/// Bytes of them: eight descriptions of 8 KiB with 64 candidates of 350 bytes each, or one frame of the
/// default `frame_bytes`.
pub(crate) const ABSENT_PAIR_BYTES_MAX: usize = 320 * 1024;

/// Bytes that one sender has waiting for all absent addresses: an offer of 6 KiB and nine candidates for 50
/// players that are about to reconnect. It is no more than an outbox of this connection may hold.
pub(crate) const ABSENT_SHARE_BYTES_MAX: usize = 512 * 1024;

/// Absent addresses that one sender waits for. The frames for more are refused at once.
pub(crate) const ABSENT_ADDRESSES_MAX: usize = 1024;

/// Bytes that wait for absent addresses in one hub, of all senders: the frames of 100 hosts that call 30
/// players each before these are there.
pub(crate) const ABSENT_HUB_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Pairs of a sender and an absent address in one hub. For more, the sender is told at once.
pub(crate) const ABSENT_PAIRS_MAX: usize = 64 * 1024;

/// Bytes that wait for one absent address, of all senders, and at most half of `outbox_bytes`: the client
/// that takes the address is sent all of them at once.
pub(crate) const ABSENT_BYTES_MAX: usize = 512 * 1024;

/// Bytes that a waiting frame is counted for besides its text. An outbox counts as many.
pub(crate) const ABSENT_FRAME_BYTES: usize = 128;

/// Members without presence that are told when one member leaves: more than a client can have calls with.
pub(crate) const COUNTERPARTS_MAX: usize = 1024;

/// Addresses that one hub keeps for clients that lost their connections; for more, older ones are given up.
pub(crate) const RESERVATIONS_MAX: usize = 16 * 1024;
