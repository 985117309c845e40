//! `singo`: singo and gosignaling. WebSocket, `{"type":…,"payload":{…}}`, on `/connect`.
//!
//! # Conversation
//!
//! The server sends the first frame, `notify-client-id`. The client joins with `join` and gets no answer. The
//! members of the room get `new-client` and send an offer to the newcomer. `new-client` always means "send an
//! offer to this client", so in a room with members of other dialects it goes to the side that sends the offer,
//! newcomer or not.
//!
//! (→ from the client, ← to the client, ↔ relayed between clients)
//!
//! * ← `{"type":"notify-client-id","payload":{"client_id":"ME"}}`
//! * → `{"type":"join","payload":{"room_id":"R"}}`
//! * ← `new-client`, ← `leave-client`
//! * ↔ `offer`, `answer`, `ice-candidate`: the payload's `client_id` is the target in a frame from the client, and the
//!   sender in a frame to the client
//! * ← `{"type":"ping"}`, → `{"type":"pong"}`
//! * ← `{"type":"error","payload":{"error":"…","code":"…"}}`
//!
//! # Differences from the original server
//!
//! * A frame for an absent peer is answered with an error; it ended the process of the original.
//! * The members of a room get `leave-client` as soon as a client has left.
//! * A client that does not read does not block other clients.
//! * ICE candidates are relayed.
//! * The payloads of `notify-client-id` and `error` are JSON objects, as the documentation of the original says. The
//!   first version of the original sent them as base64 strings.
//!
//! # Migration from the original server
//!
//! ```text
//! go run . -addr 0.0.0.0 -port 5000
//! SWITCHBOARD_SINGO_LISTEN=:5000 switchboard
//! ```
//!
//! On the main listener: `ws://HOST:8080/connect`.

use std::{sync::Arc, time::Duration};

use bytestring::ByteString;
use switchboard_core::{
    Address, Command, DialectTraits, ErrorCode, Event, JoinOptions, LeaveKind, Limits, Member,
    MessageKind, OfferPolicy, OfferRole, RequestError, RoomName, Target,
};

use crate::{
    Candidate, ClientFrame, Content, Dialect, DialectSetting, Handshake, Session, SessionOutput,
    SettingValue,
    content::{relayed_message, sdp_of},
    error_message,
    json::{JsonObject, JsonWriter, Keys, RawJson},
};

static TRAITS: DialectTraits = DialectTraits {
    name: "singo",
    offer_policy: OfferPolicy::MemberOffers,
    signals: true,
    messages: false,
    ..DialectTraits::DEFAULT
};

/// The length of a client id in characters, as in the original server (xid).
const ID_LENGTH: usize = 20;

static PING_SECS: DialectSetting = DialectSetting {
    key: "ping_secs",
    doc: "Seconds between the dialect's own ping frames; 0 for none.",
    default: || SettingValue::Int(30),
    range: 0..=crate::SECS_MAX,
};

#[derive(Debug)]
pub(crate) struct Singo;

impl Dialect for Singo {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/connect"]
    }

    fn settings(&self) -> &'static [DialectSetting] {
        std::slice::from_ref(&PING_SECS)
    }

    fn has_credential_in_first_frame(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        let id = handshake.random_text(ID_LENGTH).to_ascii_lowercase();
        let me = Address::parse(&id, 0).expect("a random text is not empty");
        output.frames.push(client_frame("notify-client-id", &me));
        output.tick = match handshake.settings.int(TRAITS.name, &PING_SECS) {
            0 => None,
            secs => Some(Duration::from_secs(secs)),
        };
        Box::new(SingoSession {
            own_address: me,
            room: None,
            limits: handshake.limits.clone(),
        })
    }

    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = JsonObject::parse(frame, 0).ok()?;
        let payload = object.object("payload").ok()??;
        match kind_of(&object.text("type").ok()??)? {
            MessageKind::Candidate => Candidate::read(&payload).map(Content::Candidate),
            kind @ (MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Message
            | MessageKind::Opaque) => Content::description(kind, sdp_of(&payload)?),
        }
    }
}

/// The message kind of a frame type. `None` if frames of this type are not relayed.
fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "offer" => Some(MessageKind::Offer),
        "answer" => Some(MessageKind::Answer),
        "ice-candidate" => Some(MessageKind::Candidate),
        _ => None,
    }
}

struct SingoSession {
    own_address: Address,
    /// The room that the client has joined or requested to join.
    room: Option<RoomName>,
    limits: Arc<Limits>,
}

impl Session for SingoSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let mut object = JsonObject::parse(&text, self.limits.json_depth)?;
        let [frame_type, payload] = object.find(const { &Keys::new(["type", "payload"]) });
        let payload = || {
            let payload = object.object_of(&payload)?;
            payload.ok_or(ErrorCode::BadField("payload"))
        };
        let frame_type = frame_type.text().ok().flatten();
        let frame_type = frame_type.ok_or(ErrorCode::UnknownType)?;
        match &*frame_type {
            "pong" => Ok(()),
            "join" => self.join(&payload()?, output),
            other => {
                let kind = kind_of(other).ok_or(ErrorCode::UnknownType)?;
                let message = SingoSignal {
                    frame_type: other,
                    payload: payload()?,
                    object: &object,
                };
                self.relay(kind, message, output)
            }
        }
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Joined { others, .. } => {
                let to_offer = others
                    .iter()
                    .filter(|(_, role)| *role == OfferRole::Offerer);
                output
                    .frames
                    .extend(to_offer.map(|(other, _)| client_frame("new-client", &other.address)));
            }
            Event::Introduced {
                peer,
                role: OfferRole::Offerer,
                frames,
                ..
            } => {
                frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                    frames.push(client_frame("new-client", &peer.address));
                });
            }
            Event::Departed { peer, frames, .. } => {
                frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                    frames.push(client_frame("leave-client", &peer.address));
                });
            }
            Event::Received { message, .. } if message.is_of_dialect(TRAITS.name) => {
                output.frames.push(message.frame.clone());
            }
            Event::Received { from, message, .. } => {
                let dialects = output.dialects;
                output
                    .frames
                    .extend(message.translated_once(TRAITS.name, || {
                        translation(from, &Content::of(message, dialects)?)
                    }));
            }
            Event::RequestFailed(error) => {
                if error.join.is_some() {
                    self.room = None;
                }
                output
                    .frames
                    .push(error_frame(error.code.as_str(), &error_message(error)));
            }
            Event::Evicted(_) => output
                .frames
                .push(error_frame("evicted", "You have been removed.")),
            Event::Introduced { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }

    fn on_tick(&mut self, output: &mut SessionOutput) {
        output
            .frames
            .push(ByteString::from_static(r#"{"type":"ping"}"#));
    }
}

impl SingoSession {
    fn join(
        &mut self,
        payload: &JsonObject<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let room = payload.text("room_id")?.unwrap_or_default();
        let room = RoomName::parse(&room, self.limits.name_bytes)
            .map_err(|e| ErrorCode::of_name("room_id", e))?;
        if let Some(left) = self.room.take_if(|joined| *joined != room) {
            output.commands.push(Command::Leave {
                room: left,
                kind: LeaveKind::Announced,
            });
        }
        output.commands.push(Command::Join {
            room: room.clone(),
            address: self.own_address.clone(),
            name: None,
            options: JoinOptions::default(),
        });
        self.room = Some(room);
        Ok(())
    }

    fn relay(
        &self,
        kind: MessageKind,
        mut message: SingoSignal<'_, '_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let (key, keys) = if kind == MessageKind::Candidate {
            (
                "candidate",
                const { &Keys::new(["client_id", "candidate"]) },
            )
        } else {
            ("sdp", const { &Keys::new(["client_id", "sdp"]) })
        };
        let [target, field] = message.payload.find(keys);
        // The type is checked; the value is relayed unchanged.
        field.check_text()?;
        let target = target.text()?.unwrap_or_default();
        let target = Address::parse(&target, self.limits.name_bytes)
            .map_err(|e| ErrorCode::of_name("client_id", e))?;
        let room = self.room.clone().ok_or(ErrorCode::NotInRoom)?;
        let frame = message.frame_from(&self.own_address, key, field.last());
        output.commands.push(Command::Send {
            room,
            to: Target::Address(target),
            message: relayed_message(TRAITS.name, kind, frame),
        });
        Ok(())
    }
}

/// A frame of the client that is relayed.
struct SingoSignal<'o, 'a> {
    frame_type: &'o str,
    payload: JsonObject<'a>,
    object: &'o JsonObject<'a>,
}

impl SingoSignal<'_, '_> {
    /// The frame as receivers get it: with the sender in place of the target, and all other fields unchanged. Clients
    /// may write the keys in any case; receivers get the documented spelling of those that the server reads.
    fn frame_from(
        &self,
        sender: &Address,
        key: &'static str,
        value: Option<RawJson<'_>>,
    ) -> ByteString {
        JsonWriter::with_capacity(self.object.as_str().len() + sender.as_str().len() + 32)
            .text("type", self.frame_type)
            .object("payload", |writer| {
                writer
                    .text("client_id", sender.as_str())
                    .maybe_raw(key, value)
                    .fields(self.payload.others())
            })
            .fields(self.object.others())
            .finish()
    }
}

fn client_frame(frame_type: &str, client: &Address) -> ByteString {
    JsonWriter::default()
        .text("type", frame_type)
        .object("payload", |payload| {
            payload.text("client_id", client.as_str())
        })
        .finish()
}

fn error_frame(code: &str, text: &str) -> ByteString {
    JsonWriter::default()
        .text("type", "error")
        .object("payload", |payload| {
            payload.text("error", text).text("code", code)
        })
        .finish()
}

/// The frame for a message of a member of another dialect.
fn translation(from: &Member, content: &Content<'_>) -> Option<ByteString> {
    let frame = |frame_type, write: &dyn Fn(JsonWriter) -> JsonWriter| {
        let payload = |writer: JsonWriter| write(writer.text("client_id", from.address.as_str()));
        Some(
            JsonWriter::default()
                .text("type", frame_type)
                .object("payload", payload)
                .finish(),
        )
    };
    match content {
        Content::Offer(sdp) => frame("offer", &|payload| payload.text("sdp", sdp)),
        Content::Answer(sdp) => frame("answer", &|payload| payload.text("sdp", sdp)),
        Content::Candidate(candidate) => {
            frame("ice-candidate", &|payload| candidate.write(payload))
        }
        Content::Message(_) => None,
    }
}
