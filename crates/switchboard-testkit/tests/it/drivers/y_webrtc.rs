//! The driver of `y-webrtc`. Clients are not told of other members, and a published frame goes to all members of the
//! topic, which is a room, and to its sender.

use serde_json::json;

use super::{ClientEvent, DialectDriver, OfferRule, text};

pub(super) const Y_WEBRTC: DialectDriver = DialectDriver {
    name: "y-webrtc",
    join: |room, _| Some(json!({"type": "subscribe", "topics": [room]})),
    leave: Some(|room| json!({"type": "unsubscribe", "topics": [room]})),
    offer: |_, sdp| json!({"type": "publish", "topic": "room", "data": {"signal": {"sdp": sdp}}}),
    parse_events: |frame| match frame["type"].as_str() {
        Some("publish") => vec![ClientEvent::Offer {
            from: String::new(),
            sdp: text(&frame["data"]["signal"]["sdp"]),
        }],
        _ => vec![ClientEvent::Other],
    },
    preserved_objects: &["", "/data", "/data/signal"],
    offer_rule: OfferRule::NoOffers,
    announces_leaves: false,
    has_member_ids: false,
    can_change_room: false,
    can_join_several_rooms: true,
    reports_join_errors: false,
    reports_member_errors: false,
    ..DialectDriver::DEFAULT
};
