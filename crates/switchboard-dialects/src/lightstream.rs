//! `lightstream`: go-lightstream. WebSocket, flat JSON objects, on `/ws` (shared with `p2p`).
//!
//! # Conversation
//!
//! The client sends the first frame: `join` with a room and an id of its choice. It gets `peers`, the ids of the
//! members, and sends an offer to each of them; they get `user-joined`. Later frames are relayed with every field,
//! and byte for byte if `senderID` is the client's own id.
//!
//! (→ from the client, ← to the client, ↔ relayed between clients)
//!
//! * → `{"type":"join","roomID":"R","senderID":"ME"}`, → `{"type":"leave"}`
//! * ← `{"type":"peers","peers":["ID",…]}`, ← `{"type":"user-joined","senderID":"ID"}`, ← `user-left`
//! * ↔ `offer`, `answer`, `ice-candidate`, `message`: with `targetID` to one member, without it to all
//! * ← `{"type":"error","code":"…","data":"…"}`
//!
//! # Differences from the original server
//!
//! * Ids are unique in a room, and no client can send frames with the id of another one.
//! * Every delivered frame has `senderID` with this spelling. Keys match case-insensitively. Several keys that match
//!   `roomID` or `targetID` must have the same value, so every receiver reads the value used for routing.
//! * A frame that cannot be delivered is answered with `error`.
//! * `leave` leaves the room, and so does a join of another room.
//! * A member that does not read does not affect other members.
//!
//! # Migration from the original server
//!
//! ```text
//! go run .  # your program, with go-lightstream on :8080
//! switchboard
//! ```
//!
//! On the main listener: `ws://HOST:8080/ws`.

use std::{borrow::Cow, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    Address, Command, DialectTraits, ErrorCode, Event, JoinOptions, LeaveKind, Limits, Member,
    MessageKind, OfferPolicy, OfferRole, RelayedMessage, RequestError, RoomId, RoomName, Target,
    unescape_server_address,
};

use crate::{
    Candidate, ClientFrame, Content, Dialect, DialectTable, Handshake, Session, SessionOutput,
    content::{display_text, relayed_message, sdp_of},
    displayed_names::{address_of, error_text, list_bytes},
    json::{FoundKey, JsonObject, JsonWriter, Keys, RawJson, quote, splice},
};

static TRAITS: DialectTraits = DialectTraits {
    name: "lightstream",
    offer_policy: OfferPolicy::NewcomerOffers,
    signals: true,
    messages: true,
    ..DialectTraits::DEFAULT
};

/// The largest number of `senderID` keys in one frame whose values the server corrects. More than one is rare, and
/// replacing many short values by a long id would make a small frame a large one.
const SENDER_SPELLINGS_MAX: usize = 4;

/// The bytes of a member in `peers` besides its id: `"",`.
const LISTED_BYTES: usize = 3;

#[derive(Debug)]
pub(crate) struct Lightstream;

impl Dialect for Lightstream {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/ws"]
    }

    fn recognizes(&self, first: &JsonObject<'_>) -> bool {
        matches!(first.text("type"), Ok(Some(_)))
    }

    fn is_recognizable(&self) -> bool {
        true
    }

    fn has_credential_in_first_frame(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
        Box::new(LightstreamSession {
            joined: None,
            limits: handshake.limits.clone(),
        })
    }

    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = JsonObject::parse(frame, 0).ok()?;
        let kind = kind_of(&object.text("type").ok()??)?;
        match kind {
            MessageKind::Offer | MessageKind::Answer => {
                let field = if kind == MessageKind::Offer {
                    "offer"
                } else {
                    "answer"
                };
                Content::description(kind, description(&object, field)?)
            }
            MessageKind::Candidate => candidate(&object).map(Content::Candidate),
            MessageKind::Message => {
                let value = object.get("data").or_else(|| object.get("payload"))?;
                Some(Content::Message(display_text(value)))
            }
            MessageKind::Opaque => None,
        }
    }
}

/// The values of the fields in which existing clients put a session description or candidate.
fn containers<'a>(
    object: &JsonObject<'a>,
    field: &'static str,
) -> impl Iterator<Item = RawJson<'a>> {
    ["data", field, "payload"]
        .into_iter()
        .filter_map(|key| object.get(key))
}

/// The SDP of a description: in one of the [`containers`] as an object, as JSON text or as plain SDP; or in
/// the fields of the frame itself.
fn description<'a>(object: &JsonObject<'a>, field: &'static str) -> Option<Cow<'a, str>> {
    let of_text = |raw: RawJson<'a>| {
        let text = raw.text()?;
        if text.starts_with("v=") {
            return Some(text);
        }
        let description = JsonObject::parse(&text, 0).ok()?;
        sdp_of(&description).map(|sdp| Cow::Owned(sdp.into_owned()))
    };
    let of_object = |raw| sdp_of(&object.nested(raw).ok()?);
    let mut values = containers(object, field).chain(object.get("sdp"));
    let found = values.find_map(|raw| of_object(raw).or_else(|| of_text(raw)));
    found.or_else(|| sdp_of(object))
}

/// A candidate: in one of the [`containers`] as an object or as JSON text, or in the fields of the frame
/// itself. A container with `null` or an empty text is the end of candidates.
fn candidate<'a>(object: &JsonObject<'a>) -> Option<Candidate<'a>> {
    let of_text = |raw: RawJson<'a>| Candidate::of_json(&raw.text()?);
    let of_object = |raw| Candidate::read(&object.nested(raw).ok()?);
    let mut found = containers(object, "candidate");
    let found = found.find_map(|raw| of_object(raw).or_else(|| of_text(raw)));
    let end = || {
        let mut values = ["data", "candidate", "payload"]
            .into_iter()
            .flat_map(|key| object.all(key));
        values
            .any(|raw| matches!(raw.as_str(), "null" | "\"\""))
            .then_some(Candidate::END)
    };
    found.or_else(|| Candidate::read(object)).or_else(end)
}

/// The message kind of a frame type. `None` if frames of this type are not relayed.
fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "message" => Some(MessageKind::Message),
        "offer" => Some(MessageKind::Offer),
        "answer" => Some(MessageKind::Answer),
        "ice-candidate" => Some(MessageKind::Candidate),
        _ => None,
    }
}

/// The room that the client has joined or requested to join, and its id there.
struct SessionRoom {
    room: RoomName,
    own_address: Address,
}

struct LightstreamSession {
    /// `None` before the first join, and after a leave or a failed join.
    joined: Option<SessionRoom>,
    limits: Arc<Limits>,
}

impl Session for LightstreamSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let mut object = JsonObject::parse(&text, self.limits.json_depth)?;
        let [frame_type, room, target, sender] =
            object.find(const { &Keys::new(["type", "roomID", "targetID", "senderID"]) });
        match &*object.only_type(&frame_type)? {
            "join" => self.join(&object, output),
            "leave" => self.leave(&object, &room, output),
            other => {
                let kind = kind_of(other).ok_or(ErrorCode::UnknownType)?;
                let joined = self.joined_room(&object, &room)?;
                let to = match object.only_name(&target)? {
                    None => Target::Everyone,
                    Some(target) => Target::Address(self.member(&target)?),
                };
                let frame = with_own_sender(&text, &object, &sender, &joined.own_address)?;
                output.commands.push(Command::Send {
                    room: joined.room.clone(),
                    to,
                    message: relayed_message(TRAITS.name, kind, frame),
                });
                Ok(())
            }
        }
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Joined { room, others } => {
                let others = || others.iter().map(|(other, _)| other);
                output.frames.push(peers_frame(room, others()));
                // `peers` lists only members that can receive an offer.
                let unlisted = others().filter(|other| !other.dialect.signals);
                output
                    .frames
                    .extend(unlisted.map(|other| presence_frame("user-joined", room, other)));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                output.frames.push(peers_frame(room, others));
            }
            Event::Introduced {
                room,
                peer,
                role,
                frames,
            } => {
                frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                    frames.push(presence_frame("user-joined", room, peer));
                    if *role == OfferRole::Offerer {
                        // A client sends offers only to peers in a `peers` frame.
                        frames.push(peers_frame(room, [peer]));
                    }
                });
            }
            Event::Departed {
                room, peer, frames, ..
            } => {
                frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                    frames.push(presence_frame("user-left", room, peer));
                });
            }
            Event::Received { message, .. } if message.is_of_dialect(TRAITS.name) => {
                output.frames.push(message.frame.clone());
            }
            Event::Received {
                room,
                from,
                direct,
                message,
            } => {
                output
                    .frames
                    .extend(self.translate(room, from, *direct, message, output.dialects));
            }
            Event::RequestFailed(error) => {
                if error.join.is_some() {
                    self.joined = None;
                }
                output.frames.push(error_frame(
                    error.room.as_ref(),
                    error.code.as_str(),
                    &error_text(error),
                ));
            }
            Event::Evicted(_) => {
                let room = self.joined.take().map(|joined| joined.room);
                output.frames.push(error_frame(
                    room.as_ref(),
                    "evicted",
                    "You have been removed.",
                ));
            }
            Event::Claimed(_) | Event::Probe(_) => {}
        }
    }
}

impl LightstreamSession {
    fn join(
        &mut self,
        object: &JsonObject<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let max = self.limits.name_bytes;
        let room = object.text("roomID")?.unwrap_or_default();
        let room = RoomName::parse(&room, max).map_err(|e| ErrorCode::of_name("roomID", e))?;
        let me = object.text("senderID")?.unwrap_or_default();
        let me = Address::parse(&me, max)
            .map_err(|e| RequestError::new(ErrorCode::of_name("senderID", e)).in_room(&room))?;
        let is_move = |joined: &SessionRoom| joined.room != room || joined.own_address != me;
        if let Some(SessionRoom { room, .. }) = self.joined.take_if(|joined| is_move(joined)) {
            output.commands.push(Command::Leave {
                room,
                kind: LeaveKind::Announced,
            });
        }
        output.commands.push(Command::Join {
            room: room.clone(),
            address: me.clone(),
            name: None,
            options: JoinOptions::default(),
        });
        self.joined = Some(SessionRoom {
            room,
            own_address: me,
        });
        Ok(())
    }

    fn leave<'a>(
        &mut self,
        object: &JsonObject<'a>,
        room: &FoundKey<'a>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        self.joined_room(object, room)?;
        if let Some(SessionRoom { room, .. }) = self.joined.take() {
            output.commands.push(Command::Leave {
                room,
                kind: LeaveKind::Announced,
            });
        }
        Ok(())
    }

    /// The address of the member with this id. An error for the id of the server, which is not a member.
    fn member(&self, id: &str) -> Result<Address, RequestError> {
        let address = unescape_server_address(id).ok_or(ErrorCode::NoSuchPeer)?;
        let address = Address::parse(address, self.limits.name_bytes);
        Ok(address.map_err(|error| ErrorCode::of_name("targetID", error))?)
    }

    /// The room of the client, for a frame that names this room or none.
    ///
    /// # Errors
    /// [`ErrorCode::NotInRoom`] if the client is in no room, or the frame names another one.
    fn joined_room<'a>(
        &self,
        object: &JsonObject<'a>,
        room: &FoundKey<'a>,
    ) -> Result<&SessionRoom, RequestError> {
        let named = object.only_name(room)?;
        let joined = self.joined.as_ref().ok_or(ErrorCode::NotInRoom)?;
        if named
            .as_deref()
            .is_some_and(|named| named != joined.room.as_str())
        {
            return Err(ErrorCode::NotInRoom.into());
        }
        Ok(joined)
    }

    /// A message of another dialect; `None` if this one cannot express it.
    fn translate(
        &self,
        room: &RoomId,
        from: &Member,
        direct: bool,
        message: &RelayedMessage,
        dialects: DialectTable,
    ) -> Option<ByteString> {
        let me = self
            .joined
            .as_ref()
            .filter(|_| direct)
            .map(|joined| &joined.own_address);
        let write = || {
            Some(translation(
                room,
                from,
                me,
                &Content::of(message, dialects)?,
            ))
        };
        if direct {
            write()
        } else {
            message.translated_once(TRAITS.name, write)
        }
    }
}

/// The frame with the sender's real id under `senderID` and under every other spelling of that key.
fn with_own_sender(
    text: &ByteString,
    object: &JsonObject<'_>,
    sender: &FoundKey<'_>,
    me: &Address,
) -> Result<ByteString, ErrorCode> {
    let is_me = |raw: RawJson<'_>| raw.text().as_deref() == Some(me.as_str());
    if sender.only_exactly().is_some_and(is_me) {
        return Ok(text.clone());
    }
    let is_right = object.all("senderID").all(is_me);
    let is_documented = object.has_exactly("senderID");
    if is_right && is_documented {
        return Ok(text.clone());
    }
    let named: Vec<_> = object.all("senderID").collect();
    if !is_right && named.len() > SENDER_SPELLINGS_MAX {
        return Err(ErrorCode::BadField("senderID"));
    }
    let me = quote(me.as_str());
    let text = match is_right {
        true => Cow::Borrowed(&**text),
        false => Cow::Owned(splice(text, &named, &me)),
    };
    if is_documented {
        return Ok(text.into_owned().into());
    }
    let fields = text.trim_start().trim_start_matches('{');
    Ok(format!("{{\"senderID\":{me},{fields}").into())
}

/// The first fields of a frame from the server. The sender has two keys, because some clients read the
/// documented one and others read the one that the original server writes.
fn start_frame(frame_type: &str, sender: &str, room: Option<&RoomName>) -> JsonWriter {
    start_frame_in(JsonWriter::default(), frame_type, sender, room)
}

/// [`start_frame`] for a frame that is written into this empty object.
fn start_frame_in(
    writer: JsonWriter,
    frame_type: &str,
    sender: &str,
    room: Option<&RoomName>,
) -> JsonWriter {
    writer
        .text("type", frame_type)
        .text("senderID", sender)
        .text("SenderID", sender)
        .maybe_text("roomID", room.map(RoomName::as_str))
}

/// The frame `peers`: the members to which the client sends offers. Members that cannot receive an offer are left
/// out.
fn peers_frame<'m>(
    room: &RoomId,
    others: impl IntoIterator<Item = &'m Arc<Member>, IntoIter: Clone>,
) -> ByteString {
    let others = others.into_iter().filter(|other| other.dialect.signals);
    let writer = JsonWriter::with_capacity(list_bytes(others.clone(), LISTED_BYTES));
    start_frame_in(writer, "peers", "server", Some(&room.name))
        .texts("peers", others.map(|other| address_of(other)))
        .finish()
}

fn presence_frame(frame_type: &str, room: &RoomId, peer: &Member) -> ByteString {
    start_frame(frame_type, &address_of(peer), Some(&room.name)).finish()
}

fn error_frame(room: Option<&RoomName>, code: &str, text: &str) -> ByteString {
    start_frame("error", "server", room)
        .text("code", code)
        .text("data", text)
        .finish()
}

/// The frame for a message of a member of another dialect; `me` is the receiver of a message to one member. A
/// description or candidate is in all three fields in which clients of this dialect expect it.
fn translation(
    room: &RoomId,
    from: &Member,
    me: Option<&Address>,
    content: &Content<'_>,
) -> ByteString {
    let begin = |frame_type: &str| {
        start_frame(frame_type, &address_of(from), Some(&room.name))
            .maybe_text("targetID", me.map(Address::as_str))
    };
    let described = |name: &'static str, sdp: &str| {
        let init = JsonWriter::with_capacity(sdp.len() + 64)
            .text("type", name)
            .text("sdp", sdp)
            .finish();
        begin(name)
            .raw("data", &init)
            .raw(name, &init)
            .text("payload", &init)
            .finish()
    };
    match content {
        Content::Offer(sdp) => described("offer", sdp),
        Content::Answer(sdp) => described("answer", sdp),
        Content::Candidate(candidate) => {
            let init = candidate.write(JsonWriter::default()).finish();
            begin("ice-candidate")
                .raw("data", &init)
                .raw("candidate", &init)
                .text("payload", &init)
                .finish()
        }
        Content::Message(text) => begin("message").text("data", text).finish(),
    }
}
