//! How `y-webrtc` says it. Nobody is told who is there, and what is published is for all of its own
//! kind.

use std::time::Duration;

use serde_json::json;

use super::{Accent, Calls, Told, text};

pub(super) const Y_WEBRTC: Accent = Accent {
    name: "y-webrtc",
    greet: |_| None,
    join: |room, _| Some(json!({"type": "subscribe", "topics": [room]})),
    leave: Some(|room| json!({"type": "unsubscribe", "topics": [room]})),
    offer: |_, sdp| json!({"type": "publish", "topic": "room", "data": {"signal": {"sdp": sdp}}}),
    shout: None,
    hear: |frame| match frame["type"].as_str() {
        Some("publish") => vec![Told::Offer {
            from: String::new(),
            sdp: text(&frame["data"]["signal"]["sdp"]),
        }],
        _ => vec![Told::Other],
    },
    sender: &[],
    keeps: &["", "/data", "/data/signal"],
    calls: Calls::Apart,
    chooses_names: false,
    tells_arrivals: false,
    tells_departures: false,
    names_others: false,
    names_by_peer: false,
    moves: false,
    gathers: true,
    reads_bytes: true,
    answers_joins: false,
    answers_members: false,
    waits: Duration::ZERO,
};
