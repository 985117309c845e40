//! `lightstream`: flat objects with a `type`. Clients choose their ids.

use serde_json::json;

use super::{Incoming, MemberName, Seat, WireClient, WireTraits, json, text};

#[derive(Debug)]
pub(crate) struct LightstreamClient;

impl WireClient for LightstreamClient {
    fn name(&self) -> &'static str {
        "lightstream"
    }

    fn path(&self) -> &'static str {
        "/ws"
    }

    fn traits(&self) -> WireTraits {
        WireTraits {
            answers_joins: true,
            announces_joins: true,
            ..WireTraits::default()
        }
    }

    fn join(&self, seat: &Seat) -> Vec<String> {
        let frame = json!({ "type": "join", "roomID": seat.room, "senderID": seat.name });
        vec![frame.to_string()]
    }

    fn direct(&self, seat: &Seat, to: &str, content: &str) -> String {
        let data = json!({ "type": "offer", "sdp": content });
        json!({ "type": "offer", "roomID": seat.room, "senderID": seat.name, "targetID": to, "data": data })
            .to_string()
    }

    fn broadcast(&self, seat: &Seat, content: &str) -> Option<String> {
        let frame = json!({ "type": "message", "roomID": seat.room, "senderID": seat.name, "data": content });
        Some(frame.to_string())
    }

    fn parse(&self, frame: &str) -> Incoming {
        let frame = json(frame);
        match frame["type"].as_str() {
            Some("peers") => {
                let peers = frame["peers"].as_array().into_iter().flatten();
                Incoming::Joined(peers.map(|id| MemberName::addressed(text(id))).collect())
            }
            Some("user-joined") => Incoming::PeerJoined(MemberName::addressed(sender(&frame))),
            Some("error") => Incoming::Rejected(text(&frame["data"])),
            _ => Incoming::Other,
        }
    }
}

/// The sender's id. The original server writes the key with a capital letter.
fn sender(frame: &serde_json::Value) -> String {
    let key = if frame["senderID"].is_string() {
        "senderID"
    } else {
        "SenderID"
    };
    text(&frame[key])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_both_servers_are_understood() {
        let bob = || MemberName::addressed("bob".into());
        for (frame, incoming) in [
            (
                r#"{"type":"peers","senderID":"server","roomID":"r","peers":["bob"]}"#,
                Incoming::Joined(vec![bob()]),
            ),
            (r#"{"type":"peers","peers":null}"#, Incoming::Joined(vec![])),
            (
                r#"{"type":"user-joined","senderID":"bob","SenderID":"bob"}"#,
                Incoming::PeerJoined(bob()),
            ),
            (
                r#"{"type":"user-joined","SenderID":"bob"}"#,
                Incoming::PeerJoined(bob()),
            ),
            (
                r#"{"type":"error","code":"room-full","data":"full"}"#,
                Incoming::Rejected("full".into()),
            ),
            (r#"{"type":"user-left","senderID":"bob"}"#, Incoming::Other),
            ("no JSON", Incoming::Other),
        ] {
            assert_eq!(LightstreamClient.parse(frame), incoming, "{frame}");
        }
    }
}
