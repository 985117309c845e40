//! `ayame`: rooms of two, whose frames go to the other member as they are.

use serde_json::json;

use super::{Incoming, Seat, WireClient, WireTraits, json, text};

#[derive(Debug)]
pub(crate) struct AyameClient;

impl WireClient for AyameClient {
    fn name(&self) -> &'static str {
        "ayame"
    }

    fn path(&self) -> &'static str {
        "/signaling"
    }

    fn traits(&self) -> WireTraits {
        WireTraits {
            members_max: Some(2),
            answers_joins: true,
            ..WireTraits::default()
        }
    }

    fn join(&self, seat: &Seat) -> Vec<String> {
        let frame = json!({ "type": "register", "roomId": seat.room, "clientId": seat.name });
        vec![frame.to_string()]
    }

    fn direct(&self, _seat: &Seat, _to: &str, content: &str) -> String {
        json!({ "type": "offer", "sdp": content }).to_string()
    }

    fn parse(&self, frame: &str) -> Incoming {
        let frame = json(frame);
        match frame["type"].as_str() {
            Some("accept") => Incoming::Joined(Vec::new()),
            Some("reject") => Incoming::Rejected(text(&frame["reason"])),
            Some("ping") => Incoming::Probe(r#"{"type":"pong"}"#.into()),
            _ => Incoming::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_server_are_understood() {
        let pong = Incoming::Probe(r#"{"type":"pong"}"#.into());
        for (frame, incoming) in [
            (
                r#"{"type":"accept","isExistUser":true}"#,
                Incoming::Joined(vec![]),
            ),
            (
                r#"{"type":"reject","reason":"full"}"#,
                Incoming::Rejected("full".into()),
            ),
            (r#"{"type":"ping"}"#, pong),
            (r#"{"type":"bye"}"#, Incoming::Other),
        ] {
            assert_eq!(AyameClient.parse(frame), incoming, "{frame}");
        }
    }
}
