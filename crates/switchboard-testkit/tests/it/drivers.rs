//! One driver per dialect: the frames that its clients send for common actions, and the meaning of the frames that they
//! get. With the drivers, one test runs over all dialects.

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

/// The meaning of a frame of the server, independent of the dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientEvent {
    /// The receiver must send an offer to the member with this id.
    MustOffer(String),
    /// The member with this id has joined.
    Joined(String),
    /// The member with this id has left.
    Left(String),
    /// A member sends an SDP offer.
    Offer { from: String, sdp: String },
    /// A chat message from the member with this id or name.
    Text { from: String, text: String },
    /// A request of the client failed with this error.
    Error(String),
    /// A frame that is specific to the dialect.
    Other,
}

/// The offer policy of a dialect: which of two members must send the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferRule {
    /// The newcomer offers.
    Newcomer,
    /// The member offers among members of the same dialect; otherwise the newcomer offers.
    Member,
    /// No offer is requested between members of the same dialect; members of other dialects offer.
    OtherDialectOffers,
    /// No member is told to offer.
    NoOffers,
}

/// The client side of a dialect.
pub(crate) struct DialectDriver {
    pub(crate) name: &'static str,
    /// The frame with which a client introduces itself before the join, if the dialect has one.
    pub(crate) identify: fn(nick: &str) -> Option<Value>,
    /// The frame that joins a room, if the dialect has one: in `mesh`, connecting joins.
    pub(crate) join: fn(room: &str, nick: &str) -> Option<Value>,
    /// The frame that leaves the room but keeps the connection, if the dialect has one.
    pub(crate) leave: Option<fn(room: &str) -> Value>,
    /// The frame that sends an offer to a member.
    pub(crate) offer: fn(to: &str, sdp: &str) -> Value,
    /// A chat message to all members, if the dialect has one.
    pub(crate) broadcast: Option<fn(text: &str) -> Value>,
    /// The meaning of a frame that a client gets.
    pub(crate) parse_events: fn(frame: &Value) -> Vec<ClientEvent>,
    /// The path of the sender's id in a delivered frame.
    pub(crate) sender: &'static [&'static str],
    /// JSON pointers to the objects of an offer whose unknown fields are relayed.
    pub(crate) preserved_objects: &'static [&'static str],
    /// The rule for the offers between members.
    pub(crate) offer_rule: OfferRule,
    /// Whether clients choose their name, which must be unique in a room.
    pub(crate) chooses_name: bool,
    /// Whether members are told of joins.
    pub(crate) announces_joins: bool,
    /// Whether members are told of leaves.
    pub(crate) announces_leaves: bool,
    /// Whether frames name other members by an id. Otherwise every other member has an empty id in the tests.
    pub(crate) has_member_ids: bool,
    /// Whether frames name members by their peer ids, not by their addresses.
    pub(crate) uses_peer_ids: bool,
    /// Whether a member may join again, the same room or another.
    pub(crate) can_change_room: bool,
    /// Whether a member that joins another room stays in the first.
    pub(crate) can_join_several_rooms: bool,
    /// Whether binary frames are read as UTF-8 text.
    pub(crate) accepts_binary: bool,
    /// Whether a rejected join is answered with an error frame. Otherwise it is only counted.
    pub(crate) reports_join_errors: bool,
    /// Whether a rejected frame of a member is answered with an error frame. Otherwise it is only counted.
    pub(crate) reports_member_errors: bool,
    /// How long a frame is kept for an absent receiver; zero if it is rejected at once.
    pub(crate) deferral: Duration,
}

/// The drivers of all dialects. A test below checks that none is missing.
pub(crate) static DRIVERS: [DialectDriver; 8] = [
    LIGHTSTREAM,
    P2P,
    SINGO,
    MESH,
    AYAME,
    MATCHBOX,
    PEERJS,
    Y_WEBRTC,
];

pub(crate) fn driver_of(name: &str) -> &'static DialectDriver {
    let driver = DRIVERS.iter().find(|driver| driver.name == name);
    driver.unwrap_or_else(|| panic!("there is no driver for {name}"))
}

impl DialectDriver {
    /// The values that most dialects have.
    const DEFAULT: Self = Self {
        name: "",
        identify: |_| None,
        join: |_, _| None,
        leave: None,
        offer: |_, _| Value::Null,
        broadcast: None,
        parse_events: |_| Vec::new(),
        sender: &[],
        preserved_objects: &[],
        offer_rule: OfferRule::Newcomer,
        chooses_name: false,
        announces_joins: false,
        announces_leaves: true,
        has_member_ids: true,
        uses_peer_ids: false,
        can_change_room: true,
        can_join_several_rooms: false,
        accepts_binary: true,
        reports_join_errors: true,
        reports_member_errors: true,
        deferral: Duration::ZERO,
    };

    /// Connects a client and sends `identify`. In dialects without a `join` frame, the client is then a member.
    pub(crate) fn open(&self, simulation: &mut Simulation, room: &str, nick: &str) -> ClientId {
        self.open_as(simulation, room, nick, Identity::Claimed)
    }

    /// Like [`Self::open`], with an identity.
    pub(crate) fn open_as(
        &self,
        simulation: &mut Simulation,
        room: &str,
        nick: &str,
        identity: Identity,
    ) -> ClientId {
        // A token of its own: PeerJS takes a client with the same id and token for one that reconnects.
        let token = simulation.ids().count().to_string();
        let query = [
            ("room", room),
            ("key", room),
            ("id", nick),
            ("token", &token),
        ];
        let client = simulation.open_as(self.name, &query, identity);
        if let Some(identify) = (self.identify)(nick) {
            simulation.send(client, identify.to_string());
        }
        client
    }

    /// Connects a client and joins a room.
    pub(crate) fn connect_and_join(
        &self,
        simulation: &mut Simulation,
        room: &str,
        nick: &str,
    ) -> ClientId {
        let client = self.open(simulation, room, nick);
        self.join(simulation, client, room, nick);
        client
    }

    pub(crate) fn join(
        &self,
        simulation: &mut Simulation,
        client: ClientId,
        room: &str,
        nick: &str,
    ) {
        if let Some(join) = (self.join)(room, nick) {
            simulation.send(client, join.to_string());
        }
    }

    /// The id by which clients of this dialect name a client, which must be a member of a room.
    pub(crate) fn id_of(&self, simulation: &Simulation, client: ClientId) -> String {
        if self.uses_peer_ids {
            return simulation.peer(client).to_string();
        }
        if !self.has_member_ids {
            return String::new();
        }
        let (_, member) = simulation.member(client).expect("a member");
        member.address.to_string()
    }

    /// Whether a newcomer of this dialect must offer to a member, or the member to the newcomer; `None` if neither must.
    pub(crate) fn newcomer_offers(&self, member: &Self) -> Option<bool> {
        match (self.offer_rule, member.offer_rule) {
            (OfferRule::NoOffers, _)
            | (_, OfferRule::NoOffers)
            | (OfferRule::OtherDialectOffers, OfferRule::OtherDialectOffers) => None,
            (OfferRule::OtherDialectOffers, _) => Some(false),
            (OfferRule::Member, _) => Some(self.name != member.name),
            (OfferRule::Newcomer, _) => Some(true),
        }
    }

    /// The events that the client received since the last call.
    pub(crate) fn take_events(
        &self,
        simulation: &mut Simulation,
        client: ClientId,
    ) -> Vec<ClientEvent> {
        let frames = simulation.received(client);
        frames
            .iter()
            .flat_map(|frame| (self.parse_events)(frame))
            .collect()
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
    broadcast: Some(|text| json!({"type": "message", "data": text})),
    parse_events: |frame| {
        let from = text(&frame["senderID"]);
        match frame["type"].as_str() {
            Some("peers") => texts(&frame["peers"])
                .into_iter()
                .map(ClientEvent::MustOffer)
                .collect(),
            Some("user-joined") => vec![ClientEvent::Joined(from)],
            Some("user-left") => vec![ClientEvent::Left(from)],
            Some("offer") => vec![ClientEvent::Offer {
                from,
                sdp: text(&frame["data"]["sdp"]),
            }],
            Some("message") => vec![ClientEvent::Text {
                from,
                text: text(&frame["data"]),
            }],
            Some("error") => vec![ClientEvent::Error(text(&frame["code"]))],
            _ => vec![ClientEvent::Other],
        }
    },
    sender: &["senderID"],
    preserved_objects: &["", "/data"],
    offer_rule: OfferRule::Newcomer,
    chooses_name: true,
    announces_joins: true,
    ..DialectDriver::DEFAULT
};

const P2P: DialectDriver = DialectDriver {
    name: "p2p",
    identify: |nick| Some(json!({"type": "IDENTIFY", "username": nick})),
    join: |room, _| Some(json!({"type": "JOIN_ROOM", "roomId": room})),
    offer: |to, sdp| json!({"type": "SDP_OFFER", "toPeerId": to, "sdp": {"type": "offer", "sdp": sdp}}),
    broadcast: Some(|text| json!({"type": "CHAT_MESSAGE", "content": text})),
    parse_events: |frame| match frame["type"].as_str() {
        Some("ROOM_MEMBERS") => {
            let members = frame["members"].as_array().into_iter().flatten();
            members
                .map(|member| ClientEvent::MustOffer(text(&member["id"])))
                .collect()
        }
        Some("NEW_PEER_IN_ROOM") => vec![ClientEvent::Joined(text(&frame["peer"]["id"]))],
        Some("PEER_LEFT_ROOM") => vec![ClientEvent::Left(text(&frame["peer"]["id"]))],
        Some("SDP_OFFER") => vec![ClientEvent::Offer {
            from: text(&frame["fromPeerId"]),
            sdp: text(&frame["sdp"]["sdp"]),
        }],
        Some("CHAT_MESSAGE") => vec![ClientEvent::Text {
            from: text(&frame["username"]),
            text: text(&frame["content"]),
        }],
        Some("ERROR") => vec![ClientEvent::Error(text(&frame["code"]))],
        Some("AUTH_ERROR") => vec![ClientEvent::Error(text(&frame["message"]))],
        _ => vec![ClientEvent::Other],
    },
    sender: &["fromPeerId"],
    preserved_objects: &["", "/sdp"],
    offer_rule: OfferRule::Newcomer,
    chooses_name: true,
    announces_joins: true,
    uses_peer_ids: true,
    accepts_binary: false,
    ..DialectDriver::DEFAULT
};

const SINGO: DialectDriver = DialectDriver {
    name: "singo",
    join: |room, _| Some(json!({"type": "join", "payload": {"room_id": room}})),
    offer: |to, sdp| json!({"type": "offer", "payload": {"client_id": to, "sdp": sdp}}),
    parse_events: |frame| {
        let id = text(&frame["payload"]["client_id"]);
        match frame["type"].as_str() {
            Some("new-client") => vec![ClientEvent::MustOffer(id)],
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
    preserved_objects: &["", "/payload"],
    offer_rule: OfferRule::Member,
    ..DialectDriver::DEFAULT
};

const MESH: DialectDriver = DialectDriver {
    name: "mesh",
    offer: |to, sdp| json!({"kind": "Offer", "reach": "OnePeer", "peerID": to, "content": {"type": 1, "sdp": sdp}}),
    broadcast: Some(
        |text| json!({"kind": "TextMessage", "reach": "AllPeers", "content": {"title": "", "message": text}}),
    ),
    parse_events: |frame| {
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
            Some("TextMessage") => vec![ClientEvent::Text {
                from,
                text: text(&content["message"]),
            }],
            _ => vec![ClientEvent::Other],
        }
    },
    sender: &["sender"],
    preserved_objects: &["", "/content"],
    offer_rule: OfferRule::OtherDialectOffers,
    ..DialectDriver::DEFAULT
};

#[test]
fn every_dialect_has_a_driver() {
    for dialect in switchboard_dialects::ALL {
        driver_of(dialect.traits().name);
    }
}
