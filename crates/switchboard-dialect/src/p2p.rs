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
    Command, DialectTraits, DisplayName, ErrorCode, Event, JoinOptions, LeaveKind, Limits, Member,
    MessageKind, NameId, OfferPolicy, OfferRole, PeerId, RequestError, RoomId, RoomName, Target,
};

use crate::{
    Candidate, ClientFrame, CloseReason, Content, Dialect, DialectSetting, FirstFrameTimeout,
    Handshake, Session, SessionOutput, SettingValue,
    alias::name_of,
    content::{relay, sdp_of},
    error_message,
    json::{JsonObject, JsonWriter},
};

static TONGUE: DialectTraits = DialectTraits {
    name: "p2p",
    offer_policy: OfferPolicy::NewcomerOffers,
    signals: true,
    messages: true,
    ..DialectTraits::DEFAULT
};

static IDENTIFY_SECS: DialectSetting = DialectSetting {
    key: "identify_secs",
    doc: "Seconds a client has for IDENTIFY.",
    default: || SettingValue::Int(5),
    range: 1..=crate::SECS_MAX,
};

/// Frames that may wait while a name is being claimed.
const EARLY_FRAMES_MAX: usize = 16;

/// The last number that a name is tried with, as in `Ada (20)`, before a join is refused.
const NAME_NUMBER_MAX: u32 = 20;

#[derive(Debug)]
pub(crate) struct P2p;

impl Dialect for P2p {
    fn traits(&self) -> &'static DialectTraits {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/ws"]
    }

    fn settings(&self) -> &'static [DialectSetting] {
        std::slice::from_ref(&IDENTIFY_SECS)
    }

    fn recognizes(&self, first: &JsonObject<'_>) -> bool {
        matches!(first.text("type"), Ok(Some(frame_type)) if frame_type == "IDENTIFY")
    }

    fn is_recognizable(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, out: &mut SessionOutput) -> Box<dyn Session> {
        let secs = handshake.settings.int(TONGUE.name, &IDENTIFY_SECS);
        out.first_frame = FirstFrameTimeout::Within(Duration::from_secs(secs));
        Box::new(P2pSession {
            own_id: handshake.peer,
            state: P2pState::Unidentified,
            limits: handshake.limits.clone(),
        })
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = JsonObject::parse(frame, 0).ok()?;
        match kind_of(&object.text("type").ok()??)? {
            MessageKind::Candidate => {
                let candidate = object.all("iceCandidate").last()?;
                Candidate::of_value(candidate).map(Content::Candidate)
            }
            MessageKind::Message => object.text("content").ok()?.map(Content::Message),
            kind @ (MessageKind::Offer | MessageKind::Answer | MessageKind::Opaque) => {
                Content::description(kind, sdp_of(&object.object("sdp").ok()??)?)
            }
        }
    }
}

fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "SDP_OFFER" => Some(MessageKind::Offer),
        "SDP_ANSWER" => Some(MessageKind::Answer),
        "ICE_CANDIDATE" => Some(MessageKind::Candidate),
        "CHAT_MESSAGE" => Some(MessageKind::Message),
        _ => None,
    }
}

/// How far the client has come.
enum P2pState {
    Unidentified,
    /// The username is asked for; frames that come meanwhile wait.
    Claiming(Vec<ByteString>),
    Identified(Known),
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

struct P2pSession {
    own_id: PeerId,
    state: P2pState,
    limits: Arc<Limits>,
}

impl Session for P2pSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let ClientFrame::Text(text) = frame else {
            return Err(ErrorCode::Malformed.into());
        };
        match &mut self.state {
            P2pState::Unidentified => self.identify(text, out),
            P2pState::Claiming(early) if early.len() < EARLY_FRAMES_MAX => {
                early.push(text.clone());
                Ok(())
            }
            P2pState::Claiming(_) => Err(ErrorCode::TooManyFrames.into()),
            P2pState::Identified(known) => known.handle(self.own_id, &self.limits, text, out),
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut SessionOutput) {
        match event {
            Event::Claimed(id) => self.claimed(id, out),
            Event::Joined { room, others } => {
                let others = || others.iter().map(|(other, _)| other);
                out.frames.push(members(room, self.new_name(), others()));
                let silent = others().filter(|other| !other.dialect.signals);
                out.frames
                    .extend(silent.map(|other| presence_frame("NEW_PEER_IN_ROOM", room, other)));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                out.frames.push(members(room, self.new_name(), others));
            }
            Event::Introduced {
                room,
                peer,
                role: call,
            } => {
                out.frames
                    .push(presence_frame("NEW_PEER_IN_ROOM", room, peer));
                if *call == OfferRole::Offerer {
                    out.frames.push(members(room, None, [peer]));
                }
            }
            Event::Departed { room, peer, .. } => {
                out.frames
                    .push(presence_frame("PEER_LEFT_ROOM", room, peer))
            }
            Event::Received { message: relay, .. } if relay.origin == TONGUE.name => {
                out.frames.push(relay.frame.clone());
            }
            Event::Received {
                from,
                message: relay,
                ..
            } => {
                let content = Content::of(relay);
                out.frames
                    .extend(content.map(|content| self.translation(from, &content, out.unix_secs)));
            }
            Event::RequestFailed(refused) => self.on_error(refused, out),
            Event::Evicted(_) => out.frames.push(error("evicted", "You have been removed.")),
            Event::Probe(_) => {}
        }
    }
}

impl P2pSession {
    fn identify(&mut self, text: &ByteString, out: &mut SessionOutput) -> Result<(), RequestError> {
        let object = JsonObject::parse(text, self.limits.json_depth)?;
        if object.text("type")?.as_deref() != Some("IDENTIFY") {
            return Err(ErrorCode::UnknownType.into());
        }
        let name = object.text("username")?.unwrap_or_default();
        let name = DisplayName::parse(&name, self.limits.name_bytes)
            .map_err(|e| ErrorCode::of_name("username", e))?;
        let room = object.text("roomId")?;
        let room = room
            .map(|room| room_name(&room, &self.limits))
            .transpose()?;
        out.commands.push(Command::Claim(room, name));
        self.state = P2pState::Claiming(Vec::new());
        Ok(())
    }

    fn claimed(&mut self, id: &NameId, out: &mut SessionOutput) {
        match &mut self.state {
            P2pState::Unidentified => {}
            P2pState::Claiming(early) => {
                let early = std::mem::take(early);
                self.identified(id, early, out);
            }
            P2pState::Identified(known) => known.claimed(self.own_id, &self.limits, id, out),
        }
    }

    fn identified(&mut self, id: &NameId, early: Vec<ByteString>, out: &mut SessionOutput) {
        let success = JsonWriter::default()
            .text("type", "AUTH_SUCCESS")
            .text("status", "success")
            .text("username", id.name.as_str())
            .text("peerId", &self.own_id.to_string());
        out.frames.push(success.finish());
        let mut known = Known {
            username: id.name.clone(),
            held: id.room.clone().map(|room| (room, id.name.clone())),
            room: None,
            entering: None,
        };
        known.handle_early(self.own_id, &self.limits, early, out);
        self.state = P2pState::Identified(known);
    }

    /// Before it is known who speaks, any refusal ends the connection.
    fn on_error(&mut self, refused: &RequestError, out: &mut SessionOutput) {
        let P2pState::Identified(known) = &mut self.state else {
            out.frames.push(auth_error(&identify_error(refused)));
            out.close = Some(CloseReason::POLICY);
            return;
        };
        match &refused.claim {
            Some(id) => known.claim_refused(self.own_id, &self.limits, id, refused, out),
            None => known.refused(refused, out),
        }
    }

    /// The name by which the client is known in its room, if it is not the username that it has given.
    fn new_name(&self) -> Option<&DisplayName> {
        let P2pState::Identified(known) = &self.state else {
            return None;
        };
        let (_, name) = known.held.as_ref()?;
        (*name != known.username).then_some(name)
    }

    fn translation(&self, from: &Member, content: &Content<'_>, unix_secs: u64) -> ByteString {
        let begin = |frame_type| {
            let from = from.peer.to_string();
            JsonWriter::default()
                .text("type", frame_type)
                .text("fromPeerId", &from)
                .text("toPeerId", &self.own_id.to_string())
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
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        match &mut self.entering {
            Some(entering) => entering.postpone(text, limits),
            None => self.handle_frame(me, limits, text, out),
        }
    }

    fn handle_early(
        &mut self,
        me: PeerId,
        limits: &Limits,
        early: Vec<ByteString>,
        out: &mut SessionOutput,
    ) {
        for text in early {
            let refused = self.handle(me, limits, &text, out).err();
            out.errors.extend(refused);
        }
    }

    fn handle_frame(
        &mut self,
        me: PeerId,
        limits: &Limits,
        text: &ByteString,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let object = JsonObject::parse(text, limits.json_depth)?;
        let frame_type = object
            .text("type")
            .ok()
            .flatten()
            .ok_or(ErrorCode::UnknownType)?;
        if frame_type == "JOIN_ROOM" {
            let wanted = object.text("roomId")?.unwrap_or_default();
            self.go_to(me, room_name(&wanted, limits)?, out);
            return Ok(());
        }
        let kind = kind_of(&frame_type).ok_or(ErrorCode::UnknownType)?;
        let room = self.room.clone().ok_or(ErrorCode::NotInRoom)?;
        let (to, frame) = match kind {
            MessageKind::Message => (
                Target::Everyone,
                chat(
                    me,
                    self.name().as_str(),
                    chat_text(&object)?.get(),
                    out.unix_secs,
                ),
            ),
            MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Candidate
            | MessageKind::Opaque => (target(&object)?, with_own_sender(me, &frame_type, &object)?),
        };
        out.commands.push(Command::Send {
            room,
            to,
            message: relay(TONGUE.name, kind, frame),
        });
        Ok(())
    }

    /// The name by which the others know the client.
    fn name(&self) -> &DisplayName {
        let held = self.held.as_ref().map(|(_, name)| name);
        held.unwrap_or(&self.username)
    }

    fn go_to(&mut self, me: PeerId, wanted: RoomName, out: &mut SessionOutput) {
        if let Some(left) = self.room.take_if(|joined| *joined != wanted) {
            out.commands.push(Command::Leave {
                room: left,
                kind: LeaveKind::Announced,
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

    fn claim(&mut self, entering: Entering, out: &mut SessionOutput) {
        let (room, name) = (entering.room.clone(), entering.name.clone());
        out.commands.push(Command::Claim(Some(room), name));
        self.entering = Some(entering);
    }

    fn release(&mut self, out: &mut SessionOutput) {
        if let Some((room, name)) = self.held.take() {
            out.commands.push(Command::Release(Some(room), name));
        }
    }

    fn join(&mut self, me: PeerId, room: RoomName, out: &mut SessionOutput) {
        self.room = Some(room.clone());
        out.commands.push(Command::Join {
            room,
            address: me.into(),
            name: Some(self.name().clone()),
            options: JoinOptions::default(),
        });
    }

    fn claimed(&mut self, me: PeerId, limits: &Limits, id: &NameId, out: &mut SessionOutput) {
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
        refused: &RequestError,
        out: &mut SessionOutput,
    ) {
        let Some(mut entering) = self.entering.take_if(|entering| entering.is_for(id)) else {
            return;
        };
        let (room, name) = (entering.room.clone(), entering.name.clone());
        out.commands
            .push(Command::Release(Some(room.clone()), name.clone()));
        let is_taken = refused.code == ErrorCode::Taken;
        if is_taken && entering.increment_number(&self.username, limits) {
            return self.claim(entering, out);
        }
        let refused = RequestError {
            target: is_taken.then(|| name.into()),
            ..refused.clone().in_room(&room)
        };
        self.refused(&refused, out);
        self.handle_early(me, limits, entering.early, out);
    }

    fn refused(&mut self, refused: &RequestError, out: &mut SessionOutput) {
        if refused.join.is_some() {
            self.room = None;
            self.release(out);
        }
        out.frames
            .push(error(refused.code.as_str(), &error_message(refused)));
    }
}

impl Entering {
    /// Keeps a frame until the name is claimed. A join of the room that the client asked for last is answered
    /// together with that one.
    fn postpone(&mut self, text: &ByteString, limits: &Limits) -> Result<(), RequestError> {
        let asked = wanted_room(text, limits);
        if asked.as_ref() == Some(self.asked_last()) {
            return Ok(());
        }
        if self.early.len() >= EARLY_FRAMES_MAX {
            return Err(RequestError::new(ErrorCode::NotInRoom).in_room(&self.room));
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
fn identify_error(refused: &RequestError) -> String {
    match refused.code {
        ErrorCode::EmptyName("username") => "Username cannot be empty.".into(),
        ErrorCode::Taken => "Username already taken.".into(),
        ErrorCode::EmptyName(_)
        | ErrorCode::NameTooLong(_)
        | ErrorCode::InvisibleName(_)
        | ErrorCode::Reserved
        | ErrorCode::TooManyFrames
        | ErrorCode::TooLarge
        | ErrorCode::Unavailable
        | ErrorCode::Denied => error_message(refused),
        ErrorCode::Malformed
        | ErrorCode::TooDeep
        | ErrorCode::UnknownType
        | ErrorCode::BadField(_)
        | ErrorCode::FirstFrameTimeout
        | ErrorCode::NotInRoom
        | ErrorCode::NoSuchPeer
        | ErrorCode::Expired
        | ErrorCode::Untranslatable
        | ErrorCode::RoomFull
        | ErrorCode::TooManyRooms => "Invalid initial message. Expected type 'IDENTIFY'.".into(),
    }
}

/// The room that a frame asks for.
fn wanted_room(text: &ByteString, limits: &Limits) -> Option<RoomName> {
    let object = JsonObject::parse(text, limits.json_depth).ok()?;
    let is_join = object.text("type").ok()?.as_deref() == Some("JOIN_ROOM");
    let room = object.text("roomId").ok()?.filter(|_| is_join)?;
    room_name(&room, limits).ok()
}

fn room_name(room: &str, limits: &Limits) -> Result<RoomName, ErrorCode> {
    RoomName::parse(room, limits.name_bytes).map_err(|e| ErrorCode::of_name("roomId", e))
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

fn chat_text<'a>(object: &JsonObject<'a>) -> Result<&'a RawValue, ErrorCode> {
    let content = object
        .get("content")
        .filter(|raw| raw.get().starts_with('"'));
    content.ok_or(ErrorCode::BadField("content"))
}

fn target(object: &JsonObject<'_>) -> Result<Target, RequestError> {
    let to: Cow<'_, str> = object.text("toPeerId")?.unwrap_or_default();
    PeerId::parse(&to)
        .map(Target::Peer)
        .ok_or(RequestError::new(ErrorCode::NoSuchPeer))
}

/// The frame with its keys as documented, the real sender in it, and the rest as it was.
fn with_own_sender(
    me: PeerId,
    frame_type: &str,
    object: &JsonObject<'_>,
) -> Result<ByteString, ErrorCode> {
    // Checked only: they are passed on as they were written.
    let _ = (object.object("sdp")?, object.object("iceCandidate")?);
    let to = object.text("toPeerId")?.unwrap_or_default();
    Ok(JsonWriter::with_capacity(2048)
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

fn write_member(writer: JsonWriter, member: &Member) -> JsonWriter {
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
    let others = others.into_iter().filter(|other| other.dialect.signals);
    let frame = JsonWriter::default()
        .text("type", "ROOM_MEMBERS")
        .text("roomId", room.name.as_str())
        .objects("members", others, |writer, other| {
            write_member(writer, other)
        });
    match new_name {
        Some(name) => frame.text("username", name.as_str()).finish(),
        None => frame.finish(),
    }
}

fn presence_frame(frame_type: &str, room: &RoomId, peer: &Member) -> ByteString {
    JsonWriter::default()
        .text("type", frame_type)
        .text("roomId", room.name.as_str())
        .object("peer", |writer| write_member(writer, peer))
        .finish()
}

fn chat(from: PeerId, username: &str, content: &str, unix_secs: u64) -> ByteString {
    JsonWriter::default()
        .text("type", "CHAT_MESSAGE")
        .text("fromPeerId", &from.to_string())
        .text("username", username)
        .raw("content", content)
        .number("timestamp", unix_secs)
        .finish()
}

fn auth_error(message: &str) -> ByteString {
    JsonWriter::default()
        .text("type", "AUTH_ERROR")
        .text("status", "error")
        .text("username", "")
        .text("message", message)
        .finish()
}

fn error(code: &str, message: &str) -> ByteString {
    JsonWriter::default()
        .text("type", "ERROR")
        .text("code", code)
        .text("message", message)
        .finish()
}
