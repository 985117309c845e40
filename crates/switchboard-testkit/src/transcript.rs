//! Transcripts: recorded sessions with all frames that clients send and get.
//!
//! The format is described in `crates/switchboard-dialects/transcripts/README.md`. A transcript is complete: a frame of
//! the server that it does not contain makes it fail, at the step that has caused the frame.

mod error;
mod line;
mod names;
mod recorder;
mod runner;

pub use error::TranscriptError;
pub use recorder::record;

use line::TranscriptLine;
use runner::TranscriptRunner;

/// Replays a transcript and compares every frame.
///
/// # Errors
/// The first line that does not match; the source of the error is the reason.
pub fn replay(text: &str) -> Result<(), TranscriptError> {
    replay_on(TranscriptRunner::default(), text)
}

fn replay_on(mut runner: TranscriptRunner, text: &str) -> Result<(), TranscriptError> {
    for (index, source) in text.lines().enumerate() {
        let result = TranscriptLine::parse(source).and_then(|line| runner.run_line(&line));
        result.map_err(|error| TranscriptError::at(index, source, error))?;
    }
    runner
        .check_nothing_unread()
        .map_err(TranscriptError::at_end)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use switchboard_core::{DialectTraits, Event, Identity, OfferPolicy, RequestError};
    use switchboard_dialects::{
        Accepts, ClientFrame, CloseReason, Content, Dialect, Endpoint, Handshake, Session,
        SessionOutput, WebhookRequest,
    };

    use super::*;

    /// A dialect whose session makes a webhook request for a frame that begins with `ask`, and closes the connection
    /// after one that ends with `bye`.
    #[derive(Debug)]
    struct GateDialect;

    static TRAITS: DialectTraits = DialectTraits {
        name: "gate",
        offer_policy: OfferPolicy::Unspecified,
        signals: false,
        messages: false,
        ..DialectTraits::DEFAULT
    };

    impl Dialect for GateDialect {
        fn traits(&self) -> &'static DialectTraits {
            &TRAITS
        }

        fn paths(&self) -> &'static [&'static str] {
            &["/gate"]
        }

        fn endpoints(&self, base: &str) -> Vec<Endpoint> {
            vec![
                Endpoint::new(base, "/health", "health", Accepts::Requests),
                Endpoint::new(base, "/{room}", "room", Accepts::Both),
            ]
        }

        fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
            let room = handshake.params.get("room").unwrap_or("no room");
            let key = handshake.query.get("key").unwrap_or("no key");
            let greeting = serde_json::json!({
                "endpoint": handshake.endpoint, "room": room, "key": key,
                "ms": handshake.unix_ms, "proven": handshake.identity != Identity::Claimed,
            });
            output.frames.push(greeting.to_string().into());
            Box::new(GateSession {
                id: handshake.peer.to_string().into(),
            })
        }

        fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
            None
        }
    }

    struct GateSession {
        id: Arc<str>,
    }

    impl GateSession {
        fn request(&self, text: &str) -> WebhookRequest {
            let body = serde_json::json!({ "asks": text, "id": &*self.id });
            WebhookRequest {
                url: "http://gate".to_owned(),
                body: body.to_string().into(),
                timeout: Duration::from_secs(5),
            }
        }
    }

    impl Session for GateSession {
        fn on_frame(
            &mut self,
            frame: ClientFrame<'_>,
            output: &mut SessionOutput,
        ) -> Result<(), RequestError> {
            let text = frame.text()?;
            output
                .frames
                .push(serde_json::json!({ "heard": &*text }).to_string().into());
            output.webhook = text.starts_with("ask").then(|| self.request(&text));
            output.close = text.ends_with("bye").then_some(CloseReason::DONE);
            Ok(())
        }

        fn on_event(&mut self, _event: &Event, _out: &mut SessionOutput) {}

        fn on_webhook_response(&mut self, reply: Option<&str>, output: &mut SessionOutput) {
            let response =
                reply.map(|text| serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
            output.frames.push(
                serde_json::json!({ "response": response })
                    .to_string()
                    .into(),
            );
        }

        fn on_end(&mut self) -> Option<WebhookRequest> {
            Some(self.request("the end"))
        }
    }

    const TRANSCRIPT: &str = r#"A open gate :room=blue key=7 as ada
A < {"endpoint":"room","room":"blue","key":"7","ms":1700000000000,"proven":true}
A > ask
A post {"asks":"ask","id":"$A"}
A < {"heard":"ask"}
A > "KeepAlive"
wait 1500ms
B open gate
B < {"endpoint":"room","room":"no room","key":"no key","ms":1700000001500,"proven":false}
A reply {"allowed":"$A"}
A < {"response":{"allowed":"$A"}}
A < {"heard":"\"KeepAlive\""}
B > ask bye
B post {"asks":"ask bye","id":"$B"}
B < {"heard":"ask bye"}
wait 5s
B post {"asks":"the end","id":"$B"}
B < {"response":null}
B close 1000
A leaves
A post {"asks":"the end","id":"$A"}
"#;

    fn runner() -> TranscriptRunner {
        TranscriptRunner::with(|name| (name == "gate").then_some(&GateDialect as &dyn Dialect))
    }

    #[test]
    fn webhook_responses_reach_their_session() {
        replay_on(runner(), TRANSCRIPT).expect("the transcript matches");
    }

    #[test]
    fn unexpected_and_missing_output_fails() {
        for (text, reason) in [
            ("A open gate\nA < {\"x\":1}", "A was sent"),
            ("C leaves", "no client C"),
            (
                &TRANSCRIPT.replace("A reply {\"allowed\":\"$A\"}\n", "A reply none\n"),
                "A was sent",
            ),
            (
                &TRANSCRIPT.replace("B post {\"asks\":\"ask bye\",\"id\":\"$B\"}\n", ""),
                "also caused the webhook request",
            ),
            (
                &TRANSCRIPT.replace("A leaves\n", "A gone\nA reply none\n"),
                "also caused the webhook request",
            ),
            (
                &format!("{TRANSCRIPT}A post {{}}\n"),
                "A has caused no further webhook request",
            ),
            (
                &format!("{TRANSCRIPT}A reply none\n"),
                "A has no pending webhook",
            ),
        ] {
            let error = replay_on(runner(), text).expect_err(text);
            let source = std::error::Error::source(&error).expect("a reason");
            assert!(source.to_string().contains(reason), "{error}: {source}");
        }
    }

    #[test]
    fn record_writes_the_output_of_the_server() {
        let clients_only: String = TRANSCRIPT
            .lines()
            .filter(|line| {
                !line.contains(" < ") && !line.contains(" post ") && !line.contains(" close ")
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let clients_only = clients_only.replace("\"$A\"", "1");
        let written =
            recorder::record_on(runner(), &clients_only).expect("the transcript can be replayed");
        replay_on(runner(), &written).expect(&written);
        assert_eq!(written.lines().count(), TRANSCRIPT.lines().count());
        let again =
            recorder::record_on(runner(), TRANSCRIPT).expect("the transcript can be replayed");
        assert_eq!(again, TRANSCRIPT, "matching lines are unchanged");
    }
}
