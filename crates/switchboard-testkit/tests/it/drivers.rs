//! How each dialect says what all of them can say, so that one test can speak to each of them.

use std::time::Duration;

use serde_json::{Value, json};
use switchboard_core::Identity;
use switchboard_testkit::{ClientId, Simulation};

mod ayame;
mod matchbox;
mod peerjs;
mod y_webrtc;

use ayame::AYAME;
use matchbox::MATCHBOX;
use peerjs::PEERJS;
use y_webrtc::Y_WEBRTC;

/// What a frame of the server tells, in no dialect's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientEvent {
    /// Call this one.
    Call(String),
    /// This one has come.
    Came(String),
    /// This one has left.
    Left(String),
    /// This one offers a call.
    Offer { from: String, sdp: String },
    /// Words for people, from somebody of this id or name.
    Words { from: String, words: String },
    /// What you asked is not done.
    Error(String),
    /// Something of the dialect's own.
    Other,
}

/// Who of two members is told to call, as far as their dialects can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferRule {
    /// Whoever comes.
    Newcomer,
    /// Whoever was there, among its own kind; else whoever comes.
    Member,
    /// Nobody of its own kind; others call it.
    Never,
    /// It calls nobody and nobody calls it.
    Apart,
}

/// A dialect, from a client's side.
pub(crate) struct DialectDriver {
    pub(crate) name: &'static str,
    /// Frames that come before the join.
    pub(crate) greet: fn(nick: &str) -> Option<Value>,
    /// Enters a room, if that is a frame at all: in `mesh` it is the connection.
    pub(crate) join: fn(room: &str, nick: &str) -> Option<Value>,
    /// Leaves the room and stays, if the dialect can.
    pub(crate) leave: Option<fn(room: &str) -> Value>,
    pub(crate) offer: fn(to: &str, sdp: &str) -> Value,
    /// Says something to everybody, if the dialect can.
    pub(crate) shout: Option<fn(words: &str) -> Value>,
    pub(crate) hear: fn(frame: &Value) -> Vec<ClientEvent>,
    /// The key of the sender, where it stands in a frame that is delivered.
    pub(crate) sender: &'static [&'static str],
    /// The objects of an offer, as JSON pointers, that keep what is unknown in them.
    pub(crate) keeps: &'static [&'static str],
    /// Who calls.
    pub(crate) calls: OfferRule,
    /// Whether clients choose the names by which they are challenged.
    pub(crate) chooses_names: bool,
    /// Whether arrivals are told.
    pub(crate) tells_arrivals: bool,
    /// Whether departures are told.
    pub(crate) tells_departures: bool,
    /// Whether the others have names. Where they have none, there is one other, whose name is empty.
    pub(crate) names_others: bool,
    /// Whether the others are named by the ids of their peers.
    pub(crate) names_by_peer: bool,
    /// Whether who is in a room may ask for one again, another or the same.
    pub(crate) moves: bool,
    /// Whether who asks for another room stays in the first as well.
    pub(crate) gathers: bool,
    /// Whether bytes are read as the text they hold.
    pub(crate) reads_bytes: bool,
    /// Whether a client is told that it is not let in. Where not, it is only counted.
    pub(crate) answers_joins: bool,
    /// Whether a member is told that its frame is refused. Where not, it is only counted.
    pub(crate) answers_members: bool,
    /// How long a frame waits for somebody who is not there.
    pub(crate) waits: Duration,
}

/// Every dialect. The test below sees to it that none is missing.
pub(crate) static ACCENTS: [DialectDriver; 8] = [
    LIGHTSTREAM,
    P2P,
    SINGO,
    MESH,
    AYAME,
    MATCHBOX,
    PEERJS,
    Y_WEBRTC,
];

pub(crate) fn accent(name: &str) -> &'static DialectDriver {
    let accent = ACCENTS.iter().find(|accent| accent.name == name);
    accent.unwrap_or_else(|| panic!("no accent for {name}"))
}

impl DialectDriver {
    /// What most have in common. A dialect says what differs; its frames and what it hears it says always.
    const USUAL: Self = Self {
        name: "",
        greet: |_| None,
        join: |_, _| None,
        leave: None,
        offer: |_, _| Value::Null,
        shout: None,
        hear: |_| Vec::new(),
        sender: &[],
        keeps: &[],
        calls: OfferRule::Newcomer,
        chooses_names: false,
        tells_arrivals: false,
        tells_departures: true,
        names_others: true,
        names_by_peer: false,
        moves: true,
        gathers: false,
        reads_bytes: true,
        answers_joins: true,
        answers_members: true,
        waits: Duration::ZERO,
    };

    /// A client that has said who it is, and is in no room unless the dialect puts it there.
    pub(crate) fn open(&self, world: &mut Simulation, room: &str, nick: &str) -> ClientId {
        self.open_as(world, room, nick, Identity::Claimed)
    }

    /// The same, with an identity.
    pub(crate) fn open_as(
        &self,
        world: &mut Simulation,
        room: &str,
        nick: &str,
        identity: Identity,
    ) -> ClientId {
        let token = world.ids().count().to_string();
        let query = [
            ("room", room),
            ("key", room),
            ("id", nick),
            ("token", &token),
        ];
        let client = world.open_as(self.name, &query, identity);
        if let Some(greeting) = (self.greet)(nick) {
            world.send(client, greeting.to_string());
        }
        client
    }

    /// A client in a room.
    pub(crate) fn enter(&self, world: &mut Simulation, room: &str, nick: &str) -> ClientId {
        let client = self.open(world, room, nick);
        self.join(world, client, room, nick);
        client
    }

    pub(crate) fn join(&self, world: &mut Simulation, client: ClientId, room: &str, nick: &str) {
        if let Some(join) = (self.join)(room, nick) {
            world.send(client, join.to_string());
        }
    }

    /// By what this dialect's clients call that client, which must be in a room.
    pub(crate) fn id_of(&self, world: &Simulation, client: ClientId) -> String {
        if self.names_by_peer {
            return world.peer(client).to_string();
        }
        if !self.names_others {
            return String::new();
        }
        let (_, member) = world.member(client).expect("a member");
        member.address.to_string()
    }

    /// Whether the two are told of each other's calls: `None` if nobody is to call, else whether the
    /// newcomer is.
    pub(crate) fn calls_as_newcomer(&self, member: &Self) -> Option<bool> {
        match (self.calls, member.calls) {
            (OfferRule::Apart, _)
            | (_, OfferRule::Apart)
            | (OfferRule::Never, OfferRule::Never) => None,
            (OfferRule::Never, _) => Some(false),
            (OfferRule::Member, _) => Some(self.name != member.name),
            (OfferRule::Newcomer, _) => Some(true),
        }
    }

    /// What the client was told since the last time.
    pub(crate) fn told(&self, world: &mut Simulation, client: ClientId) -> Vec<ClientEvent> {
        let frames = world.received(client);
        frames.iter().flat_map(|frame| (self.hear)(frame)).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

const LIGHTSTREAM: DialectDriver = DialectDriver {
    name: "lightstream",
    join: |room, nick| Some(json!({"type": "join", "roomID": room, "senderID": nick})),
    leave: Some(|_| json!({"type": "leave"})),
    offer: |to, sdp| json!({"type": "offer", "targetID": to, "data": {"type": "offer", "sdp": sdp}}),
    shout: Some(|words| json!({"type": "message", "data": words})),
    hear: |frame| {
        let from = text(&frame["senderID"]);
        match frame["type"].as_str() {
            Some("peers") => texts(&frame["peers"])
                .into_iter()
                .map(ClientEvent::Call)
                .collect(),
            Some("user-joined") => vec![ClientEvent::Came(from)],
            Some("user-left") => vec![ClientEvent::Left(from)],
            Some("offer") => vec![ClientEvent::Offer {
                from,
                sdp: text(&frame["data"]["sdp"]),
            }],
            Some("message") => vec![ClientEvent::Words {
                from,
                words: text(&frame["data"]),
            }],
            Some("error") => vec![ClientEvent::Error(text(&frame["code"]))],
            _ => vec![ClientEvent::Other],
        }
    },
    sender: &["senderID"],
    keeps: &["", "/data"],
    calls: OfferRule::Newcomer,
    chooses_names: true,
    tells_arrivals: true,
    ..DialectDriver::USUAL
};

const P2P: DialectDriver = DialectDriver {
    name: "p2p",
    greet: |nick| Some(json!({"type": "IDENTIFY", "username": nick})),
    join: |room, _| Some(json!({"type": "JOIN_ROOM", "roomId": room})),
    offer: |to, sdp| json!({"type": "SDP_OFFER", "toPeerId": to, "sdp": {"type": "offer", "sdp": sdp}}),
    shout: Some(|words| json!({"type": "CHAT_MESSAGE", "content": words})),
    hear: |frame| match frame["type"].as_str() {
        Some("ROOM_MEMBERS") => {
            let members = frame["members"].as_array().into_iter().flatten();
            members
                .map(|member| ClientEvent::Call(text(&member["id"])))
                .collect()
        }
        Some("NEW_PEER_IN_ROOM") => vec![ClientEvent::Came(text(&frame["peer"]["id"]))],
        Some("PEER_LEFT_ROOM") => vec![ClientEvent::Left(text(&frame["peer"]["id"]))],
        Some("SDP_OFFER") => vec![ClientEvent::Offer {
            from: text(&frame["fromPeerId"]),
            sdp: text(&frame["sdp"]["sdp"]),
        }],
        Some("CHAT_MESSAGE") => vec![ClientEvent::Words {
            from: text(&frame["username"]),
            words: text(&frame["content"]),
        }],
        Some("ERROR") => vec![ClientEvent::Error(text(&frame["code"]))],
        Some("AUTH_ERROR") => vec![ClientEvent::Error(text(&frame["message"]))],
        _ => vec![ClientEvent::Other],
    },
    sender: &["fromPeerId"],
    keeps: &["", "/sdp"],
    calls: OfferRule::Newcomer,
    chooses_names: true,
    tells_arrivals: true,
    names_by_peer: true,
    reads_bytes: false,
    ..DialectDriver::USUAL
};

const SINGO: DialectDriver = DialectDriver {
    name: "singo",
    join: |room, _| Some(json!({"type": "join", "payload": {"room_id": room}})),
    offer: |to, sdp| json!({"type": "offer", "payload": {"client_id": to, "sdp": sdp}}),
    hear: |frame| {
        let id = text(&frame["payload"]["client_id"]);
        match frame["type"].as_str() {
            Some("new-client") => vec![ClientEvent::Call(id)],
            Some("leave-client") => vec![ClientEvent::Left(id)],
            Some("offer") => vec![ClientEvent::Offer {
                from: id,
                sdp: text(&frame["payload"]["sdp"]),
            }],
            Some("error") => vec![ClientEvent::Error(text(&frame["payload"]["code"]))],
            _ => vec![ClientEvent::Other],
        }
    },
    sender: &["payload", "client_id"],
    keeps: &["", "/payload"],
    calls: OfferRule::Member,
    ..DialectDriver::USUAL
};

const MESH: DialectDriver = DialectDriver {
    name: "mesh",
    offer: |to, sdp| json!({"kind": "Offer", "reach": "OnePeer", "peerID": to, "content": {"type": 1, "sdp": sdp}}),
    shout: Some(
        |words| json!({"kind": "TextMessage", "reach": "AllPeers", "content": {"title": "", "message": words}}),
    ),
    hear: |frame| {
        let (from, content) = (text(&frame["sender"]), &frame["content"]);
        match frame["kind"].as_str() {
            Some("DisconnectionNotification") => {
                vec![ClientEvent::Left(text(&content["disconnectedPeerID"]))]
            }
            Some("Offer") => vec![ClientEvent::Offer {
                from,
                sdp: text(&content["sdp"]),
            }],
            Some("TextMessage") if from == "server" => {
                vec![ClientEvent::Error(text(&content["message"]))]
            }
            Some("TextMessage") => vec![ClientEvent::Words {
                from,
                words: text(&content["message"]),
            }],
            _ => vec![ClientEvent::Other],
        }
    },
    sender: &["sender"],
    keeps: &["", "/content"],
    calls: OfferRule::Never,
    ..DialectDriver::USUAL
};

#[test]
fn every_dialect_has_an_accent() {
    for dialect in switchboard_dialects::ALL {
        accent(dialect.traits().name);
    }
}
