//! `mesh`: the "WebSocket-based Signaling Server". WebSocket on `/signalingserver`.
//!
//! # Conversation
//!
//! There is no join: a connection is a member at once, of the room `?room=` or the setting `mesh.room`.
//! Nobody is told to call, so in a mixed room the others call.
//!
//! * → `IdentifySelf` ← the own id; → `GetAllPeerIDs` ← the ids of the others
//! * ↔ `{"kind":"Offer","reach":"OnePeer","peerID":"ID","content":{…}}`, and so `Answer`, `ICECandidate`; the
//!   delivered frame has the `sender`
//! * ↔ `TextMessage`, to one or, with `"reach":"AllPeers"`, to all; from `server` it is an error
//! * ← `DisconnectionNotification`
//!
//! # Better
//!
//! * Rooms.
//! * A peer whose socket dies is not listed for ever, and its departure is told.
//! * Replies go only to who asked, and nobody can speak as the server.
//! * A plain GET harms nobody.
//!
//! # Switch
//!
//! ```text
//! go run main.go                                      # on :8090
//! SWITCHBOARD_MESH_LISTEN=:8090 switchboard
//! ```
//!
//! On the main listener: `ws://HOST:8080/signalingserver`.

use std::sync::Arc;

use bytestring::ByteString;
use serde_json::value::RawValue;
use switchboard_core::{
    Address, Command, Custom, Event, Farewell, Limits, Member, Refusal, Refused, Relay, RelayKind,
    RoomName, Target, Terms, Tongue, behind_server,
};

use crate::{
    Candidate, Close, Content, Dialect, FirstFrame, Frame, Handshake, Out, Session, Setting,
    SettingConflict, Settings, Value,
    alias::{address_of, as_shown, words_of},
    content::{readable, relay, sdp_of},
    json::{Object, Writer},
};

static TONGUE: Tongue = Tongue {
    name: "mesh",
    custom: Custom::NeverTold,
    signals: true,
    messages: true,
    ..Tongue::USUAL
};

static SETTINGS: [Setting; 4] = [
    Setting {
        key: "room",
        doc: "The room of connections that name none with ?room=.",
        default: || Value::Text("mesh".into()),
        range: 1..=1024,
    },
    Setting {
        key: "id_length",
        doc: "Characters of a peer's id, 8 to 64.",
        default: || Value::Int(20),
        range: 8..=64,
    },
    Setting {
        key: "identify_sender",
        doc: "Whether delivered frames carry the sender's id.",
        default: || Value::Flag(true),
        range: 0..=1,
    },
    Setting {
        key: "list_includes_self",
        doc: "Whether GetAllPeerIDs lists the one who asks.",
        default: || Value::Flag(false),
        range: 0..=1,
    },
];
static ROOM: &Setting = &SETTINGS[0];
static ID_LENGTH: &Setting = &SETTINGS[1];
static IDENTIFY_SENDER: &Setting = &SETTINGS[2];
static LIST_INCLUDES_SELF: &Setting = &SETTINGS[3];

#[derive(Debug)]
pub(crate) struct Mesh;

impl Dialect for Mesh {
    fn tongue(&self) -> &'static Tongue {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/signalingserver"]
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn conflicts(&self, settings: &Settings, limits: &Limits) -> Vec<SettingConflict> {
        let name_max = limits.name_bytes;
        let is_too_long = |bytes: usize| name_max != 0 && bytes > name_max;
        let id_length = settings.int(TONGUE.name, ID_LENGTH);
        let mut conflicts = Vec::new();
        if is_too_long(usize::try_from(id_length).unwrap_or(usize::MAX)) {
            conflicts.push(SettingConflict::with_name_bytes(
                ID_LENGTH.key,
                "must not be greater than",
                "no client could call another by its id",
            ));
        }
        if is_too_long(settings.text(TONGUE.name, ROOM).len()) {
            conflicts.push(SettingConflict::with_name_bytes(
                ROOM.key,
                "must not have more bytes than",
                "no client could enter this room",
            ));
        }
        conflicts
    }

    fn recognizes(&self, first: &Object<'_>) -> bool {
        matches!(first.text("kind"), Ok(Some(_)))
    }

    fn is_recognizable(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, out: &mut Out) -> Box<dyn Session> {
        let settings = &handshake.settings;
        let length = settings.int(TONGUE.name, ID_LENGTH).clamp(8, 64);
        let id = handshake.random_text(usize::try_from(length).unwrap_or(20));
        let mut session = Mesher {
            me: Address::parse(&id, 0).expect("a random text is not empty"),
            room: None,
            limits: handshake.limits.clone(),
            identify_sender: settings.flag(TONGUE.name, IDENTIFY_SENDER),
            list_includes_self: settings.flag(TONGUE.name, LIST_INCLUDES_SELF),
        };
        let room = handshake
            .query
            .get("room")
            .map_or_else(|| settings.text(TONGUE.name, ROOM), str::to_owned);
        session.enter(&room, out);
        out.first_frame = FirstFrame::Never;
        Box::new(session)
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = Object::parse(frame, 0).ok()?;
        let kind = object.text("kind").ok()??;
        if kind == "ICECandidate" {
            let content = object.all("content").last()?;
            return Candidate::of_value(content).map(Content::Candidate);
        }
        let content = object.object("content").ok()??;
        match kind_of(&kind, Some(&content))? {
            RelayKind::Message => content
                .get("message")
                .map(|words| Content::Message(readable(words))),
            kind @ (RelayKind::Offer
            | RelayKind::Answer
            | RelayKind::Candidate
            | RelayKind::Opaque) => Content::description(kind, sdp_of(&content)?),
        }
    }
}

/// What a frame is about. The type in a description's content wins over the kind: a client is
/// known to send its answers under the kind `Offer`.
fn kind_of(kind: &str, content: Option<&Object<'_>>) -> Option<RelayKind> {
    let described = || content?.get("type").map(RawValue::get);
    match kind {
        "TextMessage" => Some(RelayKind::Message),
        "ICECandidate" => Some(RelayKind::Candidate),
        "Offer" | "Answer" => match described() {
            Some("1" | "\"offer\"") => Some(RelayKind::Offer),
            Some("3" | "\"answer\"") => Some(RelayKind::Answer),
            _ if kind == "Offer" => Some(RelayKind::Offer),
            _ => Some(RelayKind::Answer),
        },
        _ => None,
    }
}

struct Mesher {
    me: Address,
    /// `None` once the client has gone.
    room: Option<RoomName>,
    limits: Arc<Limits>,
    identify_sender: bool,
    list_includes_self: bool,
}

impl Session for Mesher {
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let text = frame.text()?;
        let object = Object::parse(&text, self.limits.json_depth)?;
        let kind = word(&object, "kind", "GetAllPeerIDs")?;
        let reach = word(&object, "reach", "Self")?;
        if !matches!(&*reach, "Self" | "OnePeer" | "AllPeers" | "None") {
            return Err(Refusal::BadField("reach").into());
        }
        let room = self.room.clone().ok_or(Refusal::NotInRoom)?;
        match &*kind {
            "GetAllPeerIDs" => out.commands.push(Command::List(room)),
            "IdentifySelf" => out.frames.push(self.identity()),
            "Disconnect" => self.disconnect(room, &object, out)?,
            "TextMessage" | "Offer" | "Answer" | "ICECandidate" => {
                self.relay(room, &kind, &reach, &object, out)?;
            }
            _ => return Err(Refusal::UnknownType.into()),
        }
        Ok(())
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Members { others, .. } | Event::Rejoined { others, .. } => {
                out.frames.push(self.list(others))
            }
            Event::Departed { peer, farewell, .. } => {
                if *farewell != Farewell::Quiet || peer.tongue != &TONGUE {
                    out.frames.push(departure(&address_of(peer)));
                }
            }
            Event::Heard { from, relay, .. } => out.frames.extend(self.heard(from, relay)),
            Event::Refused(refused) => {
                out.frames.push(self.refusal(refused));
                if refused.join.is_some() {
                    self.room = None;
                    out.close = Some(Close::POLICY);
                }
            }
            Event::Evicted(_) => out.frames.push(self.error("You have been removed.")),
            Event::Joined { .. }
            | Event::Introduced { .. }
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }
}

/// A word of the protocol. Absent, it has its default; `null` is no word.
fn word<'a>(
    object: &Object<'a>,
    key: &'static str,
    default: &'static str,
) -> Result<std::borrow::Cow<'a, str>, Refusal> {
    if object.all(key).next().is_none() {
        return Ok(default.into());
    }
    object.text(key)?.ok_or(Refusal::BadField(key))
}

impl Mesher {
    fn enter(&mut self, room: &str, out: &mut Out) {
        match RoomName::parse(room, self.limits.name_bytes) {
            Ok(room) => {
                self.room = Some(room.clone());
                out.commands.push(Command::Join {
                    room,
                    address: self.me.clone(),
                    name: None,
                    terms: Terms::default(),
                });
            }
            Err(error) => {
                let refused = Refused::new(Refusal::of_name("room", error));
                out.frames.push(self.refusal(&refused));
                out.close = Some(Close::POLICY);
            }
        }
    }

    fn disconnect(
        &mut self,
        room: RoomName,
        object: &Object<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let content = object.object("content")?;
        let notify = content
            .and_then(|content| content.get("notifyAll"))
            .is_some_and(|raw| raw.get() == "true");
        let farewell = if notify {
            Farewell::Aloud
        } else {
            Farewell::Quiet
        };
        out.commands.push(Command::Leave { room, farewell });
        out.close = Some(Close::DONE);
        self.room = None;
        Ok(())
    }

    fn relay(
        &self,
        room: RoomName,
        kind: &str,
        reach: &str,
        object: &Object<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let peer = object.text("peerID")?.unwrap_or_default();
        let content = object.get("content");
        let fields = content.and_then(|content| object.nested(content).ok());
        let about = kind_of(kind, fields.as_ref()).ok_or(Refusal::UnknownType)?;
        let me = if self.identify_sender {
            self.me.as_str()
        } else {
            ""
        };
        let delivered = |sender: &str| passed_on(kind, sender, &peer, content, object);
        let to = match reach {
            "Self" => {
                out.frames.push(delivered("server"));
                return Ok(());
            }
            "OnePeer" => match self.member(&peer) {
                Some(address) => Target::Address(address),
                None => {
                    out.frames
                        .push(nobody(&peer.chars().take(64).collect::<String>()));
                    return Ok(());
                }
            },
            "AllPeers" => Target::Everyone,
            _ => return Ok(()),
        };
        out.commands.push(Command::Relay {
            room,
            to,
            relay: relay(TONGUE.name, about, delivered(me)),
        });
        Ok(())
    }

    /// The address of the member that the client calls so. The server itself is no member.
    fn member(&self, id: &str) -> Option<Address> {
        Address::parse(behind_server(id)?, self.limits.name_bytes).ok()
    }

    fn heard(&self, from: &Member, relay: &Relay) -> Option<ByteString> {
        if relay.origin == TONGUE.name {
            return Some(relay.frame.clone());
        }
        Some(self.translation(from, &Content::of(relay)?))
    }

    fn translation(&self, from: &Member, content: &Content<'_>) -> ByteString {
        let frame = |kind, write: &dyn Fn(Writer) -> Writer| {
            let start = header(kind, &address_of(from), self.me.as_str());
            start.object("content", write).finish()
        };
        match content {
            Content::Offer(sdp) => frame("Offer", &|content| {
                content.number("type", 1).text("sdp", sdp)
            }),
            Content::Answer(sdp) => frame("Answer", &|content| {
                content.number("type", 3).text("sdp", sdp)
            }),
            Content::Candidate(candidate) => {
                frame("ICECandidate", &|content| candidate.write(content))
            }
            Content::Message(words) => frame("TextMessage", &|content| {
                content.text("title", "").text("message", words)
            }),
        }
    }

    fn identity(&self) -> ByteString {
        let me = self.me.as_str();
        header("IdentifySelf", "server", me)
            .object("content", |content| content.text("id", me))
            .finish()
    }

    fn list(&self, others: &[Arc<Member>]) -> ByteString {
        let own = self.list_includes_self.then_some(self.me.as_str());
        let others: Vec<_> = others.iter().map(|other| address_of(other)).collect();
        let ids = own.into_iter().chain(others.iter().map(|id| &**id));
        header("GetAllPeerIDs", "server", self.me.as_str())
            .object("content", |content| content.texts("peersIDs", ids))
            .finish()
    }

    fn refusal(&self, refused: &Refused) -> ByteString {
        match (&refused.reason, &refused.target) {
            (Refusal::NoSuchPeer, Some(target)) => nobody(&as_shown(target)),
            _ => self.error(&words_of(refused)),
        }
    }

    fn error(&self, words: &str) -> ByteString {
        complaint(self.me.as_str(), words)
    }
}

/// The start of a frame for a client.
fn header(kind: &str, sender: &str, peer: &str) -> Writer {
    Writer::default()
        .text("kind", kind)
        .text("reach", "Self")
        .text("sender", sender)
        .text("peerID", peer)
}

fn passed_on(
    kind: &str,
    sender: &str,
    peer: &str,
    content: Option<&RawValue>,
    object: &Object<'_>,
) -> ByteString {
    header(kind, sender, peer)
        .raw("content", content.map_or("null", RawValue::get))
        .fields(object.rest(&["kind", "reach", "sender", "peerID", "content"]))
        .finish()
}

fn complaint(peer: &str, words: &str) -> ByteString {
    header("TextMessage", "server", peer)
        .object("content", |content| {
            content.text("title", "error").text("message", words)
        })
        .finish()
}

fn nobody(peer: &str) -> ByteString {
    complaint(peer, &format!("Peer ID {peer} does not exist"))
}

fn departure(gone: &str) -> ByteString {
    header("DisconnectionNotification", gone, gone)
        .object("content", |content| {
            content.text("disconnectedPeerID", gone)
        })
        .finish()
}
