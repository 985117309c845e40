//! The frames of a client in each dialect (signaling protocol of clients).

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::record::{Name, RecordedEvent};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientDialect {
    Lightstream,
    P2p,
    Singo,
    Mesh,
}

/// The meaning of a frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameMeaning {
    /// The own name of the client.
    OwnName(Name),
    /// The members of the joined room, to which the client must offer.
    Members(Vec<Name>),
    Observed(RecordedEvent),
}

/// The prefix of usernames in `p2p`. No address in another dialect begins with it.
pub(crate) const P2P_NICK: &str = "p2p-";
/// The prefix of addresses in `lightstream`. Its clients choose them, and keep them over several memberships.
pub(crate) const LIGHTSTREAM_NICK: &str = "light-";

impl ClientDialect {
    pub(crate) const ALL: [Self; 4] = [Self::Lightstream, Self::P2p, Self::Singo, Self::Mesh];

    pub(crate) fn path(self, room: &str) -> String {
        match self {
            Self::Lightstream | Self::P2p => "/ws".to_owned(),
            Self::Singo => "/connect".to_owned(),
            Self::Mesh => format!("/signalingserver?room={room}"),
        }
    }

    /// The frame before the join, if the dialect has one.
    pub(crate) fn first_frame(self, nick: &str) -> Option<Value> {
        match self {
            Self::P2p => Some(json!({"type": "IDENTIFY", "username": nick})),
            Self::Mesh => Some(json!({"kind": "IdentifySelf"})),
            Self::Lightstream | Self::Singo => None,
        }
    }

    /// Whether the server assigns the names.
    pub(crate) fn has_server_assigned_name(self) -> bool {
        self != Self::Lightstream
    }

    /// The frame that joins a room; in `mesh`, where connecting joins, the request for the member list.
    pub(crate) fn join(self, room: &str, nick: &str) -> Value {
        match self {
            Self::Lightstream => json!({"type": "join", "roomID": room, "senderID": nick}),
            Self::P2p => json!({"type": "JOIN_ROOM", "roomId": room}),
            Self::Singo => json!({"type": "join", "payload": {"room_id": room}}),
            Self::Mesh => json!({"kind": "GetAllPeerIDs"}),
        }
    }

    /// The frame that leaves the room, if the dialect has one.
    pub(crate) fn leave(self) -> Option<Value> {
        match self {
            Self::Lightstream => Some(json!({"type": "leave"})),
            Self::Mesh => Some(json!({"kind": "Disconnect", "content": {"notifyAll": true}})),
            Self::P2p | Self::Singo => None,
        }
    }

    /// Whether a client that left may join again on the same connection.
    pub(crate) fn can_rejoin(self) -> bool {
        self == Self::Lightstream
    }

    /// Whether the dialect tells a client to which members it must offer.
    pub(crate) fn requests_offers(self) -> bool {
        self != Self::Mesh
    }

    /// Whether the server announces joins. If so, the members that a client knows must be all members of the room.
    pub(crate) fn announces_joins(self) -> bool {
        matches!(self, Self::Lightstream | Self::P2p)
    }

    /// An offer, or a candidate if the number is odd.
    pub(crate) fn signal(self, to: &str, serial: usize) -> Value {
        let sdp = format!("v=0\r\ns={SERIAL}{serial}\r\n");
        let candidate = format!("candidate:{SERIAL}{serial}");
        let is_offer = serial.is_multiple_of(2);
        match (self, is_offer) {
            (Self::Lightstream, true) => {
                json!({"type": "offer", "targetID": to, "data": {"type": "offer", "sdp": sdp}})
            }
            (Self::Lightstream, false) => json!({"type": "ice-candidate", "targetID": to,
                "data": {"candidate": candidate, "sdpMid": "0"}}),
            (Self::P2p, true) => {
                json!({"type": "SDP_OFFER", "toPeerId": to, "sdp": {"type": "offer", "sdp": sdp}})
            }
            (Self::P2p, false) => json!({"type": "ICE_CANDIDATE", "toPeerId": to,
                "iceCandidate": {"candidate": candidate, "sdpMid": "0"}}),
            (Self::Singo, true) => {
                json!({"type": "offer", "payload": {"client_id": to, "sdp": sdp}})
            }
            (Self::Singo, false) => json!({"type": "ice-candidate",
                "payload": {"client_id": to, "candidate": candidate, "sdpMid": "0"}}),
            (Self::Mesh, true) => json!({"kind": "Offer", "reach": "OnePeer", "peerID": to,
                "content": {"type": 1, "sdp": sdp}}),
            (Self::Mesh, false) => json!({"kind": "ICECandidate", "reach": "OnePeer", "peerID": to,
                "content": {"candidate": candidate, "sdpMid": "0"}}),
        }
    }

    /// Parses a frame. `ids` maps the ids of this connection to names.
    pub(crate) fn parse_frame(
        self,
        frame: &Value,
        ids: &mut HashMap<String, Name>,
    ) -> Option<FrameMeaning> {
        match self {
            Self::Lightstream => parse_lightstream(frame),
            Self::P2p => parse_p2p(frame, ids),
            Self::Singo => parse_singo(frame),
            Self::Mesh => parse_mesh(frame),
        }
    }
}

/// The text before the serial number in a signal.
const SERIAL: &str = "serial ";

fn name(value: &Value) -> Name {
    value.as_str().unwrap_or_default().into()
}

fn names(value: &Value) -> Vec<Name> {
    value.as_array().into_iter().flatten().map(name).collect()
}

fn error(value: &Value) -> FrameMeaning {
    FrameMeaning::Observed(RecordedEvent::Error(
        value.as_str().unwrap_or_default().to_owned(),
    ))
}

/// The signal in a frame; `holder` is the object with its description or candidate.
fn parse_signal(from: Name, holder: &Value) -> Option<FrameMeaning> {
    let text = holder["sdp"].as_str().or(holder["candidate"].as_str())?;
    let digits = text.split(SERIAL).nth(1)?;
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let serial = digits[..end.unwrap_or(digits.len())].parse().ok()?;
    Some(FrameMeaning::Observed(RecordedEvent::Signal {
        from,
        serial,
    }))
}

fn parse_lightstream(frame: &Value) -> Option<FrameMeaning> {
    let from = name(&frame["senderID"]);
    match frame["type"].as_str()? {
        "peers" => Some(FrameMeaning::Members(names(&frame["peers"]))),
        "user-joined" => Some(FrameMeaning::Observed(RecordedEvent::Joined(from))),
        "user-left" => Some(FrameMeaning::Observed(RecordedEvent::Left(from))),
        "offer" | "ice-candidate" => parse_signal(from, &frame["data"]),
        "error" => Some(error(&frame["code"])),
        _ => None,
    }
}

fn parse_p2p(frame: &Value, ids: &mut HashMap<String, Name>) -> Option<FrameMeaning> {
    match frame["type"].as_str()? {
        "AUTH_SUCCESS" => Some(FrameMeaning::OwnName(name(&frame["peerId"]))),
        "AUTH_ERROR" => Some(error(&frame["message"])),
        "ROOM_MEMBERS" => {
            let members = frame["members"].as_array().into_iter().flatten();
            Some(FrameMeaning::Members(
                members
                    .map(|member| introduced_address(member, ids))
                    .collect(),
            ))
        }
        "NEW_PEER_IN_ROOM" => Some(FrameMeaning::Observed(RecordedEvent::Joined(
            introduced_address(&frame["peer"], ids),
        ))),
        "PEER_LEFT_ROOM" => Some(FrameMeaning::Observed(RecordedEvent::Left(
            introduced_address(&frame["peer"], ids),
        ))),
        "SDP_OFFER" => parse_signal(address_of(&frame["fromPeerId"], ids), &frame["sdp"]),
        "ICE_CANDIDATE" => parse_signal(
            address_of(&frame["fromPeerId"], ids),
            &frame["iceCandidate"],
        ),
        "ERROR" => Some(error(&frame["code"])),
        _ => None,
    }
}

/// The address of a member in a frame with its id and username. The username of a member of another dialect is its
/// address; that of a `p2p` member is a chosen name, and its id is the address.
fn introduced_address(peer: &Value, ids: &mut HashMap<String, Name>) -> Name {
    let (id, shown) = (name(&peer["id"]), name(&peer["username"]));
    let is_p2p = shown.starts_with(P2P_NICK);
    let address = if is_p2p { id.clone() } else { shown };
    // A client that joins again has another id.
    ids.retain(|_, other| *other != address);
    ids.insert(id.to_string(), address.clone());
    address
}

/// The address of the member with this id in `p2p`.
fn address_of(id: &Value, ids: &HashMap<String, Name>) -> Name {
    let id = name(id);
    ids.get(&*id).cloned().unwrap_or(id)
}

fn parse_singo(frame: &Value) -> Option<FrameMeaning> {
    let payload = &frame["payload"];
    let id = name(&payload["client_id"]);
    match frame["type"].as_str()? {
        "notify-client-id" => Some(FrameMeaning::OwnName(id)),
        "new-client" => Some(FrameMeaning::Observed(RecordedEvent::MustOffer(id))),
        "leave-client" => Some(FrameMeaning::Observed(RecordedEvent::Left(id))),
        "offer" | "ice-candidate" => parse_signal(id, payload),
        "error" => Some(error(&payload["code"])),
        _ => None,
    }
}

fn parse_mesh(frame: &Value) -> Option<FrameMeaning> {
    let content = &frame["content"];
    match frame["kind"].as_str()? {
        "IdentifySelf" => Some(FrameMeaning::OwnName(name(&content["id"]))),
        "GetAllPeerIDs" => Some(FrameMeaning::Observed(RecordedEvent::MemberList(names(
            &content["peersIDs"],
        )))),
        "DisconnectionNotification" => Some(FrameMeaning::Observed(RecordedEvent::Left(name(
            &content["disconnectedPeerID"],
        )))),
        "Offer" | "ICECandidate" => parse_signal(name(&frame["sender"]), content),
        "TextMessage" => Some(error(&content["message"])),
        _ => None,
    }
}

#[test]
fn a_signal_is_identified_by_its_serial_number() {
    let mut ids = HashMap::new();
    let frames = [
        (
            ClientDialect::Lightstream,
            json!({"type": "offer", "senderID": "a", "data": {"sdp": "v=0\r\ns=serial 12\r\n"}}),
        ),
        (
            ClientDialect::Singo,
            json!({"type": "offer", "payload": {"client_id": "a", "sdp": "v=0\r\ns=serial 12\r\n"}}),
        ),
        (
            ClientDialect::Mesh,
            json!({"kind": "ICECandidate", "sender": "a", "content": {"candidate": "candidate:serial 12"}}),
        ),
        (
            ClientDialect::P2p,
            json!({"type": "ICE_CANDIDATE", "fromPeerId": "a", "iceCandidate": {"candidate": "candidate:serial 12"}}),
        ),
    ];
    for (dialect, frame) in frames {
        let signal = RecordedEvent::Signal {
            from: "a".into(),
            serial: 12,
        };
        assert_eq!(
            dialect.parse_frame(&frame, &mut ids),
            Some(FrameMeaning::Observed(signal))
        );
    }
}
