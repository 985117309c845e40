//! `p2p`: p2p-go-app. WebSocket, JSON in camel case, on `/ws` (shared with `lightstream`).
//!
//! # Conversation
//!
//! The client speaks first: `IDENTIFY` with a username that no other client in the space has, within five
//! seconds. It joins a room, gets `ROOM_MEMBERS` and calls everybody in it; they are told by
//! `NEW_PEER_IN_ROOM`, and know the newcomer before its offer comes. Peers are named by UUIDs that the
//! server makes.
//!
//! * → `{"type":"IDENTIFY","username":"NAME"}`, with or without the `roomId` of the room that it will join ←
//!   `AUTH_SUCCESS` with its own `peerId`, or `AUTH_ERROR`
//! * → `{"type":"JOIN_ROOM","roomId":"R"}` ← `ROOM_MEMBERS`, ← `NEW_PEER_IN_ROOM`, ← `PEER_LEFT_ROOM`
//! * ↔ `SDP_OFFER`, `SDP_ANSWER`, `ICE_CANDIDATE` with `toPeerId` and `fromPeerId`; ↔ `CHAT_MESSAGE`
//! * ← `{"type":"ERROR","code":"…","message":"…"}`
//!
//! # Names
//!
//! Two members of a room that speak `p2p` never have the same username. Usernames are compared exactly.
//!
//! * `IDENTIFY` as above claims the username in the whole space: of two such clients with one name the second gets
//!   `Username already taken.`, whatever rooms they want to join.
//! * `IDENTIFY` with `"roomId":"R"` claims it in the room `R` alone, so clients with the same name in other rooms do
//!   not matter. If a member of `R` has the name, the client gets `Username already taken.` and can come back with
//!   another name. The call page does this, and tries `NAME (2)`, `NAME (3)` and so on.
//! * `JOIN_ROOM` of a room in which the client has no name yet claims one there. If a member of that room has the
//!   username, the server takes `NAME (2)`, `NAME (3)` and so on: the others see that name, and the client finds it
//!   as `username` in `ROOM_MEMBERS`. It is let in, because the original's clients do not expect a refusal. After
//!   `NAME (20)` the join is refused with `ERROR` (`taken`).
//! * A name in a room is given back when the client joins another room, is not let in, or disconnects. A holder that is
//!   pinged and gives no sign of life for two seconds loses its name, as with every name.
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
    Call, Command, Custom, DisplayName, Event, Farewell, Limits, Member, NameId, PeerId, Refusal,
    Refused, RelayKind, RoomId, RoomName, Target, Terms, Tongue,
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

/// Frames that may wait while a name is being claimed.
const EARLY_FRAMES_MAX: usize = 16;

/// The last number that a name is tried with, as in `Ada (20)`, before a join is refused.
const NAME_NUMBER_MAX: u32 = 20;

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
    Known(Known),
}

/// A client that has identified itself.
struct Known {
    username: DisplayName,
    /// The room in which the client has a name of its own, and that name: the room that it is in or joins
    /// next, and the username or, if another member has that, the username with a number.
    held: Option<(RoomName, DisplayName)>,
    room: Option<RoomName>,
    entering: Option<Entering>,
}

/// A room for which the client's name is being claimed. The join follows.
struct Entering {
    room: RoomName,
    name: DisplayName,
    /// The number that the name has, from 2 on; 1: it has none.
    number: u32,
    /// Frames that have come meanwhile.
    early: Vec<ByteString>,
    /// The room of the last join among them.
    next: Option<RoomName>,
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
            Stage::Known(known) => known.handle(self.me, &self.limits, text, out),
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Claimed(id) => self.claimed(id, out),
            Event::Joined { room, others } => {
                let others = || others.iter().map(|(other, _)| other);
                out.frames.push(members(room, self.new_name(), others()));
                let silent = others().filter(|other| !other.tongue.signals);
                out.frames
                    .extend(silent.map(|other| news("NEW_PEER_IN_ROOM", room, other)));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                out.frames.push(members(room, self.new_name(), others));
            }
            Event::Introduced { room, peer, call } => {
                out.frames.push(news("NEW_PEER_IN_ROOM", room, peer));
                if *call == Call::You {
                    out.frames.push(members(room, None, [peer]));
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
        let room = object.text("roomId")?;
        let room = room
            .map(|room| room_name(&room, &self.limits))
            .transpose()?;
        out.commands.push(Command::Claim(room, name));
        self.stage = Stage::Claiming(Vec::new());
        Ok(())
    }

    fn claimed(&mut self, id: &NameId, out: &mut Out) {
        match &mut self.stage {
            Stage::Unknown => {}
            Stage::Claiming(early) => {
                let early = std::mem::take(early);
                self.identified(id, early, out);
            }
            Stage::Known(known) => known.claimed(self.me, &self.limits, id, out),
        }
    }

    fn identified(&mut self, id: &NameId, early: Vec<ByteString>, out: &mut Out) {
        let success = Writer::default()
            .text("type", "AUTH_SUCCESS")
            .text("status", "success")
            .text("username", id.name.as_str())
            .text("peerId", &self.me.to_string());
        out.frames.push(success.finish());
        let mut known = Known {
            username: id.name.clone(),
            held: id.room.clone().map(|room| (room, id.name.clone())),
            room: None,
            entering: None,
        };
        known.handle_early(self.me, &self.limits, early, out);
        self.stage = Stage::Known(known);
    }

    /// Before it is known who speaks, any refusal ends the connection.
    fn refused(&mut self, refused: &Refused, out: &mut Out) {
        let Stage::Known(known) = &mut self.stage else {
            out.frames.push(auth_error(&identify_error(refused)));
            out.close = Some(Close::POLICY);
            return;
        };
        match &refused.claim {
            Some(id) => known.claim_refused(self.me, &self.limits, id, refused, out),
            None => known.refused(refused, out),
        }
    }

    /// The name by which the client is known in its room, if it is not the username that it has given.
    fn new_name(&self) -> Option<&DisplayName> {
        let Stage::Known(known) = &self.stage else {
            return None;
        };
        let (_, name) = known.held.as_ref()?;
        (*name != known.username).then_some(name)
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

impl Known {
    fn handle(
        &mut self,
        me: PeerId,
        limits: &Limits,
        text: &ByteString,
        out: &mut Out,
    ) -> Result<(), Refused> {
        match &mut self.entering {
            Some(entering) => entering.postpone(text, limits),
            None => self.act(me, limits, text, out),
        }
    }

    fn handle_early(&mut self, me: PeerId, limits: &Limits, early: Vec<ByteString>, out: &mut Out) {
        for text in early {
            let refused = self.handle(me, limits, &text, out).err();
            out.refused.extend(refused);
        }
    }

    fn act(
        &mut self,
        me: PeerId,
        limits: &Limits,
        text: &ByteString,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let object = Object::parse(text, limits.json_depth)?;
        let frame_type = object
            .text("type")
            .ok()
            .flatten()
            .ok_or(Refusal::UnknownType)?;
        if frame_type == "JOIN_ROOM" {
            let wanted = object.text("roomId")?.unwrap_or_default();
            self.go_to(me, room_name(&wanted, limits)?, out);
            return Ok(());
        }
        let kind = kind_of(&frame_type).ok_or(Refusal::UnknownType)?;
        let room = self.room.clone().ok_or(Refusal::NotInRoom)?;
        let (to, frame) = match kind {
            RelayKind::Message => (
                Target::Everyone,
                chat(
                    me,
                    self.name().as_str(),
                    chat_text(&object)?.get(),
                    out.unix_secs,
                ),
            ),
            RelayKind::Offer | RelayKind::Answer | RelayKind::Candidate | RelayKind::Opaque => {
                (target(&object)?, in_own_name(me, &frame_type, &object)?)
            }
        };
        out.commands.push(Command::Relay {
            room,
            to,
            relay: relay(TONGUE.name, kind, frame),
        });
        Ok(())
    }

    /// The name by which the others know the client.
    fn name(&self) -> &DisplayName {
        let held = self.held.as_ref().map(|(_, name)| name);
        held.unwrap_or(&self.username)
    }

    fn go_to(&mut self, me: PeerId, wanted: RoomName, out: &mut Out) {
        if let Some(left) = self.room.take_if(|joined| *joined != wanted) {
            out.commands.push(Command::Leave {
                room: left,
                farewell: Farewell::Aloud,
            });
        }
        if self.held.as_ref().is_some_and(|(room, _)| *room == wanted) {
            return self.join(me, wanted, out);
        }
        self.release(out);
        let entering = Entering {
            room: wanted,
            name: self.username.clone(),
            number: 1,
            early: Vec::new(),
            next: None,
        };
        self.claim(entering, out);
    }

    fn claim(&mut self, entering: Entering, out: &mut Out) {
        let (room, name) = (entering.room.clone(), entering.name.clone());
        out.commands.push(Command::Claim(Some(room), name));
        self.entering = Some(entering);
    }

    fn release(&mut self, out: &mut Out) {
        if let Some((room, name)) = self.held.take() {
            out.commands.push(Command::Release(Some(room), name));
        }
    }

    fn join(&mut self, me: PeerId, room: RoomName, out: &mut Out) {
        self.room = Some(room.clone());
        out.commands.push(Command::Join {
            room,
            address: me.into(),
            name: Some(self.name().clone()),
            terms: Terms::default(),
        });
    }

    fn claimed(&mut self, me: PeerId, limits: &Limits, id: &NameId, out: &mut Out) {
        let Some(entering) = self.entering.take_if(|entering| entering.is_for(id)) else {
            return;
        };
        self.held = Some((entering.room.clone(), entering.name));
        self.join(me, entering.room, out);
        self.handle_early(me, limits, entering.early, out);
    }

    /// Claims the next name, if another member has this one.
    fn claim_refused(
        &mut self,
        me: PeerId,
        limits: &Limits,
        id: &NameId,
        refused: &Refused,
        out: &mut Out,
    ) {
        let Some(mut entering) = self.entering.take_if(|entering| entering.is_for(id)) else {
            return;
        };
        let (room, name) = (entering.room.clone(), entering.name.clone());
        out.commands
            .push(Command::Release(Some(room.clone()), name.clone()));
        let is_taken = refused.reason == Refusal::Taken;
        if is_taken && entering.increment_number(&self.username, limits) {
            return self.claim(entering, out);
        }
        let refused = Refused {
            target: is_taken.then(|| name.into()),
            ..refused.clone().in_room(&room)
        };
        self.refused(&refused, out);
        self.handle_early(me, limits, entering.early, out);
    }

    fn refused(&mut self, refused: &Refused, out: &mut Out) {
        if refused.join.is_some() {
            self.room = None;
            self.release(out);
        }
        out.frames
            .push(error(refused.reason.code(), &words(refused)));
    }
}

impl Entering {
    /// Keeps a frame until the name is claimed. A join of the room that the client asked for last is answered
    /// together with that one.
    fn postpone(&mut self, text: &ByteString, limits: &Limits) -> Result<(), Refused> {
        let asked = wanted_room(text, limits);
        if asked.as_ref() == Some(self.asked_last()) {
            return Ok(());
        }
        if self.early.len() >= EARLY_FRAMES_MAX {
            return Err(Refused::new(Refusal::NotInRoom).in_room(&self.room));
        }
        self.early.push(text.clone());
        self.next = asked.or(self.next.take());
        Ok(())
    }

    fn asked_last(&self) -> &RoomName {
        self.next.as_ref().unwrap_or(&self.room)
    }

    /// Gives the name the next number. Returns false if there is none.
    fn increment_number(&mut self, username: &DisplayName, limits: &Limits) -> bool {
        self.number += 1;
        let name = numbered(username, self.number, limits.name_bytes);
        match name.filter(|_| self.number <= NAME_NUMBER_MAX) {
            Some(name) => self.name = name,
            None => return false,
        }
        true
    }

    fn is_for(&self, id: &NameId) -> bool {
        id.room.as_ref() == Some(&self.room) && id.name == self.name
    }
}

/// The error text of a refusal of the username.
fn identify_error(refused: &Refused) -> String {
    match refused.reason {
        Refusal::EmptyName("username") => "Username cannot be empty.".into(),
        Refusal::Taken => "Username already taken.".into(),
        Refusal::EmptyName(_)
        | Refusal::NameTooLong(_)
        | Refusal::InvisibleName(_)
        | Refusal::Reserved
        | Refusal::TooManyFrames
        | Refusal::TooLarge
        | Refusal::Unavailable
        | Refusal::Denied => words(refused),
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
        | Refusal::TooManyRooms => "Invalid initial message. Expected type 'IDENTIFY'.".into(),
    }
}

/// The room that a frame asks for.
fn wanted_room(text: &ByteString, limits: &Limits) -> Option<RoomName> {
    let object = Object::parse(text, limits.json_depth).ok()?;
    let is_join = object.text("type").ok()?.as_deref() == Some("JOIN_ROOM");
    let room = object.text("roomId").ok()?.filter(|_| is_join)?;
    room_name(&room, limits).ok()
}

fn room_name(room: &str, limits: &Limits) -> Result<RoomName, Refusal> {
    RoomName::parse(room, limits.name_bytes).map_err(|e| Refusal::of_name("roomId", e))
}

/// The username with a number, as `Ada (2)`, cut so that it has at most `max` bytes (0: no limit).
fn numbered(username: &DisplayName, number: u32, max: usize) -> Option<DisplayName> {
    let suffix = format!(" ({number})");
    let username = username.as_str();
    let kept = match max {
        0 => username.len(),
        max => username.floor_char_boundary(max.checked_sub(suffix.len())?),
    };
    DisplayName::parse(&format!("{}{suffix}", &username[..kept]), max).ok()
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

/// The members that the client is to call: not those that cannot be called. If the client is known by another
/// name than its username, it is told that name.
fn members<'m>(
    room: &RoomId,
    new_name: Option<&DisplayName>,
    others: impl IntoIterator<Item = &'m Arc<Member>>,
) -> ByteString {
    let others = others.into_iter().filter(|other| other.tongue.signals);
    let frame = Writer::default()
        .text("type", "ROOM_MEMBERS")
        .text("roomId", room.name.as_str())
        .objects("members", others, |writer, other| person(writer, other));
    match new_name {
        Some(name) => frame.text("username", name.as_str()).finish(),
        None => frame.finish(),
    }
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
