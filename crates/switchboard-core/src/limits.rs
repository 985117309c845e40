//! All limits, with their defaults and reasons. In each setting 0 means: no limit.

use std::time::Duration;

use crate::introduction::Member;

/// The limits that the operator sets in the section `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Max bytes of one frame. A session description with many candidates has 20 KiB; the default is over ten times
    /// as much.
    pub frame_bytes: usize,
    /// Max nesting levels of the interpreted part of a JSON frame, and of JSON sent to a web service. Signaling
    /// needs five. A payload that is only relayed may be nested deeper: the server does not parse it.
    pub json_depth: usize,
    /// Max bytes of a room's, a peer's or a user's name.
    pub name_bytes: usize,
    /// Max rooms of one connection. Only y-webrtc joins more than one: a page subscribes to one topic for each
    /// document.
    pub rooms_per_peer: usize,
    /// Max members of one room. All of them are notified of a join.
    pub room_members: usize,
    /// Max members of one room, instead of `room_members`, when the joining member is in a group or its dialect
    /// announces no presence: only few members are notified of such a join.
    pub directory_members: usize,
    /// Max connections to this node.
    pub connections: usize,
    /// Max connections from one address (IPv6: from one /64).
    pub connections_per_address: usize,
    /// New connections per second from one address (IPv6: from one /64), on average.
    pub connections_per_second: u32,
    /// Burst of `connections_per_second`: all clients of an office that come back at once after a restart, with the
    /// connections of their pages.
    pub connections_burst: u32,
    /// HTTP requests per second from one address (IPv6: from one /64), on average, without WebSocket handshakes.
    pub http_requests_per_second: u32,
    /// Burst of `http_requests_per_second`: a few hundred people of an office that open the page at the same time, which
    /// has some 100 files.
    pub http_requests_burst: u32,
    /// Frames per second from one connection, on average.
    pub frames_per_second: u32,
    /// Burst of `frames_per_second`, in frames.
    pub frames_burst: u32,
    /// Frames of burst for each distinct peer that a connection was told of or has sent a frame to. Their sum replaces
    /// `frames_burst` if it is larger. A call takes an offer or an answer and a few candidates.
    pub frames_per_peer: u32,
    /// Frames per second that the server sends because of one connection's frames: joins, leaves and
    /// broadcasts count once for each receiver, lists once for each entry.
    pub deliveries_per_second: u32,
    /// Burst of `deliveries_per_second`: several joins into a room of `room_members`.
    pub deliveries_burst: u32,
    /// Bytes per second that the server sends because of one connection's frames.
    pub delivered_bytes_per_second: u32,
    /// Burst of `delivered_bytes_per_second`, in bytes.
    pub delivered_bytes_burst: u32,
    /// Bytes per second that one connection may send to receivers whose outbox is more than half full.
    pub slow_receiver_bytes_per_second: u32,
    /// Burst of `slow_receiver_bytes_per_second`, in bytes. Together with one frame of `frame_bytes` it must be less
    /// than half of `outbox_bytes`, so that one sender alone cannot fill an outbox.
    pub slow_receiver_bytes_burst: u32,
    /// Seconds that a connection may exceed its rates without a break before it is closed.
    pub flood_secs: u64,
    /// Expensive requests per second from one address (IPv6: from one /64), on average.
    pub expensive_requests_per_second: u32,
    /// Burst of `expensive_requests_per_second`, in requests.
    pub expensive_requests_burst: u32,
    /// Time for an HTTP request head to arrive, in seconds.
    pub handshake_secs: u64,
    /// Idle time after which an HTTP connection is closed, in seconds. It is longer than the 60 s of nginx, HAProxy
    /// and cloud load balancers, so that these do not send a request into a closed connection.
    pub keep_alive_secs: u64,
    /// Time for the first frame, in seconds, for dialects that wait for one and have no timeout of their own.
    pub first_frame_secs: u64,
    /// Max bytes queued for one connection.
    pub outbox_bytes: usize,
    /// Bytes that are added to `outbox_bytes` for each peer that the connection was told of or has sent a frame to: an
    /// offer or answer and its candidates, which all peers may send at once.
    pub outbox_bytes_per_peer: usize,
    /// Max bytes queued for all connections of this node together. The first 64 KiB of each queue do not count. At the
    /// bound the longest queue ends.
    pub memory_max: usize,
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
            connections_per_second: 100,
            connections_burst: 5000,
            http_requests_per_second: 1000,
            http_requests_burst: 30_000,
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
            memory_max: 1024 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Max members of a room when `newcomer` joins it: `directory_members` if only few members are notified of the
    /// join, otherwise `room_members`, and at most the limit of its dialect.
    #[must_use]
    pub fn members_max(&self, newcomer: &Member) -> usize {
        let usual = match newcomer.dialect.announces_presence && newcomer.group.is_none() {
            true => self.room_members,
            false => self.directory_members,
        };
        lower_limit(usual, newcomer.dialect.members_max)
    }
}

/// The lower of two limits, where 0 means no limit.
#[must_use]
pub fn lower_limit(a: usize, b: usize) -> usize {
    match (a, b) {
        (0, only) | (only, 0) => only,
        (a, b) => a.min(b),
    }
}

/// Whether `value` exceeds `limit`, where 0 means no limit.
#[must_use]
pub fn exceeds(value: usize, limit: usize) -> bool {
    limit != 0 && value > limit
}

/// Time for the holder of a claimed name or address to answer a probe.
pub(crate) const CHALLENGE_TIMEOUT: Duration = Duration::from_secs(2);

/// If a timeout is handled this late, the process was paused and may have missed the holder's answer: the hub probes
/// again instead of evicting.
pub(crate) const LATE_TIMEOUT: Duration = Duration::from_millis(50);

/// Max requests that a peer may queue while its join is pending.
pub(crate) const QUEUED_REQUESTS_MAX: usize = 32;
/// Max bytes of these requests: two frames of the default `frame_bytes`.
pub(crate) const QUEUED_REQUEST_BYTES_MAX: usize = 512 * 1024;

/// Bytes charged for the notification of a join or leave, or for one entry of a list: about the size in most
/// dialects.
pub(crate) const NOTICE_BYTES: usize = 128;

/// Max claims that wait for one challenge; further claims are refused at once.
pub(crate) const CLAIMANTS_MAX: usize = 16;

/// How long a frame for an absent address, one that no member has, waits for a member with it.
pub(crate) const ABSENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Max session descriptions of one sender that wait for one absent address: a page opens up to eight connections to
/// a peer at once.
pub(crate) const ABSENT_DESCRIPTIONS_MAX: usize = 8;
/// Max other frames of one sender that wait for one absent address: 64 candidates for each of eight connections.
pub(crate) const ABSENT_OTHERS_MAX: usize = 8 * 64;

/// Max bytes of one sender that wait for one absent address: eight descriptions of 8 KiB with 64 candidates of 350
/// bytes each, or one frame of the default `frame_bytes`.
pub(crate) const ABSENT_PAIR_BYTES_MAX: usize = 320 * 1024;

/// Max bytes of one sender that wait for all absent addresses: an offer of 6 KiB and nine candidates for each of
/// nearly 50 players that are about to reconnect. The default `outbox_bytes` is four times as much.
pub(crate) const ABSENT_SENDER_BYTES_MAX: usize = 512 * 1024;

/// Max absent addresses that one sender waits for. Frames for more are refused at once.
pub(crate) const ABSENT_ADDRESSES_MAX: usize = 1024;

/// Max bytes of all senders that wait for absent addresses in one hub: the frames of 100 hosts that call 30 players
/// each before these have joined.
pub(crate) const ABSENT_HUB_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Max pairs of a sender and an absent address in one hub. Frames for more are refused at once.
pub(crate) const ABSENT_PAIRS_MAX: usize = 64 * 1024;

/// Max bytes of all senders that wait for one absent address, and at most half of `outbox_bytes`: the client that
/// joins with the address is sent all of them at once.
pub(crate) const ABSENT_BYTES_MAX: usize = 512 * 1024;

/// Bytes that count for a waiting frame besides its text: the memory of its entry, as for an event in an outbox.
pub(crate) const ABSENT_FRAME_BYTES: usize = 128;

/// Max counterparts of one member: members of other dialects that are notified when it leaves. More than a client can
/// have calls with.
pub(crate) const COUNTERPARTS_MAX: usize = 1024;

/// Max reserved addresses in one hub. Above it, the reservation that expires first is dropped.
pub(crate) const RESERVATIONS_MAX: usize = 16 * 1024;
