//! `p2p`: p2p-go-app. WebSocket, JSON in camel case, on `/ws` (shared with `lightstream`).
//!
//! # Conversation
//!
//! The client sends the first frame within five seconds: `IDENTIFY` with a username. It joins a room, gets
//! `ROOM_MEMBERS` and sends an offer to each member. The members get `NEW_PEER_IN_ROOM` before the offer. Peers have
//! UUIDs that the server generates.
//!
//! (→ from the client, ← to the client, ↔ relayed between clients)
//!
//! * → `{"type":"IDENTIFY","username":"NAME"}`, with or without the `roomId` of the room that the client will join
//! * ← `AUTH_SUCCESS` with the client's `peerId`, or `AUTH_ERROR`
//! * → `{"type":"JOIN_ROOM","roomId":"R"}`
//! * ← `ROOM_MEMBERS`, ← `NEW_PEER_IN_ROOM`, ← `PEER_LEFT_ROOM`
//! * ↔ `SDP_OFFER`, `SDP_ANSWER`, `ICE_CANDIDATE` with `toPeerId` and `fromPeerId`; ↔ `CHAT_MESSAGE`
//! * ← `{"type":"ERROR","code":"…","message":"…"}`
//!
//! # Names
//!
//! Two members of a room that speak `p2p` never have the same username. Usernames that differ only by characters
//! that are not displayed are the same; upper and lower case differ. A space, below, is the set of rooms that share
//! one namespace.
//!
//! * `IDENTIFY` without a `roomId` claims the username in the whole space. Of two such clients with the same name the
//!   second gets `Username already taken.`, even if they would be in different rooms.
//! * `IDENTIFY` with `"roomId":"R"` claims the username only in the room `R`; the same name in other rooms does not
//!   matter. If a member of `R` has the name, the client gets `Username already taken.` and can connect again with
//!   another name. The call page does this, and tries `NAME (2)`, `NAME (3)` and so on.
//! * `JOIN_ROOM` of a room in which the client has no name yet claims one there. If a member of that room has the
//!   username, the server assigns `NAME (2)`, `NAME (3)` and so on. The other members see that name, and the client
//!   gets it as `username` in `ROOM_MEMBERS`. The join is not rejected, because clients of the original do not expect
//!   that. After `NAME (20)` the join is rejected with `ERROR` (`taken`).
//! * A name in a room is released when the client joins another room, its join is rejected, or it disconnects.
//! * When a client claims a name that is taken, the server pings the client that has it. If that client does not
//!   answer within two seconds, it loses the name. This holds for names in rooms and in spaces.
//!
//! # Differences from the original server
//!
//! * A client can move to another room.
//! * The members of a room get `PEER_LEFT_ROOM` when a peer leaves. No frame reaches another room.
//! * Candidates keep every field.
//! * Errors are answered with `ERROR`.
//! * Chat messages are relayed with the id of the sender as `fromPeerId`, and never logged.
//!
//! # Migration from the original server
//!
//! ```text
//! go run ./...  # on :8080
//! switchboard
//! ```
//!
//! On the main listener: `ws://HOST:8080/ws`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytestring::ByteString;
use switchboard_core::{
    Command, DialectTraits, DisplayName, ErrorCode, Event, JoinOptions, LeaveKind, Limits, Member,
    MessageKind, NameId, OfferPolicy, OfferRole, PEER_ID_BYTES, PeerId, RequestError, RoomId,
    RoomName, Target,
};

use crate::{
    Candidate, ClientFrame, CloseReason, Content, Dialect, DialectSetting, FirstFrameTimeout,
    Handshake, Session, SessionOutput, SettingValue,
    content::{relayed_message, sdp_of},
    displayed_names::{list_bytes, name_of},
    error_message,
    json::{FoundKey, JsonObject, JsonWriter, Keys, RawJson},
};

static TRAITS: DialectTraits = DialectTraits {
    name: "p2p",
    offer_policy: OfferPolicy::NewcomerOffers,
    signals: true,
    messages: true,
    ..DialectTraits::DEFAULT
};

/// The bytes of a member in `ROOM_MEMBERS` besides its name: its id, and `{"id":"","username":""},`.
const LISTED_BYTES: usize = PEER_ID_BYTES + 24;

static IDENTIFY_SECS: DialectSetting = DialectSetting {
    key: "identify_secs",
    doc: "Seconds within which a client must send IDENTIFY.",
    default: || SettingValue::Int(5),
    range: 1..=crate::SECS_MAX,
};

/// The number of frames that may be queued while a claim of a name is pending.
const QUEUED_FRAMES_MAX: usize = 16;

/// The last number that is tried for a name, as in `Ada (20)`, before the join is rejected.
const NAME_NUMBER_MAX: u32 = 20;

#[derive(Debug)]
pub(crate) struct P2p;

impl Dialect for P2p {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
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

    fn has_credential_in_first_frame(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        let secs = handshake.settings.int(TRAITS.name, &IDENTIFY_SECS);
        output.first_frame = FirstFrameTimeout::Within(Duration::from_secs(secs));
        Box::new(P2pSession {
            own_id: handshake.peer,
            state: P2pState::Unidentified,
            limits: handshake.limits.clone(),
        })
    }

    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
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

/// The message kind of a frame type. `None` if frames of this type are not relayed.
fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "SDP_OFFER" => Some(MessageKind::Offer),
        "SDP_ANSWER" => Some(MessageKind::Answer),
        "ICE_CANDIDATE" => Some(MessageKind::Candidate),
        "CHAT_MESSAGE" => Some(MessageKind::Message),
        _ => None,
    }
}

/// The state of a client.
enum P2pState {
    /// The client has not sent `IDENTIFY` yet.
    Unidentified,
    /// The claim of the username is pending: the hub has not confirmed yet that no other client has it. Holds the
    /// username and the frames received meanwhile.
    Claiming(DisplayName, Vec<ByteString>),
    Identified(IdentifiedClient),
}

/// A client that has identified itself.
struct IdentifiedClient {
    username: DisplayName,
    /// The room in which the client has claimed a name, and that name. The room is the one that the client
    /// is in or joins next. The name is the username or, if another member has that, the username with a
    /// number.
    claimed_name: Option<(RoomName, DisplayName)>,
    /// The room that the client has joined or requested to join.
    room: Option<RoomName>,
    /// The join for whose name in the room a claim is pending. `None` in most clients.
    pending_join: Option<Box<ClaimingJoin>>,
}

/// A join that waits until the client's name in the room is claimed.
struct ClaimingJoin {
    room: RoomName,
    name: DisplayName,
    /// The number in `name`, as in `Ada (2)`; 1 if `name` has no number.
    number: u32,
    /// Frames received during the claim.
    queued_frames: Vec<ByteString>,
    /// The room of the last `JOIN_ROOM` among the queued frames.
    last_queued_room: Option<RoomName>,
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
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let ClientFrame::Text(text) = frame else {
            return Err(ErrorCode::Malformed.into());
        };
        match &mut self.state {
            P2pState::Unidentified => self.identify(text, output),
            P2pState::Claiming(_, queued_frames) if queued_frames.len() < QUEUED_FRAMES_MAX => {
                queued_frames.push(text.clone());
                Ok(())
            }
            P2pState::Claiming(..) => Err(ErrorCode::TooManyFrames.into()),
            P2pState::Identified(client) => {
                client.handle_or_queue(self.own_id, &self.limits, text, output)
            }
        }
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Claimed(id) => self.on_claimed(id, output),
            Event::Joined { room, others } => {
                let others = || others.iter().map(|(other, _)| other);
                output
                    .frames
                    .push(members_frame(room, self.assigned_name(), others()));
                // `ROOM_MEMBERS` lists only members that can receive an offer.
                let unlisted = others().filter(|other| !other.dialect.signals);
                output
                    .frames
                    .extend(unlisted.map(|other| presence_frame("NEW_PEER_IN_ROOM", room, other)));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                output
                    .frames
                    .push(members_frame(room, self.assigned_name(), others));
            }
            Event::Introduced {
                room,
                peer,
                role,
                frames,
            } => {
                frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                    frames.push(presence_frame("NEW_PEER_IN_ROOM", room, peer));
                    if *role == OfferRole::Offerer {
                        // A client sends offers only to peers in `ROOM_MEMBERS`.
                        frames.push(members_frame(room, None, [peer]));
                    }
                });
            }
            Event::Departed {
                room, peer, frames, ..
            } => {
                frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                    frames.push(presence_frame("PEER_LEFT_ROOM", room, peer));
                });
            }
            Event::Received { message, .. } if message.is_of_dialect(TRAITS.name) => {
                output.frames.push(message.frame.clone());
            }
            Event::Received { from, message, .. } => {
                let (unix_secs, dialects) = (output.unix_secs, output.dialects);
                let translate = || {
                    let content = Content::of(message, dialects)?;
                    Some(self.translation(from, &content, unix_secs))
                };
                // The translation of a chat message is the same for all receivers. That of an offer, answer or
                // candidate names its receiver, so each receiver needs its own.
                output
                    .frames
                    .extend(match message.kind == MessageKind::Message {
                        true => message.translated_once(TRAITS.name, translate),
                        false => translate(),
                    });
            }
            Event::RequestFailed(error) => self.on_error(error, output),
            Event::Evicted(_) => output
                .frames
                .push(error_frame("evicted", "You have been removed.")),
            Event::Probe(_) => {}
        }
    }
}

impl P2pSession {
    fn identify(
        &mut self,
        text: &ByteString,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
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
        output
            .commands
            .push(Command::Claim(room, name.visible_form()));
        self.state = P2pState::Claiming(name, Vec::new());
        Ok(())
    }

    fn on_claimed(&mut self, id: &NameId, output: &mut SessionOutput) {
        match &mut self.state {
            P2pState::Unidentified => {}
            P2pState::Claiming(username, queued_frames) => {
                let (username, queued_frames) = (username.clone(), std::mem::take(queued_frames));
                self.on_identified(id, username, queued_frames, output);
            }
            P2pState::Identified(client) => {
                client.on_claimed(self.own_id, &self.limits, id, output)
            }
        }
    }

    fn on_identified(
        &mut self,
        id: &NameId,
        username: DisplayName,
        queued_frames: Vec<ByteString>,
        output: &mut SessionOutput,
    ) {
        let success = JsonWriter::default()
            .text("type", "AUTH_SUCCESS")
            .text("status", "success")
            .text("username", username.as_str())
            .text("peerId", &self.own_id.to_string());
        output.frames.push(success.finish());
        let mut client = IdentifiedClient {
            claimed_name: id.room.clone().map(|room| (room, username.clone())),
            username,
            room: None,
            pending_join: None,
        };
        client.handle_queued_frames(self.own_id, &self.limits, queued_frames, output);
        self.state = P2pState::Identified(client);
    }

    /// Handles an error. Before the client has identified itself, any error closes the connection.
    fn on_error(&mut self, error: &RequestError, output: &mut SessionOutput) {
        let P2pState::Identified(client) = &mut self.state else {
            output.frames.push(auth_error_frame(&identify_error(error)));
            output.close = Some(CloseReason::POLICY);
            return;
        };
        match &error.claim {
            Some(id) => client.on_claim_failed(self.own_id, &self.limits, id, error, output),
            None => client.on_request_failed(error, output),
        }
    }

    /// The name of the client in its room, if it differs from its username.
    fn assigned_name(&self) -> Option<&DisplayName> {
        let P2pState::Identified(client) = &self.state else {
            return None;
        };
        let (_, name) = client.claimed_name.as_ref()?;
        (*name != client.username).then_some(name)
    }

    /// The frame for a message of a member of another dialect.
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
            Content::Message(text) => chat_frame(
                from.peer,
                &name_of(from),
                &crate::json::quote(text),
                unix_secs,
            ),
        }
    }
}

impl IdentifiedClient {
    /// Handles a frame, or queues it while a join is pending.
    fn handle_or_queue(
        &mut self,
        me: PeerId,
        limits: &Limits,
        text: &ByteString,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        match &mut self.pending_join {
            Some(pending_join) => pending_join.queue(text, limits),
            None => self.handle_frame(me, limits, text, output),
        }
    }

    fn handle_queued_frames(
        &mut self,
        me: PeerId,
        limits: &Limits,
        queued_frames: Vec<ByteString>,
        output: &mut SessionOutput,
    ) {
        for text in queued_frames {
            // After a queued `JOIN_ROOM` the rest is queued again.
            let error = self.handle_or_queue(me, limits, &text, output).err();
            output.errors.extend(error);
        }
    }

    fn handle_frame(
        &mut self,
        me: PeerId,
        limits: &Limits,
        text: &ByteString,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let mut object = JsonObject::parse(text, limits.json_depth)?;
        let keys = SignalKeys::find(&mut object);
        let frame_type = keys.frame_type.text().ok().flatten();
        let frame_type = frame_type.ok_or(ErrorCode::UnknownType)?;
        if frame_type == "JOIN_ROOM" {
            let requested = object.text("roomId")?.unwrap_or_default();
            self.move_to_room(me, room_name(&requested, limits)?, output);
            return Ok(());
        }
        let kind = kind_of(&frame_type).ok_or(ErrorCode::UnknownType)?;
        let room = self.room.clone().ok_or(ErrorCode::NotInRoom)?;
        let (to, frame) = match kind {
            MessageKind::Message => (
                Target::Everyone,
                chat_frame(
                    me,
                    self.name().as_str(),
                    chat_text(&object)?.as_str(),
                    output.unix_secs,
                ),
            ),
            MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Candidate
            | MessageKind::Opaque => (target(&keys)?, with_own_sender(me, &object, &keys)?),
        };
        output.commands.push(Command::Send {
            room,
            to,
            message: relayed_message(TRAITS.name, kind, frame),
        });
        Ok(())
    }

    /// The name of the client as other members see it.
    fn name(&self) -> &DisplayName {
        let claimed_name = self.claimed_name.as_ref().map(|(_, name)| name);
        claimed_name.unwrap_or(&self.username)
    }

    /// Leaves the room of the client, if it is another one, and joins `requested` with a name that is claimed there.
    fn move_to_room(&mut self, me: PeerId, requested: RoomName, output: &mut SessionOutput) {
        if let Some(left) = self.room.take_if(|joined| *joined != requested) {
            output.commands.push(Command::Leave {
                room: left,
                kind: LeaveKind::Announced,
            });
        }
        if self
            .claimed_name
            .as_ref()
            .is_some_and(|(room, _)| *room == requested)
        {
            return self.join(me, requested, output);
        }
        self.release_name(output);
        let pending_join = Box::new(ClaimingJoin {
            room: requested,
            name: self.username.clone(),
            number: 1,
            queued_frames: Vec::new(),
            last_queued_room: None,
        });
        self.claim_name(pending_join, output);
    }

    fn claim_name(&mut self, pending_join: Box<ClaimingJoin>, output: &mut SessionOutput) {
        let (room, name) = (pending_join.room.clone(), &pending_join.name);
        let claim = Command::Claim(Some(room), name.visible_form());
        output.commands.push(claim);
        self.pending_join = Some(pending_join);
    }

    fn release_name(&mut self, output: &mut SessionOutput) {
        if let Some((room, name)) = self.claimed_name.take() {
            let release = Command::Release(Some(room), name.visible_form());
            output.commands.push(release);
        }
    }

    fn join(&mut self, me: PeerId, room: RoomName, output: &mut SessionOutput) {
        self.room = Some(room.clone());
        output.commands.push(Command::Join {
            room,
            address: me.into(),
            name: Some(self.name().clone()),
            options: JoinOptions::default(),
        });
    }

    fn on_claimed(&mut self, me: PeerId, limits: &Limits, id: &NameId, output: &mut SessionOutput) {
        let Some(pending_join) = self
            .pending_join
            .take_if(|pending_join| pending_join.claims(id))
        else {
            return;
        };
        self.claimed_name = Some((pending_join.room.clone(), pending_join.name));
        self.join(me, pending_join.room, output);
        self.handle_queued_frames(me, limits, pending_join.queued_frames, output);
    }

    /// Handles a failed claim. If another member has the name, claims the name with the next number.
    fn on_claim_failed(
        &mut self,
        me: PeerId,
        limits: &Limits,
        id: &NameId,
        error: &RequestError,
        output: &mut SessionOutput,
    ) {
        let Some(mut pending_join) = self
            .pending_join
            .take_if(|pending_join| pending_join.claims(id))
        else {
            return;
        };
        let (room, name) = (pending_join.room.clone(), pending_join.name.clone());
        let release = Command::Release(Some(room.clone()), name.visible_form());
        output.commands.push(release);
        let is_taken = error.code == ErrorCode::Taken;
        if is_taken && pending_join.take_next_number(&self.username, limits) {
            return self.claim_name(pending_join, output);
        }
        let error = RequestError {
            target: is_taken.then(|| name.into()),
            ..error.clone().in_room(&room)
        };
        self.on_request_failed(&error, output);
        self.handle_queued_frames(me, limits, pending_join.queued_frames, output);
    }

    fn on_request_failed(&mut self, error: &RequestError, output: &mut SessionOutput) {
        if error.join.is_some() {
            self.room = None;
            self.release_name(output);
        }
        output
            .frames
            .push(error_frame(error.code.as_str(), &error_message(error)));
    }
}

impl ClaimingJoin {
    /// Queues a frame until the name is claimed. A repeated `JOIN_ROOM` of the room that the client requested last is
    /// dropped: the answer to the first one serves for both.
    fn queue(&mut self, text: &ByteString, limits: &Limits) -> Result<(), RequestError> {
        let requested = requested_room(text, limits);
        if requested.as_ref() == Some(self.last_requested_room()) {
            return Ok(());
        }
        if self.queued_frames.len() >= QUEUED_FRAMES_MAX {
            return Err(RequestError::new(ErrorCode::NotInRoom).in_room(&self.room));
        }
        self.queued_frames.push(text.clone());
        self.last_queued_room = requested.or(self.last_queued_room.take());
        Ok(())
    }

    fn last_requested_room(&self) -> &RoomName {
        self.last_queued_room.as_ref().unwrap_or(&self.room)
    }

    /// Puts the next number into the name. Returns false if there is no further number.
    fn take_next_number(&mut self, username: &DisplayName, limits: &Limits) -> bool {
        self.number += 1;
        let name = numbered_name(username, self.number, limits.name_bytes);
        match name.filter(|_| self.number <= NAME_NUMBER_MAX) {
            Some(name) => self.name = name,
            None => return false,
        }
        true
    }

    /// Whether `id` is the name that this join claims.
    fn claims(&self, id: &NameId) -> bool {
        id.room.as_ref() == Some(&self.room) && id.name == self.name.visible_form()
    }
}

/// The text of `AUTH_ERROR` for an error before the client has identified itself.
fn identify_error(error: &RequestError) -> String {
    match error.code {
        ErrorCode::EmptyName("username") => "Username cannot be empty.".into(),
        ErrorCode::Taken => "Username already taken.".into(),
        ErrorCode::EmptyName(_)
        | ErrorCode::NameTooLong(_)
        | ErrorCode::InvisibleName(_)
        | ErrorCode::Reserved
        | ErrorCode::TooManyFrames
        | ErrorCode::TooLarge
        | ErrorCode::Unavailable
        | ErrorCode::Denied(_) => error_message(error),
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

/// The room of a frame, if it is a valid `JOIN_ROOM`.
fn requested_room(text: &ByteString, limits: &Limits) -> Option<RoomName> {
    let object = JsonObject::parse(text, limits.json_depth).ok()?;
    let is_join = object.text("type").ok()?.as_deref() == Some("JOIN_ROOM");
    let room = object.text("roomId").ok()?.filter(|_| is_join)?;
    room_name(&room, limits).ok()
}

fn room_name(room: &str, limits: &Limits) -> Result<RoomName, ErrorCode> {
    RoomName::parse(room, limits.name_bytes).map_err(|e| ErrorCode::of_name("roomId", e))
}

/// The username with a number, as in `Ada (2)`, cut to at most `max` bytes (0: no limit).
fn numbered_name(username: &DisplayName, number: u32, max: usize) -> Option<DisplayName> {
    let suffix = format!(" ({number})");
    let username = username.as_str();
    let kept = match max {
        0 => username.len(),
        max => username.floor_char_boundary(max.checked_sub(suffix.len())?),
    };
    DisplayName::parse(&format!("{}{suffix}", &username[..kept]), max).ok()
}

/// The JSON string in `content`, which is relayed unchanged.
fn chat_text<'a>(object: &JsonObject<'a>) -> Result<RawJson<'a>, ErrorCode> {
    let content = object
        .get("content")
        .filter(|raw| raw.as_str().starts_with('"'));
    content.ok_or(ErrorCode::BadField("content"))
}

/// The keys of a signal that the server reads.
struct SignalKeys<'a> {
    frame_type: FoundKey<'a>,
    to: FoundKey<'a>,
    sdp: FoundKey<'a>,
    candidate: FoundKey<'a>,
}

impl<'a> SignalKeys<'a> {
    #[inline]
    fn find(object: &mut JsonObject<'a>) -> Self {
        let keys = const { &Keys::new(["type", "fromPeerId", "toPeerId", "sdp", "iceCandidate"]) };
        let [frame_type, _, to, sdp, candidate] = object.find(keys);
        Self {
            frame_type,
            to,
            sdp,
            candidate,
        }
    }
}

fn target(keys: &SignalKeys<'_>) -> Result<Target, RequestError> {
    let to: Cow<'_, str> = keys.to.text()?.unwrap_or_default();
    to.parse()
        .map(Target::Peer)
        .map_err(|_| RequestError::new(ErrorCode::NoSuchPeer))
}

/// The relayed frame: `fromPeerId` is this client, keys are spelled as documented, other fields are unchanged.
fn with_own_sender(
    me: PeerId,
    object: &JsonObject<'_>,
    keys: &SignalKeys<'_>,
) -> Result<ByteString, ErrorCode> {
    // The types are checked; the values are relayed unchanged.
    object.check_object(&keys.sdp)?;
    object.check_object(&keys.candidate)?;
    Ok(
        JsonWriter::with_capacity(object.as_str().len() + PEER_ID_BYTES + 24)
            .maybe_raw("type", keys.frame_type.last())
            .text("fromPeerId", me.encode(&mut [0; PEER_ID_BYTES]))
            .maybe_raw("toPeerId", keys.to.last())
            .maybe_raw("sdp", keys.sdp.last())
            .maybe_raw("iceCandidate", keys.candidate.last())
            .fields(object.others())
            .finish(),
    )
}

fn write_member(writer: JsonWriter, member: &Member) -> JsonWriter {
    writer
        .text("id", member.peer.encode(&mut [0; PEER_ID_BYTES]))
        .text("username", &name_of(member))
}

/// The frame `ROOM_MEMBERS`: the members to which the client sends offers. Members that cannot receive an
/// offer are left out. `assigned_name` is the name of the client in the room, if it differs from its username.
fn members_frame<'m>(
    room: &RoomId,
    assigned_name: Option<&DisplayName>,
    others: impl IntoIterator<Item = &'m Arc<Member>, IntoIter: Clone>,
) -> ByteString {
    let others = others.into_iter().filter(|other| other.dialect.signals);
    let frame = JsonWriter::with_capacity(list_bytes(others.clone(), LISTED_BYTES))
        .text("type", "ROOM_MEMBERS")
        .text("roomId", room.name.as_str())
        .objects("members", others, |writer, other| {
            write_member(writer, other)
        });
    match assigned_name {
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

fn chat_frame(from: PeerId, username: &str, content: &str, unix_secs: u64) -> ByteString {
    JsonWriter::default()
        .text("type", "CHAT_MESSAGE")
        .text("fromPeerId", &from.to_string())
        .text("username", username)
        .raw("content", content)
        .number("timestamp", unix_secs)
        .finish()
}

fn auth_error_frame(message: &str) -> ByteString {
    JsonWriter::default()
        .text("type", "AUTH_ERROR")
        .text("status", "error")
        .text("username", "")
        .text("message", message)
        .finish()
}

fn error_frame(code: &str, message: &str) -> ByteString {
    JsonWriter::default()
        .text("type", "ERROR")
        .text("code", code)
        .text("message", message)
        .finish()
}
