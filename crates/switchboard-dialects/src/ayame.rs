//! `ayame`: Ayame, Shiguredo's signaling server, and its SDKs. WebSocket, JSON objects with a `type`, on
//! `/signaling`; `GET /.ok` is the health check. A room has at most two members.
//!
//! # Conversation
//!
//! The client sends the first frame, `register`. The second client of a room gets `accept` with `isExistUser`, which
//! tells it to send the offer. The first client gets no frame before this offer. If the second client uses a dialect
//! that does not send offers, the first client gets another `accept` with `isExistUser` and sends the offer.
//!
//! (→ from the client, ← to the client; `?` marks an optional field)
//!
//! * → `{"type":"register","roomId","clientId"?,"key"?,"signalingKey"?,"authnMetadata"?,
//!   "ayameClient"?,"libwebrtc"?,"environment"?,"standalone"?}`, once
//! * → `{"type":"offer","sdp"}`, `{"type":"answer","sdp"}`, `{"type":"candidate","ice":{…}}`: relayed to the
//!   other client byte for byte
//! * → `{"type":"pong"}`
//! * → `{"type":"connected"}`: a `standalone` client leaves the room. A member of the same dialect is not notified,
//!   and the call continues
//! * ← `{"type":"accept","connectionId","isExistClient","isExistUser","authzMetadata"?,
//!   "iceServers"?}`
//! * ← `{"type":"reject","reason"}`, and the connection is closed. The reason is `full`, `InternalServerError`, the
//!   reason of the web service, or an error code of this server
//! * ← `{"type":"ping"}`, from the beginning, but not to a `standalone` client
//! * ← `{"type":"bye"}` when the other client has left, but not to a `standalone` client; then the connection is
//!   closed
//!
//! With `auth_webhook_url` a web service authorizes clients and can send them ICE servers. Rooms are then closed to
//! other dialects: for their clients, a room of the same name is another room. With `disconnect_webhook_url` a web
//! service is notified when an accepted client has disconnected. Both requests have the format of Ayame.
//!
//! # Differences from the original server
//!
//! * An invalid `register`, or another first frame, is answered with `reject` and the reason; the original closes the
//!   connection without a frame.
//! * An invalid frame does not end a call. The dialect has no error frames for clients in a room, so the frame is only
//!   counted in the metrics.
//! * When one client has left after `connected`, the server takes the other one out of the room too, without `bye` and
//!   even if it is not `standalone`. So two new clients can join.
//! * A frame with two keys that match `type` and differ is rejected, because the receiver may read the other one.
//! * The other client may use another dialect.
//! * `iceServers` are those of `[ice]`, with TURN credentials that are valid from the time of the `accept`, unless the
//!   web service sends others. A client without the grant `relay` gets none of `[ice]`.
//!
//! # Migration from the original server
//!
//! ```sh
//! ./ayame -c config.ini
//! SWITCHBOARD_AYAME_LISTEN=:3000 switchboard
//! ```
//!
//! On the main listener clients use `wss://HOST/signaling`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytestring::ByteString;
use switchboard_core::{
    Address, Command, DialectTraits, DisplayName, ErrorCode, Event, JoinOptions, LeaveKind, Limits,
    Member, MessageKind, OfferPolicy, OfferRole, PeerId, RelayedMessage, RequestError, RoomName,
    Target,
};

use crate::{
    Accepts, Candidate, ClientFrame, ClientIce, CloseReason, Content, Dialect, DialectSetting,
    DialectTable, Endpoint, HOST, Handshake, HttpAnswer, HttpReply, Session, SessionOutput,
    SettingValue, WebhookRequest,
    content::{relayed_message, sdp_of},
    json::{JsonObject, JsonWriter, Keys, RawJson, is_deeper},
};

static TRAITS: DialectTraits = DialectTraits {
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
        doc: "The web service that authorizes each client that registers; empty for none.",
        default: || SettingValue::Url(String::new()),
        range: 0..=2048,
    },
    DialectSetting {
        key: "disconnect_webhook_url",
        doc: "The web service that is notified when a client has disconnected; empty for none.",
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

/// The time limit for the response of a web service, as in the original.
const WEBHOOK_TIME: Duration = Duration::from_secs(5);

/// The reason in `reject` if the web service fails or sends an invalid response.
const WEBHOOK_FAILED: &str = "InternalServerError";

#[derive(Debug)]
pub(crate) struct Ayame;

impl Dialect for Ayame {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/signaling"]
    }

    /// The endpoint of WebSocket connections, and the health check, which is `/.ok` for every base path.
    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        vec![
            Endpoint::new(base, "", Endpoint::MAIN, Accepts::Sockets),
            Endpoint::new("/", "/.ok", "ok", Accepts::Requests),
        ]
    }

    fn respond(&self, _endpoint: &'static str, _handshake: &Handshake) -> HttpAnswer {
        HttpAnswer::Ready(HttpReply {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            body: String::new(),
        })
    }

    fn is_public(&self, _endpoint: &'static str) -> bool {
        true
    }

    fn settings(&self) -> &'static [DialectSetting] {
        &SETTINGS
    }

    fn has_credential_in_first_frame(&self) -> bool {
        true
    }

    fn first_frame_credential<'f>(&self, first: &JsonObject<'f>) -> Option<Cow<'f, str>> {
        let own = ["token", "signalingKey", "key", "authnMetadata"];
        let text = |key| first.text(key).ok()?.filter(|text| !text.is_empty());
        let in_metadata = || first.object("authnMetadata").ok()??.text("token").ok()?;
        own.into_iter().find_map(text).or_else(in_metadata)
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        let settings = &handshake.settings;
        output.tick = match settings.int(TRAITS.name, PING_SECS) {
            0 => None,
            secs => Some(Duration::from_secs(secs)),
        };
        let id = ulid(handshake.unix_ms, &handshake.random);
        Box::new(AyameSession {
            own_address: Address::parse(&id, 0).expect("a ULID is not empty"),
            state: AyameState::New,
            registration: None,
            grant: AyameGrant::default(),
            ice: handshake.client_ice(),
            limits: handshake.limits.clone(),
            auth_webhook: settings.text(TRAITS.name, AUTH_WEBHOOK_URL),
            disconnect_webhook: settings.text(TRAITS.name, DISCONNECT_WEBHOOK_URL),
        })
    }

    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
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

/// The message kind of a frame type. `None` if frames of this type are not relayed.
fn kind_of(frame_type: &str) -> Option<MessageKind> {
    match frame_type {
        "offer" => Some(MessageKind::Offer),
        "answer" => Some(MessageKind::Answer),
        "candidate" => Some(MessageKind::Candidate),
        _ => None,
    }
}

/// A connection id in the format of the original: a ULID, which has 48 bits of time and 80 random bits in
/// Crockford's base 32.
fn ulid(unix_ms: u64, random: &[u8; 32]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let append = |number: u128, byte: &u8| (number << 8) | u128::from(*byte);
    let time = u128::from(unix_ms & 0xffff_ffff_ffff);
    let number = random.iter().take(10).fold(time, append);
    let positions = (0..26).rev();
    let digits =
        positions.map(|position| DIGITS[(number >> (5 * position)) as usize % DIGITS.len()]);
    digits.map(char::from).collect()
}

/// The content of the `register` frame of a client.
struct Registration {
    room: RoomName,
    name: DisplayName,
    /// Whether the client leaves the room once its call is connected.
    standalone: bool,
}

/// The configured STUN and TURN servers as JSON; `None` if there are none. The validity of the TURN credentials
/// starts at `unix_secs`.
fn ice_servers_of(ice: &ClientIce, unix_secs: u64) -> Option<Box<str>> {
    let servers = ice.servers(unix_secs);
    let json = (!servers.is_empty()).then(|| serde_json::to_string(&servers));
    json?.ok().map(Into::into)
}

/// The fields of `accept` that the web service adds for a client, as JSON.
#[derive(Debug, Default, PartialEq, Eq)]
struct AyameGrant {
    authz_metadata: Option<Box<str>>,
    ice_servers: Option<Box<str>>,
}

/// The decision of the web service about a client.
#[derive(Debug, PartialEq, Eq)]
enum WebhookVerdict {
    Allowed(AyameGrant),
    Denied(String),
}

/// The state of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AyameState {
    /// The client has not sent a valid `register` yet.
    New,
    /// The request to the web service is pending.
    Authorizing,
    /// The join of the room is pending.
    Joining,
    /// Accepted. Holds the other member of the room, if there is one.
    InRoom(Option<PeerId>),
    /// Accepted, and has left the room.
    Left,
    /// The client was sent `reject`.
    Rejected,
}

struct AyameSession {
    own_address: Address,
    state: AyameState,
    /// `None` in the state `New`.
    registration: Option<Registration>,
    grant: AyameGrant,
    ice: ClientIce,
    limits: Arc<Limits>,
    auth_webhook: String,
    disconnect_webhook: String,
}

impl Session for AyameSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let result = self.handle_frame(frame, output);
        if result.is_err() && self.accepted().is_none() {
            output.close = Some(CloseReason::DONE);
        }
        result
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Joined { others, .. } => self.on_joined(others, output),
            Event::Introduced { peer, role, .. } => self.on_introduced(peer, *role, output),
            Event::Departed { peer, kind, .. } => self.on_departed(peer, *kind, output),
            Event::Received { from, message, .. } => {
                let frame = self.on_received(from, message, output.dialects);
                output.frames.extend(frame)
            }
            Event::RequestFailed(error) => self.on_error(error, output),
            Event::Evicted(_) => output.frames.push(reject("evicted")),
            Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }

    fn on_tick(&mut self, output: &mut SessionOutput) {
        if !self.is_standalone() {
            output.frames.push(frame_of_type("ping"));
        }
    }

    fn on_webhook_response(&mut self, reply: Option<&str>, output: &mut SessionOutput) {
        if self.state != AyameState::Authorizing {
            return;
        }
        match reply.and_then(|reply| parse_verdict(reply, self.limits.json_depth)) {
            Some(WebhookVerdict::Allowed(grant)) => {
                self.grant = grant;
                self.join(output);
            }
            Some(WebhookVerdict::Denied(reason)) => {
                self.reject_client(&reason, ErrorCode::Denied(None), output)
            }
            None => self.reject_client(WEBHOOK_FAILED, ErrorCode::Unavailable, output),
        }
    }

    fn on_end(&mut self) -> Option<WebhookRequest> {
        let registration = self.accepted()?;
        let url = self.disconnect_webhook.clone();
        (!url.is_empty()).then(|| webhook_request(url, self.webhook_fields(registration).finish()))
    }
}

impl AyameSession {
    fn handle_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let mut object = JsonObject::parse(&text, self.limits.json_depth)?;
        let [frame_type] = object.find(const { &Keys::new(["type"]) });
        match &*object.only_type(&frame_type)? {
            "pong" => Ok(()),
            "register" => self.register(&object, output),
            "connected" => self.handle_connected(output),
            other => {
                let kind = kind_of(other).ok_or(ErrorCode::UnknownType)?;
                self.relay(kind, &text, output)
            }
        }
    }

    fn register(
        &mut self,
        object: &JsonObject<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        if self.state != AyameState::New {
            return Err(self.reject_second_register(output));
        }
        let registration = self.registration_of(object)?;
        if self.auth_webhook.is_empty() {
            self.registration = Some(registration);
            self.join(output);
        } else {
            let body = auth_webhook_body(
                self.webhook_fields(&registration),
                object,
                self.limits.json_depth,
            )?;
            output.webhook = Some(webhook_request(self.auth_webhook.clone(), body));
            self.registration = Some(registration);
            self.state = AyameState::Authorizing;
        }
        Ok(())
    }

    /// Rejects a second `register`. The connection of an accepted client is closed, because the client evidently has
    /// another view of the session than the server.
    fn reject_second_register(&self, output: &mut SessionOutput) -> RequestError {
        let code = ErrorCode::UnknownType;
        if self.accepted().is_some() {
            output.frames.push(reject(rejection_reason(&code)));
            output.close = Some(CloseReason::DONE);
        }
        code.into()
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

    /// The fields that identify a client in requests to the web services.
    fn webhook_fields(&self, registration: &Registration) -> JsonWriter {
        JsonWriter::default()
            .text("roomId", registration.room.as_str())
            .text("clientId", registration.name.as_str())
            .text("connectionId", self.own_address.as_str())
    }

    /// Rejects a client after the response or the failure of the web service.
    fn reject_client(&mut self, reason: &str, code: ErrorCode, output: &mut SessionOutput) {
        self.state = AyameState::Rejected;
        output.frames.push(reject(reason));
        output.errors.push(code.into());
        output.close = Some(CloseReason::DONE);
    }

    fn join(&mut self, output: &mut SessionOutput) {
        let join = self
            .registration
            .as_ref()
            .map(|registration| Command::Join {
                room: registration.room.clone(),
                address: self.own_address.clone(),
                name: Some(registration.name.clone()),
                options: JoinOptions {
                    // The web service must authorize all members, so members of other dialects are excluded.
                    closed_to_other_dialects: !self.auth_webhook.is_empty(),
                    ..JoinOptions::default()
                },
            });
        output.commands.extend(join);
        self.state = AyameState::Joining;
    }

    /// Handles `connected`: a `standalone` client leaves and is closed; other clients stay. The leave is silent,
    /// because the call goes on without this server.
    fn handle_connected(&mut self, output: &mut SessionOutput) -> Result<(), RequestError> {
        let registration = self.accepted().ok_or(ErrorCode::NotInRoom)?;
        if registration.standalone {
            self.leave(LeaveKind::Silent, output);
            output.close = Some(CloseReason::DONE);
        }
        Ok(())
    }

    fn relay(
        &self,
        kind: MessageKind,
        text: &ByteString,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let (AyameState::InRoom(other), Some(registration)) = (self.state, &self.registration)
        else {
            return Err(ErrorCode::NotInRoom.into());
        };
        let other = other.ok_or(ErrorCode::NoSuchPeer)?;
        output.commands.push(Command::Send {
            room: registration.room.clone(),
            to: Target::Peer(other),
            message: relayed_message(TRAITS.name, kind, text.clone()),
        });
        Ok(())
    }

    fn on_joined(&mut self, others: &[(Arc<Member>, OfferRole)], output: &mut SessionOutput) {
        if self.state != AyameState::Joining {
            return;
        }
        let other = others.iter().find(|(other, _)| other.dialect.signals);
        let sends_offer = other.is_some_and(|(_, role)| *role == OfferRole::Offerer);
        self.state = AyameState::InRoom(other.map(|(other, _)| other.peer));
        let accept = self.accept(sends_offer, output);
        output.frames.push(accept);
    }

    /// Handles the join of another member. In a cluster a third member can appear for a moment, until its
    /// node rejects it; it is ignored.
    fn on_introduced(&mut self, peer: &Member, role: OfferRole, output: &mut SessionOutput) {
        if self.state != AyameState::InRoom(None) || !peer.dialect.signals {
            return;
        }
        self.state = AyameState::InRoom(Some(peer.peer));
        if role == OfferRole::Offerer {
            let accept = self.accept(true, output);
            output.frames.push(accept);
        }
    }

    fn on_received(
        &self,
        from: &Member,
        message: &RelayedMessage,
        dialects: DialectTable,
    ) -> Option<ByteString> {
        let is_from_host = from.dialect == &HOST && self.accepted().is_some();
        if !is_from_host && self.state != AyameState::InRoom(Some(from.peer)) {
            return None;
        }
        if message.is_of_dialect(TRAITS.name) {
            return Some(message.frame.clone());
        }
        message.translated_once(TRAITS.name, || {
            translation(&Content::of(message, dialects)?)
        })
    }

    fn on_departed(&mut self, peer: &Member, kind: LeaveKind, output: &mut SessionOutput) {
        if self.state != AyameState::InRoom(Some(peer.peer)) {
            return;
        }
        // After a silent leave (see `handle_connected`) the call goes on.
        if kind != LeaveKind::Silent || peer.dialect != &TRAITS {
            let bye = (!self.is_standalone()).then(|| frame_of_type("bye"));
            output.frames.extend(bye);
            output.close = Some(CloseReason::DONE);
        }
        self.leave(LeaveKind::Announced, output);
    }

    /// Leaves the room. The client stays accepted.
    fn leave(&mut self, kind: LeaveKind, output: &mut SessionOutput) {
        if let (AyameState::InRoom(_), Some(registration)) = (self.state, &self.registration) {
            let room = registration.room.clone();
            output.commands.push(Command::Leave { room, kind });
            self.state = AyameState::Left;
        }
    }

    /// Handles an error. Before the client is accepted it is rejected; later there is no frame for errors.
    fn on_error(&mut self, error: &RequestError, output: &mut SessionOutput) {
        if !matches!(self.state, AyameState::New | AyameState::Joining) {
            return;
        }
        self.state = AyameState::Rejected;
        output.frames.push(reject(rejection_reason(&error.code)));
        if error.join.is_some() {
            output.close = Some(CloseReason::DONE);
        }
    }

    /// The frame `accept`, which tells the client whether to send the offer. A client that joins first and sends the
    /// offer to a later member gets it twice, the second time with new TURN credentials.
    fn accept(&self, sends_offer: bool, output: &SessionOutput) -> ByteString {
        let sends_offer = if sends_offer { "true" } else { "false" };
        let writer = JsonWriter::default()
            .text("type", "accept")
            .text("connectionId", self.own_address.as_str())
            .raw("isExistClient", sends_offer)
            .raw("isExistUser", sends_offer);
        let writer = maybe_raw(
            writer,
            "authzMetadata",
            self.grant.authz_metadata.as_deref(),
        );
        let ice_servers = self.grant.ice_servers.clone();
        let configured = || ice_servers_of(&self.ice, output.unix_secs);
        let ice_servers = ice_servers.or_else(|| output.may_relay.then(configured).flatten());
        maybe_raw(writer, "iceServers", ice_servers.as_deref()).finish()
    }

    /// The registration of the client, if it has been accepted.
    fn accepted(&self) -> Option<&Registration> {
        let is_accepted = matches!(self.state, AyameState::InRoom(_) | AyameState::Left);
        self.registration.as_ref().filter(|_| is_accepted)
    }

    fn is_standalone(&self) -> bool {
        self.registration
            .as_ref()
            .is_some_and(|registration| registration.standalone)
    }
}

/// The value of a boolean field; false if it is absent.
fn flag(object: &JsonObject<'_>, key: &'static str) -> Result<bool, ErrorCode> {
    match object.get(key).map(RawJson::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ErrorCode::BadField(key)),
    }
}

/// The body of the authorization request for a client that has sent `register`. The metadata may be nested at most
/// `depth` levels deep (0: no limit), because the JSON parser of the web service may be recursive.
fn auth_webhook_body(
    fields: JsonWriter,
    register: &JsonObject<'_>,
    depth: usize,
) -> Result<ByteString, ErrorCode> {
    let key = register.text("key")?;
    let key = register.text("signalingKey")?.or(key);
    let metadata = register.get("authnMetadata").map(RawJson::as_str);
    if metadata.is_some_and(|metadata| is_deeper(metadata, depth)) {
        return Err(ErrorCode::TooDeep);
    }
    let writer = fields.maybe_text("signalingKey", key.as_deref());
    let writer = maybe_raw(writer, "authnMetadata", metadata);
    let texts = ["ayameClient", "libwebrtc", "environment"];
    let writer = texts.into_iter().try_fold(writer, |writer, key| {
        Ok(writer.maybe_text(key, register.text(key)?.as_deref()))
    })?;
    Ok(writer.finish())
}

fn maybe_raw(writer: JsonWriter, key: &'static str, json: Option<&str>) -> JsonWriter {
    match json {
        Some(json) => writer.raw(key, json),
        None => writer,
    }
}

/// Parses the response of the web service, of which at most `depth` levels are read (0: no limit). `None` if it is
/// invalid.
fn parse_verdict(reply: &str, depth: usize) -> Option<WebhookVerdict> {
    let object = JsonObject::parse(reply, depth).ok()?;
    if object.get("allowed")?.as_str() == "false" {
        let reason = object.text("reason").ok()??;
        return Some(WebhookVerdict::Denied(reason.into_owned()));
    }
    let ice_servers = object.get("iceServers").map(RawJson::as_str);
    let is_list = ice_servers.is_none_or(|servers| servers.starts_with('['));
    (flag(&object, "allowed").ok()? && is_list).then(|| {
        WebhookVerdict::Allowed(AyameGrant {
            authz_metadata: object.get("authzMetadata").map(|raw| raw.as_str().into()),
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

/// The reason in `reject` for an error: `full` as in the original, the text of a denial, or the error code.
fn rejection_reason(code: &ErrorCode) -> &str {
    if *code == ErrorCode::RoomFull {
        return "full";
    }
    if let ErrorCode::Denied(Some(text)) = code {
        return text;
    }
    code.as_str()
}

fn reject(reason: &str) -> ByteString {
    JsonWriter::default()
        .text("type", "reject")
        .text("reason", reason)
        .finish()
}

/// A frame with no other field than `type`.
fn frame_of_type(frame_type: &str) -> ByteString {
    JsonWriter::default().text("type", frame_type).finish()
}

/// The frame for a message of a member of another dialect.
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

    /// The frame `accept` for a client with or without the grant `relay`.
    fn accept_with(may_relay: bool) -> ByteString {
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
        let mut output = SessionOutput {
            unix_secs: 5_000,
            may_relay,
            ..SessionOutput::default()
        };
        session.on_event(&joined, &mut output);
        output.frames.remove(0)
    }

    #[test]
    fn the_validity_of_turn_credentials_starts_when_the_client_is_accepted() {
        let accept = accept_with(true);
        assert!(accept.contains(r#""username":"5060:"#), "{accept}");
    }

    #[test]
    fn client_without_the_grant_relay_gets_no_servers() {
        let accept = accept_with(false);
        assert!(!accept.contains("iceServers"), "{accept}");
    }

    #[test]
    fn only_valid_responses_of_the_web_service_are_parsed() {
        let denied = |reason: &str| Some(WebhookVerdict::Denied(reason.to_owned()));
        let allowed = |authz: Option<&str>, ice: Option<&str>| {
            Some(WebhookVerdict::Allowed(AyameGrant {
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
