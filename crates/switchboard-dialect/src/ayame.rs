//! `ayame`: Ayame, Shiguredo's signaling server, and its SDKs.
//! WebSocket, JSON objects told apart by `type`, on `/signaling`; `GET /.ok` says that the server is
//! there. A room is for two.
//!
//! # Conversation
//!
//! The client speaks first: `register`. The newcomer of two is told to call, by `accept` with
//! `isExistUser`. Who waits is told nothing when the other comes, and hears its offer next; if the
//! other is of a dialect that cannot call, who waits gets a second `accept` with `isExistUser` and
//! calls.
//!
//! * → `{"type":"register","roomId","clientId"?,"key"?,"signalingKey"?,"authnMetadata"?,
//!   "ayameClient"?,"libwebrtc"?,"environment"?,"standalone"?}`, once
//! * → `{"type":"offer","sdp"}`, `{"type":"answer","sdp"}`, `{"type":"candidate","ice":{…}}`: these
//!   bytes go to the other
//! * → `{"type":"pong"}`
//! * → `{"type":"connected"}`: with `standalone` the client is done; nobody of its own dialect is
//!   told, and the call goes on
//! * ← `{"type":"accept","connectionId","isExistClient","isExistUser","authzMetadata"?,
//!   "iceServers"?}`
//! * ← `{"type":"reject","reason"}`, and the connection ends: `full`, `InternalServerError`, the
//!   reason of the web service, or a code of ours
//! * ← `{"type":"ping"}`, from the beginning, but not with `standalone`
//! * ← `{"type":"bye"}` when the other has left, but not with `standalone`; then the connection ends
//!
//! With `auth_webhook_url` a web service admits clients, and gives them ICE servers. Rooms are
//! closed to other dialects then: in these, a room of the same name is another room. With
//! `disconnect_webhook_url` another one learns that a client it had let in has gone. Both get what
//! Ayame sends them.
//!
//! # Better
//!
//! * A `register` that is refused, and whatever comes in its place, is answered with `reject` and
//!   the reason; the original hangs up without a word.
//! * A bad frame does not end a call. Where the client is in a room there are no words for it, so
//!   it is counted only.
//! * When one of two has said `connected` and gone, the other need not be `standalone` too: it gets
//!   no `bye`, and both their places in the room are free for the next two.
//! * A frame with two types, one for the server and one for the receiver, is refused.
//! * The other may speak another dialect.
//! * `iceServers` are those of `[ice]`, with TURN credentials that are valid from then on, unless the web service
//!   gives others.
//!
//! # Switch
//!
//! ```sh
//! ./ayame -c config.ini
//! SWITCHBOARD_AYAME_LISTEN=:3000 switchboard
//! ```
//!
//! On the main listener clients use `wss://HOST/signaling`.

use std::{sync::Arc, time::Duration};

use bytestring::ByteString;
use serde_json::value::RawValue;
use switchboard_core::{
    Address, Call, Command, Custom, DisplayName, Event, Farewell, Limits, Member, PeerId, Refusal,
    Refused, Relay, RelayKind, RoomName, Target, Terms, Tongue,
};

use crate::{
    Answer, Candidate, ClientIce, Close, Content, Dialect, Door, Frame, Handshake, Opens, Out,
    Post, Reply, Session, Setting, Value,
    content::{relay, sdp_of},
    json::{Object, Writer, is_deeper},
};

static TONGUE: Tongue = Tongue {
    name: "ayame",
    custom: Custom::NewcomerCalls,
    signals: true,
    messages: false,
    room_max: 2,
    ..Tongue::USUAL
};

static SETTINGS: [Setting; 3] = [
    Setting {
        key: "auth_webhook_url",
        doc: "The web service that is asked whether a client may register; empty for none.",
        default: || Value::Url(String::new()),
        range: 0..=2048,
    },
    Setting {
        key: "disconnect_webhook_url",
        doc: "The web service that is told that a client has gone; empty for none.",
        default: || Value::Url(String::new()),
        range: 0..=2048,
    },
    Setting {
        key: "ping_secs",
        doc: "Seconds between the dialect's own ping frames; 0 for none.",
        default: || Value::Int(5),
        range: 0..=crate::SECS_MAX,
    },
];
static AUTH_WEBHOOK_URL: &Setting = &SETTINGS[0];
static DISCONNECT_WEBHOOK_URL: &Setting = &SETTINGS[1];
static PING_SECS: &Setting = &SETTINGS[2];

/// How long a web service may take, as with the original.
const WEBHOOK_TIME: Duration = Duration::from_secs(5);

/// What a client is told if the web service does not answer as it should.
const WEBHOOK_FAILED: &str = "InternalServerError";

#[derive(Debug)]
pub(crate) struct Ayame;

impl Dialect for Ayame {
    fn tongue(&self) -> &'static Tongue {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/signaling"]
    }

    /// The base, and at the root, wherever that is, the sign that the server is there.
    fn doors(&self, base: &str) -> Vec<Door> {
        vec![
            Door::new(base, "", Door::MAIN, Opens::Sockets),
            Door::new("/", "/.ok", "ok", Opens::Requests),
        ]
    }

    fn answer(&self, _door: &'static str, _handshake: &Handshake) -> Answer {
        Answer::Now(Reply {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            body: String::new(),
        })
    }

    fn settings(&self) -> &'static [Setting] {
        &SETTINGS
    }

    fn open(&self, handshake: &Handshake, out: &mut Out) -> Box<dyn Session> {
        let settings = &handshake.settings;
        out.tick = match settings.int(TONGUE.name, PING_SECS) {
            0 => None,
            secs => Some(Duration::from_secs(secs)),
        };
        let id = ulid(handshake.unix_ms, &handshake.random);
        Box::new(Client {
            me: Address::parse(&id, 0).expect("a ULID is not empty"),
            stage: Stage::New,
            visit: None,
            grant: Grant::default(),
            ice: handshake.client_ice(),
            limits: handshake.limits.clone(),
            auth_webhook: settings.text(TONGUE.name, AUTH_WEBHOOK_URL),
            disconnect_webhook: settings.text(TONGUE.name, DISCONNECT_WEBHOOK_URL),
        })
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = Object::parse(frame, 0).ok()?;
        match kind_of(&object.text("type").ok()??)? {
            RelayKind::Candidate => {
                Candidate::of_value(object.all("ice").last()?).map(Content::Candidate)
            }
            kind @ (RelayKind::Offer
            | RelayKind::Answer
            | RelayKind::Message
            | RelayKind::Opaque) => Content::description(kind, sdp_of(&object)?),
        }
    }
}

fn kind_of(frame_type: &str) -> Option<RelayKind> {
    match frame_type {
        "offer" => Some(RelayKind::Offer),
        "answer" => Some(RelayKind::Answer),
        "candidate" => Some(RelayKind::Candidate),
        _ => None,
    }
}

/// A connection id as the original makes them: a ULID, 48 bits of time and 80 of chance in the
/// digits of Crockford's base 32.
fn ulid(unix_ms: u64, random: &[u8; 32]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let append = |number: u128, byte: &u8| (number << 8) | u128::from(*byte);
    let time = u128::from(unix_ms & 0xffff_ffff_ffff);
    let number = random.iter().take(10).fold(time, append);
    let places = (0..26).rev();
    let digits = places.map(|place| DIGITS[(number >> (5 * place)) as usize % DIGITS.len()]);
    digits.map(char::from).collect()
}

/// What a client has said by `register`.
struct Visit {
    room: RoomName,
    name: DisplayName,
    standalone: bool,
}

/// The STUN and TURN servers of the configuration as JSON, with TURN credentials that are valid from now on; none
/// if there are none.
fn ice_servers_of(ice: &ClientIce, unix_secs: u64) -> Option<Box<str>> {
    let servers = ice.servers(unix_secs);
    let json = (!servers.is_empty()).then(|| serde_json::to_string(&servers));
    json?.ok().map(Into::into)
}

/// The fields of `accept` that the web service adds for a client, as JSON.
#[derive(Debug, Default, PartialEq, Eq)]
struct Grant {
    authz_metadata: Option<Box<str>>,
    ice_servers: Option<Box<str>>,
}

/// What the web service says of a client.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Allowed(Grant),
    Denied(String),
}

/// How far the client has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    /// The web service is asked.
    Asking,
    Joining,
    /// Accepted, and the other of the room, if there is one.
    Here(Option<PeerId>),
    /// Accepted, and in the room no more.
    Apart,
    Rejected,
}

struct Client {
    me: Address,
    stage: Stage,
    /// None as long as it is new.
    visit: Option<Visit>,
    grant: Grant,
    ice: ClientIce,
    limits: Arc<Limits>,
    auth_webhook: String,
    disconnect_webhook: String,
}

impl Session for Client {
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let result = self.take(frame, out);
        if result.is_err() && self.accepted().is_none() {
            out.close = Some(Close::DONE);
        }
        result
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Joined { others, .. } => self.joined(others, out),
            Event::Introduced { peer, call, .. } => self.introduced(peer, *call, out),
            Event::Departed { peer, farewell, .. } => self.departed(peer, *farewell, out),
            Event::Heard { from, relay, .. } => out.frames.extend(self.heard(from, relay)),
            Event::Refused(refused) => self.refused(refused, out),
            Event::Evicted(_) => out.frames.push(reject("evicted")),
            Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }

    fn on_tick(&mut self, out: &mut Out) {
        if !self.is_standalone() {
            out.frames.push(bare("ping"));
        }
    }

    fn on_reply(&mut self, reply: Option<&str>, out: &mut Out) {
        if self.stage != Stage::Asking {
            return;
        }
        match reply.and_then(|reply| verdict(reply, self.limits.json_depth)) {
            Some(Verdict::Allowed(grant)) => {
                self.grant = grant;
                self.join(out);
            }
            Some(Verdict::Denied(reason)) => self.turn_away(&reason, Refusal::Denied, out),
            None => self.turn_away(WEBHOOK_FAILED, Refusal::Unavailable, out),
        }
    }

    fn on_end(&mut self) -> Option<Post> {
        let visit = self.accepted()?;
        let url = self.disconnect_webhook.clone();
        (!url.is_empty()).then(|| post(url, self.about(visit).finish()))
    }
}

impl Client {
    fn take(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let text = frame.text()?;
        let object = Object::parse(&text, self.limits.json_depth)?;
        match &*object.only_type()? {
            "pong" => Ok(()),
            "register" => self.register(&object, out),
            "connected" => self.connected(out),
            other => {
                let kind = kind_of(other).ok_or(Refusal::UnknownType)?;
                self.relay(kind, &text, out)
            }
        }
    }

    fn register(&mut self, object: &Object<'_>, out: &mut Out) -> Result<(), Refused> {
        if self.stage != Stage::New {
            return Err(self.registered_again(out));
        }
        let visit = self.visit_of(object)?;
        if self.auth_webhook.is_empty() {
            self.visit = Some(visit);
            self.join(out);
        } else {
            let question = asked(self.about(&visit), object, self.limits.json_depth)?;
            out.post = Some(post(self.auth_webhook.clone(), question));
            self.visit = Some(visit);
            self.stage = Stage::Asking;
        }
        Ok(())
    }

    /// Whoever registers again is not where it believes to be.
    fn registered_again(&self, out: &mut Out) -> Refused {
        let refusal = Refusal::UnknownType;
        if self.accepted().is_some() {
            out.frames.push(reject(reason(&refusal)));
            out.close = Some(Close::DONE);
        }
        refusal.into()
    }

    fn visit_of(&self, object: &Object<'_>) -> Result<Visit, Refusal> {
        let max = self.limits.name_bytes;
        let room = object.text("roomId")?.unwrap_or_default();
        let room = RoomName::parse(&room, max).map_err(|e| Refusal::of_name("roomId", e))?;
        let name = object.text("clientId")?.filter(|name| !name.is_empty());
        let name = name.as_deref().unwrap_or(self.me.as_str());
        let name = DisplayName::parse(name, max).map_err(|e| Refusal::of_name("clientId", e))?;
        let standalone = flag(object, "standalone")?;
        Ok(Visit {
            room,
            name,
            standalone,
        })
    }

    /// How the web services are told of a client.
    fn about(&self, visit: &Visit) -> Writer {
        Writer::default()
            .text("roomId", visit.room.as_str())
            .text("clientId", visit.name.as_str())
            .text("connectionId", self.me.as_str())
    }

    /// Rejects a client for what the web service has said, or has not.
    fn turn_away(&mut self, reason: &str, refusal: Refusal, out: &mut Out) {
        self.stage = Stage::Rejected;
        out.frames.push(reject(reason));
        out.refused.push(refusal.into());
        out.close = Some(Close::DONE);
    }

    fn join(&mut self, out: &mut Out) {
        let join = self.visit.as_ref().map(|visit| Command::Join {
            room: visit.room.clone(),
            address: self.me.clone(),
            name: Some(visit.name.clone()),
            terms: Terms {
                // The web service guards the room only if there is no other way into it.
                closed_to_other_dialects: !self.auth_webhook.is_empty(),
                ..Terms::default()
            },
        });
        out.commands.extend(join);
        self.stage = Stage::Joining;
    }

    /// Lets a `standalone` client go: it needs no server any more. Others may stay.
    fn connected(&mut self, out: &mut Out) -> Result<(), Refused> {
        let visit = self.accepted().ok_or(Refusal::NotInRoom)?;
        if visit.standalone {
            self.part(Farewell::Quiet, out);
            out.close = Some(Close::DONE);
        }
        Ok(())
    }

    fn relay(&self, kind: RelayKind, text: &ByteString, out: &mut Out) -> Result<(), Refused> {
        let (Stage::Here(other), Some(visit)) = (self.stage, &self.visit) else {
            return Err(Refusal::NotInRoom.into());
        };
        let other = other.ok_or(Refusal::NoSuchPeer)?;
        out.commands.push(Command::Relay {
            room: visit.room.clone(),
            to: Target::Peer(other),
            relay: relay(TONGUE.name, kind, text.clone()),
        });
        Ok(())
    }

    fn joined(&mut self, others: &[(Arc<Member>, Call)], out: &mut Out) {
        if self.stage != Stage::Joining {
            return;
        }
        let other = others.iter().find(|(other, _)| other.tongue.signals);
        let calls = other.is_some_and(|(_, call)| *call == Call::You);
        self.stage = Stage::Here(other.map(|(other, _)| other.peer));
        out.frames.push(self.accept(calls, out.unix_secs));
    }

    /// The other has come. A third one may be seen for a moment, until its own node knows that it is
    /// one too many.
    fn introduced(&mut self, peer: &Member, call: Call, out: &mut Out) {
        if self.stage != Stage::Here(None) || !peer.tongue.signals {
            return;
        }
        self.stage = Stage::Here(Some(peer.peer));
        if call == Call::You {
            out.frames.push(self.accept(true, out.unix_secs));
        }
    }

    fn heard(&self, from: &Member, relay: &Relay) -> Option<ByteString> {
        if self.stage != Stage::Here(Some(from.peer)) {
            return None;
        }
        if relay.origin == TONGUE.name {
            return Some(relay.frame.clone());
        }
        translation(&Content::of(relay)?)
    }

    fn departed(&mut self, peer: &Member, farewell: Farewell, out: &mut Out) {
        if self.stage != Stage::Here(Some(peer.peer)) {
            return;
        }
        if farewell != Farewell::Quiet || peer.tongue != &TONGUE {
            let bye = (!self.is_standalone()).then(|| bare("bye"));
            out.frames.extend(bye);
            out.close = Some(Close::DONE);
        }
        self.part(Farewell::Aloud, out);
    }

    /// Leaves the room to others, and stays what it is: accepted.
    fn part(&mut self, farewell: Farewell, out: &mut Out) {
        if let (Stage::Here(_), Some(visit)) = (self.stage, &self.visit) {
            let room = visit.room.clone();
            out.commands.push(Command::Leave { room, farewell });
            self.stage = Stage::Apart;
        }
    }

    /// In a room there are no words for what is refused; before, it is the end.
    fn refused(&mut self, refused: &Refused, out: &mut Out) {
        if !matches!(self.stage, Stage::New | Stage::Joining) {
            return;
        }
        self.stage = Stage::Rejected;
        out.frames.push(reject(reason(&refused.reason)));
        if refused.join.is_some() {
            out.close = Some(Close::DONE);
        }
    }

    /// The frame `accept`. A member that has waited for the other gets it again, with new TURN credentials.
    fn accept(&self, calls: bool, unix_secs: u64) -> ByteString {
        let calls = if calls { "true" } else { "false" };
        let writer = Writer::default()
            .text("type", "accept")
            .text("connectionId", self.me.as_str())
            .raw("isExistClient", calls)
            .raw("isExistUser", calls);
        let writer = maybe_raw(
            writer,
            "authzMetadata",
            self.grant.authz_metadata.as_deref(),
        );
        let ice_servers = self.grant.ice_servers.clone();
        let ice_servers = ice_servers.or_else(|| ice_servers_of(&self.ice, unix_secs));
        maybe_raw(writer, "iceServers", ice_servers.as_deref()).finish()
    }

    fn accepted(&self) -> Option<&Visit> {
        let is_accepted = matches!(self.stage, Stage::Here(_) | Stage::Apart);
        self.visit.as_ref().filter(|_| is_accepted)
    }

    fn is_standalone(&self) -> bool {
        self.visit.as_ref().is_some_and(|visit| visit.standalone)
    }
}

/// A yes or no, absent for no.
fn flag(object: &Object<'_>, key: &'static str) -> Result<bool, Refusal> {
    match object.get(key).map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::BadField(key)),
    }
}

/// The request to the web service for a client that has sent `register`. The parser of the web service may
/// recurse: the metadata is nested at most `depth` levels deep (0: no limit).
fn asked(about: Writer, register: &Object<'_>, depth: usize) -> Result<ByteString, Refusal> {
    let key = register.text("key")?;
    let key = register.text("signalingKey")?.or(key);
    let metadata = register.get("authnMetadata").map(RawValue::get);
    if metadata.is_some_and(|metadata| is_deeper(metadata, depth)) {
        return Err(Refusal::TooDeep);
    }
    let writer = about.maybe_text("signalingKey", key.as_deref());
    let writer = maybe_raw(writer, "authnMetadata", metadata);
    let texts = ["ayameClient", "libwebrtc", "environment"];
    let writer = texts.into_iter().try_fold(writer, |writer, key| {
        Ok(writer.maybe_text(key, register.text(key)?.as_deref()))
    })?;
    Ok(writer.finish())
}

fn maybe_raw(writer: Writer, key: &str, json: Option<&str>) -> Writer {
    match json {
        Some(json) => writer.raw(key, json),
        None => writer,
    }
}

/// What the web service says. None, if it does not say it as it should.
fn verdict(reply: &str, depth: usize) -> Option<Verdict> {
    let object = Object::parse(reply, depth).ok()?;
    if object.get("allowed")?.get() == "false" {
        let reason = object.text("reason").ok()??;
        return Some(Verdict::Denied(reason.into_owned()));
    }
    let ice_servers = object.get("iceServers").map(RawValue::get);
    let is_list = ice_servers.is_none_or(|servers| servers.starts_with('['));
    (flag(&object, "allowed").ok()? && is_list).then(|| {
        Verdict::Allowed(Grant {
            authz_metadata: object.get("authzMetadata").map(|raw| raw.get().into()),
            ice_servers: ice_servers.map(Into::into),
        })
    })
}

fn post(url: String, body: ByteString) -> Post {
    Post {
        url,
        body,
        within: WEBHOOK_TIME,
    }
}

/// Why a client is not let in, in the original's words where it has any.
fn reason(refusal: &Refusal) -> &'static str {
    if *refusal == Refusal::RoomFull {
        return "full";
    }
    refusal.code()
}

fn reject(reason: &str) -> ByteString {
    Writer::default()
        .text("type", "reject")
        .text("reason", reason)
        .finish()
}

/// A frame that says only what it is.
fn bare(frame_type: &str) -> ByteString {
    Writer::default().text("type", frame_type).finish()
}

fn translation(content: &Content<'_>) -> Option<ByteString> {
    let begin = |frame_type| Writer::default().text("type", frame_type);
    match content {
        Content::Offer(sdp) => Some(begin("offer").text("sdp", sdp).finish()),
        Content::Answer(sdp) => Some(begin("answer").text("sdp", sdp).finish()),
        Content::Candidate(candidate) => {
            let frame = begin("candidate").object("ice", |ice| candidate.write(ice));
            Some(frame.finish())
        }
        Content::Message(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use switchboard_core::{RoomId, SpaceName};

    use super::*;
    use crate::{
        Settings,
        ice::{IceServers, TurnServer},
    };

    #[test]
    fn connection_ids_are_ulids() {
        let mut random = [0xff; 32];
        random[..10].copy_from_slice(&[0xd6, 0x76, 0x4c, 0x61, 0xef, 0xb9, 0x93, 0x02, 0xbd, 0x5b]);
        assert_eq!(
            ulid(1_469_922_850_259, &random),
            "01ARZ3NDEKTSV4RRFFQ69G5FAV"
        );
        assert_eq!(ulid(u64::MAX, &[0xff; 32]), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    }

    #[test]
    fn turn_credentials_are_valid_from_the_accept_on() {
        let mut settings = Settings::default();
        settings.set_ice_servers(IceServers {
            turn: TurnServer {
                urls: vec!["turn:turn.example".to_owned()],
                secret: "GEHEIM".to_owned(),
                ttl: Duration::from_secs(60),
            },
            ..IceServers::default()
        });
        let handshake = Handshake {
            settings: Arc::new(settings),
            unix_ms: 1_000_000,
            ..Handshake::at(Door::MAIN, &[], &[])
        };
        let mut session = Ayame.open(&handshake, &mut Out::default());
        let register = ByteString::from_static(r#"{"type":"register","roomId":"room"}"#);
        let registered = session.on_frame(Frame::Text(&register), &mut Out::default());
        registered.expect("a frame of a new client");
        let room = RoomName::parse("room", 0).expect("a name");
        let joined = Event::Joined {
            room: RoomId::shared(SpaceName::default(), room),
            others: Vec::new(),
        };
        let mut out = Out {
            unix_secs: 5_000,
            ..Out::default()
        };
        session.on_event(&joined, &mut out);
        let accept = &out.frames[0];
        assert!(accept.contains(r#""username":"5060:"#), "{accept}");
    }

    #[test]
    fn what_the_web_service_says_is_whole_or_nothing() {
        let denied = |reason: &str| Some(Verdict::Denied(reason.to_owned()));
        let allowed = |authz: Option<&str>, ice: Option<&str>| {
            Some(Verdict::Allowed(Grant {
                authz_metadata: authz.map(Into::into),
                ice_servers: ice.map(Into::into),
            }))
        };
        for (reply, expected) in [
            (r#"{"allowed":true}"#, allowed(None, None)),
            (
                r#"{"allowed":true,"iceServers":[ {"urls":["turn:x"]} ],"authzMetadata":{"a":1}}"#,
                allowed(Some(r#"{"a":1}"#), Some(r#"[ {"urls":["turn:x"]} ]"#)),
            ),
            (r#"{"allowed":true,"iceServers":null}"#, allowed(None, None)),
            (r#"{"allowed":false,"reason":"no"}"#, denied("no")),
            (r#"{"allowed":false}"#, None),
            (r#"{"allowed":false,"reason":7}"#, None),
            (r#"{"allowed":"true"}"#, None),
            (r#"{"allowed":true,"iceServers":{}}"#, None),
            ("{}", None),
            ("true", None),
            ("", None),
            (r#"{"allowed":true,"x":[[[[1]]]]}"#, allowed(None, None)),
        ] {
            assert_eq!(verdict(reply, 4), expected, "{reply}");
        }
    }
}
