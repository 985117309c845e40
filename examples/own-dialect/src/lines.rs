//! `lines`: chat in lines of text, for `websocat` and a keyboard. WebSocket on `/lines`. → is sent by the client, ← by
//! the server:
//!
//! * → `join ROOM NAME` ← `joined ROOM` and a line `+ NAME` for each other member
//! * → any other text ← `NAME: TEXT`, to all other members, in frames of their dialects
//! * ← `+ NAME`, `- NAME`: a member has joined or left
//! * ← `error CODE: TEXT`

use switchboard::{
    Address, DisplayName, Limits, RoomName,
    dialect::{
        ByteString, ClientFrame, Command, Content, Dialect, DialectTable, DialectTraits, ErrorCode,
        Event, Handshake, JoinOptions, MessageKind, RelayedMessage, RequestError, Session,
        SessionOutput, Target, error_message,
    },
};

/// The dialect, to be passed to `Builder::dialect`.
pub static LINES: Lines = Lines;

static TRAITS: DialectTraits = DialectTraits {
    name: "lines",
    // A line of text carries no session description.
    signals: false,
    ..DialectTraits::DEFAULT
};

/// Chat in lines of text.
#[derive(Debug)]
pub struct Lines;

impl Dialect for Lines {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/lines"]
    }

    fn open(&self, handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
        Box::new(LinesSession {
            limits: (*handshake.limits).clone(),
            joined: None,
        })
    }

    /// The text in a line of this dialect, for members of other dialects.
    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let (_name, text) = frame.split_once(": ")?;
        Some(Content::Message(text.into()))
    }
}

/// One client: the room that it has joined, and its name there.
struct LinesSession {
    limits: Limits,
    joined: Option<(RoomName, Address)>,
}

impl Session for LinesSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let line = frame.text()?;
        let command = match (&self.joined, line.strip_prefix("join ")) {
            (None, Some(request)) => self.join(request)?,
            (None, None) => return Err(ErrorCode::NotInRoom.into()),
            (Some((room, name)), _) => Command::Send {
                room: room.clone(),
                to: Target::Everyone,
                message: RelayedMessage::new(
                    TRAITS.name,
                    MessageKind::Message,
                    format!("{name}: {line}").into(),
                    |_, frame| LINES.parse_content(frame).is_some(),
                ),
            },
        };
        output.commands.push(command);
        Ok(())
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Joined { room, others } => {
                output.frames.push(format!("joined {}", room.name).into());
                let others = others.iter().map(|(other, _role)| other);
                let lines = others.map(|other| format!("+ {}", other.address).into());
                output.frames.extend(lines);
            }
            Event::Introduced { peer, .. } => {
                output.frames.push(format!("+ {}", peer.address).into())
            }
            Event::Departed { peer, .. } => {
                output.frames.push(format!("- {}", peer.address).into())
            }
            Event::Received { from, message, .. } => {
                let line = received(from.address.as_str(), message, output.dialects);
                output.frames.extend(line);
            }
            Event::RequestFailed(error) => {
                if error.join.is_some() {
                    self.joined = None;
                }
                let text = error_message(error);
                output
                    .frames
                    .push(format!("error {}: {text}", error.code.as_str()).into());
            }
            Event::Evicted(_) => output.frames.push("error evicted: You are removed.".into()),
            Event::Claimed(_)
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Probe(_) => {}
        }
    }
}

impl LinesSession {
    /// The command for `ROOM NAME`. The name must not contain `: `, which ends the name in a line.
    fn join(&mut self, request: &str) -> Result<Command, ErrorCode> {
        let (room, name) = request.split_once(' ').ok_or(ErrorCode::BadField("name"))?;
        if name.contains(": ") {
            return Err(ErrorCode::BadField("name"));
        }
        let max = self.limits.name_bytes;
        let room = RoomName::parse(room, max).map_err(|error| ErrorCode::of_name("room", error))?;
        let name_error = |error| ErrorCode::of_name("name", error);
        let address = Address::parse(name, max).map_err(name_error)?;
        let name = DisplayName::parse(name, max).map_err(name_error)?;
        self.joined = Some((room.clone(), address.clone()));
        Ok(Command::Join {
            room,
            address,
            name: Some(name),
            options: JoinOptions::default(),
        })
    }
}

/// The line for a message; `None` for one that this dialect cannot express.
fn received(from: &str, message: &RelayedMessage, dialects: DialectTable) -> Option<ByteString> {
    if message.origin == TRAITS.name {
        return Some(message.frame.clone());
    }
    match Content::of(message, dialects)? {
        Content::Message(text) => Some(format!("{from}: {text}").into()),
        Content::Offer(_) | Content::Answer(_) | Content::Candidate(_) => None,
    }
}
