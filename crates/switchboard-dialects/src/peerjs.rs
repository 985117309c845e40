//! `peerjs`: PeerJS. WebSocket on `/peerjs`, and plain requests on `/{key}/id` and `/{key}/peers`.
//!
//! # Conversation
//!
//! The client identifies itself in the URL: `/peerjs?key=K&id=ID&token=T`. The server sends `OPEN`; or it sends
//! `ID-TAKEN` or `ERROR` and closes. All clients of one key are in the room of that name, but they get no list of the
//! others: a caller must know the id of its peer.
//!
//! (→ from the client, ← to the client)
//!
//! * → `{"type":"OFFER","dst":"ID","payload":{…}}`, likewise `ANSWER`, `CANDIDATE`, `LEAVE`, `EXPIRE`
//! * ← the same with `src`, the id of the sender, which the server sets
//! * → `{"type":"HEARTBEAT"}`, which is not answered
//! * → `{"type":"LEAVE"}` without `dst`: releases the id
//! * ← `{"type":"EXPIRE","src":"ID"}`: no client with this id connected for five seconds
//!
//! A key is closed to other dialects: for their clients, a room of the same name is another room. `mixed = true`
//! opens it. Then a member of another dialect gets the id of each `peerjs` client of the key, even where
//! `allow_discovery` forbids lists, and can call it. A `peerjs` client can call the member by its address, and gets
//! `LEAVE` when the other side of a call has left. An offer with audio or video becomes a media connection; any other
//! offer becomes a data connection with the label `chat`. The server generates the id of the connection. `peerjs`
//! clients are not told to send offers. All nodes of a cluster need the same value of `mixed`.
//!
//! # Differences from the original server
//!
//! * A reconnect with the same id and token gets `OPEN` and replaces the old socket at once.
//! * If a client times out, or is closed by the server, its id is reserved for its token for `grace` seconds. After
//!   `LEAVE`, or when the socket is closed or reset, the id is free at once.
//! * If a client requests an id in use, the server pings the client that has it. If that client does not answer within
//!   two seconds, it is disconnected, and the id is reserved for its token.
//! * Frames for an absent peer are kept for five seconds: eight descriptions, 512 candidates and 320 KiB for each
//!   sender. If the peer does not connect, the sender gets one `EXPIRE`, also when frames exceeded these limits.
//! * The server sets `src`, and an id is unique in its key: no client can send `LEAVE` or `EXPIRE` for another one.
//! * The key is checked on every path, and lists of ids are allowed for each key separately (`allow_discovery`).
//! * `cors_origins` lists the origins whose pages may read the answers to plain requests. If `access.allowed_origins`
//!   is a list without `*`, both lists together are allowed, on all paths. The HTTP streaming paths of PeerJS 0.3, which
//!   it tries before its WebSocket is open, are answered with 404 in a form that its page can read.
//!
//! # Migration from the original server
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
    DialectSettings, DialectTable, Endpoint, FirstFrameTimeout, Handshake, HttpAnswer, HttpReply,
    Session, SessionOutput, SettingConflict, SettingValue,
    content::{display_text, relayed_message, sdp_of},
    error_message,
    json::{FoundKey, JsonObject, JsonWriter, Keys, RawJson, quote},
};

static TRAITS: DialectTraits = DialectTraits {
    name: "peerjs",
    offer_policy: OfferPolicy::Unspecified,
    messages: false,
    announces_presence: false,
    reveals_members: false,
    allows_server_address: true,
    ..DialectTraits::DEFAULT
};

static SETTINGS: [DialectSetting; 6] = [
    DialectSetting {
        key: "keys",
        doc: "The keys that clients may use, separated by commas; \"*\" for any. Each key is a room.",
        default: || SettingValue::Text("peerjs".into()),
        range: 1..=4096,
    },
    DialectSetting {
        key: "allow_discovery",
        doc: "The keys whose ids may be listed by any client, separated by commas; \"*\" for all.",
        default: || SettingValue::Text(String::new()),
        range: 0..=4096,
    },
    DialectSetting {
        key: "grace",
        doc: "Seconds for which the id of a client that timed out is reserved for its token; 0 for none.",
        default: || SettingValue::Int(30),
        range: 0..=crate::SECS_MAX,
    },
    DialectSetting {
        key: "cors_origins",
        doc: "The origins whose pages may use the plain requests, separated by commas; \"*\" for any. Beside a list in access.allowed_origins, which counts too, \"*\" has no effect.",
        default: || SettingValue::Text("*".into()),
        range: 0..=4096,
    },
    DialectSetting {
        key: "mixed",
        doc: "Whether clients of other dialects may join the room of a key. They then get all ids, even if allow_discovery is false.",
        default: || SettingValue::Flag(false),
        range: 0..=1,
    },
    DialectSetting {
        key: "token_is_credential",
        doc: "Whether the token of a client is its access token. Off, because npm peerjs sends a random token unless its page sets one.",
        default: || SettingValue::Flag(false),
        range: 0..=1,
    },
];

static KEYS: &DialectSetting = &SETTINGS[0];
static ALLOW_DISCOVERY: &DialectSetting = &SETTINGS[1];
static GRACE: &DialectSetting = &SETTINGS[2];
static CORS_ORIGINS: &DialectSetting = &SETTINGS[3];
static MIXED: &DialectSetting = &SETTINGS[4];
static TOKEN_IS_CREDENTIAL: &DialectSetting = &SETTINGS[5];

/// The label of data connections with clients of other dialects.
const LABEL: &str = "chat";

/// The number of PeerJS connections whose ids a session keeps; the oldest is dropped.
const CONNECTIONS_MAX: usize = 256;

// The names of the endpoints.
const SOCKET: &str = "socket";
const INFO: &str = "info";
const ID: &str = "id";
const PEERS: &str = "peers";
const XHR: &str = "xhr";

/// The endpoints of plain requests: path, name, and accepted requests. PeerJS 0.3 tries to stream over the last five
/// before its WebSocket is open.
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
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/"]
    }

    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        let mut endpoints = vec![Endpoint::new(base, "/peerjs", SOCKET, Accepts::Sockets)];
        let requests = ENDPOINTS.iter().flat_map(|(rest, name, accepts)| {
            let endpoint = Endpoint::new(base, rest, name, *accepts);
            let endpoint = endpoint.with_cors(CorsPolicy::Listed(CORS_ORIGINS));
            endpoint.and_with_slash()
        });
        endpoints.extend(requests);
        endpoints
    }

    fn settings(&self) -> &'static [DialectSetting] {
        &SETTINGS
    }

    fn conflicts(&self, settings: &DialectSettings, limits: &Limits) -> Vec<SettingConflict> {
        let name_max = limits.name_bytes;
        let keys = settings.text(TRAITS.name, KEYS);
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
        let origins = settings.text(TRAITS.name, CORS_ORIGINS);
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

    fn respond(&self, endpoint: &'static str, handshake: &Handshake) -> HttpAnswer {
        let key = handshake.params.get("key").unwrap_or_default();
        let is_listed_in = |setting| has_key(&handshake.settings, setting, key);
        match endpoint {
            INFO => HttpAnswer::Ready(reply(200, JSON, server_info())),
            ID | PEERS if !is_listed_in(KEYS) => {
                HttpAnswer::Ready(reply(401, TEXT, INVALID_KEY.into()))
            }
            ID => HttpAnswer::Ready(reply(200, HTML, handshake.peer.to_string())),
            PEERS if is_listed_in(ALLOW_DISCOVERY) => match RoomName::parse(key, 0) {
                Ok(room) => HttpAnswer::Members {
                    room,
                    scope: match is_mixed(&handshake.settings) {
                        true => RoomScope::Shared,
                        false => RoomScope::only(TRAITS.name),
                    },
                    reply: ids_reply,
                    refused: no_discovery(),
                },
                Err(_) => HttpAnswer::Ready(HttpReply::not_found()),
            },
            PEERS => HttpAnswer::Ready(no_discovery()),
            _ => HttpAnswer::Ready(HttpReply::not_found()),
        }
    }

    fn is_public(&self, endpoint: &'static str) -> bool {
        [INFO, ID].contains(&endpoint)
    }

    fn credential_parameter(&self, settings: &DialectSettings) -> Option<&'static str> {
        let is_credential = settings.flag(TRAITS.name, TOKEN_IS_CREDENTIAL);
        is_credential.then_some("token")
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        output.first_frame = FirstFrameTimeout::Never;
        match PeerJsSession::from_handshake(handshake) {
            Ok((session, token)) => {
                output.commands.push(Command::Join {
                    room: session.room.clone(),
                    address: session.own_address.clone(),
                    name: None,
                    options: JoinOptions {
                        token: Some(token),
                        group_size: None,
                        closed_to_other_dialects: !is_mixed(&handshake.settings),
                    },
                });
                Box::new(session)
            }
            Err(message) => {
                output.frames.push(message_frame("ERROR", &message));
                output.close = Some(CloseReason::POLICY);
                Box::new(RejectedSession)
            }
        }
    }

    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
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

fn server_info() -> String {
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

/// The reply to a client that may not list the ids of a key.
fn no_discovery() -> HttpReply {
    reply(401, TEXT, "Discovery is not allowed.".into())
}

/// The reply with the ids of the members of a room that use this dialect.
fn ids_reply(members: &[Arc<Member>]) -> HttpReply {
    let own = members.iter().filter(|member| member.dialect == &TRAITS);
    let ids: Vec<_> = own.map(|member| quote(member.address.as_str())).collect();
    reply(200, JSON, format!("[{}]", ids.join(",")))
}

/// Whether clients of other dialects may join the room of a key.
fn is_mixed(settings: &DialectSettings) -> bool {
    settings.flag(TRAITS.name, MIXED)
}

/// Whether a setting that lists keys contains `key`.
fn has_key(settings: &DialectSettings, setting: &'static DialectSetting, key: &str) -> bool {
    let keys = settings.text(TRAITS.name, setting);
    let matches_key = |listed: &str| listed.trim() == key || listed.trim() == "*";
    !key.is_empty() && keys.split(',').any(matches_key)
}

/// The message kind of a frame type. `None` if frames of this type are not relayed.
fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "OFFER" => Some(MessageKind::Offer),
        "ANSWER" => Some(MessageKind::Answer),
        "CANDIDATE" => Some(MessageKind::Candidate),
        "LEAVE" | "EXPIRE" => Some(MessageKind::Opaque),
        _ => None,
    }
}

/// The kind of a connection between two clients.
#[derive(Clone, Copy, PartialEq, Eq)]
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

/// The latest connection (in the sense of PeerJS) with a member. Its id is kept here, because frames of a member of
/// another dialect do not contain it.
struct PeerConnection {
    peer: Address,
    id: String,
    kind: ConnectionKind,
}

/// A client that has joined or requested to join with an id.
struct PeerJsSession {
    own_address: Address,
    room: RoomName,
    connections: VecDeque<PeerConnection>,
    /// The prefix of the connection ids that this session generates, and the number of ids generated so far.
    generated: (String, u32),
    limits: Arc<Limits>,
}

/// A client with an invalid handshake. Its connection is being closed.
struct RejectedSession;

impl Session for RejectedSession {
    fn on_frame(
        &mut self,
        _frame: ClientFrame<'_>,
        _output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        Err(ErrorCode::NotInRoom.into())
    }

    fn on_event(&mut self, _event: &Event, _output: &mut SessionOutput) {}
}

impl Session for PeerJsSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let mut object = JsonObject::parse(&text, self.limits.json_depth)?;
        let [frame_type, to, payload] =
            object.find(const { &Keys::new(["type", "dst", "payload"]) });
        let frame_type = frame_type.text().ok().flatten();
        let frame_type = frame_type.ok_or(ErrorCode::UnknownType)?;
        match (&*frame_type, self.receiver(&to)) {
            ("HEARTBEAT", _) => Ok(()),
            ("LEAVE", None) => {
                output.commands.push(Command::Leave {
                    room: self.room.clone(),
                    kind: LeaveKind::Announced,
                });
                Ok(())
            }
            (_, to) => {
                let kind = kind_of(&frame_type).ok_or(ErrorCode::UnknownType)?;
                match to.and_then(|to| Address::parse(&to, 0).ok()) {
                    Some(to) => {
                        if kind == MessageKind::Offer
                            && let Some([id, kind]) = object
                                .find_in(&payload, const { &Keys::new(["connectionId", "type"]) })
                        {
                            self.remember_offer(&to, &id, &kind);
                        }
                        self.relay(kind, &frame_type, to, payload.last(), output);
                        Ok(())
                    }
                    None => Err(self.no_receiver(kind, output)),
                }
            }
        }
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Joined { .. } | Event::Rejoined { .. } => {
                output
                    .frames
                    .push(JsonWriter::default().text("type", "OPEN").finish());
            }
            Event::Received { from, message, .. } => {
                let frame = self.on_received(from, message, output.dialects);
                output.frames.extend(frame)
            }
            Event::RequestFailed(error) => self.on_error(error, output),
            Event::Evicted(EvictionReason::Kicked) => {
                output
                    .frames
                    .push(message_frame("ERROR", "You have been removed."));
            }
            // PeerJS clients notice themselves when another PeerJS client has left.
            Event::Departed { peer, .. } if peer.dialect != &TRAITS => {
                self.connections
                    .retain(|connection| connection.peer != peer.address);
                let frame = self.notice_frame("LEAVE", peer.address.as_str());
                output.frames.push(frame);
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
    /// The session of a handshake, and the token for its id.
    ///
    /// # Errors
    /// The text of the `ERROR` frame for the client.
    fn from_handshake(handshake: &Handshake) -> Result<(Self, Token), Cow<'static, str>> {
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
        let session = Self {
            own_address: me,
            room,
            connections: VecDeque::new(),
            generated: (handshake.random_text(10), 0),
            limits: handshake.limits.clone(),
        };
        let grace = Duration::from_secs(handshake.settings.int(TRAITS.name, GRACE));
        let secret = secret_of(id, token);
        Ok((session, Token { secret, grace }))
    }

    /// The id of the receiver of a frame. A value that is not a string is read as its JSON text. An id longer than
    /// `name_bytes` is shortened, to bound its size, but not below `name_bytes + 1`: no peer has so long an id.
    fn receiver<'a>(&self, id: &FoundKey<'a>) -> Option<Cow<'a, str>> {
        let mut id = display_text(id.get()?);
        let max = self.limits.name_bytes;
        if max != 0 && id.len() > max {
            let end = id.ceil_char_boundary(max + 1);
            id.to_mut().truncate(end);
        }
        Some(id).filter(|id| !id.is_empty())
    }

    /// Rejects a frame without a valid receiver. Only an offer is answered with `EXPIRE`, so that the client gets one
    /// `EXPIRE` for each connection and not one for each candidate.
    fn no_receiver(&self, kind: MessageKind, output: &mut SessionOutput) -> RequestError {
        if kind == MessageKind::Offer {
            output.frames.push(self.expired(""));
        }
        ErrorCode::BadField("dst").into()
    }

    fn relay(
        &self,
        kind: MessageKind,
        frame_type: &str,
        to: Address,
        payload: Option<RawJson<'_>>,
        output: &mut SessionOutput,
    ) {
        let frame = JsonWriter::with_capacity(payload.map_or(0, |raw| raw.as_str().len()) + 128)
            .text("type", frame_type)
            .text("src", self.own_address.as_str())
            .text("dst", to.as_str())
            .maybe_raw("payload", payload)
            .finish();
        let to = match kind {
            MessageKind::Opaque => Target::Address(to),
            MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Candidate
            | MessageKind::Message => Target::AddressOrWait(to),
        };
        output.commands.push(Command::Send {
            room: self.room.clone(),
            to,
            message: relayed_message(TRAITS.name, kind, frame),
        });
    }

    /// Remembers the connection id of an offer from the client, for the answer of a member of another dialect.
    fn remember_offer(&mut self, to: &Address, id: &FoundKey<'_>, kind: &FoundKey<'_>) {
        let Ok(Some(id)) = id.text() else {
            return;
        };
        if id.len() > self.limits.name_bytes.max(64) {
            return;
        }
        let kind = match kind.text() {
            Ok(Some(kind)) if kind == "media" => ConnectionKind::Media,
            _ => ConnectionKind::Data,
        };
        let latest = self.connections.back();
        let is_latest =
            |latest: &PeerConnection| latest.peer == *to && latest.id == id && latest.kind == kind;
        if !latest.is_some_and(is_latest) {
            self.add_connection(to, id.into_owned(), kind);
        }
    }

    fn add_connection(&mut self, with: &Address, id: String, kind: ConnectionKind) {
        self.connections
            .retain(|connection| connection.peer != *with);
        if self.connections.len() >= CONNECTIONS_MAX {
            self.connections.pop_front();
        }
        self.connections.push_back(PeerConnection {
            peer: with.clone(),
            id,
            kind,
        });
    }

    fn on_received(
        &mut self,
        from: &Member,
        message: &RelayedMessage,
        dialects: DialectTable,
    ) -> Option<ByteString> {
        if message.is_of_dialect(TRAITS.name) {
            return Some(message.frame.clone());
        }
        match Content::of(message, dialects)? {
            Content::Offer(sdp) => Some(self.translate_offer(from, &sdp)),
            Content::Answer(sdp) => {
                let connection = self.connection(from)?;
                Some(self.signal("ANSWER", from, |payload| {
                    connection.write(description(payload, "answer", &sdp))
                }))
            }
            // Clients of PeerJS do not expect an end of candidates.
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

    /// The `OFFER` frame for an offer of a member of another dialect, with a new connection id.
    fn translate_offer(&mut self, from: &Member, sdp: &str) -> ByteString {
        let kind = ConnectionKind::of(sdp);
        let (seed, count) = &mut self.generated;
        *count += 1;
        let id = match kind {
            ConnectionKind::Data => format!("dc_{seed}{count}"),
            ConnectionKind::Media => format!("mc_{seed}{count}"),
        };
        self.add_connection(&from.address, id.clone(), kind);
        self.signal("OFFER", from, |payload| {
            let payload = description(payload, "offer", sdp)
                .text("type", kind.name())
                .text("connectionId", &id);
            match kind {
                ConnectionKind::Media => payload,
                ConnectionKind::Data => payload
                    .text("label", LABEL)
                    .raw("reliable", "true")
                    .text("serialization", "raw"),
            }
        })
    }

    /// The latest connection with this member.
    fn connection(&self, with: &Member) -> Option<&PeerConnection> {
        let mut connections = self.connections.iter();
        connections.find(|connection| connection.peer == with.address)
    }

    /// The frame for an offer, answer or candidate of a member of another dialect.
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

    /// Reports an error to the client. Clients end their session on `ERROR`, so it is sent only for errors that end the
    /// session; others are reported by `EXPIRE` or not at all.
    fn on_error(&self, error: &RequestError, output: &mut SessionOutput) {
        if error.join.is_some() {
            output.frames.push(rejection_frame(error));
            output.close = Some(CloseReason::for_rejected_join(&error.code));
            return;
        }
        if matches!(error.code, ErrorCode::TooManyFrames | ErrorCode::TooLarge) {
            return output
                .frames
                .push(message_frame("ERROR", &error_message(error)));
        }
        // The code is `NoSuchPeer` only for a `LEAVE` or `EXPIRE`, to which the client expects no answer.
        let expects_answer = error.code != ErrorCode::NoSuchPeer;
        let unreached = error.target.as_ref().filter(|_| expects_answer);
        output
            .frames
            .extend(unreached.map(|target| self.expired(target.as_str())));
    }

    /// The frame `EXPIRE`: no client with the id `target` got the client's frames in time.
    fn expired(&self, target: &str) -> ByteString {
        self.notice_frame("EXPIRE", target)
    }

    /// A frame from the server about another peer, without a payload.
    fn notice_frame(&self, frame_type: &str, about: &str) -> ByteString {
        JsonWriter::default()
            .text("type", frame_type)
            .text("src", about)
            .text("dst", self.own_address.as_str())
            .finish()
    }
}

/// The hash of a client's id and its token. The server and the cluster's store keep this hash, so that they never
/// have the token itself.
fn secret_of(id: &str, token: &str) -> Arc<str> {
    let hash = Sha256::new()
        .chain_update(id)
        .chain_update([0])
        .chain_update(token)
        .finalize();
    base16ct::lower::encode_string(&hash).into()
}

/// The frame for a client whose join was rejected.
fn rejection_frame(error: &RequestError) -> ByteString {
    if error.code == ErrorCode::Taken {
        return message_frame("ID-TAKEN", "ID is taken");
    }
    if error.code == ErrorCode::RoomFull {
        return message_frame("ERROR", "Server has reached its concurrent user limit");
    }
    message_frame("ERROR", &error_message(error))
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
