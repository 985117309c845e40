//! The driver of `ayame`. A room has two members, so a frame needs no id for the other one.

use serde_json::json;

use super::{ClientEvent, DialectDriver, OfferRule, text};

pub(super) const AYAME: DialectDriver = DialectDriver {
    name: "ayame",
    join: |room, nick| Some(json!({"type": "register", "roomId": room, "clientId": nick})),
    offer: |_, sdp| json!({"type": "offer", "sdp": sdp}),
    parse_events: |frame| {
        let from = String::new();
        match frame["type"].as_str() {
            Some("accept") if frame["isExistUser"] == true => vec![ClientEvent::MustOffer(from)],
            Some("bye") => vec![ClientEvent::Left(from)],
            Some("offer") => vec![ClientEvent::Offer {
                from,
                sdp: text(&frame["sdp"]),
            }],
            Some("reject") => vec![ClientEvent::Error(text(&frame["reason"]))],
            _ => vec![ClientEvent::Other],
        }
    },
    preserved_objects: &[""],
    offer_rule: OfferRule::Newcomer,
    has_member_ids: false,
    can_change_room: false,
    reports_member_errors: false,
    ..DialectDriver::DEFAULT
};
