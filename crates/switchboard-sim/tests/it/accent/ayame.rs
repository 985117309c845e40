//! How `ayame` says it. The other of a room has no name there.

use std::time::Duration;

use serde_json::json;

use super::{Accent, Calls, Told, text};

pub(super) const AYAME: Accent = Accent {
    name: "ayame",
    greet: |_| None,
    join: |room, nick| Some(json!({"type": "register", "roomId": room, "clientId": nick})),
    leave: None,
    offer: |_, sdp| json!({"type": "offer", "sdp": sdp}),
    shout: None,
    hear: |frame| {
        let from = String::new();
        match frame["type"].as_str() {
            Some("accept") if frame["isExistUser"] == true => vec![Told::Call(from)],
            Some("bye") => vec![Told::Left(from)],
            Some("offer") => vec![Told::Offer {
                from,
                sdp: text(&frame["sdp"]),
            }],
            Some("reject") => vec![Told::Error(text(&frame["reason"]))],
            _ => vec![Told::Other],
        }
    },
    sender: &[],
    keeps: &[""],
    calls: Calls::Newcomer,
    chooses_names: false,
    tells_arrivals: false,
    tells_departures: true,
    names_others: false,
    names_by_peer: false,
    moves: false,
    gathers: false,
    reads_bytes: true,
    answers_joins: true,
    answers_members: false,
    waits: Duration::ZERO,
};
