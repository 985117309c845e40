//! `y-webrtc`: the signaling server of y-webrtc, for Yjs documents. WebSocket, JSON with a `type`, on
//! `/y-webrtc` and any path below.
//!
//! # Conversation
//!
//! The client speaks first, and may wait with it. A topic is a room; a connection may be in many of
//! them at once. What is published goes to all subscribers of its topic, the sender among them, with
//! their number.
//!
//! * → `{"type":"subscribe","topics":[…]}`, → `{"type":"unsubscribe","topics":[…]}`, answered nothing
//! * → `{"type":"publish","topic":…,"data":…}`, ← the same and `"clients":N`
//! * → `{"type":"ping"}`, ← `{"type":"pong"}`
//! * a plain GET is answered `okay`
//!
//! Nobody is told who comes and goes, and nobody is told to call: the clients find each other by what
//! they publish, and that is for their own kind alone. In a mixed room the others see them as members
//! that nobody calls.
//!
//! # Better
//!
//! * A frame that cannot be read is counted; it ended the original's process.
//! * Only who has subscribed to a topic may publish to it. The original asked for nothing; its clients
//!   always subscribe first.
//! * Topics of one connection (`limits.rooms_per_peer`), and what it publishes before it is let in, have
//!   limits; what is over them is counted.
//! * Who cannot be let in just now is closed (1013), and subscribes anew when it reconnects.
//!
//! # Switch
//!
//! ```sh
//! PORT=4444 node node_modules/y-webrtc/bin/server.js
//! SWITCHBOARD_Y_WEBRTC_LISTEN=0.0.0.0:4444 switchboard
//! ```
//!
//! On the main listener the client uses `signaling: ['ws://HOST:8080/y-webrtc']`.

use std::sync::Arc;

use bytestring::ByteString;
use serde_json::value::RawValue;
use switchboard_core::{
    Command, Custom, Event, Farewell, Limits, Member, PeerId, Refusal, Refused, RelayKind,
    RoomName, Target, Terms, Tongue,
};

use crate::{
    Answer, Close, Content, Dialect, Door, FirstFrame, Frame, Handshake, Opens, Out, Reply,
    Session,
    content::relay,
    json::{Object, Writer, text},
};

static TONGUE: Tongue = Tongue {
    name: "y-webrtc",
    custom: Custom::NeverTold,
    signals: false,
    messages: false,
    ..Tongue::USUAL
};

/// Frames that one connection may publish before it is let in, and their bytes.
const EARLY_FRAMES_MAX: usize = 16;
const EARLY_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct YWebrtc;

impl Dialect for YWebrtc {
    fn tongue(&self) -> &'static Tongue {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/y-webrtc"]
    }

    fn doors(&self, base: &str) -> Vec<Door> {
        let both = |rest| Door::new(base, rest, Door::MAIN, Opens::Both);
        vec![both(""), both("/{*path}")]
    }

    fn home(&self) -> &'static str {
        "/"
    }

    fn answer(&self, _door: &'static str, _handshake: &Handshake) -> Answer {
        Answer::Now(Reply {
            status: 200,
            content_type: "text/plain",
            body: "okay".to_owned(),
        })
    }

    fn open(&self, handshake: &Handshake, out: &mut Out) -> Box<dyn Session> {
        out.first_frame = FirstFrame::Never;
        Box::new(Subscriber {
            me: handshake.peer,
            topics: Vec::new(),
            limits: handshake.limits.clone(),
        })
    }

    fn read<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

/// A topic that the client has subscribed to.
struct Topic {
    room: RoomName,
    stage: Stage,
}

/// How far a subscription has come.
enum Stage {
    /// It is asked for. What is published meanwhile waits: only then it is known to how many.
    Asked(Vec<ByteString>),
    /// It is there, with so many others of its kind.
    In(usize),
}

impl Stage {
    fn early(&self) -> &[ByteString] {
        match self {
            Self::Asked(early) => early,
            Self::In(_) => &[],
        }
    }
}

struct Subscriber {
    me: PeerId,
    /// No more than `rooms_per_peer`.
    topics: Vec<Topic>,
    limits: Arc<Limits>,
}

impl Session for Subscriber {
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused> {
        let text = frame.text()?;
        let object = Object::parse(&text, self.limits.json_depth)?;
        let frame_type = object.text("type").ok().flatten();
        match &*frame_type.ok_or(Refusal::UnknownType)? {
            "subscribe" => self.subscribe(&object, out),
            "unsubscribe" => self.unsubscribe(&object, out),
            "publish" => self.publish(&text, &object, out),
            "ping" => {
                out.frames
                    .push(ByteString::from_static(r#"{"type":"pong"}"#));
                Ok(())
            }
            _ => Err(Refusal::UnknownType.into()),
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut Out) {
        match event {
            Event::Joined { room, others } => {
                let kin = others.iter().filter(|(other, _)| is_kin(other)).count();
                self.let_in(&room.name, kin, out);
            }
            Event::Introduced { room, peer, .. } if is_kin(peer) => {
                self.count(&room.name, |kin| kin + 1);
            }
            Event::Departed { room, peer, .. } if is_kin(peer) => {
                self.count(&room.name, |kin| kin.saturating_sub(1));
            }
            Event::Heard { relay, .. } if relay.origin == TONGUE.name => {
                out.frames.push(relay.frame.clone());
            }
            Event::Refused(refused) => {
                if let (Some(room), Some(_)) = (&refused.room, refused.join) {
                    self.forget(room, out);
                    // The client is told nothing, so it asks again only when it reconnects.
                    let again = refused.reason == Refusal::Unavailable;
                    out.close = again.then_some(Close::UNAVAILABLE);
                }
            }
            Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Heard { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Evicted(_)
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }
}

/// Whether a member is a subscriber too.
fn is_kin(member: &Member) -> bool {
    member.tongue.name == TONGUE.name
}

impl Subscriber {
    fn subscribe(&mut self, object: &Object<'_>, out: &mut Out) -> Result<(), Refused> {
        for room in self.topics_of(object)? {
            if self.topic(&room).is_some() {
                continue;
            }
            if self.is_full() {
                return Err(Refused::new(Refusal::TooManyRooms).in_room(&room));
            }
            out.commands.push(Command::Join {
                room: room.clone(),
                address: self.me.into(),
                name: None,
                terms: Terms::default(),
            });
            let stage = Stage::Asked(Vec::new());
            self.topics.push(Topic { room, stage });
        }
        Ok(())
    }

    fn unsubscribe(&mut self, object: &Object<'_>, out: &mut Out) -> Result<(), Refused> {
        for room in self.topics_of(object)? {
            if self.forget(&room, out) {
                let farewell = Farewell::Aloud;
                out.commands.push(Command::Leave { room, farewell });
            }
        }
        Ok(())
    }

    /// The topics that a frame names.
    fn topics_of(&self, object: &Object<'_>) -> Result<Vec<RoomName>, Refusal> {
        let topics = object.get("topics").ok_or(Refusal::BadField("topics"))?;
        let topics: Vec<&RawValue> =
            serde_json::from_str(topics.get()).map_err(|_| Refusal::BadField("topics"))?;
        let topics = topics.into_iter();
        topics
            .map(|topic| self.room(topic, "topics"))
            .collect::<Result<_, _>>()
    }

    fn room(&self, topic: &RawValue, field: &'static str) -> Result<RoomName, Refusal> {
        let name = text(topic).ok_or(Refusal::BadField(field))?;
        RoomName::parse(&name, self.limits.name_bytes).map_err(|e| Refusal::of_name(field, e))
    }

    fn topic(&mut self, room: &RoomName) -> Option<&mut Topic> {
        self.topics.iter_mut().find(|topic| topic.room == *room)
    }

    /// Whether there are as many topics as a connection may have: the rest of a long list is refused
    /// as one.
    fn is_full(&self) -> bool {
        let limit = self.limits.rooms_per_peer;
        limit != 0 && self.topics.len() >= limit
    }

    fn publish(
        &mut self,
        text: &ByteString,
        object: &Object<'_>,
        out: &mut Out,
    ) -> Result<(), Refused> {
        let topic = object.get("topic").ok_or(Refusal::BadField("topic"))?;
        let room = self.room(topic, "topic")?;
        let not_in = || Refused::new(Refusal::NotInRoom).in_room(&room);
        if let Stage::In(kin) = self.topic(&room).ok_or_else(not_in)?.stage {
            say(&room, kin, object, out);
        } else if !self.has_place_for(text) {
            return Err(Refusal::TooManyFrames.into());
        } else if let Some(Stage::Asked(early)) = self.topic(&room).map(|topic| &mut topic.stage) {
            early.push(text.clone());
        }
        Ok(())
    }

    fn has_place_for(&self, text: &ByteString) -> bool {
        let early = self.topics.iter().flat_map(|topic| topic.stage.early());
        let (frames, bytes) = early.fold((0, 0), |(frames, bytes), frame| {
            (frames + 1, bytes + frame.len())
        });
        frames < EARLY_FRAMES_MAX && bytes + text.len() <= EARLY_BYTES_MAX
    }

    /// The client is in: says what it has published until now.
    fn let_in(&mut self, room: &RoomName, kin: usize, out: &mut Out) {
        let Some(topic) = self.topic(room) else {
            return;
        };
        let before = std::mem::replace(&mut topic.stage, Stage::In(kin));
        for text in before.early() {
            // It was read before.
            if let Ok(object) = Object::parse(text, 0) {
                say(room, kin, &object, out);
            }
        }
    }

    fn count(&mut self, room: &RoomName, counted: impl FnOnce(usize) -> usize) {
        if let Some(Topic {
            stage: Stage::In(kin),
            ..
        }) = self.topic(room)
        {
            *kin = counted(*kin);
        }
    }

    /// Forgets a topic, and refuses what waits for it. Says whether there was one.
    fn forget(&mut self, room: &RoomName, out: &mut Out) -> bool {
        let Some(index) = self.topics.iter().position(|topic| topic.room == *room) else {
            return false;
        };
        let topic = self.topics.remove(index);
        let refused = Refused::new(Refusal::NotInRoom).in_room(room);
        let early = topic.stage.early().iter();
        out.refused.extend(early.map(|_| refused.clone()));
        true
    }
}

/// Sends what is published to all subscribers; to the publisher too.
fn say(room: &RoomName, kin: usize, object: &Object<'_>, out: &mut Out) {
    let frame = published(room, kin + 1, object);
    out.frames.push(frame.clone());
    out.commands.push(Command::Relay {
        room: room.clone(),
        to: Target::Everyone,
        relay: relay(TONGUE.name, RelayKind::Opaque, frame),
    });
}

/// The frame as subscribers get it: its keys as documented, the rest as it was, and how many they are.
fn published(room: &RoomName, clients: usize, object: &Object<'_>) -> ByteString {
    let clients = u64::try_from(clients).unwrap_or(u64::MAX);
    Writer::with_capacity(256)
        .text("type", "publish")
        .text("topic", room.as_str())
        .fields(object.rest(&["type", "topic", "clients"]))
        .number("clients", clients)
        .finish()
}

#[cfg(test)]
mod tests {
    use switchboard_core::{Attempt, SpaceName};

    use super::*;
    use crate::{Conversation, find};

    #[test]
    fn every_path_below_the_base_is_a_door() {
        for (base, paths) in [
            ("/", ["/", "/{*path}"]),
            ("/y-webrtc", ["/y-webrtc", "/y-webrtc/{*path}"]),
        ] {
            let doors = YWebrtc.doors(base);
            let found: Vec<_> = doors.iter().map(|door| (&*door.path, door.opens)).collect();
            assert_eq!(found, paths.map(|path| (path, Opens::Both)));
        }
    }

    #[test]
    fn a_plain_request_is_answered_okay() {
        let handshake = Handshake::at(Door::MAIN, &[], &[]);
        let Answer::Now(reply) = YWebrtc.answer(Door::MAIN, &handshake) else {
            panic!("it is known at once");
        };
        assert_eq!((reply.status, &*reply.body), (200, "okay"));
    }

    #[test]
    fn whoever_cannot_be_let_in_now_is_to_come_again() {
        for (reason, expected) in [
            (Refusal::RoomFull, None),
            (Refusal::Unavailable, Some(Close::UNAVAILABLE)),
        ] {
            let handshake = Handshake::at(Door::MAIN, &[], &[]);
            let (mut conversation, turn) =
                Conversation::open(find("y-webrtc"), handshake, SpaceName::default());
            assert_eq!(turn.first_frame, FirstFrame::Never);
            let frame = ByteString::from_static(r#"{"type":"subscribe","topics":["doc"]}"#);
            let turn = conversation.on_frame(Frame::Text(&frame), 0);
            assert_eq!(turn.asks.len(), 1);
            let room = RoomName::parse("doc", 0).expect("a name");
            let refused = Refused::join(reason, &room, Attempt::default().next());
            let turn = conversation.on_event(&Event::Refused(refused), 0);
            assert_eq!((turn.close, turn.frames.len()), (expected, 0));
        }
    }
}
