//! How `matchbox` says it. It has no words for errors, and a connection is a member at once.

use serde_json::json;

use super::{ClientEvent, DialectDriver, OfferRule, text};

pub(super) const MATCHBOX: DialectDriver = DialectDriver {
    name: "matchbox",
    offer: |to, sdp| json!({"Signal": {"receiver": to, "data": {"Offer": sdp}}}),
    hear: |frame| {
        let event = frame.as_object().and_then(|frame| frame.iter().next());
        let Some((event, about)) = event else {
            return vec![ClientEvent::Other];
        };
        match event.as_str() {
            "NewPeer" => vec![ClientEvent::Call(text(about))],
            "PeerLeft" => vec![ClientEvent::Left(text(about))],
            "Signal" if about["data"]["Offer"].is_string() => vec![ClientEvent::Offer {
                from: text(&about["sender"]),
                sdp: text(&about["data"]["Offer"]),
            }],
            _ => vec![ClientEvent::Other],
        }
    },
    sender: &["Signal", "sender"],
    keeps: &["/Signal", "/Signal/data"],
    calls: OfferRule::Member,
    names_by_peer: true,
    reads_bytes: false,
    answers_joins: false,
    answers_members: false,
    ..DialectDriver::USUAL
};
