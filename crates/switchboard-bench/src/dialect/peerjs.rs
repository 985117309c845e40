//! `peerjs`: clients choose their ids in the URL, and connecting joins. There are no rooms and no notifications.

use std::time::Duration;

use serde_json::json;

use super::{Incoming, Seat, WireClient, WireTraits, json, text};

#[derive(Debug)]
pub(crate) struct PeerJsClient;

impl WireClient for PeerJsClient {
    fn name(&self) -> &'static str {
        "peerjs"
    }

    fn path(&self) -> &'static str {
        "/"
    }

    fn traits(&self) -> WireTraits {
        WireTraits {
            greets: true,
            ..WireTraits::default()
        }
    }

    fn target(&self, base: &str, seat: &Seat) -> String {
        let name = &seat.name;
        format!("{base}/peerjs?key=peerjs&id={name}&token={name}&version=1.5.4")
    }

    fn direct(&self, _seat: &Seat, to: &str, content: &str) -> String {
        let sdp = json!({ "type": "offer", "sdp": content });
        let payload = json!({ "sdp": sdp, "type": "data", "connectionId": "dc_1" });
        json!({ "type": "OFFER", "dst": to, "payload": payload }).to_string()
    }

    fn keep_alive(&self) -> Option<(&'static str, Duration)> {
        Some((r#"{"type":"HEARTBEAT"}"#, Duration::from_secs(5)))
    }

    fn parse(&self, frame: &str) -> Incoming {
        let frame = json(frame);
        match frame["type"].as_str() {
            Some("OPEN") => Incoming::Greeting(None),
            Some("ERROR" | "ID-TAKEN") => Incoming::Rejected(text(&frame["payload"]["msg"])),
            Some("EXPIRE") => Incoming::Rejected(format!("{} is absent", text(&frame["src"]))),
            _ => Incoming::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_server_are_understood() {
        for (frame, incoming) in [
            (r#"{"type":"OPEN"}"#, Incoming::Greeting(None)),
            (
                r#"{"type":"ERROR","payload":{"msg":"Invalid key provided"}}"#,
                Incoming::Rejected("Invalid key provided".into()),
            ),
            (
                r#"{"type":"EXPIRE","src":"b","dst":"a"}"#,
                Incoming::Rejected("b is absent".into()),
            ),
            (r#"{"type":"LEAVE","src":"b","dst":"a"}"#, Incoming::Other),
        ] {
            assert_eq!(PeerJsClient.parse(frame), incoming, "{frame}");
        }
    }
}
