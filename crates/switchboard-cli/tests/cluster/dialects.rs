//! How each dialect says what all of them can say, from a client's side.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::record::{Name, ObservedEvent};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientDialect {
    Lightstream,
    P2p,
    Singo,
    Mesh,
}

/// What a frame of the server tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ClientEvent {
    /// Your own name.
    Me(Name),
    /// Who is in the room that you have come into, or whom else you shall call.
    Members(Vec<Name>),
    Plain(ObservedEvent),
}

/// Usernames of `p2p` begin so, and no other dialect's addresses.
pub(crate) const P2P_NICK: &str = "p2p-";
/// Addresses of `lightstream` begin so: its clients choose them, and keep them over their stays.
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

    /// What the client says first.
    pub(crate) fn greeting(self, nick: &str) -> Option<Value> {
        match self {
            Self::P2p => Some(json!({"type": "IDENTIFY", "username": nick})),
            Self::Mesh => Some(json!({"kind": "IdentifySelf"})),
            Self::Lightstream | Self::Singo => None,
        }
    }

    /// Whether it is the server who says what the client is called.
    pub(crate) fn is_named_by_server(self) -> bool {
        self != Self::Lightstream
    }

    /// Enters the room; in `mesh` it asks who is there, for the connection has entered it.
    pub(crate) fn join(self, room: &str, nick: &str) -> Value {
        match self {
            Self::Lightstream => json!({"type": "join", "roomID": room, "senderID": nick}),
            Self::P2p => json!({"type": "JOIN_ROOM", "roomId": room}),
            Self::Singo => json!({"type": "join", "payload": {"room_id": room}}),
            Self::Mesh => json!({"kind": "GetAllPeerIDs"}),
        }
    }

    /// Leaves the room by a frame, if the dialect can.
    pub(crate) fn leave(self) -> Option<Value> {
        match self {
            Self::Lightstream => Some(json!({"type": "leave"})),
            Self::Mesh => Some(json!({"kind": "Disconnect", "content": {"notifyAll": true}})),
            Self::P2p | Self::Singo => None,
        }
    }

    /// Whether one who has left so may come back on the same connection.
    pub(crate) fn keeps_socket(self) -> bool {
        self == Self::Lightstream
    }

    /// Whether it has words for the order to call somebody.
    pub(crate) fn is_told_to_call(self) -> bool {
        self != Self::Mesh
    }

    /// Whether arrivals are told, so that the view of a client is the room.
    pub(crate) fn tells_arrivals(self) -> bool {
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

    /// What a frame tells. `ids` are the names behind the ids that this connection has met.
    pub(crate) fn hear(
        self,
        frame: &Value,
        ids: &mut HashMap<String, Name>,
    ) -> Option<ClientEvent> {
        match self {
            Self::Lightstream => hear_lightstream(frame),
            Self::P2p => hear_p2p(frame, ids),
            Self::Singo => hear_singo(frame),
            Self::Mesh => hear_mesh(frame),
        }
    }
}

/// What stands before the number in a signal.
const SERIAL: &str = "serial ";

fn name(value: &Value) -> Name {
    value.as_str().unwrap_or_default().into()
}

fn names(value: &Value) -> Vec<Name> {
    value.as_array().into_iter().flatten().map(name).collect()
}

fn error(value: &Value) -> ClientEvent {
    ClientEvent::Plain(ObservedEvent::Error(
        value.as_str().unwrap_or_default().to_owned(),
    ))
}

fn heard(from: Name, holder: &Value) -> Option<ClientEvent> {
    let text = holder["sdp"].as_str().or(holder["candidate"].as_str())?;
    let digits = text.split(SERIAL).nth(1)?;
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let serial = digits[..end.unwrap_or(digits.len())].parse().ok()?;
    Some(ClientEvent::Plain(ObservedEvent::Heard { from, serial }))
}

fn hear_lightstream(frame: &Value) -> Option<ClientEvent> {
    let from = name(&frame["senderID"]);
    match frame["type"].as_str()? {
        "peers" => Some(ClientEvent::Members(names(&frame["peers"]))),
        "user-joined" => Some(ClientEvent::Plain(ObservedEvent::Came(from))),
        "user-left" => Some(ClientEvent::Plain(ObservedEvent::Left(from))),
        "offer" | "ice-candidate" => heard(from, &frame["data"]),
        "error" => Some(error(&frame["code"])),
        _ => None,
    }
}

fn hear_p2p(frame: &Value, ids: &mut HashMap<String, Name>) -> Option<ClientEvent> {
    match frame["type"].as_str()? {
        "AUTH_SUCCESS" => Some(ClientEvent::Me(name(&frame["peerId"]))),
        "AUTH_ERROR" => Some(error(&frame["message"])),
        "ROOM_MEMBERS" => {
            let members = frame["members"].as_array().into_iter().flatten();
            Some(ClientEvent::Members(
                members.map(|member| met(member, ids)).collect(),
            ))
        }
        "NEW_PEER_IN_ROOM" => Some(ClientEvent::Plain(ObservedEvent::Came(met(
            &frame["peer"],
            ids,
        )))),
        "PEER_LEFT_ROOM" => Some(ClientEvent::Plain(ObservedEvent::Left(met(
            &frame["peer"],
            ids,
        )))),
        "SDP_OFFER" => heard(known(&frame["fromPeerId"], ids), &frame["sdp"]),
        "ICE_CANDIDATE" => heard(known(&frame["fromPeerId"], ids), &frame["iceCandidate"]),
        "ERROR" => Some(error(&frame["code"])),
        _ => None,
    }
}

/// Somebody whom a frame shows with its id and what people call it. Others know it by its
/// address: that is what is shown here as its name, unless it has chosen one in this dialect.
fn met(person: &Value, ids: &mut HashMap<String, Name>) -> Name {
    let (id, shown) = (name(&person["id"]), name(&person["username"]));
    let is_ours = shown.starts_with(P2P_NICK);
    let address = if is_ours { id.clone() } else { shown };
    // Who comes again has another id.
    ids.retain(|_, other| *other != address);
    ids.insert(id.to_string(), address.clone());
    address
}

fn known(id: &Value, ids: &HashMap<String, Name>) -> Name {
    let id = name(id);
    ids.get(&*id).cloned().unwrap_or(id)
}

fn hear_singo(frame: &Value) -> Option<ClientEvent> {
    let payload = &frame["payload"];
    let id = name(&payload["client_id"]);
    match frame["type"].as_str()? {
        "notify-client-id" => Some(ClientEvent::Me(id)),
        "new-client" => Some(ClientEvent::Plain(ObservedEvent::Call(id))),
        "leave-client" => Some(ClientEvent::Plain(ObservedEvent::Left(id))),
        "offer" | "ice-candidate" => heard(id, payload),
        "error" => Some(error(&payload["code"])),
        _ => None,
    }
}

fn hear_mesh(frame: &Value) -> Option<ClientEvent> {
    let content = &frame["content"];
    match frame["kind"].as_str()? {
        "IdentifySelf" => Some(ClientEvent::Me(name(&content["id"]))),
        "GetAllPeerIDs" => Some(ClientEvent::Plain(ObservedEvent::List(names(
            &content["peersIDs"],
        )))),
        "DisconnectionNotification" => Some(ClientEvent::Plain(ObservedEvent::Left(name(
            &content["disconnectedPeerID"],
        )))),
        "Offer" | "ICECandidate" => heard(name(&frame["sender"]), content),
        "TextMessage" => Some(error(&content["message"])),
        _ => None,
    }
}

#[test]
fn a_signal_is_found_again_by_its_number() {
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
    for (tongue, frame) in frames {
        let heard = ObservedEvent::Heard {
            from: "a".into(),
            serial: 12,
        };
        assert_eq!(
            tongue.hear(&frame, &mut ids),
            Some(ClientEvent::Plain(heard))
        );
    }
}
