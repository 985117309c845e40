//! How `ayame` says it. The other of a room has no name there.

use serde_json::json;

use super::{ClientEvent, DialectDriver, OfferRule, text};

pub(super) const AYAME: DialectDriver = DialectDriver {
    name: "ayame",
    join: |room, nick| Some(json!({"type": "register", "roomId": room, "clientId": nick})),
    offer: |_, sdp| json!({"type": "offer", "sdp": sdp}),
    hear: |frame| {
        let from = String::new();
        match frame["type"].as_str() {
            Some("accept") if frame["isExistUser"] == true => vec![ClientEvent::Call(from)],
            Some("bye") => vec![ClientEvent::Left(from)],
            Some("offer") => vec![ClientEvent::Offer {
                from,
                sdp: text(&frame["sdp"]),
            }],
            Some("reject") => vec![ClientEvent::Error(text(&frame["reason"]))],
            _ => vec![ClientEvent::Other],
        }
    },
    keeps: &[""],
    calls: OfferRule::Newcomer,
    names_others: false,
    moves: false,
    answers_members: false,
    ..DialectDriver::USUAL
};
