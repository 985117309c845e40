//! The driver of `matchbox`. It has no error frames, and a client is a member as soon as it connects.

use serde_json::json;

use super::{ClientEvent, DialectDriver, OfferRule, text};

pub(super) const MATCHBOX: DialectDriver = DialectDriver {
    name: "matchbox",
    offer: |to, sdp| json!({"Signal": {"receiver": to, "data": {"Offer": sdp}}}),
    parse_events: |frame| {
        let event = frame.as_object().and_then(|frame| frame.iter().next());
        let Some((event, about)) = event else {
            return vec![ClientEvent::Other];
        };
        match event.as_str() {
            "NewPeer" => vec![ClientEvent::MustOffer(text(about))],
            "PeerLeft" => vec![ClientEvent::Left(text(about))],
            "Signal" if about["data"]["Offer"].is_string() => vec![ClientEvent::Offer {
                from: text(&about["sender"]),
                sdp: text(&about["data"]["Offer"]),
            }],
            _ => vec![ClientEvent::Other],
        }
    },
    sender: &["Signal", "sender"],
    preserved_objects: &["/Signal", "/Signal/data"],
    offer_rule: OfferRule::Member,
    uses_peer_ids: true,
    accepts_binary: false,
    reports_join_errors: false,
    reports_member_errors: false,
    ..DialectDriver::DEFAULT
};
