//! `peerjs`: PeerJS. WebSocket on `/peerjs`, and plain requests on `/{key}/id` and `/{key}/peers`.
//!
//! # Conversation
//!
//! The client says who it is in the address: `/peerjs?key=K&id=ID&token=T`. The server answers `OPEN`,
//! or `ID-TAKEN` or `ERROR`, and closes. All clients of one key are in the room of that name, but
//! nobody is told of the others: who wants to call knows an id.
//!
//! * → `{"type":"OFFER","dst":"ID","payload":{…}}`, and so `ANSWER`, `CANDIDATE`, `LEAVE`, `EXPIRE`
//! * ← the same with `src`, the sender's id, which the server sets
//! * → `{"type":"HEARTBEAT"}`: nothing follows
//! * → `{"type":"LEAVE"}` without `dst`: gives the id back
//! * ← `{"type":"EXPIRE","src":"ID"}`: for five seconds nobody of that id was there
//!
//! A key is closed to other dialects: in these, a room of the same name is another room.
//! `mixed = true` opens it. Then a member of another dialect is told the id of each `peerjs` client of
//! the key, even where `allow_discovery` forbids lists, and calls it; a `peerjs` client can call it by
//! its address, and gets `LEAVE` when a member that it had a call with has left. An offer with audio or
//! video is a media connection, any other a data connection labelled `chat`; its id is made by the
//! server. No client is told to call. All nodes need the same setting.
//!
//! # Better
//!
//! * A reconnect with the same id and token gets `OPEN` and replaces the old socket at once.
//! * If a client falls silent, or is closed by the server, its id is kept for its token for `grace` seconds.
//!   After a goodbye, or when the socket is known to be closed or reset, the id is free at once.
//! * A taken id is challenged: a holder that is silent is gone in two seconds, and its id is kept for its
//!   token.
//! * Frames for an absent peer wait five seconds: of each sender eight descriptions and 512 candidates, and
//!   320 KiB. If the peer does not come, the sender gets one `EXPIRE`, also when frames had no place.
//! * `src` is set by the server and ids are alone in their key: nobody leaves or expires for another.
//! * The key is checked on every path, and who may list ids is said for each key.
//! * `cors_origins` lists the origins whose pages may read the answers to plain requests. The paths through which
//!   PeerJS 0.3 tries to stream before it has its WebSocket are answered 404 in a form that its page can read.
//!
//! # Switch
//!
//! ```text
//! peerjs --port 9000
//! SWITCHBOARD_PEERJS_LISTEN=:9000 switchboard
//! ```
//!
//! On the main listener: `new Peer(id, {host, port: 8080, path: '/', key: 'peerjs'})`.

use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

use bytestring::ByteString;
use sha2::{Digest as _, Sha256};
use switchboard_core::{
    Address, Command, DialectTraits, ErrorCode, Event, EvictionReason, JoinOptions, LeaveKind,
    Limits, Member, MessageKind, OfferPolicy, RelayedMessage, RequestError, RoomName, RoomScope,
    Target, Token,
};

use crate::{
    Accepts, Candidate, ClientFrame, CloseReason, Content, CorsPolicy, Dialect, DialectSetting,
    DialectSettings, Endpoint, FirstFrameTimeout, Handshake, HttpAnswer, HttpReply, Session,
    SessionOutput, SettingConflict, SettingValue,
    content::{readable, relay, sdp_of},
    error_message,
    json::{JsonObject, JsonWriter, quote},
};

static TONGUE: DialectTraits = DialectTraits {
    name: "peerjs",
    offer_policy: OfferPolicy::Unspecified,
    messages: false,
    announces_presence: false,
    allows_server_address: true,
    ..DialectTraits::DEFAULT
};

static SETTINGS: [DialectSetting; 5] = [
    DialectSetting {
        key: "keys",
        doc: "The keys that clients may come with, separated by commas; \"*\" for any. Each is a room of its own.",
        default: || SettingValue::Text("peerjs".into()),
        range: 1..=4096,
    },
    DialectSetting {
        key: "allow_discovery",
        doc: "The keys whose ids anybody may list, separated by commas; \"*\" for all.",
        default: || SettingValue::Text(String::new()),
        range: 0..=4096,
    },
    DialectSetting {
        key: "grace",
        doc: "Seconds that the id of a client that fell silent is kept for its token; 0 for none.",
        default: || SettingValue::Int(30),
        range: 0..=crate::SECS_MAX,
    },
    DialectSetting {
        key: "cors_origins",
        doc: "The origins whose pages may use the plain requests, separated by commas; \"*\" for any.",
        default: || SettingValue::Text("*".into()),
        range: 0..=4096,
    },
    DialectSetting {
        key: "mixed",
        doc: "Whether clients of other dialects meet the clients of a key, in the room of its name. They are told all ids then, even if allow_discovery is false.",
        default: || SettingValue::Flag(false),
        range: 0..=1,
    },
];

static KEYS: &DialectSetting = &SETTINGS[0];
static ALLOW_DISCOVERY: &DialectSetting = &SETTINGS[1];
static GRACE: &DialectSetting = &SETTINGS[2];
static CORS_ORIGINS: &DialectSetting = &SETTINGS[3];
static MIXED: &DialectSetting = &SETTINGS[4];

/// The label of data channels where clients of other dialects talk.
const LABEL: &str = "chat";

/// Connections to members of other dialects that a session knows by their ids.
const CONNECTIONS_MAX: usize = 256;

const SOCKET: &str = "socket";
const INFO: &str = "info";
const ID: &str = "id";
const PEERS: &str = "peers";
const XHR: &str = "xhr";

/// The plain requests. PeerJS 0.3 tries to stream through the last five before it has its WebSocket.
const ENDPOINTS: [(&str, &str, Accepts); 8] = [
    ("/{key}/id", ID, Accepts::Requests),
    ("/{key}/peers", PEERS, Accepts::Requests),
    ("", INFO, Accepts::Requests),
    ("/{key}/{id}/{token}/id", XHR, Accepts::Nothing),
    ("/{key}/{id}/{token}/offer", XHR, Accepts::Nothing),
    ("/{key}/{id}/{token}/candidate", XHR, Accepts::Nothing),
    ("/{key}/{id}/{token}/answer", XHR, Accepts::Nothing),
    ("/{key}/{id}/{token}/leave", XHR, Accepts::Nothing),
];

#[derive(Debug)]
pub(crate) struct PeerJs;

impl Dialect for PeerJs {
    fn traits(&self) -> &'static DialectTraits {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/"]
    }

    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        let mut doors = vec![Endpoint::new(base, "/peerjs", SOCKET, Accepts::Sockets)];
        let requests = ENDPOINTS.iter().flat_map(|(rest, name, opens)| {
            let door = Endpoint::new(base, rest, name, *opens);
            let door = door.with_cors(CorsPolicy::Listed(CORS_ORIGINS));
            door.and_with_slash()
        });
        doors.extend(requests);
        doors
    }

    fn settings(&self) -> &'static [DialectSetting] {
        &SETTINGS
    }

    fn conflicts(&self, settings: &DialectSettings, limits: &Limits) -> Vec<SettingConflict> {
        let name_max = limits.name_bytes;
        let keys = settings.text(TONGUE.name, KEYS);
        let is_too_long = |key: &str| name_max != 0 && key.trim().len() > name_max;
        if keys.split(',').all(|key| key.trim().is_empty()) {
            return vec![SettingConflict {
                key: KEYS.key,
                with: None,
                rule: "must name a key",
                why: "no client could connect",
            }];
        }
        let too_long = SettingConflict::with_name_bytes(
            KEYS.key,
            "must not have a key of more bytes than",
            "no client could enter its room",
        );
        let bad_origin = SettingConflict {
            key: CORS_ORIGINS.key,
            with: None,
            rule: "must list origins like \"https://app.example\", \"null\" or \"*\"",
            why: "no page would have such an origin",
        };
        let origins = settings.text(TONGUE.name, CORS_ORIGINS);
        let is_bad_origin = !CorsPolicy::is_list(&origins);
        let too_long = keys.split(',').any(is_too_long).then_some(too_long);
        too_long
            .into_iter()
            .chain(is_bad_origin.then_some(bad_origin))
            .collect()
    }

    fn warnings(&self, settings: &DialectSettings) -> Vec<(&'static str, &'static str)> {
        let warning = (
            MIXED.key,
            "discloses the ids of all clients of a key to every client of another dialect, even if peerjs.allow_discovery is false",
        );
        is_mixed(settings).then_some(warning).into_iter().collect()
    }

    fn respond(&self, door: &'static str, handshake: &Handshake) -> HttpAnswer {
        let key = handshake.params.get("key").unwrap_or_default();
        let has = |setting| has_key(&handshake.settings, setting, key);
        match door {
            INFO => HttpAnswer::Ready(reply(200, JSON, about())),
            ID | PEERS if !has(KEYS) => HttpAnswer::Ready(reply(401, TEXT, INVALID_KEY.into())),
            ID => HttpAnswer::Ready(reply(200, HTML, handshake.peer.to_string())),
            PEERS if has(ALLOW_DISCOVERY) => match RoomName::parse(key, 0) {
                Ok(room) => HttpAnswer::Members {
                    room,
                    scope: match is_mixed(&handshake.settings) {
                        true => RoomScope::Shared,
                        false => RoomScope::only(TONGUE.name),
                    },
                    reply: ids,
                },
                Err(_) => HttpAnswer::Ready(HttpReply::not_found()),
            },
            PEERS => HttpAnswer::Ready(reply(401, TEXT, "Discovery is not allowed.".into())),
            _ => HttpAnswer::Ready(HttpReply::not_found()),
        }
    }

    fn open(&self, handshake: &Handshake, out: &mut SessionOutput) -> Box<dyn Session> {
        out.first_frame = FirstFrameTimeout::Never;
        match PeerJsSession::begin(handshake) {
            Ok((caller, token)) => {
                out.commands.push(Command::Join {
                    room: caller.room.clone(),
                    address: caller.own_address.clone(),
                    name: None,
                    options: JoinOptions {
                        token: Some(token),
                        group_size: None,
                        closed_to_other_dialects: !is_mixed(&handshake.settings),
                    },
                });
                Box::new(caller)
            }
            Err(message) => {
                out.frames.push(message_frame("ERROR", &message));
                out.close = Some(CloseReason::POLICY);
                Box::new(RejectedSession)
            }
        }
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = JsonObject::parse(frame, 0).ok()?;
        let payload = object.object("payload").ok()??;
        match kind_of(&object.text("type").ok()??)? {
            MessageKind::Candidate => {
                let candidate = payload.all("candidate").last()?;
                Candidate::of_value(candidate).map(Content::Candidate)
            }
            kind @ (MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Message
            | MessageKind::Opaque) => {
                Content::description(kind, sdp_of(&payload.object("sdp").ok()??)?)
            }
        }
    }
}

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const INVALID_KEY: &str = "Invalid key provided";

fn reply(status: u16, content_type: &'static str, body: String) -> HttpReply {
    HttpReply {
        status,
        content_type,
        body,
    }
}

fn about() -> String {
    JsonWriter::default()
        .text("name", "PeerJS Server")
        .text(
            "description",
            "A server side element to broker connections between PeerJS clients.",
        )
        .text("website", "https://peerjs.com/")
        .finish()
        .to_string()
}

/// The ids of those of a room who speak this dialect.
fn ids(members: &[Arc<Member>]) -> HttpReply {
    let own = members.iter().filter(|member| member.dialect == &TONGUE);
    let ids: Vec<_> = own.map(|member| quote(member.address.as_str())).collect();
    reply(200, JSON, format!("[{}]", ids.join(",")))
}

/// Whether clients of other dialects meet the clients of a key.
fn is_mixed(settings: &DialectSettings) -> bool {
    settings.flag(TONGUE.name, MIXED)
}

/// Whether a setting that lists keys has this one.
fn has_key(settings: &DialectSettings, setting: &'static DialectSetting, key: &str) -> bool {
    let keys = settings.text(TONGUE.name, setting);
    let is_it = |listed: &str| listed.trim() == key || listed.trim() == "*";
    !key.is_empty() && keys.split(',').any(is_it)
}

fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "OFFER" => Some(MessageKind::Offer),
        "ANSWER" => Some(MessageKind::Answer),
        "CANDIDATE" => Some(MessageKind::Candidate),
        "LEAVE" | "EXPIRE" => Some(MessageKind::Opaque),
        _ => None,
    }
}

/// What a connection between two clients carries.
#[derive(Clone, Copy)]
enum ConnectionKind {
    Data,
    Media,
}

impl ConnectionKind {
    fn of(sdp: &str) -> Self {
        let is_media = |line: &str| line.starts_with("m=audio") || line.starts_with("m=video");
        match sdp.lines().any(is_media) {
            true => Self::Media,
            false => Self::Data,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Media => "media",
        }
    }
}

/// The latest connection with a member: a member of another dialect does not know its id.
struct PeerConnection {
    peer: Address,
    id: String,
    kind: ConnectionKind,
}

/// A client that has an id, or asks for one.
struct PeerJsSession {
    own_address: Address,
    room: RoomName,
    connections: VecDeque<PeerConnection>,
    /// What the ids of the connections made here begin with, and how many were made.
    generated: (String, u32),
    limits: Arc<Limits>,
}

/// A client that may not come in. Its connection ends.
struct RejectedSession;

impl Session for RejectedSession {
    fn on_frame(
        &mut self,
        _frame: ClientFrame<'_>,
        _out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        Err(ErrorCode::NotInRoom.into())
    }

    fn on_event(&mut self, _event: &Event, _out: &mut SessionOutput) {}
}

impl Session for PeerJsSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let object = JsonObject::parse(&text, self.limits.json_depth)?;
        let frame_type = object
            .text("type")
            .ok()
            .flatten()
            .ok_or(ErrorCode::UnknownType)?;
        match (&*frame_type, self.receiver(&object)) {
            ("HEARTBEAT", _) => Ok(()),
            ("LEAVE", None) => {
                out.commands.push(Command::Leave {
                    room: self.room.clone(),
                    kind: LeaveKind::Announced,
                });
                Ok(())
            }
            (_, to) => {
                let kind = kind_of(&frame_type).ok_or(ErrorCode::UnknownType)?;
                match to.and_then(|to| Address::parse(&to, 0).ok()) {
                    Some(to) => self.relay(kind, &frame_type, to, &object, out),
                    None => Err(self.no_receiver(kind, out)),
                }
            }
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut SessionOutput) {
        match event {
            Event::Joined { .. } | Event::Rejoined { .. } => {
                out.frames
                    .push(JsonWriter::default().text("type", "OPEN").finish());
            }
            Event::Received {
                from,
                message: relay,
                ..
            } => out.frames.extend(self.on_received(from, relay)),
            Event::RequestFailed(refused) => self.on_error(refused, out),
            Event::Evicted(EvictionReason::Kicked) => {
                out.frames
                    .push(message_frame("ERROR", "You have been removed."));
            }
            // Clients of PeerJS notice each other's departure themselves.
            Event::Departed { peer, .. } if peer.dialect != &TONGUE => {
                self.connections.retain(|known| known.peer != peer.address);
                let frame = self.notice_frame("LEAVE", peer.address.as_str());
                out.frames.push(frame);
            }
            Event::Evicted(EvictionReason::Unresponsive | EvictionReason::Replaced)
            | Event::Claimed(_)
            | Event::Members { .. }
            | Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Probe(_) => {}
        }
    }
}

impl PeerJsSession {
    /// Who comes with this request, or what it is told instead.
    fn begin(handshake: &Handshake) -> Result<(Self, Token), Cow<'static, str>> {
        let parameter = |name| handshake.query.get(name).filter(|value| !value.is_empty());
        let (Some(key), Some(id), Some(token)) =
            (parameter("key"), parameter("id"), parameter("token"))
        else {
            return Err("No id, token, or key supplied to websocket server".into());
        };
        if !has_key(&handshake.settings, KEYS, key) {
            return Err(INVALID_KEY.into());
        }
        let max = handshake.limits.name_bytes;
        let wrong = |name, error| error_message(&ErrorCode::of_name(name, error).into());
        let me = Address::parse(id, max).map_err(|error| wrong("id", error))?;
        let room = RoomName::parse(key, max).map_err(|error| wrong("key", error))?;
        let caller = Self {
            own_address: me,
            room,
            connections: VecDeque::new(),
            generated: (handshake.random_text(10), 0),
            limits: handshake.limits.clone(),
        };
        let grace = Duration::from_secs(handshake.settings.int(TONGUE.name, GRACE));
        let secret = secret_of(id, token);
        Ok((caller, Token { secret, grace }))
    }

    /// The id that a frame is for. A number or another value is read as its text. An id over `name_bytes` is
    /// cut to one byte more than that: no peer can have it.
    fn receiver(&self, object: &JsonObject<'_>) -> Option<String> {
        let mut id = readable(object.get("dst")?).into_owned();
        let max = self.limits.name_bytes;
        if max != 0 && id.len() > max {
            id.truncate(id.ceil_char_boundary(max + 1));
        }
        Some(id).filter(|id| !id.is_empty())
    }

    /// The refusal of a frame that no peer can receive: one `EXPIRE` for each connection.
    fn no_receiver(&self, kind: MessageKind, out: &mut SessionOutput) -> RequestError {
        if kind == MessageKind::Offer {
            out.frames.push(self.expired(""));
        }
        ErrorCode::BadField("dst").into()
    }

    fn relay(
        &mut self,
        kind: MessageKind,
        frame_type: &str,
        to: Address,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        if kind == MessageKind::Offer
            && let Ok(Some(payload)) = object.object("payload")
        {
            self.note_offer(&to, &payload);
        }
        let payload = object.all("payload").last();
        let frame = JsonWriter::with_capacity(payload.map_or(0, |raw| raw.get().len()) + 128)
            .text("type", frame_type)
            .text("src", self.own_address.as_str())
            .text("dst", to.as_str())
            .fields(payload.map(|raw| ("payload", raw)))
            .finish();
        let to = match kind {
            MessageKind::Opaque => Target::Address(to),
            MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Candidate
            | MessageKind::Message => Target::AddressOrWait(to),
        };
        out.commands.push(Command::Send {
            room: self.room.clone(),
            to,
            message: relay(TONGUE.name, kind, frame),
        });
        Ok(())
    }

    /// Remembers the connection of an offer of the client's.
    fn note_offer(&mut self, to: &Address, payload: &JsonObject<'_>) {
        let Ok(Some(id)) = payload.text("connectionId") else {
            return;
        };
        if id.len() > self.limits.name_bytes.max(64) {
            return;
        }
        let carries = match payload.text("type") {
            Ok(Some(kind)) if kind == "media" => ConnectionKind::Media,
            _ => ConnectionKind::Data,
        };
        self.add_connection(to, id.into_owned(), carries);
    }

    fn add_connection(&mut self, with: &Address, id: String, carries: ConnectionKind) {
        self.connections.retain(|known| known.peer != *with);
        if self.connections.len() >= CONNECTIONS_MAX {
            self.connections.pop_front();
        }
        self.connections.push_back(PeerConnection {
            peer: with.clone(),
            id,
            kind: carries,
        });
    }

    fn on_received(&mut self, from: &Member, relay: &RelayedMessage) -> Option<ByteString> {
        if relay.origin == TONGUE.name {
            return Some(relay.frame.clone());
        }
        match Content::of(relay)? {
            Content::Offer(sdp) => Some(self.translate_offer(from, &sdp)),
            Content::Answer(sdp) => {
                let connection = self.connection(from)?;
                Some(self.signal("ANSWER", from, |payload| {
                    connection.write(description(payload, "answer", &sdp))
                }))
            }
            // The end of candidates is nothing that clients expect.
            Content::Candidate(candidate) if candidate.candidate.is_empty() => None,
            Content::Candidate(candidate) => {
                let connection = self.connection(from)?;
                Some(self.signal("CANDIDATE", from, |payload| {
                    connection.write(payload.object("candidate", |init| candidate.write(init)))
                }))
            }
            Content::Message(_) => None,
        }
    }

    /// An offer of a member of another dialect: a connection of the kind that it asks for.
    fn translate_offer(&mut self, from: &Member, sdp: &str) -> ByteString {
        let carries = ConnectionKind::of(sdp);
        let (seed, count) = &mut self.generated;
        *count += 1;
        let id = match carries {
            ConnectionKind::Data => format!("dc_{seed}{count}"),
            ConnectionKind::Media => format!("mc_{seed}{count}"),
        };
        self.add_connection(&from.address, id.clone(), carries);
        self.signal("OFFER", from, |payload| {
            let payload = description(payload, "offer", sdp)
                .text("type", carries.name())
                .text("connectionId", &id);
            match carries {
                ConnectionKind::Media => payload,
                ConnectionKind::Data => payload
                    .text("label", LABEL)
                    .raw("reliable", "true")
                    .text("serialization", "raw"),
            }
        })
    }

    fn connection(&self, with: &Member) -> Option<&PeerConnection> {
        let mut connections = self.connections.iter();
        connections.find(|known| known.peer == with.address)
    }

    fn signal(
        &self,
        frame_type: &str,
        from: &Member,
        payload: impl FnOnce(JsonWriter) -> JsonWriter,
    ) -> ByteString {
        JsonWriter::with_capacity(2048)
            .text("type", frame_type)
            .text("src", from.address.as_str())
            .text("dst", self.own_address.as_str())
            .object("payload", payload)
            .finish()
    }

    /// Clients take an `ERROR` for the end. What is not the end they are told by `EXPIRE` or not at
    /// all.
    fn on_error(&self, refused: &RequestError, out: &mut SessionOutput) {
        if refused.join.is_some() {
            out.frames.push(rejection_frame(refused));
            out.close = Some(CloseReason::for_rejected_join(&refused.code));
            return;
        }
        if matches!(refused.code, ErrorCode::TooManyFrames | ErrorCode::TooLarge) {
            return out
                .frames
                .push(message_frame("ERROR", &error_message(refused)));
        }
        // Nobody waits for who was told goodbye.
        let is_missed = refused.code != ErrorCode::NoSuchPeer;
        let missed = refused.target.as_ref().filter(|_| is_missed);
        out.frames
            .extend(missed.map(|target| self.expired(target.as_str())));
    }

    fn expired(&self, target: &str) -> ByteString {
        self.notice_frame("EXPIRE", target)
    }

    /// A message of the server about another peer.
    fn notice_frame(&self, frame_type: &str, about: &str) -> ByteString {
        JsonWriter::default()
            .text("type", frame_type)
            .text("src", about)
            .text("dst", self.own_address.as_str())
            .finish()
    }
}

/// What is kept of a token, here and in a store that nodes share: not the token itself.
fn secret_of(id: &str, token: &str) -> Arc<str> {
    let hash = Sha256::new()
        .chain_update(id)
        .chain_update([0])
        .chain_update(token)
        .finalize();
    let digits = hash.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<String>().into()
}

/// What a client is told that does not get its id.
fn rejection_frame(refused: &RequestError) -> ByteString {
    if refused.code == ErrorCode::Taken {
        return message_frame("ID-TAKEN", "ID is taken");
    }
    if refused.code == ErrorCode::RoomFull {
        return message_frame("ERROR", "Server has reached its concurrent user limit");
    }
    message_frame("ERROR", &error_message(refused))
}

impl PeerConnection {
    fn write(&self, payload: JsonWriter) -> JsonWriter {
        payload
            .text("type", self.kind.name())
            .text("connectionId", &self.id)
    }
}

fn description(payload: JsonWriter, name: &str, sdp: &str) -> JsonWriter {
    payload.object("sdp", |init| init.text("type", name).text("sdp", sdp))
}

fn message_frame(frame_type: &str, message: &str) -> ByteString {
    JsonWriter::default()
        .text("type", frame_type)
        .object("payload", |payload| payload.text("msg", message))
        .finish()
}
