//! How `y-webrtc` says it. Nobody is told who is there, and what is published is for all of its own
//! kind.

use serde_json::json;

use super::{Accent, Calls, Told, text};

pub(super) const Y_WEBRTC: Accent = Accent {
    name: "y-webrtc",
    join: |room, _| Some(json!({"type": "subscribe", "topics": [room]})),
    leave: Some(|room| json!({"type": "unsubscribe", "topics": [room]})),
    offer: |_, sdp| json!({"type": "publish", "topic": "room", "data": {"signal": {"sdp": sdp}}}),
    hear: |frame| match frame["type"].as_str() {
        Some("publish") => vec![Told::Offer {
            from: String::new(),
            sdp: text(&frame["data"]["signal"]["sdp"]),
        }],
        _ => vec![Told::Other],
    },
    keeps: &["", "/data", "/data/signal"],
    calls: Calls::Apart,
    tells_departures: false,
    names_others: false,
    moves: false,
    gathers: true,
    answers_joins: false,
    answers_members: false,
    ..Accent::USUAL
};
