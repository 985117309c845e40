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
    Address, Command, Custom, Event, Eviction, Farewell, Limits, Member, Refusal, Refused, Relay,
    RelayKind, RoomName, RoomScope, Target, Terms, Token, Tongue,
};

use crate::{
    Answer, Candidate, Close, Content, CorsPolicy, Dialect, Door, FirstFrame, Frame, Handshake,
    Opens, Out, Reply, Session, Setting, SettingConflict, Settings, Value,
    content::{readable, relay, sdp_of},
    json::{Object, Writer, quote},
    words,
};

static TONGUE: Tongue = Tongue {
    name: "peerjs",
    custom: Custom::NeverTold,
    messages: false,
    introduced: false,
    allows_server_address: true,
    ..Tongue::USUAL
};

static SETTINGS: [Setting; 5] = [
    Setting {
        key: "keys",
        doc: "The keys that clients may come with, separated by commas; \"*\" for any. Each is a room of its own.",
        default: || Value::Text("peerjs".into()),
        range: 1..=4096,
    },
    Setting {
        key: "allow_discovery",
        doc: "The keys whose ids anybody may list, separated by commas; \"*\" for all.",
        default: || Value::Text(String::new()),
        range: 0..=4096,
    },
    Setting {
        key: "grace",
        doc: "Seconds that the id of a client that fell silent is kept for its token; 0 for none.",
        default: || Value::Int(30),
        range: 0..=crate::SECS_MAX,
    },
    Setting {
        key: "cors_origins",
        doc: "The origins whose pages may use the plain requests, separated by commas; \"*\" for any.",
        default: || Value::Text("*".into()),
        range: 0..=4096,
    },
    Setting {
        key: "mixed",
        doc: "Whether clients of other dialects meet the clients of a key, in the room of its name. They are told all ids then, even if allow_discovery is false.",
        default: || Value::Flag(false),
        range: 0..=1,
    },
];

static KEYS: &Setting = &SETTINGS[0];
static ALLOW_DISCOVERY: &Setting = &SETTINGS[1];
static GRACE: &Setting = &SETTINGS[2];
static CORS_ORIGINS: &Setting = &SETTINGS[3];
static MIXED: &Setting = &SETTINGS[4];

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
const REQUESTS: [(&str, &str, Opens); 8] = [
    ("/{key}/id", ID, Opens::Requests),
    ("/{key}/peers", PEERS, Opens::Requests),
    ("", INFO, Opens::Requests),
    ("/{key}/{id}/{token}/id", XHR, Opens::Nothing),
    ("/{key}/{id}/{token}/offer", XHR, Opens::Nothing),
    ("/{key}/{id}/{token}/candidate", XHR, Opens::Nothing),
    ("/{key}/{id}/{token}/answer", XHR, Opens::Nothing),
    ("/{key}/{id}/{token}/leave", XHR, Opens::Nothing),
];

#[derive(Debug)]
pub(crate) struct PeerJs;

impl Dialect for PeerJs {
    fn tongue(&self) -> &'static Tongue {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/"]
    }

    fn doors(&self, base: &str) -> Vec<Door> {
        let mut doors = vec![Door::new(base, "/peerjs", SOCKET, Opens::Sockets)];
        let requests = REQUESTS.iter().flat_map(|(rest, name, opens)| {
            let door = Door::new(base, rest, name, *opens);
            let door = door.with_cors(CorsPolicy::Listed(CORS_ORIGINS));
            door.and_with_slash()
        });
        doors.extend(requests);
        doors
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn conflicts(&self, settings: &Settings, limits: &Limits) -> Vec<SettingConflict> {
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

    fn warnings(&self, settings: &Settings) -> Vec<(&'static str, &'static str)> {
        let warning = (
            MIXED.key,
            "discloses the ids of all clients of a key to every client of another dialect, even if peerjs.allow_discovery is false",
        );
        is_mixed(settings).then_some(warning).into_iter().collect()
    }

    fn answer(&self, door: &'static str, handshake: &Handshake) -> Answer {
        let key = handshake.params.get("key").unwrap_or_default();
        let has = |setting| has_key(&handshake.settings, setting, key);
        match door {
            INFO => Answer::Now(reply(200, JSON, about())),
            ID | PEERS if !has(KEYS) => Answer::Now(reply(401, TEXT, INVALID_KEY.into())),
            ID => Answer::Now(reply(200, HTML, handshake.peer.to_string())),
            PEERS if has(ALLOW_DISCOVERY) => match RoomName::parse(key, 0) {
                Ok(room) => Answer::Members {
                    room,
                    scope: match is_mixed(&handshake.settings) {
                        true => RoomScope::Shared,
                        false => RoomScope::only(TONGUE.name),
                    },
                    reply: ids,
                },
                Err(_) => Answer::Now(Reply::not_found()),
            },
            PEERS => Answer::Now(reply(401, TEXT, "Discovery is not allowed.".into())),
            _ => Answer::Now(Reply::not_found()),
        }
    }

    fn open(&self, handshake: &Handshake, out: &mut Out) -> Box<dyn Session> {
        out.first_frame = FirstFrame::Never;
        match Caller::arriving(handshake) {
            Ok((caller, token)) => {
                out.commands.push(Command::Join {
                    room: caller.room.clone(),
                    address: caller.me.clone(),
                    name: None,
                    terms: Terms {
                        token: Some(token),
                        circle: None,
                        closed_to_other_dialects: !is_mixed(&handshake.settings),
                    },
                });
                Box::new(caller)
            }
            Err(message) => {
                out.frames.push(told("ERROR", &message));
                out.close = Some(Close::POLICY);
                Box::new(TurnedAway)
            }
        }
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = Object::parse(frame, 0).ok()?;
        let payload = object.object("payload").ok()??;
        match kind_of(&object.text("type").ok()??)? {
            RelayKind::Candidate => {
                let candidate = payload.all("candidate").last()?;
                Candidate::of_value(candidate).map(Content::Candidate)
            }
            kind @ (RelayKind::Offer
            | RelayKind::Answer
            | RelayKind::Message
            | RelayKind::Opaque) => {
                Content::description(kind, sdp_of(&payload.object("sdp").ok()??)?)
            }
        }
    }
}

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

const INVALID_KEY: &str = "Invalid key provided";

fn reply(status: u16, content_type: &'static str, body: String) -> Reply {
    Reply {
        status,
        content_type,
        body,
    }
}

fn about() -> String {
    Writer::default()
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
fn ids(members: &[Arc<Member>]) -> Reply {
    let own = members.iter().filter(|member| member.tongue == &TONGUE);
    let ids: Vec<_> = own.map(|member| quote(member.address.as_str())).collect();
    reply(200, JSON, format!("[{}]", ids.join(",")))
}

/// Whether clients of other dialects meet the clients of a key.
fn is_mixed(settings: &Settings) -> bool {
    settings.flag(TONGUE.name, MIXED)
}

/// Whether a setting that lists keys has this one.
fn has_key(settings: &Settings, setting: &'static Setting, key: &str) -> bool {
    let keys = settings.text(TONGUE.name, setting);
    let is_it = |listed: &str| listed.trim() == key || listed.trim() == "*";
    !key.is_empty() && keys.split(',').any(is_it)
}

fn kind_of(frame_type: &str) -> Option<RelayKind> {
    match frame_type {
        "OFFER" => Some(RelayKind::Offer),
        "ANSWER" => Some(RelayKind::Answer),
        "CANDIDATE" => Some(RelayKind::Candidate),
        "LEAVE" | "EXPIRE" => Some(RelayKind::Opaque),
        _ => None,
    }
}

/// What a connection between two clients carries.
#[derive(Clone, Copy)]
enum Carries {
    Data,
    Media,
}

impl Carries {
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
struct Connection {
    with: Address,
    id: String,
    carries: Carries,
}

/// A client that has an id, or asks for one.
struct Caller {
    me: Address,
    room: RoomName,
    connections: VecDeque<Connection>,
    /// What the ids of the connections made here begin with, and how many were made.
    made: (String, u32),
    limits: Arc<Limits>,
}

/// A client that may not come in. Its connection ends.
struct TurnedAway;

impl Session for TurnedAway {
    fn on_frame(&mut self, _frame: Frame<'_>, _out: &mut Out) -> Result<(), Refused> {
        Err(Refusal::NotInRoom.into())
    }

    fn on_event(&mut self, _event: &Event, _out: &mut Out) {}
}

impl Session for Caller {
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let text = frame.text()?;
        let object = Object::parse(&text, self.limits.json_depth)?;
        let frame_type = object
            .text("type")
            .ok()
            .flatten()
            .ok_or(Refusal::UnknownType)?;
        match (&*frame_type, self.receiver(&object)) {
            ("HEARTBEAT", _) => Ok(()),
            ("LEAVE", None) => {
                out.commands.push(Command::Leave {
                    room: self.room.clone(),
                    farewell: Farewell::Aloud,
                });
                Ok(())
            }
            (_, to) => {
                let kind = kind_of(&frame_type).ok_or(Refusal::UnknownType)?;
                match to.and_then(|to| Address::parse(&to, 0).ok()) {
                    Some(to) => self.relay(kind, &frame_type, to, &object, out),
                    None => Err(self.no_receiver(kind, out)),
                }
            }
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Joined { .. } | Event::Rejoined { .. } => {
                out.frames
                    .push(Writer::default().text("type", "OPEN").finish());
            }
            Event::Heard { from, relay, .. } => out.frames.extend(self.heard(from, relay)),
            Event::Refused(refused) => self.refused(refused, out),
            Event::Evicted(Eviction::Kicked) => {
                out.frames.push(told("ERROR", "You have been removed."));
            }
            // Clients of PeerJS notice each other's departure themselves.
            Event::Departed { peer, .. } if peer.tongue != &TONGUE => {
                self.connections.retain(|known| known.with != peer.address);
                let frame = self.notice("LEAVE", peer.address.as_str());
                out.frames.push(frame);
            }
            Event::Evicted(Eviction::Ghost | Eviction::Replaced)
            | Event::Claimed(_)
            | Event::Members { .. }
            | Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Probe(_) => {}
        }
    }
}

impl Caller {
    /// Who comes with this request, or what it is told instead.
    fn arriving(handshake: &Handshake) -> Result<(Self, Token), Cow<'static, str>> {
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
        let wrong = |name, error| words(&Refusal::of_name(name, error).into());
        let me = Address::parse(id, max).map_err(|error| wrong("id", error))?;
        let room = RoomName::parse(key, max).map_err(|error| wrong("key", error))?;
        let caller = Self {
            me,
            room,
            connections: VecDeque::new(),
            made: (handshake.random_text(10), 0),
            limits: handshake.limits.clone(),
        };
        let grace = Duration::from_secs(handshake.settings.int(TONGUE.name, GRACE));
        let secret = secret_of(id, token);
        Ok((caller, Token { secret, grace }))
    }

    /// The id that a frame is for. A number or another value is read as its text. An id over `name_bytes` is
    /// cut to one byte more than that: no peer can have it.
    fn receiver(&self, object: &Object<'_>) -> Option<String> {
        let mut id = readable(object.get("dst")?).into_owned();
        let max = self.limits.name_bytes;
        if max != 0 && id.len() > max {
            id.truncate(id.ceil_char_boundary(max + 1));
        }
        Some(id).filter(|id| !id.is_empty())
    }

    /// The refusal of a frame that no peer can receive: one `EXPIRE` for each connection.
    fn no_receiver(&self, kind: RelayKind, out: &mut Out) -> Refused {
        if kind == RelayKind::Offer {
            out.frames.push(self.expired(""));
        }
        Refusal::BadField("dst").into()
    }

    fn relay(
        &mut self,
        kind: RelayKind,
        frame_type: &str,
        to: Address,
        object: &Object<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        if kind == RelayKind::Offer
            && let Ok(Some(payload)) = object.object("payload")
        {
            self.offered(&to, &payload);
        }
        let payload = object.all("payload").last();
        let frame = Writer::with_capacity(payload.map_or(0, |raw| raw.get().len()) + 128)
            .text("type", frame_type)
            .text("src", self.me.as_str())
            .text("dst", to.as_str())
            .fields(payload.map(|raw| ("payload", raw)))
            .finish();
        let to = match kind {
            RelayKind::Opaque => Target::Address(to),
            RelayKind::Offer | RelayKind::Answer | RelayKind::Candidate | RelayKind::Message => {
                Target::Awaited(to)
            }
        };
        out.commands.push(Command::Relay {
            room: self.room.clone(),
            to,
            relay: relay(TONGUE.name, kind, frame),
        });
        Ok(())
    }

    /// Remembers the connection of an offer of the client's.
    fn offered(&mut self, to: &Address, payload: &Object<'_>) {
        let Ok(Some(id)) = payload.text("connectionId") else {
            return;
        };
        if id.len() > self.limits.name_bytes.max(64) {
            return;
        }
        let carries = match payload.text("type") {
            Ok(Some(kind)) if kind == "media" => Carries::Media,
            _ => Carries::Data,
        };
        self.remember(to, id.into_owned(), carries);
    }

    fn remember(&mut self, with: &Address, id: String, carries: Carries) {
        self.connections.retain(|known| known.with != *with);
        if self.connections.len() >= CONNECTIONS_MAX {
            self.connections.pop_front();
        }
        self.connections.push_back(Connection {
            with: with.clone(),
            id,
            carries,
        });
    }

    fn heard(&mut self, from: &Member, relay: &Relay) -> Option<ByteString> {
        if relay.origin == TONGUE.name {
            return Some(relay.frame.clone());
        }
        match Content::of(relay)? {
            Content::Offer(sdp) => Some(self.called(from, &sdp)),
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
    fn called(&mut self, from: &Member, sdp: &str) -> ByteString {
        let carries = Carries::of(sdp);
        let (seed, count) = &mut self.made;
        *count += 1;
        let id = match carries {
            Carries::Data => format!("dc_{seed}{count}"),
            Carries::Media => format!("mc_{seed}{count}"),
        };
        self.remember(&from.address, id.clone(), carries);
        self.signal("OFFER", from, |payload| {
            let payload = description(payload, "offer", sdp)
                .text("type", carries.name())
                .text("connectionId", &id);
            match carries {
                Carries::Media => payload,
                Carries::Data => payload
                    .text("label", LABEL)
                    .raw("reliable", "true")
                    .text("serialization", "raw"),
            }
        })
    }

    fn connection(&self, with: &Member) -> Option<&Connection> {
        let mut connections = self.connections.iter();
        connections.find(|known| known.with == with.address)
    }

    fn signal(
        &self,
        frame_type: &str,
        from: &Member,
        payload: impl FnOnce(Writer) -> Writer,
    ) -> ByteString {
        Writer::with_capacity(2048)
            .text("type", frame_type)
            .text("src", from.address.as_str())
            .text("dst", self.me.as_str())
            .object("payload", payload)
            .finish()
    }

    /// Clients take an `ERROR` for the end. What is not the end they are told by `EXPIRE` or not at
    /// all.
    fn refused(&self, refused: &Refused, out: &mut Out) {
        if refused.join.is_some() {
            out.frames.push(turned_away(refused));
            out.close = Some(Close::of_join(&refused.reason));
            return;
        }
        if matches!(refused.reason, Refusal::TooManyFrames | Refusal::TooLarge) {
            return out.frames.push(told("ERROR", &words(refused)));
        }
        // Nobody waits for who was told goodbye.
        let is_missed = refused.reason != Refusal::NoSuchPeer;
        let missed = refused.target.as_ref().filter(|_| is_missed);
        out.frames
            .extend(missed.map(|target| self.expired(target.as_str())));
    }

    fn expired(&self, target: &str) -> ByteString {
        self.notice("EXPIRE", target)
    }

    /// A message of the server about another peer.
    fn notice(&self, frame_type: &str, about: &str) -> ByteString {
        Writer::default()
            .text("type", frame_type)
            .text("src", about)
            .text("dst", self.me.as_str())
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
fn turned_away(refused: &Refused) -> ByteString {
    if refused.reason == Refusal::Taken {
        return told("ID-TAKEN", "ID is taken");
    }
    if refused.reason == Refusal::RoomFull {
        return told("ERROR", "Server has reached its concurrent user limit");
    }
    told("ERROR", &words(refused))
}

impl Connection {
    fn write(&self, payload: Writer) -> Writer {
        payload
            .text("type", self.carries.name())
            .text("connectionId", &self.id)
    }
}

fn description(payload: Writer, name: &str, sdp: &str) -> Writer {
    payload.object("sdp", |init| init.text("type", name).text("sdp", sdp))
}

fn told(frame_type: &str, message: &str) -> ByteString {
    Writer::default()
        .text("type", frame_type)
        .object("payload", |payload| payload.text("msg", message))
        .finish()
}
