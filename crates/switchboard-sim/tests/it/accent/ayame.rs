//! How `ayame` says it. The other of a room has no name there.

use serde_json::json;

use super::{Accent, Calls, Told, text};

pub(super) const AYAME: Accent = Accent {
    name: "ayame",
    join: |room, nick| Some(json!({"type": "register", "roomId": room, "clientId": nick})),
    offer: |_, sdp| json!({"type": "offer", "sdp": sdp}),
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
    keeps: &[""],
    calls: Calls::Newcomer,
    names_others: false,
    moves: false,
    answers_members: false,
    ..Accent::USUAL
};
