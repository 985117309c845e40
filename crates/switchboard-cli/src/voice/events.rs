//! The event stream of a user: parses Server-Sent Events into call events.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

mod sse;

use sse::{ParsedEvent, SseParser};

use super::identity::{CallUser, CliIdentity};

/// Timeout for the next bytes. The server sends a keep-alive every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// An event from another user about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallEvent {
    pub(super) from: CallUser,
    pub(super) kind: CallEventKind,
}

/// The kind of a call event. Signatures and challenges are those of `handshake.rs`; they are empty between users of a
/// website.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallEventKind {
    /// The other user calls.
    Ringing { challenge: String },
    /// The callee has answered the outgoing call and signed its challenge.
    Answered {
        signature: String,
        challenge: String,
    },
    /// The caller has signed the callee's challenge.
    Confirmed {
        signature: String,
        challenge: String,
    },
    /// The callee has accepted the call.
    Accepted { signature: String },
    /// The other user has declined the call or hung up.
    Declined { signature: String },
    /// The other user has attached audio to the call, or has detached all of it.
    Connected { is_attached: bool },
}

/// An open event stream and its parser.
pub(super) struct CallEvents {
    body: Incoming,
    identity: CliIdentity,
    parser: SseParser,
}

impl CallEvents {
    pub(super) fn new(body: Incoming, identity: CliIdentity) -> Self {
        Self {
            body,
            identity,
            parser: SseParser::default(),
        }
    }

    /// The next call event. Cancel safe.
    pub(super) async fn next(&mut self) -> anyhow::Result<CallEvent> {
        loop {
            while let Some(event) = self.parser.next() {
                if let Some(event) = read(&self.identity, &event) {
                    return Ok(event);
                }
            }
            let frame = timeout(SILENCE_MAX, self.body.frame()).await;
            let frame = frame
                .map_err(|_| anyhow!("event stream timed out: no keep-alive from the server"))?;
            let frame = frame.context("the server closed the event stream: it is shutting down, or this client was too slow")?;
            let frame = frame.context("event stream failed")?;
            if let Some(chunk) = frame.data_ref() {
                self.parser.push(chunk)?;
            }
        }
    }
}

/// Decodes an event; `None` if it is not about calls or has no valid sender. On a server whose users are keys, the data
/// is JSON in hex.
fn read(identity: &CliIdentity, event: &ParsedEvent) -> Option<CallEvent> {
    let value: Value = serde_json::from_str(&event.data).ok()?;
    let value = match value.as_str() {
        Some(hex) => serde_json::from_slice(&base16ct::mixed::decode_vec(hex).ok()?).ok()?,
        None => value,
    };
    let field = |name: &str| text(&value[name]);
    let kind = match event.name.as_str() {
        "newCall" => CallEventKind::Ringing {
            challenge: field("challenge"),
        },
        "answer" => CallEventKind::Answered {
            signature: field("answer"),
            challenge: field("challenge"),
        },
        "answer2" => CallEventKind::Confirmed {
            signature: field("answer"),
            challenge: field("challenge"),
        },
        "acceptedCall" => CallEventKind::Accepted {
            signature: field("answer"),
        },
        "declineCall" => CallEventKind::Declined {
            signature: field("answer"),
        },
        "setAudioConf" if field("roomid").is_empty() => CallEventKind::Connected {
            is_attached: field("in") == "1" || field("out") == "1",
        },
        _ => return None,
    };
    let from = identity.user(&field("from"))?;
    Some(CallEvent { from, kind })
}

/// A string or a number as text; empty for other JSON values.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use switchboard::SecretKey;

    use super::*;

    #[test]
    fn senders_can_be_user_numbers_of_a_website() {
        let identity = CliIdentity::Token("t".to_owned());
        let event = |name: &str, data: &str| ParsedEvent {
            name: name.to_owned(),
            data: data.to_owned(),
        };
        let ringing = read(&identity, &event("newCall", "{\"from\": 12}")).unwrap();
        assert_eq!(ringing.from.name(), "12");
        let attached = read(
            &identity,
            &event("setAudioConf", "{\"from\": 1,\"in\": \"0\",\"out\": \"1\"}"),
        )
        .unwrap();
        assert_eq!(
            attached.kind,
            CallEventKind::Connected { is_attached: true }
        );
        let in_room = event(
            "setAudioConf",
            "{\"from\": 1,\"roomid\": \"7\",\"in\": \"0\",\"out\": \"1\"}",
        );
        assert_eq!(read(&identity, &in_room), None);
    }

    #[test]
    fn events_of_users_with_public_keys_are_encoded_in_hex() {
        let key = SecretKey::generate().public();
        let json = format!("{{\"answer\": \"30\",\"challenge\": \"12\",\"from\": \"{key}\"}}");
        let hex = base16ct::lower::encode_string(json.as_bytes());
        let event = ParsedEvent {
            name: "answer".to_owned(),
            data: format!("\"{hex}\""),
        };
        let event = read(&CliIdentity::Key(SecretKey::generate()), &event).unwrap();
        assert_eq!(event.from.name(), key.to_string());
        let (signature, challenge) = ("30".to_owned(), "12".to_owned());
        assert_eq!(
            event.kind,
            CallEventKind::Answered {
                signature,
                challenge
            }
        );
    }

    #[test]
    fn malformed_events_are_ignored() {
        let identity = CliIdentity::Token("t".to_owned());
        for data in [
            "",
            "{",
            "null",
            "[]",
            "\"7\"",
            "\"zz\"",
            "\"é\"",
            "\"7b\"",
            "{\"from\": \"x\"}",
            "{\"from\": -1}",
            "{\"from\": {}}",
        ] {
            let event = ParsedEvent {
                name: "newCall".to_owned(),
                data: data.to_owned(),
            };
            assert_eq!(read(&identity, &event), None, "{data}");
        }
    }
}
