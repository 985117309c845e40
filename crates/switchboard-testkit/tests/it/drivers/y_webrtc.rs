//! How `y-webrtc` says it. Nobody is told who is there, and what is published is for all of its own
//! kind.

use serde_json::json;

use super::{ClientEvent, DialectDriver, OfferRule, text};

pub(super) const Y_WEBRTC: DialectDriver = DialectDriver {
    name: "y-webrtc",
    join: |room, _| Some(json!({"type": "subscribe", "topics": [room]})),
    leave: Some(|room| json!({"type": "unsubscribe", "topics": [room]})),
    offer: |_, sdp| json!({"type": "publish", "topic": "room", "data": {"signal": {"sdp": sdp}}}),
    hear: |frame| match frame["type"].as_str() {
        Some("publish") => vec![ClientEvent::Offer {
            from: String::new(),
            sdp: text(&frame["data"]["signal"]["sdp"]),
        }],
        _ => vec![ClientEvent::Other],
    },
    keeps: &["", "/data", "/data/signal"],
    calls: OfferRule::Apart,
    tells_departures: false,
    names_others: false,
    moves: false,
    gathers: true,
    answers_joins: false,
    answers_members: false,
    ..DialectDriver::USUAL
};
