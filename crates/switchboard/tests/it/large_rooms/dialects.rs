//! How a client of each dialect joins, calls and trickles.

use serde_json::{Value, json};

/// One signal that was delivered.
pub(super) struct Signal {
    /// The sender, as the receiver calls it; empty where peers have no ids.
    pub(super) from: String,
    /// `offer`, `answer` or the number of a candidate.
    pub(super) label: String,
    text: String,
}

impl Signal {
    /// The signal was written for that member.
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
pub(super) struct SignalEnds<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}

/// The meaning of a frame from the server for its client.
pub(super) enum Notice {
    /// The client's own id.
    Id(String),
    /// The client must call that member.
    Call(String),
    Signal(Signal),
    Error(String),
}

/// A dialect from the side of a client in room `r`.
pub(super) struct DialectClient {
    pub(super) path: fn(nick: &str) -> String,
    /// The frames that enter the room, if the connection alone does not.
    pub(super) join: fn(nick: &str) -> Vec<Value>,
    /// Asks for the ids of the members.
    pub(super) list_members: Option<fn() -> Value>,
    pub(super) describe: fn(ends: SignalEnds, kind: &str, sdp: &str) -> Value,
    pub(super) trickle: fn(ends: SignalEnds, candidate: &str) -> Value,
    /// The meaning of a frame for the client of that id.
    pub(super) read: fn(frame: &Value, id: &str) -> Vec<Notice>,
    /// The server assigns the ids.
    pub(super) assigns_ids: bool,
    /// Members call the newcomer, which answers.
    pub(super) members_call: bool,
    /// Clients know each other's ids from elsewhere.
    pub(super) knows_peers: bool,
}

impl DialectClient {
    /// The kind of the newcomer's descriptions.
    pub(super) fn newcomer_sends(&self) -> &'static str {
        if self.members_call { "answer" } else { "offer" }
    }
}

const USUAL: DialectClient = DialectClient {
    path: |_| "/ws".to_owned(),
    join: |_| Vec::new(),
    list_members: None,
    describe: |_, _, _| Value::Null,
    trickle: |_, _| Value::Null,
    read: |_, _| Vec::new(),
    assigns_ids: false,
    members_call: false,
    knows_peers: false,
};

pub(super) static LIGHTSTREAM: DialectClient = DialectClient {
    join: |nick| vec![json!({"type": "join", "roomID": "r", "senderID": nick})],
    describe: |SignalEnds { to, .. }, kind, sdp| json!({"type": kind, "targetID": to, "data": {"type": kind, "sdp": sdp}}),
    trickle: |SignalEnds { to, .. }, candidate| json!({"type": "ice-candidate", "targetID": to, "data": init(candidate)}),
    read: |frame, _| {
        let from = &frame["senderID"];
        match text(&frame["type"]) {
            "peers" => calls(&frame["peers"], ""),
            kind @ ("offer" | "answer") => description(from, kind, &frame["data"]["sdp"]),
            "ice-candidate" => candidate(from, &frame["data"]["candidate"]),
            "error" => error(frame),
            _ => Vec::new(),
        }
    },
    ..USUAL
};

pub(super) static P2P: DialectClient = DialectClient {
    join: |nick| {
        vec![
            json!({"type": "IDENTIFY", "username": nick}),
            json!({"type": "JOIN_ROOM", "roomId": "r"}),
        ]
    },
    describe: |SignalEnds { to, .. }, kind, sdp| {
        let frame = format!("SDP_{}", kind.to_uppercase());
        json!({"type": frame, "toPeerId": to, "sdp": {"type": kind, "sdp": sdp}})
    },
    trickle: |SignalEnds { to, .. }, candidate| json!({"type": "ICE_CANDIDATE", "toPeerId": to, "iceCandidate": init(candidate)}),
    read: |frame, _| {
        let from = &frame["fromPeerId"];
        match text(&frame["type"]) {
            "AUTH_SUCCESS" => id(&frame["peerId"]),
            "ROOM_MEMBERS" => calls(&frame["members"], "/id"),
            "SDP_OFFER" => description(from, "offer", &frame["sdp"]["sdp"]),
            "SDP_ANSWER" => description(from, "answer", &frame["sdp"]["sdp"]),
            "ICE_CANDIDATE" => candidate(from, &frame["iceCandidate"]["candidate"]),
            "ERROR" | "AUTH_ERROR" => error(frame),
            _ => Vec::new(),
        }
    },
    assigns_ids: true,
    ..USUAL
};

pub(super) static SINGO: DialectClient = DialectClient {
    path: |_| "/connect".to_owned(),
    join: |_| vec![json!({"type": "join", "payload": {"room_id": "r"}})],
    describe: |SignalEnds { to, .. }, kind, sdp| json!({"type": kind, "payload": {"client_id": to, "sdp": sdp}}),
    trickle: |SignalEnds { to, .. }, candidate| {
        let mut payload = init(candidate);
        payload["client_id"] = to.into();
        json!({"type": "ice-candidate", "payload": payload})
    },
    read: |frame, _| {
        let payload = &frame["payload"];
        let from = &payload["client_id"];
        match text(&frame["type"]) {
            "notify-client-id" => id(from),
            "new-client" => vec![Notice::Call(text(from).to_owned())],
            kind @ ("offer" | "answer") => description(from, kind, &payload["sdp"]),
            "ice-candidate" => candidate(from, &payload["candidate"]),
            "error" => error(frame),
            _ => Vec::new(),
        }
    },
    assigns_ids: true,
    members_call: true,
    ..USUAL
};

pub(super) static MESH: DialectClient = DialectClient {
    path: |_| "/signalingserver?room=r".to_owned(),
    join: |_| vec![json!({"kind": "IdentifySelf", "reach": "Self"})],
    list_members: Some(|| json!({"kind": "GetAllPeerIDs", "reach": "Self"})),
    describe: |SignalEnds { to, .. }, kind, sdp| {
        let (kind, number) = if kind == "offer" {
            ("Offer", 1)
        } else {
            ("Answer", 3)
        };
        json!({"kind": kind, "reach": "OnePeer", "peerID": to, "content": {"type": number, "sdp": sdp}})
    },
    trickle: |SignalEnds { to, .. }, candidate| json!({"kind": "ICECandidate", "reach": "OnePeer", "peerID": to, "content": init(candidate)}),
    read: |frame, _| {
        let (from, content) = (&frame["sender"], &frame["content"]);
        match text(&frame["kind"]) {
            "IdentifySelf" => id(&content["id"]),
            "GetAllPeerIDs" => calls(&content["peersIDs"], ""),
            "Offer" => description(from, "offer", &content["sdp"]),
            "Answer" => description(from, "answer", &content["sdp"]),
            "ICECandidate" => candidate(from, &content["candidate"]),
            "TextMessage" => error(frame),
            _ => Vec::new(),
        }
    },
    assigns_ids: true,
    ..USUAL
};

pub(super) static AYAME: DialectClient = DialectClient {
    path: |_| "/signaling".to_owned(),
    join: |nick| vec![json!({"type": "register", "roomId": "r", "clientId": nick})],
    describe: |_, kind, sdp| json!({"type": kind, "sdp": sdp}),
    trickle: |_, candidate| json!({"type": "candidate", "ice": init(candidate)}),
    read: |frame, _| match text(&frame["type"]) {
        "accept" if frame["isExistUser"] == true => vec![Notice::Call("m0".to_owned())],
        kind @ ("offer" | "answer") => description(&Value::Null, kind, &frame["sdp"]),
        "candidate" => candidate(&Value::Null, &frame["ice"]["candidate"]),
        "reject" => error(frame),
        _ => Vec::new(),
    },
    ..USUAL
};

pub(super) static MATCHBOX: DialectClient = DialectClient {
    path: |_| "/matchbox/r".to_owned(),
    describe: |SignalEnds { to, .. }, kind, sdp| {
        let kind = if kind == "offer" { "Offer" } else { "Answer" };
        json!({"Signal": {"receiver": to, "data": {kind: sdp}}})
    },
    trickle: |SignalEnds { to, .. }, candidate| json!({"Signal": {"receiver": to, "data": {"IceCandidate": init(candidate).to_string()}}}),
    read: |frame, _| {
        let (from, data) = (&frame["Signal"]["sender"], &frame["Signal"]["data"]);
        let event = frame.as_object().and_then(|frame| frame.keys().next());
        match event.map(String::as_str) {
            Some("IdAssigned") => id(&frame["IdAssigned"]),
            Some("NewPeer") => vec![Notice::Call(text(&frame["NewPeer"]).to_owned())],
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
    members_call: true,
    ..USUAL
};

pub(super) static PEERJS: DialectClient = DialectClient {
    path: |nick| format!("/peerjs?key=peerjs&id={nick}&token={nick}"),
    describe: |SignalEnds { to, .. }, kind, sdp| {
        let payload =
            json!({"sdp": {"type": kind, "sdp": sdp}, "type": "data", "connectionId": "dc_1"});
        json!({"type": kind.to_uppercase(), "dst": to, "payload": payload})
    },
    trickle: |SignalEnds { to, .. }, candidate| {
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
    knows_peers: true,
    ..USUAL
};

pub(super) static Y_WEBRTC: DialectClient = DialectClient {
    path: |_| "/y-webrtc".to_owned(),
    join: |nick| {
        vec![
            json!({"type": "subscribe", "topics": ["r"]}),
            publish(&json!({"type": "announce", "from": nick})),
        ]
    },
    describe: |SignalEnds { from, to }, kind, sdp| {
        publish(
            &json!({"type": "signal", "from": from, "to": to, "signal": {"type": kind, "sdp": sdp}}),
        )
    },
    trickle: |SignalEnds { from, to }, candidate| {
        publish(
            &json!({"type": "signal", "from": from, "to": to, "signal": {"type": "candidate", "candidate": init(candidate)}}),
        )
    },
    read: |frame, id| {
        let data = &frame["data"];
        let (from, signal) = (&data["from"], &data["signal"]);
        match text(&data["type"]) {
            "announce" if from != id => vec![Notice::Call(text(from).to_owned())],
            "signal" if data["to"] != id => error(frame),
            "signal" => match text(&signal["type"]) {
                "candidate" => candidate(from, &signal["candidate"]["candidate"]),
                kind => description(from, kind, &signal["sdp"]),
            },
            _ => Vec::new(),
        }
    },
    members_call: true,
    ..USUAL
};

fn publish(data: &Value) -> Value {
    json!({"type": "publish", "topic": "r", "data": data})
}

/// An `RTCIceCandidateInit`.
fn init(candidate: &str) -> Value {
    json!({"candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0})
}

fn id(id: &Value) -> Vec<Notice> {
    vec![Notice::Id(text(id).to_owned())]
}

fn calls(members: &Value, pointer: &str) -> Vec<Notice> {
    let members = members.as_array().into_iter().flatten();
    let ids = members.filter_map(|member| member.pointer(pointer));
    ids.map(|id| Notice::Call(text(id).to_owned())).collect()
}

fn description(from: &Value, kind: &str, sdp: &Value) -> Vec<Notice> {
    signal(from, kind.to_owned(), sdp)
}

fn candidate(from: &Value, candidate: &Value) -> Vec<Notice> {
    let number = text(candidate).split([':', ' ']).nth(1);
    signal(from, number.unwrap_or_default().to_owned(), candidate)
}

fn signal(from: &Value, label: String, written: &Value) -> Vec<Notice> {
    vec![Notice::Signal(Signal {
        from: text(from).to_owned(),
        label,
        text: text(written).to_owned(),
    })]
}

fn error(frame: &Value) -> Vec<Notice> {
    vec![Notice::Error(frame.to_string())]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
