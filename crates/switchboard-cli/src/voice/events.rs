//! What the server tells: Server-Sent Events, and what they mean.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

mod sse;

use sse::{ParsedEvent, SseParser};

use super::{
    client::causes,
    identity::{CallUser, CliIdentity},
};

/// A server shows every 15 seconds that it lives.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallEvent {
    pub(super) from: CallUser,
    pub(super) kind: CallEventKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallEventKind {
    /// Calls us.
    Ringing {
        challenge: String,
    },
    /// Shows that our call rings at the right one.
    Answered {
        signature: String,
        challenge: String,
    },
    /// Shows who calls.
    Confirmed {
        signature: String,
        challenge: String,
    },
    Accepted {
        signature: String,
    },
    /// Does not want to, or wants no more.
    Declined {
        signature: String,
    },
    /// Has a microphone or headphones in the call, or neither any more.
    Connected {
        is_there: bool,
    },
}

/// An open event stream.
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

    /// The next event that concerns calls. Can be cancelled without losing any.
    pub(super) async fn next(&mut self) -> Result<CallEvent, String> {
        loop {
            while let Some(told) = self.parser.next() {
                if let Some(event) = read(&self.identity, &told) {
                    return Ok(event);
                }
            }
            let frame = timeout(SILENCE_MAX, self.body.frame()).await;
            let frame = frame
                .map_err(|_| "the server is silent: it no longer tells who calls".to_owned())?;
            let frame = frame.ok_or(
                "the server has ended the stream of events: it stops, or we were too slow",
            )?;
            let frame = frame
                .map_err(|error| format!("the stream of events broke off: {}", causes(&error)))?;
            if let Some(piece) = frame.data_ref() {
                self.parser.take(piece)?;
            }
        }
    }
}

/// What an event means; none if it is about something else, or from nobody.
fn read(identity: &CliIdentity, told: &ParsedEvent) -> Option<CallEvent> {
    let value: Value = serde_json::from_str(&told.data).ok()?;
    let value = match value.as_str() {
        Some(hex) => serde_json::from_slice(&unhex(hex)?).ok()?,
        None => value,
    };
    let field = |name: &str| text(&value[name]);
    let what = match told.name.as_str() {
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
            is_there: field("in") == "1" || field("out") == "1",
        },
        _ => return None,
    };
    let from = identity.user(&field("from"))?;
    Some(CallEvent { from, kind: what })
}

/// A text or a number.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use switchboard::SecretKey;

    use super::*;

    #[test]
    fn a_site_s_events_have_numbers() {
        let identity = CliIdentity::Token("t".to_owned());
        let told = |name: &str, data: &str| ParsedEvent {
            name: name.to_owned(),
            data: data.to_owned(),
        };
        let ringing = read(&identity, &told("newCall", "{\"from\": 12}")).unwrap();
        assert_eq!(ringing.from.name(), "12");
        let there = read(
            &identity,
            &told("setAudioConf", "{\"from\": 1,\"in\": \"0\",\"out\": \"1\"}"),
        )
        .unwrap();
        assert_eq!(there.kind, CallEventKind::Connected { is_there: true });
        let in_room = told(
            "setAudioConf",
            "{\"from\": 1,\"roomid\": \"7\",\"in\": \"0\",\"out\": \"1\"}",
        );
        assert_eq!(read(&identity, &in_room), None);
    }

    #[test]
    fn events_of_keys_are_in_hex() {
        let key = SecretKey::generate().public();
        let json = format!("{{\"answer\": \"30\",\"challenge\": \"12\",\"from\": \"{key}\"}}");
        let hex: String = json.bytes().map(|byte| format!("{byte:02x}")).collect();
        let told = ParsedEvent {
            name: "answer".to_owned(),
            data: format!("\"{hex}\""),
        };
        let event = read(&CliIdentity::Key(SecretKey::generate()), &told).unwrap();
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
    fn garbage_is_no_event() {
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
            let told = ParsedEvent {
                name: "newCall".to_owned(),
                data: data.to_owned(),
            };
            assert_eq!(read(&identity, &told), None, "{data}");
        }
    }
}
