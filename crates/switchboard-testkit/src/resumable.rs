//! A dialect for tests whose sessions outlive their connections: a client that has lost its connection resumes its
//! session over a new one.
//!
//! The client sends `join ADDRESS`, `say TEXT`, `ack NUMBER` and `resume SESSION TOKEN NUMBER`. It gets
//! `session SESSION TOKEN` as the first frame, then `joined`, `said ADDRESS TEXT`, `error CODE`, and to a resume
//! `resumed` or `refused REASON`. Both sides count the frames of a session from 1; `resumed` and `refused` are not
//! counted.

use std::time::Duration;

use bytestring::ByteString;
use switchboard_core::{
    Address, Command, DialectTraits, ErrorCode, Event, JoinOptions, MessageKind, OfferPolicy,
    RelayedMessage, RequestError, RoomName, Target,
};
use switchboard_dialects::{
    ClientFrame, Content, Dialect, Handshake, KeepSession, ResumeError, ResumeRequest, Session,
    SessionOutput,
};

/// The time for which a session is kept without a connection.
pub const KEPT: Duration = Duration::from_secs(30);

/// The dialect that the documentation of this module describes.
#[derive(Debug)]
pub struct Resumable;

static TRAITS: DialectTraits = DialectTraits {
    name: "resumable",
    offer_policy: OfferPolicy::Unspecified,
    ..DialectTraits::DEFAULT
};

#[derive(Debug)]
struct ResumableSession;

impl Dialect for Resumable {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/resumable"]
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        let token = handshake.random_text(32);
        let frame = format!("session {} {token}", handshake.peer);
        output.frames.push(frame.into());
        output.keep = Some(Box::new(KeepSession { token, time: KEPT }));
        Box::new(ResumableSession)
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

fn room() -> RoomName {
    RoomName::parse("resumable", 0).expect("not empty")
}

/// The command of a frame, or `None` if the frame concerns only the session.
fn parse(frame: &str, output: &mut SessionOutput) -> Option<Command> {
    let (kind, rest) = frame.split_once(' ')?;
    match kind {
        "join" => Some(Command::Join {
            room: room(),
            address: Address::parse(rest, 0).ok()?,
            name: None,
            options: JoinOptions::default(),
        }),
        "say" => Some(Command::Send {
            room: room(),
            to: Target::Everyone,
            message: RelayedMessage::new(TRAITS.name, MessageKind::Message, rest.into(), |_, _| {
                false
            }),
        }),
        "ack" => {
            output.acknowledged = rest.parse().ok();
            None
        }
        "resume" => {
            let mut words = rest.split(' ');
            output.resume = Some(Box::new(ResumeRequest {
                session: words.next()?.parse().ok()?,
                token: words.next()?.to_owned(),
                received: words.next()?.parse().ok()?,
            }));
            None
        }
        _ => None,
    }
}

impl Session for ResumableSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let command = parse(&text, output);
        if command.is_none() && output.acknowledged.is_none() && output.resume.is_none() {
            return Err(ErrorCode::UnknownType.into());
        }
        output.commands.extend(command);
        Ok(())
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        let frame = match event {
            Event::Joined { .. } => "joined".to_owned(),
            Event::Received { from, message, .. } => {
                format!("said {} {}", from.address, message.frame)
            }
            Event::RequestFailed(error) => format!("error {}", error.code.as_str()),
            Event::Claimed(_)
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Probe(_)
            | Event::Evicted(_) => return,
        };
        output.frames.push(frame.into());
    }

    fn on_resumed(&mut self, output: &mut SessionOutput) {
        output.frames.push(ByteString::from_static("resumed"));
    }

    fn on_resume_refused(&mut self, error: ResumeError, output: &mut SessionOutput) {
        let reason = match error {
            ResumeError::NotFound => "not found",
            ResumeError::OutputDropped => "output dropped",
            ResumeError::NotSent => "not sent",
        };
        output.frames.push(format!("refused {reason}").into());
    }
}
