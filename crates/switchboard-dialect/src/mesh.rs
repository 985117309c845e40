//! `mesh`: the "WebSocket-based Signaling Server". WebSocket on `/signalingserver`.
//!
//! # Conversation
//!
//! There is no join: a connection is a member at once, of the room `?room=` or the setting `mesh.room`.
//! Nobody is told to call, so in a mixed room the others call.
//!
//! * → `IdentifySelf` ← the own id; → `GetAllPeerIDs` ← the ids of the others
//! * ↔ `{"kind":"Offer","reach":"OnePeer","peerID":"ID","content":{…}}`, and so `HttpAnswer`, `ICECandidate`; the
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
    Address, Command, DialectTraits, ErrorCode, Event, JoinOptions, LeaveKind, Limits, Member,
    MessageKind, OfferPolicy, RelayedMessage, RequestError, RoomName, Target, behind_server,
};

use crate::{
    Candidate, ClientFrame, CloseReason, Content, Dialect, DialectSetting, DialectSettings,
    FirstFrameTimeout, Handshake, Session, SessionOutput, SettingConflict, SettingValue,
    alias::{address_of, as_shown, words_of},
    content::{readable, relay, sdp_of},
    json::{JsonObject, JsonWriter},
};

static TONGUE: DialectTraits = DialectTraits {
    name: "mesh",
    offer_policy: OfferPolicy::Unspecified,
    signals: true,
    messages: true,
    ..DialectTraits::DEFAULT
};

static SETTINGS: [DialectSetting; 4] = [
    DialectSetting {
        key: "room",
        doc: "The room of connections that name none with ?room=.",
        default: || SettingValue::Text("mesh".into()),
        range: 1..=1024,
    },
    DialectSetting {
        key: "id_length",
        doc: "Characters of a peer's id, 8 to 64.",
        default: || SettingValue::Int(20),
        range: 8..=64,
    },
    DialectSetting {
        key: "identify_sender",
        doc: "Whether delivered frames carry the sender's id.",
        default: || SettingValue::Flag(true),
        range: 0..=1,
    },
    DialectSetting {
        key: "list_includes_self",
        doc: "Whether GetAllPeerIDs lists the one who asks.",
        default: || SettingValue::Flag(false),
        range: 0..=1,
    },
];
static ROOM: &DialectSetting = &SETTINGS[0];
static ID_LENGTH: &DialectSetting = &SETTINGS[1];
static IDENTIFY_SENDER: &DialectSetting = &SETTINGS[2];
static LIST_INCLUDES_SELF: &DialectSetting = &SETTINGS[3];

#[derive(Debug)]
pub(crate) struct Mesh;

impl Dialect for Mesh {
    fn traits(&self) -> &'static DialectTraits {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/signalingserver"]
    }

    fn settings(&self) -> &'static [DialectSetting] {
        &SETTINGS
    }

    fn conflicts(&self, settings: &DialectSettings, limits: &Limits) -> Vec<SettingConflict> {
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

    fn recognizes(&self, first: &JsonObject<'_>) -> bool {
        matches!(first.text("kind"), Ok(Some(_)))
    }

    fn is_recognizable(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, out: &mut SessionOutput) -> Box<dyn Session> {
        let settings = &handshake.settings;
        let length = settings.int(TONGUE.name, ID_LENGTH).clamp(8, 64);
        let id = handshake.random_text(usize::try_from(length).unwrap_or(20));
        let mut session = MeshSession {
            own_address: Address::parse(&id, 0).expect("a random text is not empty"),
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
        out.first_frame = FirstFrameTimeout::Never;
        Box::new(session)
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = JsonObject::parse(frame, 0).ok()?;
        let kind = object.text("kind").ok()??;
        if kind == "ICECandidate" {
            let content = object.all("content").last()?;
            return Candidate::of_value(content).map(Content::Candidate);
        }
        let content = object.object("content").ok()??;
        match kind_of(&kind, Some(&content))? {
            MessageKind::Message => content
                .get("message")
                .map(|words| Content::Message(readable(words))),
            kind @ (MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Candidate
            | MessageKind::Opaque) => Content::description(kind, sdp_of(&content)?),
        }
    }
}

/// What a frame is about. The type in a description's content wins over the kind: a client is
/// known to send its answers under the kind `Offer`.
fn kind_of(kind: &str, content: Option<&JsonObject<'_>>) -> Option<MessageKind> {
    let described = || content?.get("type").map(RawValue::get);
    match kind {
        "TextMessage" => Some(MessageKind::Message),
        "ICECandidate" => Some(MessageKind::Candidate),
        "Offer" | "Answer" => match described() {
            Some("1" | "\"offer\"") => Some(MessageKind::Offer),
            Some("3" | "\"answer\"") => Some(MessageKind::Answer),
            _ if kind == "Offer" => Some(MessageKind::Offer),
            _ => Some(MessageKind::Answer),
        },
        _ => None,
    }
}

struct MeshSession {
    own_address: Address,
    /// `None` once the client has gone.
    room: Option<RoomName>,
    limits: Arc<Limits>,
    identify_sender: bool,
    list_includes_self: bool,
}

impl Session for MeshSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let object = JsonObject::parse(&text, self.limits.json_depth)?;
        let kind = field_or_default(&object, "kind", "GetAllPeerIDs")?;
        let reach = field_or_default(&object, "reach", "Self")?;
        if !matches!(&*reach, "Self" | "OnePeer" | "AllPeers" | "None") {
            return Err(ErrorCode::BadField("reach").into());
        }
        let room = self.room.clone().ok_or(ErrorCode::NotInRoom)?;
        match &*kind {
            "GetAllPeerIDs" => out.commands.push(Command::List(room)),
            "IdentifySelf" => out.frames.push(self.identity()),
            "Disconnect" => self.disconnect(room, &object, out)?,
            "TextMessage" | "Offer" | "Answer" | "ICECandidate" => {
                self.relay(room, &kind, &reach, &object, out)?;
            }
            _ => return Err(ErrorCode::UnknownType.into()),
        }
        Ok(())
    }

    fn on_event(&mut self, event: &Event, out: &mut SessionOutput) {
        match event {
            Event::Members { others, .. } | Event::Rejoined { others, .. } => {
                out.frames.push(self.list(others))
            }
            Event::Departed {
                peer,
                kind: farewell,
                ..
            } => {
                if *farewell != LeaveKind::Silent || peer.dialect != &TONGUE {
                    out.frames.push(departure(&address_of(peer)));
                }
            }
            Event::Received {
                from,
                message: relay,
                ..
            } => out.frames.extend(self.on_received(from, relay)),
            Event::RequestFailed(refused) => {
                out.frames.push(self.refusal(refused));
                if refused.join.is_some() {
                    self.room = None;
                    out.close = Some(CloseReason::POLICY);
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
fn field_or_default<'a>(
    object: &JsonObject<'a>,
    key: &'static str,
    default: &'static str,
) -> Result<std::borrow::Cow<'a, str>, ErrorCode> {
    if object.all(key).next().is_none() {
        return Ok(default.into());
    }
    object.text(key)?.ok_or(ErrorCode::BadField(key))
}

impl MeshSession {
    fn enter(&mut self, room: &str, out: &mut SessionOutput) {
        match RoomName::parse(room, self.limits.name_bytes) {
            Ok(room) => {
                self.room = Some(room.clone());
                out.commands.push(Command::Join {
                    room,
                    address: self.own_address.clone(),
                    name: None,
                    options: JoinOptions::default(),
                });
            }
            Err(error) => {
                let refused = RequestError::new(ErrorCode::of_name("room", error));
                out.frames.push(self.refusal(&refused));
                out.close = Some(CloseReason::POLICY);
            }
        }
    }

    fn disconnect(
        &mut self,
        room: RoomName,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let content = object.object("content")?;
        let notify = content
            .and_then(|content| content.get("notifyAll"))
            .is_some_and(|raw| raw.get() == "true");
        let farewell = if notify {
            LeaveKind::Announced
        } else {
            LeaveKind::Silent
        };
        out.commands.push(Command::Leave {
            room,
            kind: farewell,
        });
        out.close = Some(CloseReason::DONE);
        self.room = None;
        Ok(())
    }

    fn relay(
        &self,
        room: RoomName,
        kind: &str,
        reach: &str,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let peer = object.text("peerID")?.unwrap_or_default();
        let content = object.get("content");
        let fields = content.and_then(|content| object.nested(content).ok());
        let about = kind_of(kind, fields.as_ref()).ok_or(ErrorCode::UnknownType)?;
        let me = if self.identify_sender {
            self.own_address.as_str()
        } else {
            ""
        };
        let delivered = |sender: &str| relayed_frame(kind, sender, &peer, content, object);
        let to = match reach {
            "Self" => {
                out.frames.push(delivered("server"));
                return Ok(());
            }
            "OnePeer" => match self.member(&peer) {
                Some(address) => Target::Address(address),
                None => {
                    out.frames
                        .push(no_such_peer(&peer.chars().take(64).collect::<String>()));
                    return Ok(());
                }
            },
            "AllPeers" => Target::Everyone,
            _ => return Ok(()),
        };
        out.commands.push(Command::Send {
            room,
            to,
            message: relay(TONGUE.name, about, delivered(me)),
        });
        Ok(())
    }

    /// The address of the member that the client calls so. The server itself is no member.
    fn member(&self, id: &str) -> Option<Address> {
        Address::parse(behind_server(id)?, self.limits.name_bytes).ok()
    }

    fn on_received(&self, from: &Member, relay: &RelayedMessage) -> Option<ByteString> {
        if relay.origin == TONGUE.name {
            return Some(relay.frame.clone());
        }
        Some(self.translation(from, &Content::of(relay)?))
    }

    fn translation(&self, from: &Member, content: &Content<'_>) -> ByteString {
        let frame = |kind, write: &dyn Fn(JsonWriter) -> JsonWriter| {
            let start = header(kind, &address_of(from), self.own_address.as_str());
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
        let me = self.own_address.as_str();
        header("IdentifySelf", "server", me)
            .object("content", |content| content.text("id", me))
            .finish()
    }

    fn list(&self, others: &[Arc<Member>]) -> ByteString {
        let own = self.list_includes_self.then_some(self.own_address.as_str());
        let others: Vec<_> = others.iter().map(|other| address_of(other)).collect();
        let ids = own.into_iter().chain(others.iter().map(|id| &**id));
        header("GetAllPeerIDs", "server", self.own_address.as_str())
            .object("content", |content| content.texts("peersIDs", ids))
            .finish()
    }

    fn refusal(&self, refused: &RequestError) -> ByteString {
        match (&refused.code, &refused.target) {
            (ErrorCode::NoSuchPeer, Some(target)) => no_such_peer(&as_shown(target)),
            _ => self.error(&words_of(refused)),
        }
    }

    fn error(&self, words: &str) -> ByteString {
        error_frame(self.own_address.as_str(), words)
    }
}

/// The start of a frame for a client.
fn header(kind: &str, sender: &str, peer: &str) -> JsonWriter {
    JsonWriter::default()
        .text("kind", kind)
        .text("reach", "Self")
        .text("sender", sender)
        .text("peerID", peer)
}

fn relayed_frame(
    kind: &str,
    sender: &str,
    peer: &str,
    content: Option<&RawValue>,
    object: &JsonObject<'_>,
) -> ByteString {
    header(kind, sender, peer)
        .raw("content", content.map_or("null", RawValue::get))
        .fields(object.rest(&["kind", "reach", "sender", "peerID", "content"]))
        .finish()
}

fn error_frame(peer: &str, words: &str) -> ByteString {
    header("TextMessage", "server", peer)
        .object("content", |content| {
            content.text("title", "error").text("message", words)
        })
        .finish()
}

fn no_such_peer(peer: &str) -> ByteString {
    error_frame(peer, &format!("Peer ID {peer} does not exist"))
}

fn departure(gone: &str) -> ByteString {
    header("DisconnectionNotification", gone, gone)
        .object("content", |content| {
            content.text("disconnectedPeerID", gone)
        })
        .finish()
}
