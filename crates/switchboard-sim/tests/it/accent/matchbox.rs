//! How `matchbox` says it. It has no words for errors, and a connection is a member at once.

use serde_json::json;

use super::{Accent, Calls, Told, text};

pub(super) const MATCHBOX: Accent = Accent {
    name: "matchbox",
    offer: |to, sdp| json!({"Signal": {"receiver": to, "data": {"Offer": sdp}}}),
    hear: |frame| {
        let event = frame.as_object().and_then(|frame| frame.iter().next());
        let Some((event, about)) = event else {
            return vec![Told::Other];
        };
        match event.as_str() {
            "NewPeer" => vec![Told::Call(text(about))],
            "PeerLeft" => vec![Told::Left(text(about))],
            "Signal" if about["data"]["Offer"].is_string() => vec![Told::Offer {
                from: text(&about["sender"]),
                sdp: text(&about["data"]["Offer"]),
            }],
            _ => vec![Told::Other],
        }
    },
    sender: &["Signal", "sender"],
    keeps: &["/Signal", "/Signal/data"],
    calls: Calls::Member,
    names_by_peer: true,
    reads_bytes: false,
    answers_joins: false,
    answers_members: false,
    ..Accent::USUAL
};
