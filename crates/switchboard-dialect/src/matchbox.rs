//! `matchbox`: matchbox_server and matchbox_signaling, for the sockets of the crate `matchbox_socket`.
//! WebSocket, JSON as Rust's serde writes enums, on `/matchbox/{room}`.
//!
//! # Conversation
//!
//! The connection is the join; the server speaks first. The room is the last segment of the path, or
//! `?room=` where the dialect was asked for on a path of another, or `world`. With `?next=N` those who
//! come are put into circles of N who see only each other; one that was full once takes nobody any more.
//! Where there are several nodes, a circle is of clients of one node.
//!
//! * ← `{"IdAssigned":"UUID"}`
//! * ← `{"NewPeer":"UUID"}`: call this one
//! * → `{"Signal":{"receiver":"UUID","data":D}}`, ← `{"Signal":{"sender":"UUID","data":D}}`; `D` is `{"Offer":SDP}`,
//!   `{"HttpAnswer":SDP}`, `{"IceCandidate":"JSON"}` or anything else
//! * ← `{"PeerLeft":"UUID"}`
//! * → `"KeepAlive"`, absorbed
//!
//! Among its own kind who is there calls whoever comes. `NewPeer` *is* the order to call, so in a mixed
//! room it goes to whoever shall call, newcomer or not.
//!
//! # Better
//!
//! * A signal reaches only peers of one's own room and circle.
//! * Whoever is let in nowhere is closed, with 1008 for good and 1013 for now; a `next` that is no
//!   number is not taken for none.
//! * A frame that cannot be understood or delivered is counted.
//!
//! # Switch
//!
//! ```sh
//! matchbox_server 0.0.0.0:3536
//! SWITCHBOARD_MATCHBOX_LISTEN=:3536 switchboard
//! ```
//!
//! On the main listener the client uses `ws://HOST:8080/matchbox/ROOM`.

use std::{num::NonZeroUsize, sync::Arc};

use bytestring::ByteString;
use serde_json::value::RawValue;
use switchboard_core::{
    Command, DialectTraits, ErrorCode, Event, JoinOptions, Limits, Member, MessageKind,
    OfferPolicy, OfferRole, PeerId, RequestError, RoomName, Target,
};

use crate::{
    Accepts, Candidate, ClientFrame, CloseReason, Content, CorsPolicy, Dialect, Endpoint,
    FirstFrameTimeout, Handshake, HttpAnswer, HttpReply, Session, SessionOutput,
    content::relay,
    json::{JsonObject, JsonWriter, text},
};

static TONGUE: DialectTraits = DialectTraits {
    name: "matchbox",
    offer_policy: OfferPolicy::MemberOffers,
    signals: true,
    messages: false,
    ..DialectTraits::DEFAULT
};

/// A path of the original's that is a room to sockets, and says to others that the server is well.
const HEALTH: &str = "health";

/// The room of connections that name none.
const DEFAULT_ROOM: &str = "world";

/// Members that a circle may be asked for; a room has about as many.
const GROUP_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct Matchbox;

impl Dialect for Matchbox {
    fn traits(&self) -> &'static DialectTraits {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/matchbox"]
    }

    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        let sockets = |rest| Endpoint::new(base, rest, Endpoint::MAIN, Accepts::Sockets);
        let mut doors = vec![sockets(""), sockets("/"), sockets("/{room}")];
        if base == self.standalone_path() {
            let health = Endpoint::new(base, "/health", HEALTH, Accepts::Both);
            doors.push(health.with_cors(CorsPolicy::AnyOrigin));
        }
        doors
    }

    fn standalone_path(&self) -> &'static str {
        "/"
    }

    fn respond(&self, door: &'static str, _handshake: &Handshake) -> HttpAnswer {
        if door != HEALTH {
            return HttpAnswer::Ready(HttpReply::not_found());
        }
        HttpAnswer::Ready(HttpReply {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            body: String::new(),
        })
    }

    fn open(&self, handshake: &Handshake, out: &mut SessionOutput) -> Box<dyn Session> {
        out.first_frame = FirstFrameTimeout::Never;
        let mut session = MatchboxSession {
            own_id: handshake.peer,
            room: None,
            limits: handshake.limits.clone(),
        };
        match requested_room(handshake) {
            Ok((room, circle)) => session.enter(room, circle, out),
            Err(reason) => {
                out.close = Some(CloseReason::for_rejected_join(&reason));
                out.errors.push(reason.into());
            }
        }
        Box::new(session)
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let signal = JsonObject::parse(frame, 0).ok()?.object("Signal").ok()??;
        let (kind, said) = signal_kind(&signal, signal.get("data")?)?;
        if kind == MessageKind::Candidate {
            let candidate = match text(said) {
                Some(json) => Candidate::of_json(&json),
                None => Candidate::of_value(said),
            };
            return candidate.map(Content::Candidate);
        }
        Content::description(kind, text(said)?)
    }
}

/// Where the client wants to be, and with how many it wants to be alone.
fn requested_room(handshake: &Handshake) -> Result<(RoomName, Option<NonZeroUsize>), ErrorCode> {
    let room = match handshake.endpoint {
        HEALTH => HEALTH,
        _ => (handshake.params.get("room"))
            .or_else(|| handshake.query.get("room"))
            .unwrap_or(DEFAULT_ROOM),
    };
    let max = handshake.limits.name_bytes;
    let named = |name: &str| RoomName::parse(name, max).map_err(|e| ErrorCode::of_name("room", e));
    let room = named(room)?;
    let Some(next) = handshake.query.get("next") else {
        return Ok((room, None));
    };
    let circle: NonZeroUsize = next.parse().map_err(|_| ErrorCode::BadField("next"))?;
    if circle.get() > GROUP_MAX {
        return Err(ErrorCode::BadField("next"));
    }
    Ok((named(&format!("{room}?next={circle}"))?, Some(circle)))
}

/// What the `data` of a signal is about, and the value that says it. `None` if it is something of the
/// clients' own.
fn signal_kind<'a>(
    signal: &JsonObject<'a>,
    data: &'a RawValue,
) -> Option<(MessageKind, &'a RawValue)> {
    let object = signal.nested(data).ok()?;
    let (name, said) = object.only_field()?;
    match name {
        "Offer" => Some((MessageKind::Offer, said)),
        "Answer" => Some((MessageKind::Answer, said)),
        "IceCandidate" => Some((MessageKind::Candidate, said)),
        _ => None,
    }
}

struct MatchboxSession {
    own_id: PeerId,
    /// `None` once the client was not let in.
    room: Option<RoomName>,
    limits: Arc<Limits>,
}

impl Session for MatchboxSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let ClientFrame::Text(text) = frame else {
            return Err(ErrorCode::Malformed.into());
        };
        if text.trim() == r#""KeepAlive""# {
            return Ok(());
        }
        let object = JsonObject::parse(text, self.limits.json_depth)?;
        match object.only_field() {
            Some(("KeepAlive", _)) => Ok(()),
            Some(("Signal", _)) => self.relay(&object, out),
            Some(_) | None => Err(ErrorCode::UnknownType.into()),
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut SessionOutput) {
        match event {
            Event::Joined { others, .. } => {
                let to_call = others
                    .iter()
                    .filter(|(_, call)| *call == OfferRole::Offerer);
                out.frames
                    .extend(to_call.map(|(other, _)| peer_event("NewPeer", other.peer)));
            }
            Event::Introduced {
                peer,
                role: OfferRole::Offerer,
                ..
            } => out.frames.push(peer_event("NewPeer", peer.peer)),
            Event::Departed { peer, .. } => out.frames.push(peer_event("PeerLeft", peer.peer)),
            Event::Received { message: relay, .. } if relay.origin == TONGUE.name => {
                out.frames.push(relay.frame.clone());
            }
            Event::Received {
                from,
                message: relay,
                ..
            } => {
                out.frames
                    .extend(Content::of(relay).and_then(|content| translation(from, &content)));
            }
            Event::RequestFailed(refused) if refused.join.is_some() => {
                self.room = None;
                out.close = Some(CloseReason::for_rejected_join(&refused.code));
            }
            // There are no words for errors.
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
    fn enter(&mut self, room: RoomName, circle: Option<NonZeroUsize>, out: &mut SessionOutput) {
        out.frames.push(peer_event("IdAssigned", self.own_id));
        out.commands.push(Command::Join {
            room: room.clone(),
            address: self.own_id.into(),
            name: None,
            options: JoinOptions {
                group_size: circle,
                ..JoinOptions::default()
            },
        });
        self.room = Some(room);
    }

    fn relay(&self, frame: &JsonObject<'_>, out: &mut SessionOutput) -> Result<(), RequestError> {
        let signal = frame
            .object("Signal")?
            .ok_or(ErrorCode::BadField("Signal"))?;
        let receiver = signal.text("receiver")?;
        let receiver = receiver.and_then(|receiver| PeerId::parse(&receiver));
        let receiver = receiver.ok_or(ErrorCode::BadField("receiver"))?;
        let data = signal.all("data").last();
        let data = data.ok_or(ErrorCode::BadField("data"))?;
        let kind = signal_kind(&signal, data).map_or(MessageKind::Opaque, |(kind, _)| kind);
        out.commands.push(Command::Send {
            room: self.room.clone().ok_or(ErrorCode::NotInRoom)?,
            to: Target::Peer(receiver),
            message: relay(TONGUE.name, kind, self.with_own_sender(&signal, data)),
        });
        Ok(())
    }

    /// The signal with the sender where the receiver stood, and the rest as it was.
    fn with_own_sender(&self, signal: &JsonObject<'_>, data: &RawValue) -> ByteString {
        let rest = signal.rest(&["receiver", "sender", "data"]);
        JsonWriter::with_capacity(data.get().len() + 128)
            .object("Signal", |writer| {
                writer
                    .text("sender", &self.own_id.to_string())
                    .raw("data", data.get())
                    .fields(rest)
            })
            .finish()
    }
}

fn peer_event(event: &str, peer: PeerId) -> ByteString {
    JsonWriter::default()
        .text(event, &peer.to_string())
        .finish()
}

fn translation(from: &Member, content: &Content<'_>) -> Option<ByteString> {
    let signal = |kind: &str, said: &str| {
        let data = |data: JsonWriter| data.text(kind, said);
        JsonWriter::with_capacity(said.len() + 128)
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
    use switchboard_core::{JoinId, SpaceName};

    use super::*;
    use crate::{ClientSession, find};

    fn door_of(base: &str, path: &str) -> Option<(&'static str, Accepts)> {
        let mut doors = Matchbox.endpoints(base).into_iter();
        let door = doors.find(|door| door.path == path)?;
        Some((door.name, door.accepts))
    }

    #[test]
    fn rooms_are_below_the_base() {
        for path in ["/matchbox", "/matchbox/", "/matchbox/{room}"] {
            let door = door_of("/matchbox", path);
            assert_eq!(door, Some((Endpoint::MAIN, Accepts::Sockets)), "{path}");
        }
        assert_eq!(door_of("/matchbox", "/matchbox/health"), None);
        for path in ["/", "/{room}"] {
            let door = door_of("/", path);
            assert_eq!(door, Some((Endpoint::MAIN, Accepts::Sockets)), "{path}");
        }
    }

    #[test]
    fn health_is_an_answer_and_a_room() {
        assert_eq!(door_of("/", "/health"), Some((HEALTH, Accepts::Both)));
        let handshake = Handshake::at(HEALTH, &[], &[]);
        let HttpAnswer::Ready(reply) = Matchbox.respond(HEALTH, &handshake) else {
            panic!("it is known at once");
        };
        assert_eq!((reply.status, &*reply.body), (200, ""));
        let (room, _) = requested_room(&handshake).expect("a room");
        assert_eq!(room.as_str(), "health");
    }

    #[test]
    fn the_path_says_the_room_else_the_query_else_it_is_the_world() {
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
    fn whoever_is_not_let_in_is_closed() {
        for (reason, expected) in [
            (
                ErrorCode::RoomFull,
                CloseReason::for_rejected_join(&ErrorCode::RoomFull),
            ),
            (
                ErrorCode::Denied,
                CloseReason::for_rejected_join(&ErrorCode::Denied),
            ),
            (ErrorCode::Unavailable, CloseReason::UNAVAILABLE),
        ] {
            let handshake = Handshake::at(Endpoint::MAIN, &[], &[]);
            let (mut conversation, turn) =
                ClientSession::open(find("matchbox"), handshake, SpaceName::default());
            assert_eq!((turn.close, turn.requests.len()), (None, 1));
            let room = RoomName::parse(DEFAULT_ROOM, 0).expect("a name");
            let refused = RequestError::join(reason, &room, JoinId::default().next());
            let turn = conversation.on_event(&Event::RequestFailed(refused), 0);
            assert_eq!((turn.close, turn.frames.len()), (Some(expected), 0));
        }
    }
}
