//! `matchbox`: matchbox_server and matchbox_signaling, for the sockets of the crate `matchbox_socket`.
//! WebSocket, JSON as Rust's serde writes enums, on `/matchbox/{room}`.
//!
//! # Conversation
//!
//! A connection joins its room at once; the server sends the first frame. The room is the last segment of the
//! path; or `?room=`, if the client selected the dialect on the path of another one; or `world`. With `?next=N`
//! the clients of a room are divided into groups of N whose members see only each other. A group that was full
//! once takes no more members. With several nodes, each group has clients of one node only.
//!
//! (→ from the client, ← to the client)
//!
//! * ← `{"IdAssigned":"UUID"}`
//! * ← `{"NewPeer":"UUID"}`: send an offer to this peer
//! * → `{"Signal":{"receiver":"UUID","data":D}}`, ← `{"Signal":{"sender":"UUID","data":D}}`; `D` is `{"Offer":SDP}`,
//!   `{"Answer":SDP}`, `{"IceCandidate":"JSON"}` or any other value
//! * ← `{"PeerLeft":"UUID"}`
//! * → `"KeepAlive"`, ignored
//!
//! Among clients of this dialect the members send offers to a newcomer. `NewPeer` always means "send an offer to
//! this peer". In a room with clients of several dialects it goes to the side that sends the offer, newcomer or not.
//!
//! # Differences from the original server
//!
//! * A signal reaches only peers in the room and the group of its sender.
//! * A client whose join is rejected is closed: with 1013 if it can retry soon, else with 1008. A `next` that is
//!   not a number is rejected too; the original ignores it.
//! * Frames that cannot be parsed or delivered are counted in the metrics.
//!
//! # Migration from the original server
//!
//! ```sh
//! matchbox_server 0.0.0.0:3536
//! SWITCHBOARD_MATCHBOX_LISTEN=:3536 switchboard
//! ```
//!
//! On the main listener the client uses `ws://HOST:8080/matchbox/ROOM`.

use std::{num::NonZeroUsize, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    Command, DialectTraits, ErrorCode, Event, JoinOptions, Limits, Member, MessageKind,
    OfferPolicy, OfferRole, PEER_ID_BYTES, PeerId, RequestError, RoomName, Target,
};

use crate::{
    Accepts, Candidate, ClientFrame, CloseReason, Content, CorsPolicy, Dialect, DialectSettings,
    Endpoint, FirstFrameTimeout, Handshake, HttpAnswer, HttpReply, Session, SessionOutput,
    content::relayed_message,
    json::{JsonObject, JsonWriter, Keys, RawJson},
};

static TRAITS: DialectTraits = DialectTraits {
    name: "matchbox",
    offer_policy: OfferPolicy::MemberOffers,
    signals: true,
    messages: false,
    ..DialectTraits::DEFAULT
};

/// The name of the endpoint `/health`. As in the original server, it is a health check for plain requests, and the
/// room `health` for WebSocket connections.
const HEALTH: &str = "health";

/// The room of connections that do not name a room.
const DEFAULT_ROOM: &str = "world";

/// The largest `next` that a client may request: as many members as a room may have by default.
const GROUP_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct Matchbox;

impl Dialect for Matchbox {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/matchbox"]
    }

    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        let sockets = |rest| Endpoint::new(base, rest, Endpoint::MAIN, Accepts::Sockets);
        let mut endpoints = vec![sockets(""), sockets("/"), sockets("/{room}")];
        if base == self.standalone_path() {
            let health = Endpoint::new(base, "/health", HEALTH, Accepts::Both);
            endpoints.push(health.with_cors(CorsPolicy::AnyOrigin));
        }
        endpoints
    }

    fn standalone_path(&self) -> &'static str {
        "/"
    }

    fn respond(&self, endpoint: &'static str, _handshake: &Handshake) -> HttpAnswer {
        if endpoint != HEALTH {
            return HttpAnswer::Ready(HttpReply::not_found());
        }
        HttpAnswer::Ready(HttpReply {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            body: String::new(),
        })
    }

    fn is_public(&self, endpoint: &'static str) -> bool {
        endpoint == HEALTH
    }

    fn credential_parameter(&self, _settings: &DialectSettings) -> Option<&'static str> {
        Some("token")
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        output.first_frame = FirstFrameTimeout::Never;
        let mut session = MatchboxSession {
            own_id: handshake.peer,
            room: None,
            limits: handshake.limits.clone(),
        };
        match requested_room(handshake) {
            Ok((room, group_size)) => session.enter(room, group_size, output),
            Err(reason) => {
                output.close = Some(CloseReason::for_rejected_join(&reason));
                output.errors.push(reason.into());
            }
        }
        Box::new(session)
    }

    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let signal = JsonObject::parse(frame, 0).ok()?.object("Signal").ok()??;
        let (kind, value) = signal_kind(&signal, signal.get("data")?)?;
        if kind == MessageKind::Candidate {
            let candidate = match value.text() {
                Some(json) => Candidate::of_json(&json),
                None => Candidate::of_value(value),
            };
            return candidate.map(Content::Candidate);
        }
        Content::description(kind, value.text()?)
    }
}

/// The room of a handshake, and the size of the groups if the handshake requests groups. The size is a part of the
/// room's name, because clients that request different sizes do not meet.
fn requested_room(handshake: &Handshake) -> Result<(RoomName, Option<NonZeroUsize>), ErrorCode> {
    let room = match handshake.endpoint {
        HEALTH => HEALTH,
        _ => (handshake.params.get("room"))
            .or_else(|| handshake.query.get("room"))
            .unwrap_or(DEFAULT_ROOM),
    };
    let max = handshake.limits.name_bytes;
    let parse_room =
        |name: &str| RoomName::parse(name, max).map_err(|e| ErrorCode::of_name("room", e));
    let room = parse_room(room)?;
    let Some(next) = handshake.query.get("next") else {
        return Ok((room, None));
    };
    let group_size: NonZeroUsize = next.parse().map_err(|_| ErrorCode::BadField("next"))?;
    if group_size.get() > GROUP_MAX {
        return Err(ErrorCode::BadField("next"));
    }
    Ok((
        parse_room(&format!("{room}?next={group_size}"))?,
        Some(group_size),
    ))
}

/// The message kind of the `data` of a signal, and the value with its content. `None` for data other than an offer,
/// answer or candidate; only matchbox clients understand it.
fn signal_kind<'a>(
    signal: &JsonObject<'a>,
    data: RawJson<'a>,
) -> Option<(MessageKind, RawJson<'a>)> {
    let object = signal.nested(data).ok()?;
    let only = object.only_field()?;
    let value = only.value();
    match &*only.name() {
        "Offer" => Some((MessageKind::Offer, value)),
        "Answer" => Some((MessageKind::Answer, value)),
        "IceCandidate" => Some((MessageKind::Candidate, value)),
        _ => None,
    }
}

struct MatchboxSession {
    own_id: PeerId,
    /// `None` after the join was rejected.
    room: Option<RoomName>,
    limits: Arc<Limits>,
}

impl Session for MatchboxSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let ClientFrame::Text(text) = frame else {
            return Err(ErrorCode::Malformed.into());
        };
        if text.trim() == r#""KeepAlive""# {
            return Ok(());
        }
        let object = JsonObject::parse(text, self.limits.json_depth)?;
        let only = object.only_field().map(|field| field.name());
        match only.as_deref() {
            Some("KeepAlive") => Ok(()),
            Some("Signal") => self.relay(&object, output),
            Some(_) | None => Err(ErrorCode::UnknownType.into()),
        }
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Joined { others, .. } => {
                let to_offer = others
                    .iter()
                    .filter(|(_, role)| *role == OfferRole::Offerer);
                output
                    .frames
                    .extend(to_offer.map(|(other, _)| peer_event("NewPeer", other.peer)));
            }
            Event::Introduced {
                peer,
                role: OfferRole::Offerer,
                frames,
                ..
            } => {
                frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                    frames.push(peer_event("NewPeer", peer.peer));
                });
            }
            Event::Departed { peer, frames, .. } => {
                frames.append_to(&mut output.frames, TRAITS.name, |frames| {
                    frames.push(peer_event("PeerLeft", peer.peer));
                });
            }
            Event::Received { message, .. } if message.is_of_dialect(TRAITS.name) => {
                output.frames.push(message.frame.clone());
            }
            Event::Received { from, message, .. } => {
                let dialects = output.dialects;
                output
                    .frames
                    .extend(message.translated_once(TRAITS.name, || {
                        translation(from, &Content::of(message, dialects)?)
                    }));
            }
            Event::RequestFailed(error) if error.join.is_some() => {
                self.room = None;
                output.close = Some(CloseReason::for_rejected_join(&error.code));
            }
            // The dialect has no error frames, and claims no names (`Claimed`).
            Event::RequestFailed(_)
            | Event::Evicted(_)
            | Event::Introduced { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }
}

impl MatchboxSession {
    fn enter(
        &mut self,
        room: RoomName,
        group_size: Option<NonZeroUsize>,
        output: &mut SessionOutput,
    ) {
        output.frames.push(peer_event("IdAssigned", self.own_id));
        output.commands.push(Command::Join {
            room: room.clone(),
            address: self.own_id.into(),
            name: None,
            options: JoinOptions {
                group_size,
                ..JoinOptions::default()
            },
        });
        self.room = Some(room);
    }

    fn relay(
        &self,
        frame: &JsonObject<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let mut signal = frame
            .object("Signal")?
            .ok_or(ErrorCode::BadField("Signal"))?;
        let [receiver, _, data] = signal.find(const { &Keys::new(["receiver", "sender", "data"]) });
        let receiver = receiver.text()?;
        let receiver = receiver.and_then(|receiver| receiver.parse::<PeerId>().ok());
        let receiver = receiver.ok_or(ErrorCode::BadField("receiver"))?;
        let data = data.last().ok_or(ErrorCode::BadField("data"))?;
        let kind = signal_kind(&signal, data).map_or(MessageKind::Opaque, |(kind, _)| kind);
        output.commands.push(Command::Send {
            room: self.room.clone().ok_or(ErrorCode::NotInRoom)?,
            to: Target::Peer(receiver),
            message: relayed_message(TRAITS.name, kind, self.with_own_sender(&signal, data)),
        });
        Ok(())
    }

    /// The signal with the sender in place of the receiver, and all other fields unchanged.
    fn with_own_sender(&self, signal: &JsonObject<'_>, data: RawJson<'_>) -> ByteString {
        JsonWriter::with_capacity(data.as_str().len() + 128)
            .object("Signal", |writer| {
                writer
                    .text("sender", self.own_id.encode(&mut [0; PEER_ID_BYTES]))
                    .raw("data", data.as_str())
                    .fields(signal.others())
            })
            .finish()
    }
}

fn peer_event(event: &'static str, peer: PeerId) -> ByteString {
    JsonWriter::default()
        .text(event, peer.encode(&mut [0; PEER_ID_BYTES]))
        .finish()
}

/// The frame for a message of a member of another dialect.
fn translation(from: &Member, content: &Content<'_>) -> Option<ByteString> {
    let signal = |kind: &'static str, value: &str| {
        let data = |data: JsonWriter| data.text(kind, value);
        JsonWriter::with_capacity(value.len() + 128)
            .object("Signal", |signal| {
                signal
                    .text("sender", &from.peer.to_string())
                    .object("data", data)
            })
            .finish()
    };
    match content {
        Content::Offer(sdp) => Some(signal("Offer", sdp)),
        Content::Answer(sdp) => Some(signal("Answer", sdp)),
        Content::Candidate(candidate) => {
            let init = candidate.write(JsonWriter::default()).finish();
            Some(signal("IceCandidate", &init))
        }
        Content::Message(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use switchboard_core::JoinId;

    use super::*;

    fn endpoint_at(base: &str, path: &str) -> Option<(&'static str, Accepts)> {
        let mut endpoints = Matchbox.endpoints(base).into_iter();
        let endpoint = endpoints.find(|endpoint| endpoint.path == path)?;
        Some((endpoint.name, endpoint.accepts))
    }

    #[test]
    fn rooms_are_paths_below_the_base_path() {
        for path in ["/matchbox", "/matchbox/", "/matchbox/{room}"] {
            let endpoint = endpoint_at("/matchbox", path);
            assert_eq!(endpoint, Some((Endpoint::MAIN, Accepts::Sockets)), "{path}");
        }
        assert_eq!(endpoint_at("/matchbox", "/matchbox/health"), None);
        for path in ["/", "/{room}"] {
            let endpoint = endpoint_at("/", path);
            assert_eq!(endpoint, Some((Endpoint::MAIN, Accepts::Sockets)), "{path}");
        }
    }

    #[test]
    fn health_is_a_reply_to_plain_requests_and_a_room_for_sockets() {
        assert_eq!(endpoint_at("/", "/health"), Some((HEALTH, Accepts::Both)));
        let handshake = Handshake::at(HEALTH, &[], &[]);
        let HttpAnswer::Ready(reply) = Matchbox.respond(HEALTH, &handshake) else {
            panic!("the reply does not depend on a room");
        };
        assert_eq!((reply.status, &*reply.body), (200, ""));
        let (room, _) = requested_room(&handshake).expect("a room");
        assert_eq!(room.as_str(), "health");
    }

    #[test]
    fn the_room_comes_from_the_path_then_the_query_and_is_world_otherwise() {
        for (params, query, expected) in [
            (&[][..], &[][..], "world"),
            (&[("room", "a/b?c")], &[("room", "x")], "a/b?c"),
            (&[], &[("room", "x"), ("next", "+02")], "x?next=2"),
        ] {
            let handshake = Handshake::at(Endpoint::MAIN, params, query);
            let (room, _) = requested_room(&handshake).expect("a room");
            assert_eq!(room.as_str(), expected);
        }
    }

    #[test]
    fn a_rejected_join_closes_the_connection() {
        for (reason, expected) in [
            (
                ErrorCode::RoomFull,
                CloseReason::for_rejected_join(&ErrorCode::RoomFull),
            ),
            (
                ErrorCode::Denied(None),
                CloseReason::for_rejected_join(&ErrorCode::Denied(None)),
            ),
            (ErrorCode::Unavailable, CloseReason::UNAVAILABLE),
        ] {
            let handshake = Handshake::at(Endpoint::MAIN, &[], &[]);
            let mut output = SessionOutput::default();
            let mut session = Matchbox.open(&handshake, &mut output);
            assert_eq!((output.close, output.commands.len()), (None, 1));
            let mut output = SessionOutput::default();
            let room = RoomName::parse(DEFAULT_ROOM, 0).expect("a name");
            let error = RequestError::join(reason, &room, JoinId::default().next());
            session.on_event(&Event::RequestFailed(error), &mut output);
            assert_eq!((output.close, output.frames.len()), (Some(expected), 0));
        }
    }
}
