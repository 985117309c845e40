//! How `peerjs` says it. A connection is a member at once and is told of nobody; a frame for nobody
//! waits for who may come.

use std::time::Duration;

use serde_json::json;

use super::{ClientEvent, DialectDriver, OfferRule, text};

pub(super) const PEERJS: DialectDriver = DialectDriver {
    name: "peerjs",
    leave: Some(|_| json!({"type": "LEAVE"})),
    offer: |to, sdp| {
        json!({"type": "OFFER", "dst": to, "payload": {
            "sdp": {"type": "offer", "sdp": sdp}, "type": "media", "connectionId": "mc_1",
        }})
    },
    hear: |frame| match frame["type"].as_str() {
        Some("OFFER") => vec![ClientEvent::Offer {
            from: text(&frame["src"]),
            sdp: text(&frame["payload"]["sdp"]["sdp"]),
        }],
        Some("ERROR" | "ID-TAKEN" | "EXPIRE") => vec![ClientEvent::Error(text(&frame["type"]))],
        _ => vec![ClientEvent::Other],
    },
    sender: &["src"],
    keeps: &["/payload", "/payload/sdp"],
    calls: OfferRule::Never,
    chooses_names: true,
    tells_departures: false,
    moves: false,
    answers_members: false,
    waits: Duration::from_secs(5),
    ..DialectDriver::USUAL
};
