//! `mesh`: the "WebSocket-based Signaling Server". WebSocket on `/signalingserver`.
//!
//! # Conversation
//!
//! There is no join frame: a connection joins the room in `?room=`, or that of the setting `mesh.room`, at once.
//! The protocol cannot ask a client to send an offer. In a room with other dialects, their clients therefore send the
//! offers.
//!
//! (→ from the client, ← to the client, ↔ relayed between clients)
//!
//! * → `IdentifySelf`, ← the same kind with the client's own id
//! * → `GetAllPeerIDs`, ← the same kind with the ids of the other members
//! * ↔ `{"kind":"Offer","reach":"OnePeer","peerID":"ID","content":{…}}`, likewise `Answer` and `ICECandidate`; the
//!   delivered frame also has the `sender`
//! * ↔ `TextMessage`, to one peer or, with `"reach":"AllPeers"`, to all. A `TextMessage` whose sender is `server`
//!   reports an error, or that the client has been removed
//! * → `Disconnect`; with `{"notifyAll":true}` as its content, the other clients are notified
//! * ← `DisconnectionNotification`, when another client has left
//!
//! # Differences from the original server
//!
//! * Clients are separated by room; the original has one room.
//! * A peer whose socket has failed is removed from the list, and the other members are notified.
//! * A reply goes only to the client that sent the request. No client can send frames as the server.
//! * A plain GET request does not affect other clients.
//!
//! # Migration from the original server
//!
//! ```text
//! go run main.go                             # before: the original, on :8090
//! SWITCHBOARD_MESH_LISTEN=:8090 switchboard  # after
//! ```
//!
//! On the main listener: `ws://HOST:8080/signalingserver`.

use std::{borrow::Cow, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    Address, Command, DialectTraits, ErrorCode, Event, JoinOptions, LeaveKind, Limits, Member,
    MessageKind, OfferPolicy, RequestError, RoomName, Target, unescape_server_address,
};

use crate::{
    Candidate, ClientFrame, CloseReason, Content, Dialect, DialectSetting, DialectSettings,
    FirstFrameTimeout, Handshake, Session, SessionOutput, SettingConflict, SettingValue,
    content::{display_text, relayed_message, sdp_of},
    displayed_names::{address_of, displayed_address, error_text, list_bytes},
    json::{FoundKey, JsonObject, JsonWriter, Keys, RawJson},
};

static TRAITS: DialectTraits = DialectTraits {
    name: "mesh",
    offer_policy: OfferPolicy::Unspecified,
    signals: true,
    messages: true,
    ..DialectTraits::DEFAULT
};

static SETTINGS: [DialectSetting; 4] = [
    DialectSetting {
        key: "room",
        doc: "The room of connections without ?room=.",
        default: || SettingValue::Text("mesh".into()),
        range: 1..=1024,
    },
    DialectSetting {
        key: "id_length",
        doc: "The length of a peer's id in characters, 8 to 64.",
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
        doc: "Whether the list of GetAllPeerIDs includes the client that requests it.",
        default: || SettingValue::Flag(false),
        range: 0..=1,
    },
];
static ROOM: &DialectSetting = &SETTINGS[0];
static ID_LENGTH: &DialectSetting = &SETTINGS[1];
static IDENTIFY_SENDER: &DialectSetting = &SETTINGS[2];
static LIST_INCLUDES_SELF: &DialectSetting = &SETTINGS[3];

/// The bytes of a member in the list besides its id: `"",`.
const LISTED_BYTES: usize = 3;

#[derive(Debug)]
pub(crate) struct Mesh;

impl Dialect for Mesh {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/signalingserver"]
    }

    fn settings(&self) -> &'static [DialectSetting] {
        &SETTINGS
    }

    fn conflicts(&self, settings: &DialectSettings, limits: &Limits) -> Vec<SettingConflict> {
        let name_max = limits.name_bytes;
        // 0: no limit.
        let is_too_long = |bytes: usize| name_max != 0 && bytes > name_max;
        let id_length = settings.int(TRAITS.name, ID_LENGTH);
        let mut conflicts = Vec::new();
        if is_too_long(usize::try_from(id_length).unwrap_or(usize::MAX)) {
            conflicts.push(SettingConflict::with_name_bytes(
                ID_LENGTH.key,
                "must not be greater than",
                "no client could call another by its id",
            ));
        }
        if is_too_long(settings.text(TRAITS.name, ROOM).len()) {
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

    fn credential_parameter(&self, _settings: &DialectSettings) -> Option<&'static str> {
        Some("token")
    }

    fn type_key(&self) -> &'static str {
        "kind"
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        let settings = &handshake.settings;
        let length = settings.int(TRAITS.name, ID_LENGTH).clamp(8, 64);
        let id = handshake.random_text(usize::try_from(length).unwrap_or(20));
        let mut session = MeshSession {
            own_address: Address::parse(&id, 0).expect("a random text is not empty"),
            room: None,
            limits: handshake.limits.clone(),
            identify_sender: settings.flag(TRAITS.name, IDENTIFY_SENDER),
            list_includes_self: settings.flag(TRAITS.name, LIST_INCLUDES_SELF),
        };
        let room = handshake
            .query
            .get("room")
            .map_or_else(|| settings.text(TRAITS.name, ROOM), str::to_owned);
        session.enter(&room, output);
        output.first_frame = FirstFrameTimeout::Never;
        Box::new(session)
    }

    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = JsonObject::parse(frame, 0).ok()?;
        let kind = object.text("kind").ok()??;
        if kind == "ICECandidate" {
            let content = object.all("content").last()?;
            return Candidate::of_value(content).map(Content::Candidate);
        }
        let content = object.object("content").ok()??;
        match kind_of(&kind, content.get("type"))? {
            MessageKind::Message => content
                .get("message")
                .map(|text| Content::Message(display_text(text))),
            kind @ (MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Candidate
            | MessageKind::Opaque) => Content::description(kind, sdp_of(&content)?),
        }
    }
}

/// The message kind of a frame. The `type` in the content of an offer or answer takes precedence over the kind,
/// because a known client sends its answers with the kind `Offer`. The type is a name, or a number of `SDPType` in
/// the library pion. `None` if frames of this kind are not relayed.
fn kind_of(kind: &str, description_type: Option<RawJson<'_>>) -> Option<MessageKind> {
    match kind {
        "TextMessage" => Some(MessageKind::Message),
        "ICECandidate" => Some(MessageKind::Candidate),
        "Offer" | "Answer" => match description_type.map(RawJson::as_str) {
            Some("1" | "\"offer\"") => Some(MessageKind::Offer),
            Some("3" | "\"answer\"") => Some(MessageKind::Answer),
            _ if kind == "Offer" => Some(MessageKind::Offer),
            _ => Some(MessageKind::Answer),
        },
        _ => None,
    }
}

struct MeshSession {
    /// The client's id, which is its address: the unique name by which its room knows it.
    own_address: Address,
    /// `None` if the join failed, or the client has left.
    room: Option<RoomName>,
    limits: Arc<Limits>,
    identify_sender: bool,
    list_includes_self: bool,
}

impl Session for MeshSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let mut object = JsonObject::parse(&text, self.limits.json_depth)?;
        let [kind, reach, _, peer, content] =
            object.find(const { &Keys::new(["kind", "reach", "sender", "peerID", "content"]) });
        let kind = text_or_default(&kind, "kind", "GetAllPeerIDs")?;
        let reach = text_or_default(&reach, "reach", "Self")?;
        if !matches!(&*reach, "Self" | "OnePeer" | "AllPeers" | "None") {
            return Err(ErrorCode::BadField("reach").into());
        }
        let room = self.room.clone().ok_or(ErrorCode::NotInRoom)?;
        match &*kind {
            "GetAllPeerIDs" => output.commands.push(Command::List(room)),
            "IdentifySelf" => output.frames.push(self.identity_frame()),
            "Disconnect" => self.disconnect(room, &object, output)?,
            "TextMessage" | "Offer" | "Answer" | "ICECandidate" => {
                let mut message = MeshRequest {
                    kind: &kind,
                    reach: &reach,
                    peer,
                    content,
                    object: &mut object,
                };
                self.relay(room, &mut message, output)?;
            }
            _ => return Err(ErrorCode::UnknownType.into()),
        }
        Ok(())
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Members { others, .. } | Event::Rejoined { others, .. } => {
                output.frames.push(self.list_frame(others))
            }
            Event::Departed {
                peer, kind, frames, ..
            } => {
                // A leave in this dialect is silent if the client has sent `Disconnect` without `notifyAll`: then the
                // original notifies no client. Silent leaves in other dialects have other reasons, and are notified.
                if *kind != LeaveKind::Silent || peer.dialect != &TRAITS {
                    frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                        frames.push(departure_frame(&address_of(peer)));
                    });
                }
            }
            Event::Received { message, .. } if message.is_of_dialect(TRAITS.name) => {
                output.frames.push(message.frame.clone());
            }
            Event::Received { from, message, .. } => {
                let content = Content::of(message, output.dialects);
                let frame = content.map(|content| self.translation(from, &content));
                output.frames.extend(frame);
            }
            Event::RequestFailed(error) => {
                output.frames.push(self.failure_frame(error));
                if error.join.is_some() {
                    self.room = None;
                    output.close = Some(CloseReason::POLICY);
                }
            }
            Event::Evicted(_) => output
                .frames
                .push(self.error_frame_for_self("You have been removed.")),
            // The protocol has no frames for joins.
            Event::Joined { .. } | Event::Introduced { .. } => {}
            // `Claimed`: this dialect claims no names. `Probe`: `ClientSession`, the caller, answers it.
            Event::Claimed(_) | Event::Probe(_) => {}
        }
    }
}

/// The value of a string field, or its default if the field is absent. `null` is an error.
fn text_or_default<'a>(
    field: &FoundKey<'a>,
    key: &'static str,
    default: &'static str,
) -> Result<Cow<'a, str>, ErrorCode> {
    match field.last() {
        Some(raw) => raw.text().ok_or(ErrorCode::BadField(key)),
        None => Ok(default.into()),
    }
}

/// A frame of the client that may be relayed.
struct MeshRequest<'o, 'a> {
    kind: &'o str,
    reach: &'o str,
    peer: FoundKey<'a>,
    content: FoundKey<'a>,
    object: &'o mut JsonObject<'a>,
}

impl MeshRequest<'_, '_> {
    fn message_kind(&mut self) -> Option<MessageKind> {
        let content = match self.kind {
            "Offer" | "Answer" => self
                .object
                .find_in(&self.content, const { &Keys::new(["type"]) }),
            _ => None,
        };
        kind_of(self.kind, content.and_then(|[kind]| kind.get()))
    }

    /// The frame as receivers get it.
    fn frame_from(&self, sender: &str) -> ByteString {
        JsonWriter::with_capacity(self.object.as_str().len() + sender.len() + 64)
            .text("kind", self.kind)
            .raw("reach", r#""Self""#)
            .text("sender", sender)
            .raw("peerID", self.peer.get().map_or("\"\"", RawJson::as_str))
            .raw(
                "content",
                self.content.get().map_or("null", RawJson::as_str),
            )
            .fields(self.object.others())
            .finish()
    }
}

impl MeshSession {
    fn enter(&mut self, room: &str, output: &mut SessionOutput) {
        match RoomName::parse(room, self.limits.name_bytes) {
            Ok(room) => {
                self.room = Some(room.clone());
                output.commands.push(Command::Join {
                    room,
                    address: self.own_address.clone(),
                    name: None,
                    options: JoinOptions::default(),
                });
            }
            Err(error) => {
                let error = RequestError::new(ErrorCode::of_name("room", error));
                output.frames.push(self.failure_frame(&error));
                output.close = Some(CloseReason::POLICY);
            }
        }
    }

    fn disconnect(
        &mut self,
        room: RoomName,
        object: &JsonObject<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let content = object.object("content")?;
        let notify = content
            .and_then(|content| content.get("notifyAll"))
            .is_some_and(|raw| raw.as_str() == "true");
        let kind = if notify {
            LeaveKind::Announced
        } else {
            LeaveKind::Silent
        };
        output.commands.push(Command::Leave { room, kind });
        output.close = Some(CloseReason::DONE);
        self.room = None;
        Ok(())
    }

    fn relay(
        &self,
        room: RoomName,
        message: &mut MeshRequest<'_, '_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let peer = message.peer.text()?.unwrap_or_default();
        let message_kind = message.message_kind().ok_or(ErrorCode::UnknownType)?;
        let me = if self.identify_sender {
            self.own_address.as_str()
        } else {
            ""
        };
        let to = match message.reach {
            // The frame goes back to the client itself.
            "Self" => {
                output.frames.push(message.frame_from("server"));
                return Ok(());
            }
            "OnePeer" => match self.member(&peer) {
                Some(address) => Target::Address(address),
                None => {
                    // The client's text may have any length, so the error repeats only its beginning.
                    output
                        .frames
                        .push(no_such_peer(&peer.chars().take(64).collect::<String>()));
                    return Ok(());
                }
            },
            "AllPeers" => Target::Everyone,
            // The reach `None`: the frame goes to no client.
            _ => return Ok(()),
        };
        output.commands.push(Command::Send {
            room,
            to,
            message: relayed_message(TRAITS.name, message_kind, message.frame_from(me)),
        });
        Ok(())
    }

    /// The address of the member that clients know by this id. `None` for the id of the server and for invalid ids.
    fn member(&self, id: &str) -> Option<Address> {
        Address::parse(unescape_server_address(id)?, self.limits.name_bytes).ok()
    }

    /// The frame for a message of a member of another dialect.
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
            Content::Message(text) => frame("TextMessage", &|content| {
                content.text("title", "").text("message", text)
            }),
        }
    }

    fn identity_frame(&self) -> ByteString {
        let me = self.own_address.as_str();
        header("IdentifySelf", "server", me)
            .object("content", |content| content.text("id", me))
            .finish()
    }

    fn list_frame(&self, others: &[Arc<Member>]) -> ByteString {
        let own = self.list_includes_self.then_some(self.own_address.as_str());
        let ids = own.map(Cow::Borrowed).into_iter();
        let ids = ids.chain(others.iter().map(|other| address_of(other)));
        let writer = JsonWriter::with_capacity(list_bytes(others.iter(), LISTED_BYTES));
        header_in(writer, "GetAllPeerIDs", "server", self.own_address.as_str())
            .object("content", |content| content.texts("peersIDs", ids))
            .finish()
    }

    fn failure_frame(&self, error: &RequestError) -> ByteString {
        match (&error.code, &error.target) {
            (ErrorCode::NoSuchPeer, Some(target)) => no_such_peer(&displayed_address(target)),
            _ => self.error_frame_for_self(&error_text(error)),
        }
    }

    fn error_frame_for_self(&self, text: &str) -> ByteString {
        error_frame(self.own_address.as_str(), text)
    }
}

/// The first fields of a frame to a client. Their `reach` is `Self`: the frame goes to this client only.
fn header(kind: &str, sender: &str, peer: &str) -> JsonWriter {
    header_in(JsonWriter::default(), kind, sender, peer)
}

/// [`header`] for a frame that is written into this empty object.
fn header_in(writer: JsonWriter, kind: &str, sender: &str, peer: &str) -> JsonWriter {
    writer
        .text("kind", kind)
        .text("reach", "Self")
        .text("sender", sender)
        .text("peerID", peer)
}

fn error_frame(peer: &str, text: &str) -> ByteString {
    header("TextMessage", "server", peer)
        .object("content", |content| {
            content.text("title", "error").text("message", text)
        })
        .finish()
}

fn no_such_peer(peer: &str) -> ByteString {
    error_frame(peer, &format!("Peer ID {peer} does not exist"))
}

fn departure_frame(departed: &str) -> ByteString {
    header("DisconnectionNotification", departed, departed)
        .object("content", |content| {
            content.text("disconnectedPeerID", departed)
        })
        .finish()
}
