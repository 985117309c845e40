//! `mesh`: frames with a `kind` and a `reach`. Connecting joins, and a client asks for its own id.

use serde_json::{Value, json};

use super::{Incoming, Seat, WireClient, WireTraits, json, text};

#[derive(Debug)]
pub(crate) struct MeshClient;

impl WireClient for MeshClient {
    fn name(&self) -> &'static str {
        "mesh"
    }

    fn path(&self) -> &'static str {
        "/signalingserver"
    }

    fn traits(&self) -> WireTraits {
        WireTraits {
            greets: true,
            ..WireTraits::default()
        }
    }

    fn target(&self, base: &str, seat: &Seat) -> String {
        format!("{base}?room={}", seat.room)
    }

    fn hello(&self, _seat: &Seat) -> Option<String> {
        Some(frame("IdentifySelf", "Self", "", Value::Null))
    }

    fn direct(&self, _seat: &Seat, to: &str, content: &str) -> String {
        // The type of an offer is 1.
        frame("Offer", "OnePeer", to, json!({ "type": 1, "sdp": content }))
    }

    fn broadcast(&self, _seat: &Seat, content: &str) -> Option<String> {
        let content = json!({ "title": "", "message": content });
        Some(frame("TextMessage", "AllPeers", "", content))
    }

    fn parse(&self, frame: &str) -> Incoming {
        let frame = json(frame);
        let content = &frame["content"];
        match frame["kind"].as_str() {
            Some("IdentifySelf") => Incoming::Greeting(Some(text(&content["id"]))),
            Some("TextMessage") if content["title"] == "error" => {
                Incoming::Rejected(text(&content["message"]))
            }
            _ => Incoming::Other,
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the content is built for this frame"
)]
fn frame(kind: &str, reach: &str, to: &str, content: Value) -> String {
    json!({ "kind": kind, "reach": reach, "sender": "", "peerID": to, "content": content })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_server_are_understood() {
        let greeting = Incoming::Greeting(Some("a".into()));
        for (frame, incoming) in [
            (
                r#"{"kind":"IdentifySelf","sender":"server","content":{"id":"a"}}"#,
                greeting,
            ),
            (
                r#"{"kind":"TextMessage","sender":"server","content":{"title":"error","message":"no"}}"#,
                Incoming::Rejected("no".into()),
            ),
            (
                r#"{"kind":"GetAllPeerIDs","content":{"peersIDs":[]}}"#,
                Incoming::Other,
            ),
        ] {
            assert_eq!(MeshClient.parse(frame), incoming, "{frame}");
        }
    }
}
