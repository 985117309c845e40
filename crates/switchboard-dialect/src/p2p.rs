//! `p2p`: p2p-go-app. WebSocket, JSON in camel case, on `/ws` (shared with `lightstream`).
//!
//! # Conversation
//!
//! The client speaks first: `IDENTIFY` with a username that nobody else in the space has, within five
//! seconds. It joins a room, gets `ROOM_MEMBERS` and calls everybody in it; they are told by
//! `NEW_PEER_IN_ROOM`, and know the newcomer before its offer comes. Peers are named by UUIDs that the
//! server makes.
//!
//! * → `{"type":"IDENTIFY","username":"NAME"}` ← `AUTH_SUCCESS` with its own `peerId`, or `AUTH_ERROR`
//! * → `{"type":"JOIN_ROOM","roomId":"R"}` ← `ROOM_MEMBERS`, ← `NEW_PEER_IN_ROOM`, ← `PEER_LEFT_ROOM`
//! * ↔ `SDP_OFFER`, `SDP_ANSWER`, `ICE_CANDIDATE` with `toPeerId` and `fromPeerId`; ↔ `CHAT_MESSAGE`
//! * ← `{"type":"ERROR","code":"…","message":"…"}`
//!
//! # Better
//!
//! * Moving to another room works.
//! * Departures are told by `PEER_LEFT_ROOM`; nothing crosses rooms.
//! * Candidates keep every field.
//! * What goes wrong is answered with `ERROR`.
//! * Chat is relayed, with the sender's id as `fromPeerId`, and never logged.
//!
//! # Switch
//!
//! ```text
//! go run ./...  # on :8080
//! switchboard
//! ```
//!
//! On the main listener: `ws://HOST:8080/ws`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytestring::ByteString;
use serde_json::value::RawValue;
use switchboard_core::{
    Call, Command, Custom, DisplayName, Event, Farewell, Limits, Member, PeerId, Refusal, Refused,
    RelayKind, RoomId, RoomName, Target, Terms, Tongue,
};

use crate::{
    Candidate, Close, Content, Dialect, FirstFrame, Frame, Handshake, Out, Session, Setting, Value,
    alias::name_of,
    content::{relay, sdp_of},
    json::{Object, Writer},
    words,
};

static TONGUE: Tongue = Tongue {
    name: "p2p",
    custom: Custom::NewcomerCalls,
    signals: true,
    messages: true,
    ..Tongue::USUAL
};

static IDENTIFY_SECS: Setting = Setting {
    key: "identify_secs",
    doc: "Seconds a client has for IDENTIFY.",
    default: || Value::Int(5),
    range: 1..=crate::SECS_MAX,
};

/// Frames that may wait while the username is being settled.
const EARLY_FRAMES_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct P2p;

impl Dialect for P2p {
    fn tongue(&self) -> &'static Tongue {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/ws"]
    }

    fn settings(&self) -> &'static [Setting] {
        std::slice::from_ref(&IDENTIFY_SECS)
    }

    fn recognizes(&self, first: &Object<'_>) -> bool {
        matches!(first.text("type"), Ok(Some(frame_type)) if frame_type == "IDENTIFY")
    }

    fn is_recognizable(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, out: &mut Out) -> Box<dyn Session> {
        let secs = handshake.settings.int(TONGUE.name, &IDENTIFY_SECS);
        out.first_frame = FirstFrame::Within(Duration::from_secs(secs));
        Box::new(Caller {
            me: handshake.peer,
            stage: Stage::Unknown,
            limits: handshake.limits.clone(),
        })
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = Object::parse(frame, 0).ok()?;
        match kind_of(&object.text("type").ok()??)? {
            RelayKind::Candidate => {
                let candidate = object.all("iceCandidate").last()?;
                Candidate::of_value(candidate).map(Content::Candidate)
            }
            RelayKind::Message => object.text("content").ok()?.map(Content::Message),
            kind @ (RelayKind::Offer | RelayKind::Answer | RelayKind::Opaque) => {
                Content::description(kind, sdp_of(&object.object("sdp").ok()??)?)
            }
        }
    }
}

fn kind_of(frame_type: &str) -> Option<RelayKind> {
    match frame_type {
        "SDP_OFFER" => Some(RelayKind::Offer),
        "SDP_ANSWER" => Some(RelayKind::Answer),
        "ICE_CANDIDATE" => Some(RelayKind::Candidate),
        "CHAT_MESSAGE" => Some(RelayKind::Message),
        _ => None,
    }
}

/// How far the client has come.
enum Stage {
    Unknown,
    /// The username is asked for; frames that come meanwhile wait.
    Claiming(Vec<ByteString>),
    Known {
        name: DisplayName,
        room: Option<RoomName>,
    },
}

struct Caller {
    me: PeerId,
    stage: Stage,
    limits: Arc<Limits>,
}

impl Session for Caller {
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let Frame::Text(text) = frame else {
            return Err(Refusal::Unreadable.into());
        };
        match &mut self.stage {
            Stage::Unknown => self.identify(text, out),
            Stage::Claiming(early) if early.len() < EARLY_FRAMES_MAX => {
                early.push(text.clone());
                Ok(())
            }
            Stage::Claiming(_) => Err(Refusal::TooManyFrames.into()),
            Stage::Known { .. } => self.act(text, out),
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Claimed(name) => self.identified(name, out),
            Event::Joined { room, others } => {
                let others = || others.iter().map(|(other, _)| other);
                out.frames.push(members(room, others()));
                let silent = others().filter(|other| !other.tongue.signals);
                out.frames
                    .extend(silent.map(|other| news("NEW_PEER_IN_ROOM", room, other)));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                out.frames.push(members(room, others));
            }
            Event::Introduced { room, peer, call } => {
                out.frames.push(news("NEW_PEER_IN_ROOM", room, peer));
                if *call == Call::You {
                    out.frames.push(members(room, [peer]));
                }
            }
            Event::Departed { room, peer, .. } => {
                out.frames.push(news("PEER_LEFT_ROOM", room, peer))
            }
            Event::Heard { relay, .. } if relay.origin == TONGUE.name => {
                out.frames.push(relay.frame.clone());
            }
            Event::Heard { from, relay, .. } => {
                let content = Content::of(relay);
                out.frames
                    .extend(content.map(|content| self.translation(from, &content, out.unix_secs)));
            }
            Event::Refused(refused) => self.refused(refused, out),
            Event::Evicted(_) => out.frames.push(error("evicted", "You have been removed.")),
            Event::Probe(_) => {}
        }
    }
}

impl Caller {
    fn identify(&mut self, text: &ByteString, out: &mut Out) -> Result<(), Refused> {
        let object = Object::parse(text, self.limits.json_depth)?;
        if object.text("type")?.as_deref() != Some("IDENTIFY") {
            return Err(Refusal::UnknownType.into());
        }
        let name = object.text("username")?.unwrap_or_default();
        let name = DisplayName::parse(&name, self.limits.name_bytes)
            .map_err(|e| Refusal::of_name("username", e))?;
        out.commands.push(Command::Claim(name));
        self.stage = Stage::Claiming(Vec::new());
        Ok(())
    }

    fn identified(&mut self, name: &DisplayName, out: &mut Out) {
        let known = Stage::Known {
            name: name.clone(),
            room: None,
        };
        let Stage::Claiming(early) = std::mem::replace(&mut self.stage, known) else {
            return;
        };
        let success = Writer::default()
            .text("type", "AUTH_SUCCESS")
            .text("status", "success")
            .text("username", name.as_str())
            .text("peerId", &self.me.to_string());
        out.frames.push(success.finish());
        for text in early {
            let refused = self.act(&text, out).err();
            out.refused.extend(refused);
        }
    }

    /// Before it is known who speaks, any refusal ends the connection.
    fn refused(&mut self, refused: &Refused, out: &mut Out) {
        let Stage::Known { room, .. } = &mut self.stage else {
            let message = match refused.reason {
                Refusal::EmptyName(_) => "Username cannot be empty.".into(),
                Refusal::Taken => "Username already taken.".into(),
                Refusal::NameTooLong(_)
                | Refusal::InvisibleName(_)
                | Refusal::Reserved
                | Refusal::TooManyFrames
                | Refusal::TooLarge
                | Refusal::Unavailable => words(refused),
                Refusal::Unreadable
                | Refusal::TooDeep
                | Refusal::UnknownType
                | Refusal::BadField(_)
                | Refusal::Silent
                | Refusal::NotInRoom
                | Refusal::NoSuchPeer
                | Refusal::Expired
                | Refusal::NotUnderstood
                | Refusal::RoomFull
                | Refusal::TooManyRooms
                | Refusal::Denied => "Invalid initial message. Expected type 'IDENTIFY'.".into(),
            };
            out.frames.push(auth_error(&message));
            out.close = Some(Close::POLICY);
            return;
        };
        if refused.join.is_some() {
            *room = None;
        }
        out.frames
            .push(error(refused.reason.code(), &words(refused)));
    }

    fn act(&mut self, text: &ByteString, out: &mut Out) -> Result<(), Refused> {
        let Stage::Known { name, room } = &mut self.stage else {
            return Ok(());
        };
        let object = Object::parse(text, self.limits.json_depth)?;
        let frame_type = object
            .text("type")
            .ok()
            .flatten()
            .ok_or(Refusal::UnknownType)?;
        if frame_type == "JOIN_ROOM" {
            let wanted = object.text("roomId")?.unwrap_or_default();
            let wanted = RoomName::parse(&wanted, self.limits.name_bytes)
                .map_err(|e| Refusal::of_name("roomId", e))?;
            join(self.me, name, room, wanted, out);
            return Ok(());
        }
        let kind = kind_of(&frame_type).ok_or(Refusal::UnknownType)?;
        let room = room.clone().ok_or(Refusal::NotInRoom)?;
        let (to, frame) = match kind {
            RelayKind::Message => (
                Target::Everyone,
                chat(
                    self.me,
                    name.as_str(),
                    chat_text(&object)?.get(),
                    out.unix_secs,
                ),
            ),
            RelayKind::Offer | RelayKind::Answer | RelayKind::Candidate | RelayKind::Opaque => (
                target(&object)?,
                in_own_name(self.me, &frame_type, &object)?,
            ),
        };
        out.commands.push(Command::Relay {
            room,
            to,
            relay: relay(TONGUE.name, kind, frame),
        });
        Ok(())
    }

    fn translation(&self, from: &Member, content: &Content<'_>, unix_secs: u64) -> ByteString {
        let begin = |frame_type| {
            let from = from.peer.to_string();
            Writer::default()
                .text("type", frame_type)
                .text("fromPeerId", &from)
                .text("toPeerId", &self.me.to_string())
        };
        let description = |name: &'static str, sdp: &str| {
            begin(if name == "offer" {
                "SDP_OFFER"
            } else {
                "SDP_ANSWER"
            })
            .object("sdp", |init| init.text("type", name).text("sdp", sdp))
            .finish()
        };
        match content {
            Content::Offer(sdp) => description("offer", sdp),
            Content::Answer(sdp) => description("answer", sdp),
            Content::Candidate(candidate) => begin("ICE_CANDIDATE")
                .object("iceCandidate", |init| candidate.write(init))
                .finish(),
            Content::Message(words) => chat(
                from.peer,
                &name_of(from),
                &crate::json::quote(words),
                unix_secs,
            ),
        }
    }
}

fn join(
    me: PeerId,
    name: &DisplayName,
    room: &mut Option<RoomName>,
    wanted: RoomName,
    out: &mut Out,
) {
    if let Some(left) = room.take_if(|joined| *joined != wanted) {
        out.commands.push(Command::Leave {
            room: left,
            farewell: Farewell::Aloud,
        });
    }
    *room = Some(wanted.clone());
    out.commands.push(Command::Join {
        room: wanted,
        address: me.into(),
        name: Some(name.clone()),
        terms: Terms::default(),
    });
}

fn chat_text<'a>(object: &Object<'a>) -> Result<&'a RawValue, Refusal> {
    let content = object
        .get("content")
        .filter(|raw| raw.get().starts_with('"'));
    content.ok_or(Refusal::BadField("content"))
}

fn target(object: &Object<'_>) -> Result<Target, Refused> {
    let to: Cow<'_, str> = object.text("toPeerId")?.unwrap_or_default();
    PeerId::parse(&to)
        .map(Target::Peer)
        .ok_or(Refused::new(Refusal::NoSuchPeer))
}

/// The frame with its keys as documented, the real sender in it, and the rest as it was.
fn in_own_name(me: PeerId, frame_type: &str, object: &Object<'_>) -> Result<ByteString, Refusal> {
    // Checked only: they are passed on as they were written.
    let _ = (object.object("sdp")?, object.object("iceCandidate")?);
    let to = object.text("toPeerId")?.unwrap_or_default();
    Ok(Writer::with_capacity(2048)
        .text("type", frame_type)
        .text("fromPeerId", &me.to_string())
        .text("toPeerId", &to)
        .fields(
            ["sdp", "iceCandidate"]
                .into_iter()
                .filter_map(|key| Some((key, object.all(key).last()?))),
        )
        .fields(object.rest(&["type", "fromPeerId", "toPeerId", "sdp", "iceCandidate"]))
        .finish())
}

fn person(writer: Writer, member: &Member) -> Writer {
    writer
        .text("id", &member.peer.to_string())
        .text("username", &name_of(member))
}

/// Whom the client is to call: not who cannot be called.
fn members<'m>(room: &RoomId, others: impl IntoIterator<Item = &'m Arc<Member>>) -> ByteString {
    let others = others.into_iter().filter(|other| other.tongue.signals);
    Writer::default()
        .text("type", "ROOM_MEMBERS")
        .text("roomId", room.name.as_str())
        .objects("members", others, |writer, other| person(writer, other))
        .finish()
}

fn news(frame_type: &str, room: &RoomId, peer: &Member) -> ByteString {
    Writer::default()
        .text("type", frame_type)
        .text("roomId", room.name.as_str())
        .object("peer", |writer| person(writer, peer))
        .finish()
}

fn chat(from: PeerId, username: &str, content: &str, unix_secs: u64) -> ByteString {
    Writer::default()
        .text("type", "CHAT_MESSAGE")
        .text("fromPeerId", &from.to_string())
        .text("username", username)
        .raw("content", content)
        .number("timestamp", unix_secs)
        .finish()
}

fn auth_error(message: &str) -> ByteString {
    Writer::default()
        .text("type", "AUTH_ERROR")
        .text("status", "error")
        .text("username", "")
        .text("message", message)
        .finish()
}

fn error(code: &str, message: &str) -> ByteString {
    Writer::default()
        .text("type", "ERROR")
        .text("code", code)
        .text("message", message)
        .finish()
}
