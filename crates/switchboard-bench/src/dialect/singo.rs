//! `singo`: frames with a `type` and a `payload`. The server gives the ids.

use serde_json::{Value, json};

use super::{Incoming, MemberName, Seat, WireClient, WireTraits, json, text};

#[derive(Debug)]
pub(crate) struct SingoClient;

impl WireClient for SingoClient {
    fn name(&self) -> &'static str {
        "singo"
    }

    fn path(&self) -> &'static str {
        "/connect"
    }

    fn traits(&self) -> WireTraits {
        WireTraits {
            greets: true,
            announces_joins: true,
            ..WireTraits::default()
        }
    }

    fn join(&self, seat: &Seat) -> Vec<String> {
        let frame = json!({ "type": "join", "payload": { "room_id": seat.room } });
        vec![frame.to_string()]
    }

    fn direct(&self, _seat: &Seat, to: &str, content: &str) -> String {
        json!({ "type": "offer", "payload": { "sdp": content, "client_id": to } }).to_string()
    }

    fn parse(&self, frame: &str) -> Incoming {
        let frame = json(frame);
        let payload = &frame["payload"];
        let id = text(&payload["client_id"]);
        match frame["type"].as_str() {
            Some("notify-client-id") => Incoming::Greeting(Some(id)),
            Some("new-client") => Incoming::PeerJoined(MemberName::addressed(id)),
            Some("error") => Incoming::Rejected(error_text(payload)),
            _ => Incoming::Other,
        }
    }
}

/// The text of an error, which the first version of the original server sends as a string.
fn error_text(payload: &Value) -> String {
    let error = payload.get("error").unwrap_or(payload);
    text(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_server_are_understood() {
        let greeting = Incoming::Greeting(Some("a".into()));
        let joined = Incoming::PeerJoined(MemberName::addressed("b".into()));
        for (frame, incoming) in [
            (
                r#"{"type":"notify-client-id","payload":{"client_id":"a"}}"#,
                greeting,
            ),
            (
                r#"{"type":"new-client","payload":{"client_id":"b"}}"#,
                joined,
            ),
            (
                r#"{"type":"error","payload":{"error":"no"}}"#,
                Incoming::Rejected("no".into()),
            ),
            (r#"{"type":"ping"}"#, Incoming::Other),
            (
                r#"{"type":"leave-client","payload":{"client_id":"b"}}"#,
                Incoming::Other,
            ),
        ] {
            assert_eq!(SingoClient.parse(frame), incoming, "{frame}");
        }
    }
}
