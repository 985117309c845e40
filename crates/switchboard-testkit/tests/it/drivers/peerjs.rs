//! The driver of `peerjs`. A client is a member as soon as it connects and is told of no other member; a frame for an
//! absent member is kept until that member joins.

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
    parse_events: |frame| match frame["type"].as_str() {
        Some("OFFER") => vec![ClientEvent::Offer {
            from: text(&frame["src"]),
            sdp: text(&frame["payload"]["sdp"]["sdp"]),
        }],
        Some("ERROR" | "ID-TAKEN" | "EXPIRE") => vec![ClientEvent::Error(text(&frame["type"]))],
        _ => vec![ClientEvent::Other],
    },
    sender: &["src"],
    preserved_objects: &["/payload", "/payload/sdp"],
    offer_rule: OfferRule::OtherDialectOffers,
    chooses_name: true,
    announces_leaves: false,
    can_change_room: false,
    reports_member_errors: false,
    deferral: Duration::from_secs(5),
    ..DialectDriver::DEFAULT
};
