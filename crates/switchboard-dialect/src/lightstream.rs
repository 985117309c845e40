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
    Address, Call, Command, Custom, Event, Farewell, Limits, Member, Refusal, Refused, Relay,
    RelayKind, RoomId, RoomName, Target, Terms, Tongue, behind_server,
};

use crate::{
    Candidate, Content, Dialect, Frame, Handshake, Out, Session,
    alias::{address_of, words_of},
    content::{readable, relay, sdp_of},
    json::{self, Object, Writer, quote, splice},
};

static TONGUE: Tongue = Tongue {
    name: "lightstream",
    custom: Custom::NewcomerCalls,
    signals: true,
    messages: true,
    ..Tongue::USUAL
};

/// Times a frame may name its sender wrongly and still have it put right. More than one key for it
/// is rare; many would make a small frame a large one.
const SENDER_SPELLINGS_MAX: usize = 4;

#[derive(Debug)]
pub(crate) struct Lightstream;

impl Dialect for Lightstream {
    fn tongue(&self) -> &'static Tongue {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/ws"]
    }

    fn recognizes(&self, first: &Object<'_>) -> bool {
        matches!(first.text("type"), Ok(Some(_)))
    }

    fn is_recognizable(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, _out: &mut Out) -> Box<dyn Session> {
        Box::new(Lightstreamer {
            place: None,
            limits: handshake.limits.clone(),
        })
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = Object::parse(frame, 0).ok()?;
        let kind = kind_of(&object.text("type").ok()??)?;
        match kind {
            RelayKind::Offer | RelayKind::Answer => {
                let field = if kind == RelayKind::Offer {
                    "offer"
                } else {
                    "answer"
                };
                Content::description(kind, description(&object, field)?)
            }
            RelayKind::Candidate => candidate(&object).map(Content::Candidate),
            RelayKind::Message => {
                let value = object.get("data").or_else(|| object.get("payload"))?;
                Some(Content::Message(readable(value)))
            }
            RelayKind::Opaque => None,
        }
    }
}

/// The values in which clients in the wild put a description or candidate.
fn holders<'a>(object: &Object<'a>, field: &'static str) -> impl Iterator<Item = &'a RawValue> {
    ["data", field, "payload"]
        .into_iter()
        .filter_map(|key| object.get(key))
}

/// The SDP of a description: in one of the holders, as an object, its JSON or the SDP itself, or spread
/// into the frame.
fn description<'a>(object: &Object<'a>, field: &'static str) -> Option<Cow<'a, str>> {
    let of_text = |raw: &'a RawValue| {
        let text = json::text(raw)?;
        if text.starts_with("v=") {
            return Some(text);
        }
        let description = Object::parse(&text, 0).ok()?;
        sdp_of(&description).map(|sdp| Cow::Owned(sdp.into_owned()))
    };
    let of_object = |raw| sdp_of(&object.nested(raw).ok()?);
    let mut holders = holders(object, field).chain(object.get("sdp"));
    let held = holders.find_map(|raw| of_object(raw).or_else(|| of_text(raw)));
    held.or_else(|| sdp_of(object))
}

/// A candidate: in one of the holders, as an object or its JSON, or spread into the frame. A holder
/// that is empty is the end of candidates.
fn candidate<'a>(object: &Object<'a>) -> Option<Candidate<'a>> {
    let of_text = |raw| Candidate::of_json(&json::text(raw)?);
    let of_object = |raw| Candidate::read(&object.nested(raw).ok()?);
    let mut held = holders(object, "candidate");
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

fn kind_of(frame_type: &str) -> Option<RelayKind> {
    match frame_type {
        "message" => Some(RelayKind::Message),
        "offer" => Some(RelayKind::Offer),
        "answer" => Some(RelayKind::Answer),
        "ice-candidate" => Some(RelayKind::Candidate),
        _ => None,
    }
}

/// Where the client is, or has asked to be, and its id there.
struct Joined {
    room: RoomName,
    me: Address,
}

struct Lightstreamer {
    place: Option<Joined>,
    limits: Arc<Limits>,
}

impl Session for Lightstreamer {
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let text = frame.text()?;
        let object = Object::parse(&text, self.limits.json_depth)?;
        match &*object.only_type()? {
            "join" => self.join(&object, out),
            "leave" => self.leave(&object, out),
            other => {
                let kind = kind_of(other).ok_or(Refusal::UnknownType)?;
                self.relay(kind, &text, &object, out)
            }
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Joined { room, others } => {
                let others = || others.iter().map(|(other, _)| other);
                out.frames.push(peers(room, others()));
                let silent = others().filter(|other| !other.tongue.signals);
                out.frames
                    .extend(silent.map(|other| news("user-joined", room, other)));
            }
            Event::Rejoined { room, others } | Event::Members { room, others } => {
                out.frames.push(peers(room, others));
            }
            Event::Introduced { room, peer, call } => {
                out.frames.push(news("user-joined", room, peer));
                if *call == Call::You {
                    out.frames.push(peers(room, [peer]));
                }
            }
            Event::Departed { room, peer, .. } => out.frames.push(news("user-left", room, peer)),
            Event::Heard {
                room,
                from,
                direct,
                relay,
            } => {
                out.frames.extend(self.heard(room, from, *direct, relay));
            }
            Event::Refused(refused) => {
                if refused.join.is_some() {
                    self.place = None;
                }
                out.frames.push(error(
                    refused.room.as_ref(),
                    refused.reason.code(),
                    &words_of(refused),
                ));
            }
            Event::Evicted(_) => {
                let room = self.place.take().map(|place| place.room);
                out.frames
                    .push(error(room.as_ref(), "evicted", "You have been removed."));
            }
            Event::Claimed(_) | Event::Probe(_) => {}
        }
    }
}

impl Lightstreamer {
    fn join(&mut self, object: &Object<'_>, out: &mut Out) -> Result<(), Refused> {
        let max = self.limits.name_bytes;
        let room = object.text("roomID")?.unwrap_or_default();
        let room = RoomName::parse(&room, max).map_err(|e| Refusal::of_name("roomID", e))?;
        let me = object.text("senderID")?.unwrap_or_default();
        let me = Address::parse(&me, max)
            .map_err(|e| Refused::new(Refusal::of_name("senderID", e)).in_room(&room))?;
        let moves = |place: &Joined| place.room != room || place.me != me;
        if let Some(Joined { room, .. }) = self.place.take_if(|place| moves(place)) {
            out.commands.push(Command::Leave {
                room,
                farewell: Farewell::Aloud,
            });
        }
        out.commands.push(Command::Join {
            room: room.clone(),
            address: me.clone(),
            name: None,
            terms: Terms::default(),
        });
        self.place = Some(Joined { room, me });
        Ok(())
    }

    fn leave(&mut self, object: &Object<'_>, out: &mut Out) -> Result<(), Refused> {
        self.my_place(object)?;
        if let Some(Joined { room, .. }) = self.place.take() {
            out.commands.push(Command::Leave {
                room,
                farewell: Farewell::Aloud,
            });
        }
        Ok(())
    }

    fn relay(
        &self,
        kind: RelayKind,
        text: &ByteString,
        object: &Object<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let Joined { room, me } = self.my_place(object)?;
        let to = match object.only_name("targetID")? {
            None => Target::Everyone,
            Some(target) => Target::Address(self.member(&target)?),
        };
        let relay = relay(TONGUE.name, kind, in_own_name(text, object, me)?);
        out.commands.push(Command::Relay {
            room: room.clone(),
            to,
            relay,
        });
        Ok(())
    }

    /// The address of the member that the client calls so. The server itself is no member.
    fn member(&self, id: &str) -> Result<Address, Refused> {
        let address = behind_server(id).ok_or(Refusal::NoSuchPeer)?;
        let address = Address::parse(address, self.limits.name_bytes);
        Ok(address.map_err(|error| Refusal::of_name("targetID", error))?)
    }

    /// The place that a frame is about. One without a room means the sender's own.
    fn my_place(&self, object: &Object<'_>) -> Result<&Joined, Refused> {
        let named = object.only_name("roomID")?;
        let place = self.place.as_ref().ok_or(Refusal::NotInRoom)?;
        if named
            .as_deref()
            .is_some_and(|named| named != place.room.as_str())
        {
            return Err(Refusal::NotInRoom.into());
        }
        Ok(place)
    }

    fn heard(
        &self,
        room: &RoomId,
        from: &Member,
        direct: bool,
        relay: &Relay,
    ) -> Option<ByteString> {
        if relay.origin == TONGUE.name {
            return Some(relay.frame.clone());
        }
        let me = self
            .place
            .as_ref()
            .filter(|_| direct)
            .map(|place| &place.me);
        let write = || Some(translation(room, from, me, &Content::of(relay)?));
        if direct {
            write()
        } else {
            relay.translated_once(TONGUE.name, write)
        }
    }
}

/// The frame with the sender's id under `senderID`, and put right under every other spelling of that key.
fn in_own_name(
    text: &ByteString,
    object: &Object<'_>,
    me: &Address,
) -> Result<ByteString, Refusal> {
    let named: Vec<_> = object.all("senderID").collect();
    let is_me = |raw: &&RawValue| json::text(raw).as_deref() == Some(me.as_str());
    let is_right = named.iter().all(is_me);
    let is_documented = object.has_exactly("senderID");
    if is_right && is_documented {
        return Ok(text.clone());
    }
    if !is_right && named.len() > SENDER_SPELLINGS_MAX {
        return Err(Refusal::BadField("senderID"));
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
fn frame(frame_type: &str, sender: &str, room: Option<&RoomName>) -> Writer {
    Writer::default()
        .text("type", frame_type)
        .text("senderID", sender)
        .text("SenderID", sender)
        .maybe_text("roomID", room.map(RoomName::as_str))
}

/// Whom the client is to call: not who cannot be called.
fn peers<'m>(room: &RoomId, others: impl IntoIterator<Item = &'m Arc<Member>>) -> ByteString {
    let others = others.into_iter().filter(|other| other.tongue.signals);
    let ids: Vec<_> = others.map(|other| address_of(other)).collect();
    frame("peers", "server", Some(&room.name))
        .texts("peers", ids.iter().map(|id| &**id))
        .finish()
}

fn news(frame_type: &str, room: &RoomId, peer: &Member) -> ByteString {
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
        let init = Writer::with_capacity(sdp.len() + 64)
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
            let init = candidate.write(Writer::default()).finish();
            begin("ice-candidate")
                .raw("data", &init)
                .raw("candidate", &init)
                .text("payload", &init)
                .finish()
        }
        Content::Message(words) => begin("message").text("data", words).finish(),
    }
}
