//! `matchbox`: the path names the room, and connecting joins. The server gives the ids.

use std::time::Duration;

use serde_json::json;

use super::{Incoming, MemberName, Seat, WireClient, WireTraits, json, text};

#[derive(Debug)]
pub(crate) struct MatchboxClient;

impl WireClient for MatchboxClient {
    fn name(&self) -> &'static str {
        "matchbox"
    }

    /// The original server serves rooms at the root.
    fn path(&self) -> &'static str {
        "/matchbox"
    }

    fn traits(&self) -> WireTraits {
        WireTraits {
            greets: true,
            announces_joins: true,
            ..WireTraits::default()
        }
    }

    fn target(&self, base: &str, seat: &Seat) -> String {
        format!("{base}/{}", seat.room)
    }

    fn direct(&self, _seat: &Seat, to: &str, content: &str) -> String {
        json!({ "Signal": { "receiver": to, "data": { "Offer": content } } }).to_string()
    }

    fn keep_alive(&self) -> Option<(&'static str, Duration)> {
        Some((r#""KeepAlive""#, Duration::from_secs(10)))
    }

    fn parse(&self, frame: &str) -> Incoming {
        let frame = json(frame);
        if frame["IdAssigned"].is_string() {
            return Incoming::Greeting(Some(text(&frame["IdAssigned"])));
        }
        match frame["NewPeer"].as_str() {
            Some(id) => Incoming::PeerJoined(MemberName::addressed(id.to_owned())),
            None => Incoming::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_server_are_understood() {
        let joined = Incoming::PeerJoined(MemberName::addressed("b".into()));
        for (frame, incoming) in [
            (
                r#"{"IdAssigned":"a"}"#,
                Incoming::Greeting(Some("a".into())),
            ),
            (r#"{"NewPeer":"b"}"#, joined),
            (r#"{"PeerLeft":"b"}"#, Incoming::Other),
            (r#""KeepAlive""#, Incoming::Other),
        ] {
            assert_eq!(MatchboxClient.parse(frame), incoming, "{frame}");
        }
    }
}
