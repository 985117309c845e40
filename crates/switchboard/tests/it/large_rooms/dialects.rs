//! The frames with which a client of each dialect joins and signals.

use serde_json::{Value, json};

/// A delivered signal.
pub(super) struct Signal {
    /// The id of the sender; empty in dialects without member ids.
    pub(super) from: String,
    /// `offer`, `answer` or the number of a candidate.
    pub(super) label: String,
    text: String,
}

impl Signal {
    /// Checks that the signal was addressed to this member.
    pub(super) fn assert_receiver(&self, id: &str) {
        let text = self.text.lines().next_back().unwrap_or_default();
        let named =
            self.text.contains(&format!("to {id}\r\n")) || text.ends_with(&format!("to {id}"));
        assert!(
            named || id.is_empty(),
            "{id} gets a signal for another member"
        );
    }
}

/// The sender and the receiver of a signal.
#[derive(Clone, Copy)]
pub(super) struct SignalPeers<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}

/// The meaning of a frame from the server for its client.
pub(super) enum ParsedFrame {
    /// The client's own id.
    Id(String),
    /// The client must send an offer to that member.
    MustOffer(String),
    Signal(Signal),
    Error(String),
}

/// The client side of a dialect, in room `r`.
pub(super) struct DialectClient {
    pub(super) path: fn(nick: &str) -> String,
    /// The frames that join the room; none if the client joins by connecting.
    pub(super) join: fn(nick: &str) -> Vec<Value>,
    /// The request for the member list, if the dialect has one.
    pub(super) list_members: Option<fn() -> Value>,
    /// The frame that carries an offer or answer.
    pub(super) description_frame: fn(peers: SignalPeers, kind: &str, sdp: &str) -> Value,
    /// The frame that carries a candidate.
    pub(super) candidate_frame: fn(peers: SignalPeers, candidate: &str) -> Value,
    /// The meaning of a frame for the client with this id.
    pub(super) read: fn(frame: &Value, id: &str) -> Vec<ParsedFrame>,
    /// Whether the server assigns the ids.
    pub(super) assigns_ids: bool,
    /// Whether members offer to the newcomer, which answers.
    pub(super) members_offer: bool,
    /// Whether clients know the ids of the members without the server.
    pub(super) knows_members: bool,
}

impl DialectClient {
    /// The kind of the descriptions that the newcomer sends.
    pub(super) fn newcomer_sends(&self) -> &'static str {
        if self.members_offer {
            "answer"
        } else {
            "offer"
        }
    }
}

const DEFAULT: DialectClient = DialectClient {
    path: |_| "/ws".to_owned(),
    join: |_| Vec::new(),
    list_members: None,
    description_frame: |_, _, _| Value::Null,
    candidate_frame: |_, _| Value::Null,
    read: |_, _| Vec::new(),
    assigns_ids: false,
    members_offer: false,
    knows_members: false,
};

pub(super) static LIGHTSTREAM: DialectClient = DialectClient {
    join: |nick| vec![json!({"type": "join", "roomID": "r", "senderID": nick})],
    description_frame: |SignalPeers { to, .. }, kind, sdp| json!({"type": kind, "targetID": to, "data": {"type": kind, "sdp": sdp}}),
    candidate_frame: |SignalPeers { to, .. }, candidate| json!({"type": "ice-candidate", "targetID": to, "data": init(candidate)}),
    read: |frame, _| {
        let from = &frame["senderID"];
        match text(&frame["type"]) {
            "peers" => offers_to(&frame["peers"], ""),
            kind @ ("offer" | "answer") => description(from, kind, &frame["data"]["sdp"]),
            "ice-candidate" => candidate(from, &frame["data"]["candidate"]),
            "error" => error(frame),
            _ => Vec::new(),
        }
    },
    ..DEFAULT
};

pub(super) static P2P: DialectClient = DialectClient {
    join: |nick| {
        vec![
            json!({"type": "IDENTIFY", "username": nick}),
            json!({"type": "JOIN_ROOM", "roomId": "r"}),
        ]
    },
    description_frame: |SignalPeers { to, .. }, kind, sdp| {
        let frame = format!("SDP_{}", kind.to_uppercase());
        json!({"type": frame, "toPeerId": to, "sdp": {"type": kind, "sdp": sdp}})
    },
    candidate_frame: |SignalPeers { to, .. }, candidate| json!({"type": "ICE_CANDIDATE", "toPeerId": to, "iceCandidate": init(candidate)}),
    read: |frame, _| {
        let from = &frame["fromPeerId"];
        match text(&frame["type"]) {
            "AUTH_SUCCESS" => id(&frame["peerId"]),
            "ROOM_MEMBERS" => offers_to(&frame["members"], "/id"),
            "SDP_OFFER" => description(from, "offer", &frame["sdp"]["sdp"]),
            "SDP_ANSWER" => description(from, "answer", &frame["sdp"]["sdp"]),
            "ICE_CANDIDATE" => candidate(from, &frame["iceCandidate"]["candidate"]),
            "ERROR" | "AUTH_ERROR" => error(frame),
            _ => Vec::new(),
        }
    },
    assigns_ids: true,
    ..DEFAULT
};

pub(super) static SINGO: DialectClient = DialectClient {
    path: |_| "/connect".to_owned(),
    join: |_| vec![json!({"type": "join", "payload": {"room_id": "r"}})],
    description_frame: |SignalPeers { to, .. }, kind, sdp| json!({"type": kind, "payload": {"client_id": to, "sdp": sdp}}),
    candidate_frame: |SignalPeers { to, .. }, candidate| {
        let mut payload = init(candidate);
        payload["client_id"] = to.into();
        json!({"type": "ice-candidate", "payload": payload})
    },
    read: |frame, _| {
        let payload = &frame["payload"];
        let from = &payload["client_id"];
        match text(&frame["type"]) {
            "notify-client-id" => id(from),
            "new-client" => vec![ParsedFrame::MustOffer(text(from).to_owned())],
            kind @ ("offer" | "answer") => description(from, kind, &payload["sdp"]),
            "ice-candidate" => candidate(from, &payload["candidate"]),
            "error" => error(frame),
            _ => Vec::new(),
        }
    },
    assigns_ids: true,
    members_offer: true,
    ..DEFAULT
};

pub(super) static MESH: DialectClient = DialectClient {
    path: |_| "/signalingserver?room=r".to_owned(),
    join: |_| vec![json!({"kind": "IdentifySelf", "reach": "Self"})],
    list_members: Some(|| json!({"kind": "GetAllPeerIDs", "reach": "Self"})),
    description_frame: |SignalPeers { to, .. }, kind, sdp| {
        let (kind, number) = if kind == "offer" {
            ("Offer", 1)
        } else {
            ("Answer", 3)
        };
        json!({"kind": kind, "reach": "OnePeer", "peerID": to, "content": {"type": number, "sdp": sdp}})
    },
    candidate_frame: |SignalPeers { to, .. }, candidate| json!({"kind": "ICECandidate", "reach": "OnePeer", "peerID": to, "content": init(candidate)}),
    read: |frame, _| {
        let (from, content) = (&frame["sender"], &frame["content"]);
        match text(&frame["kind"]) {
            "IdentifySelf" => id(&content["id"]),
            "GetAllPeerIDs" => offers_to(&content["peersIDs"], ""),
            "Offer" => description(from, "offer", &content["sdp"]),
            "Answer" => description(from, "answer", &content["sdp"]),
            "ICECandidate" => candidate(from, &content["candidate"]),
            "TextMessage" => error(frame),
            _ => Vec::new(),
        }
    },
    assigns_ids: true,
    ..DEFAULT
};

pub(super) static AYAME: DialectClient = DialectClient {
    path: |_| "/signaling".to_owned(),
    join: |nick| vec![json!({"type": "register", "roomId": "r", "clientId": nick})],
    description_frame: |_, kind, sdp| json!({"type": kind, "sdp": sdp}),
    candidate_frame: |_, candidate| json!({"type": "candidate", "ice": init(candidate)}),
    read: |frame, _| match text(&frame["type"]) {
        "accept" if frame["isExistUser"] == true => vec![ParsedFrame::MustOffer("m0".to_owned())],
        kind @ ("offer" | "answer") => description(&Value::Null, kind, &frame["sdp"]),
        "candidate" => candidate(&Value::Null, &frame["ice"]["candidate"]),
        "reject" => error(frame),
        _ => Vec::new(),
    },
    ..DEFAULT
};

pub(super) static MATCHBOX: DialectClient = DialectClient {
    path: |_| "/matchbox/r".to_owned(),
    description_frame: |SignalPeers { to, .. }, kind, sdp| {
        let kind = if kind == "offer" { "Offer" } else { "Answer" };
        json!({"Signal": {"receiver": to, "data": {kind: sdp}}})
    },
    candidate_frame: |SignalPeers { to, .. }, candidate| json!({"Signal": {"receiver": to, "data": {"IceCandidate": init(candidate).to_string()}}}),
    read: |frame, _| {
        let (from, data) = (&frame["Signal"]["sender"], &frame["Signal"]["data"]);
        let event = frame.as_object().and_then(|frame| frame.keys().next());
        match event.map(String::as_str) {
            Some("IdAssigned") => id(&frame["IdAssigned"]),
            Some("NewPeer") => vec![ParsedFrame::MustOffer(text(&frame["NewPeer"]).to_owned())],
            Some("Signal") if data["Offer"].is_string() => {
                description(from, "offer", &data["Offer"])
            }
            Some("Signal") if data["Answer"].is_string() => {
                description(from, "answer", &data["Answer"])
            }
            Some("Signal") => {
                let init: Value = serde_json::from_str(text(&data["IceCandidate"])).expect("JSON");
                candidate(from, &init["candidate"])
            }
            _ => Vec::new(),
        }
    },
    assigns_ids: true,
    members_offer: true,
    ..DEFAULT
};

pub(super) static PEERJS: DialectClient = DialectClient {
    path: |nick| format!("/peerjs?key=peerjs&id={nick}&token={nick}"),
    description_frame: |SignalPeers { to, .. }, kind, sdp| {
        let payload =
            json!({"sdp": {"type": kind, "sdp": sdp}, "type": "data", "connectionId": "dc_1"});
        json!({"type": kind.to_uppercase(), "dst": to, "payload": payload})
    },
    candidate_frame: |SignalPeers { to, .. }, candidate| {
        let payload = json!({"candidate": init(candidate), "type": "data", "connectionId": "dc_1"});
        json!({"type": "CANDIDATE", "dst": to, "payload": payload})
    },
    read: |frame, _| {
        let (from, payload) = (&frame["src"], &frame["payload"]);
        match text(&frame["type"]) {
            "OFFER" => description(from, "offer", &payload["sdp"]["sdp"]),
            "ANSWER" => description(from, "answer", &payload["sdp"]["sdp"]),
            "CANDIDATE" => candidate(from, &payload["candidate"]["candidate"]),
            "ERROR" | "ID-TAKEN" | "EXPIRE" | "LEAVE" => error(frame),
            _ => Vec::new(),
        }
    },
    knows_members: true,
    ..DEFAULT
};

pub(super) static Y_WEBRTC: DialectClient = DialectClient {
    path: |_| "/y-webrtc".to_owned(),
    join: |nick| {
        vec![
            json!({"type": "subscribe", "topics": ["r"]}),
            publish(&json!({"type": "announce", "from": nick})),
        ]
    },
    description_frame: |SignalPeers { from, to }, kind, sdp| {
        publish(
            &json!({"type": "signal", "from": from, "to": to, "signal": {"type": kind, "sdp": sdp}}),
        )
    },
    candidate_frame: |SignalPeers { from, to }, candidate| {
        publish(
            &json!({"type": "signal", "from": from, "to": to, "signal": {"type": "candidate", "candidate": init(candidate)}}),
        )
    },
    read: |frame, id| {
        let data = &frame["data"];
        let (from, signal) = (&data["from"], &data["signal"]);
        match text(&data["type"]) {
            "announce" if from != id => vec![ParsedFrame::MustOffer(text(from).to_owned())],
            "signal" if data["to"] != id => error(frame),
            "signal" => match text(&signal["type"]) {
                "candidate" => candidate(from, &signal["candidate"]["candidate"]),
                kind => description(from, kind, &signal["sdp"]),
            },
            _ => Vec::new(),
        }
    },
    members_offer: true,
    ..DEFAULT
};

fn publish(data: &Value) -> Value {
    json!({"type": "publish", "topic": "r", "data": data})
}

/// An `RTCIceCandidateInit`.
fn init(candidate: &str) -> Value {
    json!({"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0})
}

fn id(id: &Value) -> Vec<ParsedFrame> {
    vec![ParsedFrame::Id(text(id).to_owned())]
}

fn offers_to(members: &Value, pointer: &str) -> Vec<ParsedFrame> {
    let members = members.as_array().into_iter().flatten();
    let ids = members.filter_map(|member| member.pointer(pointer));
    ids.map(|id| ParsedFrame::MustOffer(text(id).to_owned()))
        .collect()
}

fn description(from: &Value, kind: &str, sdp: &Value) -> Vec<ParsedFrame> {
    signal(from, kind.to_owned(), sdp)
}

fn candidate(from: &Value, candidate: &Value) -> Vec<ParsedFrame> {
    let number = text(candidate).split([':', ' ']).nth(1);
    signal(from, number.unwrap_or_default().to_owned(), candidate)
}

fn signal(from: &Value, label: String, written: &Value) -> Vec<ParsedFrame> {
    vec![ParsedFrame::Signal(Signal {
        from: text(from).to_owned(),
        label,
        text: text(written).to_owned(),
    })]
}

fn error(frame: &Value) -> Vec<ParsedFrame> {
    vec![ParsedFrame::Error(frame.to_string())]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
