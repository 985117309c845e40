//! Golden conversations: what each client sends, and every frame that each is sent for it.
//!
//! The format is described in `crates/switchboard-dialect/transcripts/README.md`. A transcript is
//! complete: whatever the server says that is not written down makes it fail, at the very step
//! after which it was said.

mod line;
mod names;
mod recorder;
mod runner;

pub use recorder::record;

use line::TranscriptLine;
use runner::TranscriptRunner;

/// Plays a transcript and compares every frame.
///
/// # Errors
/// The first line that does not hold, and why.
pub fn replay(text: &str) -> Result<(), String> {
    play(text, TranscriptRunner::default())
}

fn play(text: &str, mut stage: TranscriptRunner) -> Result<(), String> {
    for (index, source) in text.lines().enumerate() {
        let played = TranscriptLine::parse(source).and_then(|line| stage.play(&line));
        played.map_err(|why| format!("line {}: {source}\n  {why}", index + 1))?;
    }
    stage
        .must_be_quiet()
        .map_err(|why| format!("at the end: {why}"))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use switchboard_core::{DialectTraits, Event, Identity, OfferPolicy, RequestError};
    use switchboard_dialect::{
        Accepts, ClientFrame, CloseReason, Content, Dialect, Endpoint, Handshake, Session,
        SessionOutput, WebhookRequest,
    };

    use super::*;

    /// A dialect that lets in whom a web service lets in.
    #[derive(Debug)]
    struct Gate;

    static TONGUE: DialectTraits = DialectTraits {
        name: "gate",
        offer_policy: OfferPolicy::Unspecified,
        signals: false,
        messages: false,
        ..DialectTraits::DEFAULT
    };

    impl Dialect for Gate {
        fn traits(&self) -> &'static DialectTraits {
            &TONGUE
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

        fn open(&self, handshake: &Handshake, out: &mut SessionOutput) -> Box<dyn Session> {
            let get = |key| handshake.params.get(key).unwrap_or("no room");
            let of = |key| handshake.query.get(key).unwrap_or("no key");
            let greeting = serde_json::json!({
                "door": handshake.endpoint, "room": get("room"), "key": of("key"),
                "ms": handshake.unix_ms, "proven": handshake.identity != Identity::Claimed,
            });
            out.frames.push(greeting.to_string().into());
            Box::new(Visitor {
                id: handshake.peer.to_string().into(),
            })
        }

        fn read<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
            None
        }
    }

    struct Visitor {
        id: Arc<str>,
    }

    impl Visitor {
        fn request(&self, what: &str) -> WebhookRequest {
            let body = serde_json::json!({ "asks": what, "id": &*self.id });
            WebhookRequest {
                url: "http://gate".to_owned(),
                body: body.to_string().into(),
                timeout: Duration::from_secs(5),
            }
        }
    }

    impl Session for Visitor {
        fn on_frame(
            &mut self,
            frame: ClientFrame<'_>,
            out: &mut SessionOutput,
        ) -> Result<(), RequestError> {
            let text = frame.text()?;
            out.frames
                .push(serde_json::json!({ "heard": &*text }).to_string().into());
            out.webhook = text.starts_with("ask").then(|| self.request(&text));
            out.close = text.ends_with("bye").then_some(CloseReason::DONE);
            Ok(())
        }

        fn on_event(&mut self, _event: &Event, _out: &mut SessionOutput) {}

        fn on_webhook_response(&mut self, reply: Option<&str>, out: &mut SessionOutput) {
            let told =
                reply.map(|text| serde_json::from_str::<serde_json::Value>(text).expect("JSON"));
            out.frames
                .push(serde_json::json!({ "told": told }).to_string().into());
        }

        fn on_end(&mut self) -> Option<WebhookRequest> {
            Some(self.request("the end"))
        }
    }

    const WHOLE: &str = r#"A open gate :room=blue key=7 as ada
A < {"door":"room","room":"blue","key":"7","ms":1700000000000,"proven":true}
A > ask
A post {"asks":"ask","id":"$A"}
A < {"heard":"ask"}
A > "KeepAlive"
wait 1500ms
B open gate
B < {"door":"room","room":"no room","key":"no key","ms":1700000001500,"proven":false}
A reply {"allowed":"$A"}
A < {"told":{"allowed":"$A"}}
A < {"heard":"\"KeepAlive\""}
B > ask bye
B post {"asks":"ask bye","id":"$B"}
B < {"heard":"ask bye"}
wait 5s
B post {"asks":"the end","id":"$B"}
B < {"told":null}
B close 1000
A leaves
A post {"asks":"the end","id":"$A"}
"#;

    fn stage() -> TranscriptRunner {
        TranscriptRunner::with(|name| (name == "gate").then_some(&Gate as &dyn Dialect))
    }

    #[test]
    fn a_session_asks_and_is_answered() {
        assert_eq!(play(WHOLE, stage()), Ok(()));
    }

    #[test]
    fn what_is_not_read_or_not_asked_fails() {
        for (text, why) in [
            ("A open gate\nA < {\"x\":1}", "A was sent"),
            ("C leaves", "no client C"),
            (
                &WHOLE.replace("A reply {\"allowed\":\"$A\"}\n", "A reply none\n"),
                "A was sent",
            ),
            (
                &WHOLE.replace("B post {\"asks\":\"ask bye\",\"id\":\"$B\"}\n", ""),
                "also made the server ask",
            ),
            (
                &WHOLE.replace("A leaves\n", "A gone\nA reply none\n"),
                "also made the server ask",
            ),
            (
                &format!("{WHOLE}A post {{}}\n"),
                "nothing (more) was asked for A",
            ),
            (&format!("{WHOLE}A reply none\n"), "A waits for no answer"),
        ] {
            let error = play(text, stage()).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn the_servers_part_is_written_down() {
        let bare: String = WHOLE
            .lines()
            .filter(|line| {
                !line.contains(" < ") && !line.contains(" post ") && !line.contains(" close ")
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let bare = bare.replace("\"$A\"", "1");
        let written = recorder::record_on(stage(), &bare).expect("it can be played");
        assert_eq!(play(&written, stage()), Ok(()), "{written}");
        assert_eq!(written.lines().count(), WHOLE.lines().count());
        let again = recorder::record_on(stage(), WHOLE).expect("it can be played");
        assert_eq!(again, WHOLE, "what still holds stays as it is");
    }
}
