//! `y-webrtc`: clients publish to topics, and all subscribers get it, also the sender. There are no addresses.

use std::time::Duration;

use serde_json::json;

use super::{Incoming, Seat, WireClient, WireTraits, json};

#[derive(Debug)]
pub(crate) struct YWebrtcClient;

const PING: &str = r#"{"type":"ping"}"#;

impl WireClient for YWebrtcClient {
    fn name(&self) -> &'static str {
        "y-webrtc"
    }

    fn path(&self) -> &'static str {
        "/y-webrtc"
    }

    fn traits(&self) -> WireTraits {
        WireTraits {
            answers_joins: true,
            ..WireTraits::default()
        }
    }

    /// A subscription is not answered, but frames are handled in order: the answer to a ping shows that it is done.
    fn join(&self, seat: &Seat) -> Vec<String> {
        let subscribe = json!({ "type": "subscribe", "topics": [seat.room] });
        vec![subscribe.to_string(), PING.into()]
    }

    fn direct(&self, seat: &Seat, to: &str, content: &str) -> String {
        let signal = json!({ "type": "offer", "sdp": content });
        let data =
            json!({ "type": "signal", "to": to, "from": seat.name, "token": 1, "signal": signal });
        json!({ "type": "publish", "topic": seat.room, "data": data }).to_string()
    }

    fn broadcast(&self, seat: &Seat, content: &str) -> Option<String> {
        let data = json!({ "type": "announce", "from": seat.name, "content": content });
        Some(json!({ "type": "publish", "topic": seat.room, "data": data }).to_string())
    }

    fn keep_alive(&self) -> Option<(&'static str, Duration)> {
        Some((PING, Duration::from_secs(15)))
    }

    fn parse(&self, frame: &str) -> Incoming {
        match json(frame)["type"].as_str() {
            Some("pong") => Incoming::Joined(Vec::new()),
            _ => Incoming::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_to_the_ping_after_a_subscription_is_the_join() {
        let seat = Seat {
            name: "a".into(),
            room: "r".into(),
        };
        let frames = YWebrtcClient.join(&seat);
        assert_eq!(frames, [r#"{"topics":["r"],"type":"subscribe"}"#, PING]);
        assert_eq!(
            YWebrtcClient.parse(r#"{"type":"pong"}"#),
            Incoming::Joined(vec![])
        );
        assert_eq!(
            YWebrtcClient.parse(r#"{"type":"publish","topic":"r"}"#),
            Incoming::Other
        );
    }
}
