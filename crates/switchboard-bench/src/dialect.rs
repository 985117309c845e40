//! The client side of each dialect, one file for each.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

mod ayame;
mod floor;
mod lightstream;
mod matchbox;
mod mesh;
mod p2p;
mod peerjs;
mod singo;
mod y_webrtc;

/// A dialect that clients of the load speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BenchDialect {
    /// The protocol `lightstream`.
    Lightstream,
    /// The protocol `singo`.
    Singo,
    /// The protocol `mesh`.
    Mesh,
    /// The protocol `p2p`.
    P2p,
    /// The protocol `peerjs`.
    PeerJs,
    /// The protocol `ayame`.
    Ayame,
    /// The protocol `matchbox`.
    Matchbox,
    /// The protocol `y-webrtc`.
    YWebrtc,
    /// The protocol of [`floor`](crate::floor): the path is the room, and every frame goes to all other members.
    Floor,
    /// `gostream`: voice over HTTP.
    Gostream,
}

impl BenchDialect {
    /// All dialects.
    pub const ALL: [Self; 10] = [
        Self::Lightstream,
        Self::Singo,
        Self::Mesh,
        Self::P2p,
        Self::PeerJs,
        Self::Ayame,
        Self::Matchbox,
        Self::YWebrtc,
        Self::Floor,
        Self::Gostream,
    ];

    /// The dialects of signaling.
    pub const SIGNALING: [Self; 8] = [
        Self::Lightstream,
        Self::Singo,
        Self::Mesh,
        Self::P2p,
        Self::PeerJs,
        Self::Ayame,
        Self::Matchbox,
        Self::YWebrtc,
    ];

    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.wire().map_or("gostream", WireClient::name)
    }

    /// The dialect with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }

    /// The path of the dialect on Switchboard.
    pub(crate) fn default_path(self) -> &'static str {
        self.wire().map_or("", WireClient::path)
    }

    /// The frames of the dialect; `None` for voice, which has no WebSocket frames.
    pub(crate) fn wire(self) -> Option<&'static dyn WireClient> {
        match self {
            Self::Lightstream => Some(&lightstream::LightstreamClient),
            Self::Singo => Some(&singo::SingoClient),
            Self::Mesh => Some(&mesh::MeshClient),
            Self::P2p => Some(&p2p::P2pClient),
            Self::PeerJs => Some(&peerjs::PeerJsClient),
            Self::Ayame => Some(&ayame::AyameClient),
            Self::Matchbox => Some(&matchbox::MatchboxClient),
            Self::YWebrtc => Some(&y_webrtc::YWebrtcClient),
            Self::Floor => Some(&floor::FloorClient),
            Self::Gostream => None,
        }
    }
}

impl fmt::Display for BenchDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for BenchDialect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The client side of a dialect: the frames that its clients send, and the meaning of those that they get. It has no state.
pub(crate) trait WireClient: fmt::Debug + Sync {
    fn name(&self) -> &'static str;

    /// The path of the dialect on Switchboard.
    fn path(&self) -> &'static str;

    fn traits(&self) -> WireTraits;

    /// The request target of the WebSocket handshake. `base` is the path of the dialect on this server.
    fn target(&self, base: &str, _seat: &Seat) -> String {
        base.to_owned()
    }

    /// The frame with which a client introduces itself.
    fn hello(&self, _seat: &Seat) -> Option<String> {
        None
    }

    /// The frames that join the room of the seat; empty where connecting joins.
    fn join(&self, _seat: &Seat) -> Vec<String> {
        Vec::new()
    }

    /// The frame that sends a content to the member with this address. A dialect without addresses sends it to the room.
    fn direct(&self, seat: &Seat, to: &str, content: &str) -> String;

    /// The frame that sends a content to all other members, if the dialect has one.
    fn broadcast(&self, _seat: &Seat, _content: &str) -> Option<String> {
        None
    }

    /// The frame by which an idle client stays connected, and the time between two.
    fn keep_alive(&self) -> Option<(&'static str, Duration)> {
        None
    }

    /// The meaning of a frame without a [`Stamp`](crate::stamp::Stamp).
    fn parse(&self, frame: &str) -> Incoming;
}

/// The facts in which dialects differ.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WireTraits {
    /// The maximum members of a room, if the dialect has one.
    pub(crate) members_max: Option<usize>,
    /// Whether the server sends [`Incoming::Greeting`] before anything else, or as an answer to the hello.
    pub(crate) greets: bool,
    /// Whether a join is answered with [`Incoming::Joined`].
    pub(crate) answers_joins: bool,
    /// Whether the members of a room get [`Incoming::PeerJoined`].
    pub(crate) announces_joins: bool,
}

/// The name of a client and its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) room: String,
}

/// A member as the server names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberName {
    /// The name of its seat, where the dialect shows it; else its address.
    pub(crate) name: String,
    /// The address for frames to it.
    pub(crate) address: String,
}

impl MemberName {
    /// A member whose name is its address.
    pub(crate) fn addressed(address: String) -> Self {
        let name = address.clone();
        Self { name, address }
    }
}

/// The meaning of a frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// The client may join. The server may have given it an address.
    Greeting(Option<String>),
    /// The client has joined. The members are those present, where the dialect lists them.
    Joined(Vec<MemberName>),
    /// Another client has joined the room.
    PeerJoined(MemberName),
    /// The client must answer with this frame.
    Probe(String),
    /// A request of the client failed, for this reason.
    Rejected(String),
    /// A frame without meaning for the load.
    Other,
}

/// The text of a JSON value; empty if it is none.
fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The JSON value of a frame; null if it is none.
fn json(frame: &str) -> serde_json::Value {
    serde_json::from_str(frame).unwrap_or_default()
}
