//! `singo`: singo and gosignaling. WebSocket, `{"type":…,"payload":{…}}`, on `/connect`.
//!
//! # Conversation
//!
//! The server speaks first: `notify-client-id`. The client joins with `join` and is answered nothing; those
//! already there get `new-client` and call it. `new-client` *is* the order to call, so in a mixed room it
//! goes to whoever shall call, newcomer or not.
//!
//! * ← `{"type":"notify-client-id","payload":{"client_id":"ME"}}`
//! * → `{"type":"join","payload":{"room_id":"R"}}` ← `new-client`, ← `leave-client`
//! * ↔ `offer`, `answer`, `ice-candidate`: the payload's `client_id` is the target, and the sender when it comes
//! * ← `{"type":"ping"}` → `{"type":"pong"}`; ← `{"type":"error","payload":{"error":"…","code":"…"}}`
//!
//! # Better
//!
//! * A frame for an absent peer is an error and not the end of the process.
//! * Departures are told at once.
//! * One who does not read blocks nobody.
//! * Candidates pass.
//! * Objects where the first version sent base64 text, as its documentation says.
//!
//! # Switch
//!
//! ```text
//! go run . -addr 0.0.0.0 -port 5000
//! SWITCHBOARD_SINGO_LISTEN=:5000 switchboard
//! ```
//!
//! On the main listener: `ws://HOST:8080/connect`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytestring::ByteString;
use switchboard_core::{
    Address, Call, Command, Custom, Event, Farewell, Limits, Member, Refusal, Refused, RelayKind,
    RoomName, Target, Terms, Tongue,
};

use crate::{
    Candidate, Content, Dialect, Frame, Handshake, Out, Session, Setting, Value,
    content::{relay, sdp_of},
    json::{Object, Writer},
    words,
};

static TONGUE: Tongue = Tongue {
    name: "singo",
    custom: Custom::MemberCalls,
    signals: true,
    messages: false,
    ..Tongue::USUAL
};

/// As many characters as the original's ids (xid) have.
const ID_LENGTH: usize = 20;

static PING_SECS: Setting = Setting {
    key: "ping_secs",
    doc: "Seconds between the dialect's own ping frames; 0 for none.",
    default: || Value::Int(30),
    range: 0..=crate::SECS_MAX,
};

#[derive(Debug)]
pub(crate) struct Singo;

impl Dialect for Singo {
    fn tongue(&self) -> &'static Tongue {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/connect"]
    }

    fn settings(&self) -> &'static [Setting] {
        std::slice::from_ref(&PING_SECS)
    }

    fn open(&self, handshake: &Handshake, out: &mut Out) -> Box<dyn Session> {
        let id = handshake.random_text(ID_LENGTH).to_ascii_lowercase();
        let me = Address::parse(&id, 0).expect("a random text is not empty");
        out.frames.push(about("notify-client-id", &me));
        out.tick = match handshake.settings.int(TONGUE.name, &PING_SECS) {
            0 => None,
            secs => Some(Duration::from_secs(secs)),
        };
        Box::new(Singer {
            me,
            room: None,
            limits: handshake.limits.clone(),
        })
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = Object::parse(frame, 0).ok()?;
        let payload = object.object("payload").ok()??;
        match kind_of(&object.text("type").ok()??)? {
            RelayKind::Candidate => Candidate::read(&payload).map(Content::Candidate),
            kind @ (RelayKind::Offer
            | RelayKind::Answer
            | RelayKind::Message
            | RelayKind::Opaque) => Content::description(kind, sdp_of(&payload)?),
        }
    }
}

fn kind_of(frame_type: &str) -> Option<RelayKind> {
    match frame_type {
        "offer" => Some(RelayKind::Offer),
        "answer" => Some(RelayKind::Answer),
        "ice-candidate" => Some(RelayKind::Candidate),
        _ => None,
    }
}

struct Singer {
    me: Address,
    room: Option<RoomName>,
    limits: Arc<Limits>,
}

impl Session for Singer {
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let text = frame.text()?;
        let object = Object::parse(&text, self.limits.json_depth)?;
        let frame_type = object
            .text("type")
            .ok()
            .flatten()
            .ok_or(Refusal::UnknownType)?;
        match &*frame_type {
            "pong" => Ok(()),
            "join" => self.join(&object, out),
            other => {
                let kind = kind_of(other).ok_or(Refusal::UnknownType)?;
                self.relay(kind, &frame_type, &object, out)
            }
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Joined { others, .. } => {
                let to_call = others.iter().filter(|(_, call)| *call == Call::You);
                out.frames
                    .extend(to_call.map(|(other, _)| about("new-client", &other.address)));
            }
            Event::Introduced {
                peer,
                call: Call::You,
                ..
            } => {
                out.frames.push(about("new-client", &peer.address));
            }
            Event::Departed { peer, .. } => out.frames.push(about("leave-client", &peer.address)),
            Event::Heard { relay, .. } if relay.origin == TONGUE.name => {
                out.frames.push(relay.frame.clone());
            }
            Event::Heard { from, relay, .. } => {
                out.frames
                    .extend(Content::of(relay).and_then(|content| translation(from, &content)));
            }
            Event::Refused(refused) => {
                if refused.join.is_some() {
                    self.room = None;
                }
                out.frames
                    .push(error(refused.reason.code(), &words(refused)));
            }
            Event::Evicted(_) => out.frames.push(error("evicted", "You have been removed.")),
            Event::Introduced { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }

    fn on_tick(&mut self, out: &mut Out) {
        out.frames
            .push(ByteString::from_static(r#"{"type":"ping"}"#));
    }
}

impl Singer {
    fn join(&mut self, object: &Object<'_>, out: &mut Out) -> Result<(), Refused> {
        let payload = object
            .object("payload")?
            .ok_or(Refusal::BadField("payload"))?;
        let room = payload.text("room_id")?.unwrap_or_default();
        let room = RoomName::parse(&room, self.limits.name_bytes)
            .map_err(|e| Refusal::of_name("room_id", e))?;
        if let Some(left) = self.room.take_if(|joined| *joined != room) {
            out.commands.push(Command::Leave {
                room: left,
                farewell: Farewell::Aloud,
            });
        }
        out.commands.push(Command::Join {
            room: room.clone(),
            address: self.me.clone(),
            name: None,
            terms: Terms::default(),
        });
        self.room = Some(room);
        Ok(())
    }

    fn relay(
        &self,
        kind: RelayKind,
        frame_type: &str,
        object: &Object<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let payload = object
            .object("payload")?
            .ok_or(Refusal::BadField("payload"))?;
        let field = if kind == RelayKind::Candidate {
            "candidate"
        } else {
            "sdp"
        };
        // Checked only: it is passed on as it was written.
        let _: Option<Cow<'_, str>> = payload.text(field)?;
        let target = payload.text("client_id")?.unwrap_or_default();
        let target = Address::parse(&target, self.limits.name_bytes)
            .map_err(|e| Refusal::of_name("client_id", e))?;
        let room = self.room.clone().ok_or(Refusal::NotInRoom)?;
        let relay = relay(
            TONGUE.name,
            kind,
            self.in_own_name(frame_type, field, object, &payload),
        );
        out.commands.push(Command::Relay {
            room,
            to: Target::Address(target),
            relay,
        });
        Ok(())
    }

    /// The frame with its keys as documented, the sender where the target stood, and the rest as it was.
    fn in_own_name(
        &self,
        frame_type: &str,
        field: &str,
        object: &Object<'_>,
        payload: &Object<'_>,
    ) -> ByteString {
        let value = payload.all(field).last();
        Writer::with_capacity(value.map_or(0, |raw| raw.get().len()) + 128)
            .text("type", frame_type)
            .object("payload", |writer| {
                writer
                    .text("client_id", self.me.as_str())
                    .fields(value.map(|raw| (field, raw)))
                    .fields(payload.rest(&["client_id", field]))
            })
            .fields(object.rest(&["type", "payload"]))
            .finish()
    }
}

fn about(frame_type: &str, client: &Address) -> ByteString {
    Writer::default()
        .text("type", frame_type)
        .object("payload", |payload| {
            payload.text("client_id", client.as_str())
        })
        .finish()
}

fn error(code: &str, words: &str) -> ByteString {
    Writer::default()
        .text("type", "error")
        .object("payload", |payload| {
            payload.text("error", words).text("code", code)
        })
        .finish()
}

fn translation(from: &Member, content: &Content<'_>) -> Option<ByteString> {
    let frame = |frame_type, write: &dyn Fn(Writer) -> Writer| {
        let payload = |writer: Writer| write(writer.text("client_id", from.address.as_str()));
        Some(
            Writer::default()
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
