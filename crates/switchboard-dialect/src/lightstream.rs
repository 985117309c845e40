//! `lightstream`: go-lightstream. WebSocket, flat JSON objects, on `/ws` (shared with `p2p`).
//!
//! # Conversation
//!
//! The client speaks first: `join` with a room and an id of its own choice. It is answered with `peers`,
//! the ids that are there, and calls each of them; they are told by `user-joined`. What it sends from then
//! on is passed on with every field, bytes unchanged as long as it names itself rightly.
//!
//! * → `{"type":"join","roomID":"R","senderID":"ME"}`, → `{"type":"leave"}`
//! * ← `{"type":"peers","peers":["ID",…]}`, ← `{"type":"user-joined","senderID":"ID"}`, ← `user-left`
//! * ↔ `offer`, `answer`, `ice-candidate`, `message`: with `targetID` for one, without for all
//! * ← `{"type":"error","code":"…","data":"…"}`
//!
//! # Better
//!
//! * Ids are unique in a room, and nobody can speak under another's.
//! * Every delivered frame has `senderID`, spelled so. Keys match in any case; several that spell `roomID` or
//!   `targetID` must agree, so no receiver reads another value than the one that the frame was routed by.
//! * Whatever cannot be delivered is answered with `error`.
//! * Leaving works, and moving to another room leaves the first.
//! * One member that does not read disturbs nobody.
//!
//! # Switch
//!
//! ```text
//! go run .  # your program, with go-lightstream on :8080
//! switchboard
//! ```
//!
//! On the main listener: `ws://HOST:8080/ws`.

use std::{borrow::Cow, sync::Arc};

use bytestring::ByteString;
use serde_json::value::RawValue;
use switchboard_core::{
    Address, Command, DialectTraits, ErrorCode, Event, JoinOptions, LeaveKind, Limits, Member,
    MessageKind, OfferPolicy, OfferRole, RelayedMessage, RequestError, RoomId, RoomName, Target,
    behind_server,
};

use crate::{
    Candidate, ClientFrame, Content, Dialect, Handshake, Session, SessionOutput,
    alias::{address_of, words_of},
    content::{readable, relay, sdp_of},
    json::{self, JsonObject, JsonWriter, quote, splice},
};

static TONGUE: DialectTraits = DialectTraits {
    name: "lightstream",
    offer_policy: OfferPolicy::NewcomerOffers,
    signals: true,
    messages: true,
    ..DialectTraits::DEFAULT
};

/// Times a frame may name its sender wrongly and still have it put right. More than one key for it
/// is rare; many would make a small frame a large one.
const SENDER_SPELLINGS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Lightstream;

impl Dialect for Lightstream {
    fn traits(&self) -> &'static DialectTraits {
        &TONGUE
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

    fn open(&self, handshake: &Handshake, _out: &mut SessionOutput) -> Box<dyn Session> {
        Box::new(LightstreamSession {
            joined: None,
            limits: handshake.limits.clone(),
        })
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
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
                Some(Content::Message(readable(value)))
            }
            MessageKind::Opaque => None,
        }
    }
}

/// The values in which clients in the wild put a description or candidate.
fn containers<'a>(
    object: &JsonObject<'a>,
    field: &'static str,
) -> impl Iterator<Item = &'a RawValue> {
    ["data", field, "payload"]
        .into_iter()
        .filter_map(|key| object.get(key))
}

/// The SDP of a description: in one of the holders, as an object, its JSON or the SDP itself, or spread
/// into the frame.
fn description<'a>(object: &JsonObject<'a>, field: &'static str) -> Option<Cow<'a, str>> {
    let of_text = |raw: &'a RawValue| {
        let text = json::text(raw)?;
        if text.starts_with("v=") {
            return Some(text);
        }
        let description = JsonObject::parse(&text, 0).ok()?;
        sdp_of(&description).map(|sdp| Cow::Owned(sdp.into_owned()))
    };
    let of_object = |raw| sdp_of(&object.nested(raw).ok()?);
    let mut holders = containers(object, field).chain(object.get("sdp"));
    let held = holders.find_map(|raw| of_object(raw).or_else(|| of_text(raw)));
    held.or_else(|| sdp_of(object))
}

/// A candidate: in one of the holders, as an object or its JSON, or spread into the frame. A holder
/// that is empty is the end of candidates.
fn candidate<'a>(object: &JsonObject<'a>) -> Option<Candidate<'a>> {
    let of_text = |raw| Candidate::of_json(&json::text(raw)?);
    let of_object = |raw| Candidate::read(&object.nested(raw).ok()?);
    let mut held = containers(object, "candidate");
    let held = held.find_map(|raw| of_object(raw).or_else(|| of_text(raw)));
    let end = || {
        let mut values = ["data", "candidate", "payload"]
            .into_iter()
            .flat_map(|key| object.all(key));
        values
            .any(|raw| matches!(raw.get(), "null" | "\"\""))
            .then_some(Candidate::END)
    };
    held.or_else(|| Candidate::read(object)).or_else(end)
}

fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "message" => Some(MessageKind::Message),
        "offer" => Some(MessageKind::Offer),
        "answer" => Some(MessageKind::Answer),
        "ice-candidate" => Some(MessageKind::Candidate),
        _ => None,
    }
}

/// Where the client is, or has asked to be, and its id there.
struct JoinedRoom {
    room: RoomName,
    own_address: Address,
}

struct LightstreamSession {
    joined: Option<JoinedRoom>,
    limits: Arc<Limits>,
}

impl Session for LightstreamSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let object = JsonObject::parse(&text, self.limits.json_depth)?;
        match &*object.only_type()? {
            "join" => self.join(&object, out),
            "leave" => self.leave(&object, out),
            other => {
                let kind = kind_of(other).ok_or(ErrorCode::UnknownType)?;
                self.relay(kind, &text, &object, out)
            }
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut SessionOutput) {
        match event {
            Event::Joined { room, others } => {
                let others = || others.iter().map(|(other, _)| other);
                out.frames.push(peers(room, others()));
                let silent = others().filter(|other| !other.dialect.signals);
                out.frames
                    .extend(silent.map(|other| presence_frame("user-joined", room, other)));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                out.frames.push(peers(room, others));
            }
            Event::Introduced {
                room,
                peer,
                role: call,
            } => {
                out.frames.push(presence_frame("user-joined", room, peer));
                if *call == OfferRole::Offerer {
                    out.frames.push(peers(room, [peer]));
                }
            }
            Event::Departed { room, peer, .. } => {
                out.frames.push(presence_frame("user-left", room, peer))
            }
            Event::Received {
                room,
                from,
                direct,
                message: relay,
            } => {
                out.frames
                    .extend(self.on_received(room, from, *direct, relay));
            }
            Event::RequestFailed(refused) => {
                if refused.join.is_some() {
                    self.joined = None;
                }
                out.frames.push(error(
                    refused.room.as_ref(),
                    refused.code.as_str(),
                    &words_of(refused),
                ));
            }
            Event::Evicted(_) => {
                let room = self.joined.take().map(|place| place.room);
                out.frames
                    .push(error(room.as_ref(), "evicted", "You have been removed."));
            }
            Event::Claimed(_) | Event::Probe(_) => {}
        }
    }
}

impl LightstreamSession {
    fn join(
        &mut self,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let max = self.limits.name_bytes;
        let room = object.text("roomID")?.unwrap_or_default();
        let room = RoomName::parse(&room, max).map_err(|e| ErrorCode::of_name("roomID", e))?;
        let me = object.text("senderID")?.unwrap_or_default();
        let me = Address::parse(&me, max)
            .map_err(|e| RequestError::new(ErrorCode::of_name("senderID", e)).in_room(&room))?;
        let moves = |place: &JoinedRoom| place.room != room || place.own_address != me;
        if let Some(JoinedRoom { room, .. }) = self.joined.take_if(|place| moves(place)) {
            out.commands.push(Command::Leave {
                room,
                kind: LeaveKind::Announced,
            });
        }
        out.commands.push(Command::Join {
            room: room.clone(),
            address: me.clone(),
            name: None,
            options: JoinOptions::default(),
        });
        self.joined = Some(JoinedRoom {
            room,
            own_address: me,
        });
        Ok(())
    }

    fn leave(
        &mut self,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        self.joined_room(object)?;
        if let Some(JoinedRoom { room, .. }) = self.joined.take() {
            out.commands.push(Command::Leave {
                room,
                kind: LeaveKind::Announced,
            });
        }
        Ok(())
    }

    fn relay(
        &self,
        kind: MessageKind,
        text: &ByteString,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let JoinedRoom {
            room,
            own_address: me,
        } = self.joined_room(object)?;
        let to = match object.only_name("targetID")? {
            None => Target::Everyone,
            Some(target) => Target::Address(self.member(&target)?),
        };
        let relay = relay(TONGUE.name, kind, with_own_sender(text, object, me)?);
        out.commands.push(Command::Send {
            room: room.clone(),
            to,
            message: relay,
        });
        Ok(())
    }

    /// The address of the member that the client calls so. The server itself is no member.
    fn member(&self, id: &str) -> Result<Address, RequestError> {
        let address = behind_server(id).ok_or(ErrorCode::NoSuchPeer)?;
        let address = Address::parse(address, self.limits.name_bytes);
        Ok(address.map_err(|error| ErrorCode::of_name("targetID", error))?)
    }

    /// The place that a frame is about. One without a room means the sender's own.
    fn joined_room(&self, object: &JsonObject<'_>) -> Result<&JoinedRoom, RequestError> {
        let named = object.only_name("roomID")?;
        let place = self.joined.as_ref().ok_or(ErrorCode::NotInRoom)?;
        if named
            .as_deref()
            .is_some_and(|named| named != place.room.as_str())
        {
            return Err(ErrorCode::NotInRoom.into());
        }
        Ok(place)
    }

    fn on_received(
        &self,
        room: &RoomId,
        from: &Member,
        direct: bool,
        relay: &RelayedMessage,
    ) -> Option<ByteString> {
        if relay.origin == TONGUE.name {
            return Some(relay.frame.clone());
        }
        let me = self
            .joined
            .as_ref()
            .filter(|_| direct)
            .map(|place| &place.own_address);
        let write = || Some(translation(room, from, me, &Content::of(relay)?));
        if direct {
            write()
        } else {
            relay.translated_once(TONGUE.name, write)
        }
    }
}

/// The frame with the sender's id under `senderID`, and put right under every other spelling of that key.
fn with_own_sender(
    text: &ByteString,
    object: &JsonObject<'_>,
    me: &Address,
) -> Result<ByteString, ErrorCode> {
    let named: Vec<_> = object.all("senderID").collect();
    let is_me = |raw: &&RawValue| json::text(raw).as_deref() == Some(me.as_str());
    let is_right = named.iter().all(is_me);
    let is_documented = object.has_exactly("senderID");
    if is_right && is_documented {
        return Ok(text.clone());
    }
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

/// The start of a server-made frame. Clients were written against either spelling of the sender:
/// the documented one, and what the original server really writes.
fn frame(frame_type: &str, sender: &str, room: Option<&RoomName>) -> JsonWriter {
    JsonWriter::default()
        .text("type", frame_type)
        .text("senderID", sender)
        .text("SenderID", sender)
        .maybe_text("roomID", room.map(RoomName::as_str))
}

/// Whom the client is to call: not who cannot be called.
fn peers<'m>(room: &RoomId, others: impl IntoIterator<Item = &'m Arc<Member>>) -> ByteString {
    let others = others.into_iter().filter(|other| other.dialect.signals);
    let ids: Vec<_> = others.map(|other| address_of(other)).collect();
    frame("peers", "server", Some(&room.name))
        .texts("peers", ids.iter().map(|id| &**id))
        .finish()
}

fn presence_frame(frame_type: &str, room: &RoomId, peer: &Member) -> ByteString {
    frame(frame_type, &address_of(peer), Some(&room.name)).finish()
}

fn error(room: Option<&RoomName>, code: &str, words: &str) -> ByteString {
    frame("error", "server", room)
        .text("code", code)
        .text("data", words)
        .finish()
}

/// What a member of another dialect says. Descriptions and candidates stand in all three places
/// where clients of this dialect look for them.
fn translation(
    room: &RoomId,
    from: &Member,
    me: Option<&Address>,
    content: &Content<'_>,
) -> ByteString {
    let begin = |frame_type: &str| {
        frame(frame_type, &address_of(from), Some(&room.name))
            .maybe_text("targetID", me.map(Address::as_str))
    };
    let described = |name: &str, sdp: &str| {
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
        Content::Message(words) => begin("message").text("data", words).finish(),
    }
}
