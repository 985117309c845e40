//! `p2p`: clients choose unique usernames, the server gives the peer ids, which clients learn of each other only.

use serde_json::{Value, json};

use super::{Incoming, MemberName, Seat, WireClient, WireTraits, json, text};

#[derive(Debug)]
pub(crate) struct P2pClient;

impl WireClient for P2pClient {
    fn name(&self) -> &'static str {
        "p2p"
    }

    fn path(&self) -> &'static str {
        "/ws"
    }

    fn traits(&self) -> WireTraits {
        WireTraits {
            greets: true,
            answers_joins: true,
            announces_joins: true,
            ..WireTraits::default()
        }
    }

    fn hello(&self, seat: &Seat) -> Option<String> {
        Some(json!({ "type": "IDENTIFY", "username": seat.name }).to_string())
    }

    fn join(&self, seat: &Seat) -> Vec<String> {
        vec![json!({ "type": "JOIN_ROOM", "roomId": seat.room }).to_string()]
    }

    fn direct(&self, _seat: &Seat, to: &str, content: &str) -> String {
        let sdp = json!({ "type": "offer", "sdp": content });
        json!({ "type": "SDP_OFFER", "fromPeerId": "", "toPeerId": to, "sdp": sdp }).to_string()
    }

    fn broadcast(&self, _seat: &Seat, content: &str) -> Option<String> {
        Some(json!({ "type": "CHAT_MESSAGE", "content": content }).to_string())
    }

    fn parse(&self, frame: &str) -> Incoming {
        let frame = json(frame);
        match frame["type"].as_str() {
            Some("AUTH_SUCCESS") => Incoming::Greeting(None),
            Some("ROOM_MEMBERS") => {
                let members = frame["members"].as_array().into_iter().flatten();
                Incoming::Joined(members.map(member).collect())
            }
            Some("NEW_PEER_IN_ROOM") => Incoming::PeerJoined(member(&frame["peer"])),
            Some("AUTH_ERROR" | "ERROR") => Incoming::Rejected(text(&frame["message"])),
            _ => Incoming::Other,
        }
    }
}

fn member(peer: &Value) -> MemberName {
    MemberName {
        name: text(&peer["username"]),
        address: text(&peer["id"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_server_are_understood() {
        let bob = || MemberName {
            name: "bob".into(),
            address: "1".into(),
        };
        for (frame, incoming) in [
            (
                r#"{"type":"AUTH_SUCCESS","status":"success"}"#,
                Incoming::Greeting(None),
            ),
            (
                r#"{"type":"ROOM_MEMBERS","members":[{"id":"1","username":"bob"}]}"#,
                Incoming::Joined(vec![bob()]),
            ),
            (
                r#"{"type":"NEW_PEER_IN_ROOM","peer":{"id":"1","username":"bob"}}"#,
                Incoming::PeerJoined(bob()),
            ),
            (
                r#"{"type":"AUTH_ERROR","message":"taken"}"#,
                Incoming::Rejected("taken".into()),
            ),
            (r#"{"type":"PEER_LEFT_ROOM"}"#, Incoming::Other),
        ] {
            assert_eq!(P2pClient.parse(frame), incoming, "{frame}");
        }
    }
}
