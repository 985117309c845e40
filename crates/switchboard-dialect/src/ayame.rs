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
    Address, Command, DialectTraits, DisplayName, ErrorCode, Event, JoinOptions, LeaveKind, Limits,
    Member, MessageKind, OfferPolicy, OfferRole, PeerId, RelayedMessage, RequestError, RoomName,
    Target,
};

use crate::{
    Accepts, Candidate, ClientFrame, ClientIce, CloseReason, Content, Dialect, DialectSetting,
    Endpoint, Handshake, HttpAnswer, HttpReply, Session, SessionOutput, SettingValue,
    WebhookRequest,
    content::{relay, sdp_of},
    json::{JsonObject, JsonWriter, is_deeper},
};

static TONGUE: DialectTraits = DialectTraits {
    name: "ayame",
    offer_policy: OfferPolicy::NewcomerOffers,
    signals: true,
    messages: false,
    members_max: 2,
    ..DialectTraits::DEFAULT
};

static SETTINGS: [DialectSetting; 3] = [
    DialectSetting {
        key: "auth_webhook_url",
        doc: "The web service that is asked whether a client may register; empty for none.",
        default: || SettingValue::Url(String::new()),
        range: 0..=2048,
    },
    DialectSetting {
        key: "disconnect_webhook_url",
        doc: "The web service that is told that a client has gone; empty for none.",
        default: || SettingValue::Url(String::new()),
        range: 0..=2048,
    },
    DialectSetting {
        key: "ping_secs",
        doc: "Seconds between the dialect's own ping frames; 0 for none.",
        default: || SettingValue::Int(5),
        range: 0..=crate::SECS_MAX,
    },
];
static AUTH_WEBHOOK_URL: &DialectSetting = &SETTINGS[0];
static DISCONNECT_WEBHOOK_URL: &DialectSetting = &SETTINGS[1];
static PING_SECS: &DialectSetting = &SETTINGS[2];

/// How long a web service may take, as with the original.
const WEBHOOK_TIME: Duration = Duration::from_secs(5);

/// What a client is told if the web service does not answer as it should.
const WEBHOOK_FAILED: &str = "InternalServerError";

#[derive(Debug)]
pub(crate) struct Ayame;

impl Dialect for Ayame {
    fn traits(&self) -> &'static DialectTraits {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/signaling"]
    }

    /// The base, and at the root, wherever that is, the sign that the server is there.
    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        vec![
            Endpoint::new(base, "", Endpoint::MAIN, Accepts::Sockets),
            Endpoint::new("/", "/.ok", "ok", Accepts::Requests),
        ]
    }

    fn respond(&self, _door: &'static str, _handshake: &Handshake) -> HttpAnswer {
        HttpAnswer::Ready(HttpReply {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            body: String::new(),
        })
    }

    fn settings(&self) -> &'static [DialectSetting] {
        &SETTINGS
    }

    fn open(&self, handshake: &Handshake, out: &mut SessionOutput) -> Box<dyn Session> {
        let settings = &handshake.settings;
        out.tick = match settings.int(TONGUE.name, PING_SECS) {
            0 => None,
            secs => Some(Duration::from_secs(secs)),
        };
        let id = ulid(handshake.unix_ms, &handshake.random);
        Box::new(AyameSession {
            own_address: Address::parse(&id, 0).expect("a ULID is not empty"),
            state: AyameState::New,
            registration: None,
            grant: Grant::default(),
            ice: handshake.client_ice(),
            limits: handshake.limits.clone(),
            auth_webhook: settings.text(TONGUE.name, AUTH_WEBHOOK_URL),
            disconnect_webhook: settings.text(TONGUE.name, DISCONNECT_WEBHOOK_URL),
        })
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let object = JsonObject::parse(frame, 0).ok()?;
        match kind_of(&object.text("type").ok()??)? {
            MessageKind::Candidate => {
                Candidate::of_value(object.all("ice").last()?).map(Content::Candidate)
            }
            kind @ (MessageKind::Offer
            | MessageKind::Answer
            | MessageKind::Message
            | MessageKind::Opaque) => Content::description(kind, sdp_of(&object)?),
        }
    }
}

fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "offer" => Some(MessageKind::Offer),
        "answer" => Some(MessageKind::Answer),
        "candidate" => Some(MessageKind::Candidate),
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
struct Registration {
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
enum WebhookVerdict {
    Allowed(Grant),
    Denied(String),
}

/// How far the client has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AyameState {
    New,
    /// The web service is asked.
    Authorizing,
    Joining,
    /// Accepted, and the other of the room, if there is one.
    InRoom(Option<PeerId>),
    /// Accepted, and in the room no more.
    Standalone,
    Rejected,
}

struct AyameSession {
    own_address: Address,
    state: AyameState,
    /// None as long as it is new.
    registration: Option<Registration>,
    grant: Grant,
    ice: ClientIce,
    limits: Arc<Limits>,
    auth_webhook: String,
    disconnect_webhook: String,
}

impl Session for AyameSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let result = self.handle_frame(frame, out);
        if result.is_err() && self.accepted().is_none() {
            out.close = Some(CloseReason::DONE);
        }
        result
    }

    fn on_event(&mut self, event: &Event, out: &mut SessionOutput) {
        match event {
            Event::Joined { others, .. } => self.on_joined(others, out),
            Event::Introduced {
                peer, role: call, ..
            } => self.on_introduced(peer, *call, out),
            Event::Departed {
                peer,
                kind: farewell,
                ..
            } => self.on_departed(peer, *farewell, out),
            Event::Received {
                from,
                message: relay,
                ..
            } => out.frames.extend(self.on_received(from, relay)),
            Event::RequestFailed(refused) => self.on_error(refused, out),
            Event::Evicted(_) => out.frames.push(reject("evicted")),
            Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }

    fn on_tick(&mut self, out: &mut SessionOutput) {
        if !self.is_standalone() {
            out.frames.push(frame_of_type("ping"));
        }
    }

    fn on_webhook_response(&mut self, reply: Option<&str>, out: &mut SessionOutput) {
        if self.state != AyameState::Authorizing {
            return;
        }
        match reply.and_then(|reply| parse_verdict(reply, self.limits.json_depth)) {
            Some(WebhookVerdict::Allowed(grant)) => {
                self.grant = grant;
                self.join(out);
            }
            Some(WebhookVerdict::Denied(reason)) => {
                self.reject_client(&reason, ErrorCode::Denied, out)
            }
            None => self.reject_client(WEBHOOK_FAILED, ErrorCode::Unavailable, out),
        }
    }

    fn on_end(&mut self) -> Option<WebhookRequest> {
        let visit = self.accepted()?;
        let url = self.disconnect_webhook.clone();
        (!url.is_empty()).then(|| webhook_request(url, self.webhook_fields(visit).finish()))
    }
}

impl AyameSession {
    fn handle_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let object = JsonObject::parse(&text, self.limits.json_depth)?;
        match &*object.only_type()? {
            "pong" => Ok(()),
            "register" => self.register(&object, out),
            "connected" => self.handle_connected(out),
            other => {
                let kind = kind_of(other).ok_or(ErrorCode::UnknownType)?;
                self.relay(kind, &text, out)
            }
        }
    }

    fn register(
        &mut self,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        if self.state != AyameState::New {
            return Err(self.reject_second_register(out));
        }
        let visit = self.registration_of(object)?;
        if self.auth_webhook.is_empty() {
            self.registration = Some(visit);
            self.join(out);
        } else {
            let question =
                auth_webhook_body(self.webhook_fields(&visit), object, self.limits.json_depth)?;
            out.webhook = Some(webhook_request(self.auth_webhook.clone(), question));
            self.registration = Some(visit);
            self.state = AyameState::Authorizing;
        }
        Ok(())
    }

    /// Whoever registers again is not where it believes to be.
    fn reject_second_register(&self, out: &mut SessionOutput) -> RequestError {
        let refusal = ErrorCode::UnknownType;
        if self.accepted().is_some() {
            out.frames.push(reject(rejection_reason(&refusal)));
            out.close = Some(CloseReason::DONE);
        }
        refusal.into()
    }

    fn registration_of(&self, object: &JsonObject<'_>) -> Result<Registration, ErrorCode> {
        let max = self.limits.name_bytes;
        let room = object.text("roomId")?.unwrap_or_default();
        let room = RoomName::parse(&room, max).map_err(|e| ErrorCode::of_name("roomId", e))?;
        let name = object.text("clientId")?.filter(|name| !name.is_empty());
        let name = name.as_deref().unwrap_or(self.own_address.as_str());
        let name = DisplayName::parse(name, max).map_err(|e| ErrorCode::of_name("clientId", e))?;
        let standalone = flag(object, "standalone")?;
        Ok(Registration {
            room,
            name,
            standalone,
        })
    }

    /// How the web services are told of a client.
    fn webhook_fields(&self, visit: &Registration) -> JsonWriter {
        JsonWriter::default()
            .text("roomId", visit.room.as_str())
            .text("clientId", visit.name.as_str())
            .text("connectionId", self.own_address.as_str())
    }

    /// Rejects a client for what the web service has said, or has not.
    fn reject_client(&mut self, reason: &str, refusal: ErrorCode, out: &mut SessionOutput) {
        self.state = AyameState::Rejected;
        out.frames.push(reject(reason));
        out.errors.push(refusal.into());
        out.close = Some(CloseReason::DONE);
    }

    fn join(&mut self, out: &mut SessionOutput) {
        let join = self.registration.as_ref().map(|visit| Command::Join {
            room: visit.room.clone(),
            address: self.own_address.clone(),
            name: Some(visit.name.clone()),
            options: JoinOptions {
                // The web service guards the room only if there is no other way into it.
                closed_to_other_dialects: !self.auth_webhook.is_empty(),
                ..JoinOptions::default()
            },
        });
        out.commands.extend(join);
        self.state = AyameState::Joining;
    }

    /// Lets a `standalone` client go: it needs no server any more. Others may stay.
    fn handle_connected(&mut self, out: &mut SessionOutput) -> Result<(), RequestError> {
        let visit = self.accepted().ok_or(ErrorCode::NotInRoom)?;
        if visit.standalone {
            self.leave(LeaveKind::Silent, out);
            out.close = Some(CloseReason::DONE);
        }
        Ok(())
    }

    fn relay(
        &self,
        kind: MessageKind,
        text: &ByteString,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let (AyameState::InRoom(other), Some(visit)) = (self.state, &self.registration) else {
            return Err(ErrorCode::NotInRoom.into());
        };
        let other = other.ok_or(ErrorCode::NoSuchPeer)?;
        out.commands.push(Command::Send {
            room: visit.room.clone(),
            to: Target::Peer(other),
            message: relay(TONGUE.name, kind, text.clone()),
        });
        Ok(())
    }

    fn on_joined(&mut self, others: &[(Arc<Member>, OfferRole)], out: &mut SessionOutput) {
        if self.state != AyameState::Joining {
            return;
        }
        let other = others.iter().find(|(other, _)| other.dialect.signals);
        let calls = other.is_some_and(|(_, call)| *call == OfferRole::Offerer);
        self.state = AyameState::InRoom(other.map(|(other, _)| other.peer));
        out.frames.push(self.accept(calls, out.unix_secs));
    }

    /// The other has come. A third one may be seen for a moment, until its own node knows that it is
    /// one too many.
    fn on_introduced(&mut self, peer: &Member, call: OfferRole, out: &mut SessionOutput) {
        if self.state != AyameState::InRoom(None) || !peer.dialect.signals {
            return;
        }
        self.state = AyameState::InRoom(Some(peer.peer));
        if call == OfferRole::Offerer {
            out.frames.push(self.accept(true, out.unix_secs));
        }
    }

    fn on_received(&self, from: &Member, relay: &RelayedMessage) -> Option<ByteString> {
        if self.state != AyameState::InRoom(Some(from.peer)) {
            return None;
        }
        if relay.origin == TONGUE.name {
            return Some(relay.frame.clone());
        }
        translation(&Content::of(relay)?)
    }

    fn on_departed(&mut self, peer: &Member, farewell: LeaveKind, out: &mut SessionOutput) {
        if self.state != AyameState::InRoom(Some(peer.peer)) {
            return;
        }
        if farewell != LeaveKind::Silent || peer.dialect != &TONGUE {
            let bye = (!self.is_standalone()).then(|| frame_of_type("bye"));
            out.frames.extend(bye);
            out.close = Some(CloseReason::DONE);
        }
        self.leave(LeaveKind::Announced, out);
    }

    /// Leaves the room to others, and stays what it is: accepted.
    fn leave(&mut self, farewell: LeaveKind, out: &mut SessionOutput) {
        if let (AyameState::InRoom(_), Some(visit)) = (self.state, &self.registration) {
            let room = visit.room.clone();
            out.commands.push(Command::Leave {
                room,
                kind: farewell,
            });
            self.state = AyameState::Standalone;
        }
    }

    /// In a room there are no words for what is refused; before, it is the end.
    fn on_error(&mut self, refused: &RequestError, out: &mut SessionOutput) {
        if !matches!(self.state, AyameState::New | AyameState::Joining) {
            return;
        }
        self.state = AyameState::Rejected;
        out.frames.push(reject(rejection_reason(&refused.code)));
        if refused.join.is_some() {
            out.close = Some(CloseReason::DONE);
        }
    }

    /// The frame `accept`. A member that has waited for the other gets it again, with new TURN credentials.
    fn accept(&self, calls: bool, unix_secs: u64) -> ByteString {
        let calls = if calls { "true" } else { "false" };
        let writer = JsonWriter::default()
            .text("type", "accept")
            .text("connectionId", self.own_address.as_str())
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

    fn accepted(&self) -> Option<&Registration> {
        let is_accepted = matches!(self.state, AyameState::InRoom(_) | AyameState::Standalone);
        self.registration.as_ref().filter(|_| is_accepted)
    }

    fn is_standalone(&self) -> bool {
        self.registration
            .as_ref()
            .is_some_and(|visit| visit.standalone)
    }
}

/// A yes or no, absent for no.
fn flag(object: &JsonObject<'_>, key: &'static str) -> Result<bool, ErrorCode> {
    match object.get(key).map(RawValue::get) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ErrorCode::BadField(key)),
    }
}

/// The request to the web service for a client that has sent `register`. The parser of the web service may
/// recurse: the metadata is nested at most `depth` levels deep (0: no limit).
fn auth_webhook_body(
    about: JsonWriter,
    register: &JsonObject<'_>,
    depth: usize,
) -> Result<ByteString, ErrorCode> {
    let key = register.text("key")?;
    let key = register.text("signalingKey")?.or(key);
    let metadata = register.get("authnMetadata").map(RawValue::get);
    if metadata.is_some_and(|metadata| is_deeper(metadata, depth)) {
        return Err(ErrorCode::TooDeep);
    }
    let writer = about.maybe_text("signalingKey", key.as_deref());
    let writer = maybe_raw(writer, "authnMetadata", metadata);
    let texts = ["ayameClient", "libwebrtc", "environment"];
    let writer = texts.into_iter().try_fold(writer, |writer, key| {
        Ok(writer.maybe_text(key, register.text(key)?.as_deref()))
    })?;
    Ok(writer.finish())
}

fn maybe_raw(writer: JsonWriter, key: &str, json: Option<&str>) -> JsonWriter {
    match json {
        Some(json) => writer.raw(key, json),
        None => writer,
    }
}

/// What the web service says. None, if it does not say it as it should.
fn parse_verdict(reply: &str, depth: usize) -> Option<WebhookVerdict> {
    let object = JsonObject::parse(reply, depth).ok()?;
    if object.get("allowed")?.get() == "false" {
        let reason = object.text("reason").ok()??;
        return Some(WebhookVerdict::Denied(reason.into_owned()));
    }
    let ice_servers = object.get("iceServers").map(RawValue::get);
    let is_list = ice_servers.is_none_or(|servers| servers.starts_with('['));
    (flag(&object, "allowed").ok()? && is_list).then(|| {
        WebhookVerdict::Allowed(Grant {
            authz_metadata: object.get("authzMetadata").map(|raw| raw.get().into()),
            ice_servers: ice_servers.map(Into::into),
        })
    })
}

fn webhook_request(url: String, body: ByteString) -> WebhookRequest {
    WebhookRequest {
        url,
        body,
        timeout: WEBHOOK_TIME,
    }
}

/// Why a client is not let in, in the original's words where it has any.
fn rejection_reason(refusal: &ErrorCode) -> &'static str {
    if *refusal == ErrorCode::RoomFull {
        return "full";
    }
    refusal.as_str()
}

fn reject(reason: &str) -> ByteString {
    JsonWriter::default()
        .text("type", "reject")
        .text("reason", reason)
        .finish()
}

/// A frame that says only what it is.
fn frame_of_type(frame_type: &str) -> ByteString {
    JsonWriter::default().text("type", frame_type).finish()
}

fn translation(content: &Content<'_>) -> Option<ByteString> {
    let begin = |frame_type| JsonWriter::default().text("type", frame_type);
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
        DialectSettings,
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
        let mut settings = DialectSettings::default();
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
            ..Handshake::at(Endpoint::MAIN, &[], &[])
        };
        let mut session = Ayame.open(&handshake, &mut SessionOutput::default());
        let register = ByteString::from_static(r#"{"type":"register","roomId":"room"}"#);
        let registered =
            session.on_frame(ClientFrame::Text(&register), &mut SessionOutput::default());
        registered.expect("a frame of a new client");
        let room = RoomName::parse("room", 0).expect("a name");
        let joined = Event::Joined {
            room: RoomId::shared(SpaceName::default(), room),
            others: Vec::new(),
        };
        let mut out = SessionOutput {
            unix_secs: 5_000,
            ..SessionOutput::default()
        };
        session.on_event(&joined, &mut out);
        let accept = &out.frames[0];
        assert!(accept.contains(r#""username":"5060:"#), "{accept}");
    }

    #[test]
    fn what_the_web_service_says_is_whole_or_nothing() {
        let denied = |reason: &str| Some(WebhookVerdict::Denied(reason.to_owned()));
        let allowed = |authz: Option<&str>, ice: Option<&str>| {
            Some(WebhookVerdict::Allowed(Grant {
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
            assert_eq!(parse_verdict(reply, 4), expected, "{reply}");
        }
    }
}
