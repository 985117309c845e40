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
//!   `{"Answer":SDP}`, `{"IceCandidate":"JSON"}` or anything else
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
    Call, Command, Custom, Event, Limits, Member, PeerId, Refusal, Refused, RelayKind, RoomName,
    Target, Terms, Tongue,
};

use crate::{
    Answer, Candidate, Close, Content, CorsPolicy, Dialect, Door, FirstFrame, Frame, Handshake,
    Opens, Out, Reply, Session,
    content::relay,
    json::{Object, Writer, text},
};

static TONGUE: Tongue = Tongue {
    name: "matchbox",
    custom: Custom::MemberCalls,
    signals: true,
    messages: false,
    ..Tongue::USUAL
};

/// A path of the original's that is a room to sockets, and says to others that the server is well.
const HEALTH: &str = "health";

/// The room of connections that name none.
const WORLD: &str = "world";

/// Members that a circle may be asked for; a room has about as many.
const CIRCLE_MAX: usize = 1000;

#[derive(Debug)]
pub(crate) struct Matchbox;

impl Dialect for Matchbox {
    fn tongue(&self) -> &'static Tongue {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/matchbox"]
    }

    fn doors(&self, base: &str) -> Vec<Door> {
        let sockets = |rest| Door::new(base, rest, Door::MAIN, Opens::Sockets);
        let mut doors = vec![sockets(""), sockets("/"), sockets("/{room}")];
        if base == self.home() {
            let health = Door::new(base, "/health", HEALTH, Opens::Both);
            doors.push(health.with_cors(CorsPolicy::AnyOrigin));
        }
        doors
    }

    fn home(&self) -> &'static str {
        "/"
    }

    fn answer(&self, door: &'static str, _handshake: &Handshake) -> Answer {
        if door != HEALTH {
            return Answer::Now(Reply::not_found());
        }
        Answer::Now(Reply {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            body: String::new(),
        })
    }

    fn open(&self, handshake: &Handshake, out: &mut Out) -> Box<dyn Session> {
        out.first_frame = FirstFrame::Never;
        let mut session = Matcher {
            me: handshake.peer,
            room: None,
            limits: handshake.limits.clone(),
        };
        match wish(handshake) {
            Ok((room, circle)) => session.enter(room, circle, out),
            Err(reason) => {
                out.close = Some(Close::of_join(&reason));
                out.refused.push(reason.into());
            }
        }
        Box::new(session)
    }

    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>> {
        let signal = Object::parse(frame, 0).ok()?.object("Signal").ok()??;
        let (kind, said) = said(&signal, signal.get("data")?)?;
        if kind == RelayKind::Candidate {
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
fn wish(handshake: &Handshake) -> Result<(RoomName, Option<NonZeroUsize>), Refusal> {
    let room = match handshake.door {
        HEALTH => HEALTH,
        _ => (handshake.params.get("room"))
            .or_else(|| handshake.query.get("room"))
            .unwrap_or(WORLD),
    };
    let max = handshake.limits.name_bytes;
    let named = |name: &str| RoomName::parse(name, max).map_err(|e| Refusal::of_name("room", e));
    let room = named(room)?;
    let Some(next) = handshake.query.get("next") else {
        return Ok((room, None));
    };
    let circle: NonZeroUsize = next.parse().map_err(|_| Refusal::BadField("next"))?;
    if circle.get() > CIRCLE_MAX {
        return Err(Refusal::BadField("next"));
    }
    Ok((named(&format!("{room}?next={circle}"))?, Some(circle)))
}

/// What the `data` of a signal is about, and the value that says it. `None` if it is something of the
/// clients' own.
fn said<'a>(signal: &Object<'a>, data: &'a RawValue) -> Option<(RelayKind, &'a RawValue)> {
    let object = signal.nested(data).ok()?;
    let (name, said) = object.only_field()?;
    match name {
        "Offer" => Some((RelayKind::Offer, said)),
        "Answer" => Some((RelayKind::Answer, said)),
        "IceCandidate" => Some((RelayKind::Candidate, said)),
        _ => None,
    }
}

struct Matcher {
    me: PeerId,
    /// `None` once the client was not let in.
    room: Option<RoomName>,
    limits: Arc<Limits>,
}

impl Session for Matcher {
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let Frame::Text(text) = frame else {
            return Err(Refusal::Unreadable.into());
        };
        if text.trim() == r#""KeepAlive""# {
            return Ok(());
        }
        let object = Object::parse(text, self.limits.json_depth)?;
        match object.only_field() {
            Some(("KeepAlive", _)) => Ok(()),
            Some(("Signal", _)) => self.relay(&object, out),
            Some(_) | None => Err(Refusal::UnknownType.into()),
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Joined { others, .. } => {
                let to_call = others.iter().filter(|(_, call)| *call == Call::You);
                out.frames
                    .extend(to_call.map(|(other, _)| about("NewPeer", other.peer)));
            }
            Event::Introduced {
                peer,
                call: Call::You,
                ..
            } => out.frames.push(about("NewPeer", peer.peer)),
            Event::Departed { peer, .. } => out.frames.push(about("PeerLeft", peer.peer)),
            Event::Heard { relay, .. } if relay.origin == TONGUE.name => {
                out.frames.push(relay.frame.clone());
            }
            Event::Heard { from, relay, .. } => {
                out.frames
                    .extend(Content::of(relay).and_then(|content| translation(from, &content)));
            }
            Event::Refused(refused) if refused.join.is_some() => {
                self.room = None;
                out.close = Some(Close::of_join(&refused.reason));
            }
            // There are no words for errors.
            Event::Refused(_)
            | Event::Evicted(_)
            | Event::Introduced { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }
}

impl Matcher {
    fn enter(&mut self, room: RoomName, circle: Option<NonZeroUsize>, out: &mut Out) {
        out.frames.push(about("IdAssigned", self.me));
        out.commands.push(Command::Join {
            room: room.clone(),
            address: self.me.into(),
            name: None,
            terms: Terms {
                circle,
                ..Terms::default()
            },
        });
        self.room = Some(room);
    }

    fn relay(&self, frame: &Object<'_>, out: &mut Out) -> Result<(), Refused> {
        let signal = frame.object("Signal")?.ok_or(Refusal::BadField("Signal"))?;
        let receiver = signal.text("receiver")?;
        let receiver = receiver.and_then(|receiver| PeerId::parse(&receiver));
        let receiver = receiver.ok_or(Refusal::BadField("receiver"))?;
        let data = signal.all("data").last();
        let data = data.ok_or(Refusal::BadField("data"))?;
        let kind = said(&signal, data).map_or(RelayKind::Opaque, |(kind, _)| kind);
        out.commands.push(Command::Relay {
            room: self.room.clone().ok_or(Refusal::NotInRoom)?,
            to: Target::Peer(receiver),
            relay: relay(TONGUE.name, kind, self.in_own_name(&signal, data)),
        });
        Ok(())
    }

    /// The signal with the sender where the receiver stood, and the rest as it was.
    fn in_own_name(&self, signal: &Object<'_>, data: &RawValue) -> ByteString {
        let rest = signal.rest(&["receiver", "sender", "data"]);
        Writer::with_capacity(data.get().len() + 128)
            .object("Signal", |writer| {
                writer
                    .text("sender", &self.me.to_string())
                    .raw("data", data.get())
                    .fields(rest)
            })
            .finish()
    }
}

fn about(event: &str, peer: PeerId) -> ByteString {
    Writer::default().text(event, &peer.to_string()).finish()
}

fn translation(from: &Member, content: &Content<'_>) -> Option<ByteString> {
    let signal = |kind: &str, said: &str| {
        let data = |data: Writer| data.text(kind, said);
        Writer::with_capacity(said.len() + 128)
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
            let init = candidate.write(Writer::default()).finish();
            Some(signal("IceCandidate", &init))
        }
        Content::Message(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use switchboard_core::{Attempt, SpaceName};

    use super::*;
    use crate::{Conversation, find};

    fn door_of(base: &str, path: &str) -> Option<(&'static str, Opens)> {
        let mut doors = Matchbox.doors(base).into_iter();
        let door = doors.find(|door| door.path == path)?;
        Some((door.name, door.opens))
    }

    #[test]
    fn rooms_are_below_the_base() {
        for path in ["/matchbox", "/matchbox/", "/matchbox/{room}"] {
            let door = door_of("/matchbox", path);
            assert_eq!(door, Some((Door::MAIN, Opens::Sockets)), "{path}");
        }
        assert_eq!(door_of("/matchbox", "/matchbox/health"), None);
        for path in ["/", "/{room}"] {
            let door = door_of("/", path);
            assert_eq!(door, Some((Door::MAIN, Opens::Sockets)), "{path}");
        }
    }

    #[test]
    fn health_is_an_answer_and_a_room() {
        assert_eq!(door_of("/", "/health"), Some((HEALTH, Opens::Both)));
        let handshake = Handshake::at(HEALTH, &[], &[]);
        let Answer::Now(reply) = Matchbox.answer(HEALTH, &handshake) else {
            panic!("it is known at once");
        };
        assert_eq!((reply.status, &*reply.body), (200, ""));
        let (room, _) = wish(&handshake).expect("a room");
        assert_eq!(room.as_str(), "health");
    }

    #[test]
    fn the_path_says_the_room_else_the_query_else_it_is_the_world() {
        for (params, query, expected) in [
            (&[][..], &[][..], "world"),
            (&[("room", "a/b?c")], &[("room", "x")], "a/b?c"),
            (&[], &[("room", "x"), ("next", "+02")], "x?next=2"),
        ] {
            let handshake = Handshake::at(Door::MAIN, params, query);
            let (room, _) = wish(&handshake).expect("a room");
            assert_eq!(room.as_str(), expected);
        }
    }

    #[test]
    fn whoever_is_not_let_in_is_closed() {
        for (reason, expected) in [
            (Refusal::RoomFull, Close::of_join(&Refusal::RoomFull)),
            (Refusal::Denied, Close::of_join(&Refusal::Denied)),
            (Refusal::Unavailable, Close::UNAVAILABLE),
        ] {
            let handshake = Handshake::at(Door::MAIN, &[], &[]);
            let (mut conversation, turn) =
                Conversation::open(find("matchbox"), handshake, SpaceName::default());
            assert_eq!((turn.close, turn.asks.len()), (None, 1));
            let room = RoomName::parse(WORLD, 0).expect("a name");
            let refused = Refused::join(reason, &room, Attempt::default().next());
            let turn = conversation.on_event(&Event::Refused(refused), 0);
            assert_eq!((turn.close, turn.frames.len()), (Some(expected), 0));
        }
    }
}
