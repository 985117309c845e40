//! `y-webrtc`: the signaling server of y-webrtc, for Yjs documents. WebSocket, JSON with a `type`, on
//! `/y-webrtc` and any path below.
//!
//! # Conversation
//!
//! The client speaks first, and may wait with it. A topic is a room; a connection may be in many of
//! them at once. What is published goes to all subscribers of its topic, the sender among them, with
//! their number. A signal that names its receiver goes only to the connection that has announced this id.
//!
//! * → `{"type":"subscribe","topics":[…]}`, → `{"type":"unsubscribe","topics":[…]}`, answered nothing
//! * → `{"type":"publish","topic":…,"data":…}`, ← the same and `"clients":N`
//! * → `{"type":"ping"}`, ← `{"type":"pong"}`
//! * a plain GET is answered `okay`
//!
//! Nobody is told who comes and goes, and nobody is told to call: the clients find each other by what
//! they publish, which only clients of `y-webrtc` understand. So a topic is a room that no other dialect can
//! enter: its subscribers are not listed to clients that cannot call them, and use up none of their places.
//!
//! # Better
//!
//! * A `signal` whose `to` is the `from` of a message that a connection has published in the topic goes to this
//!   connection alone: a newcomer among n costs n deliveries, and not n². Where no connection is known by the id,
//!   and where the data is encrypted, it goes to all. A signal for an id that several connections have
//!   announced goes to each of them, so no announcement takes signals away from another connection. A connection that
//!   announces more than four ids in one topic gets every signal.
//! * A frame that cannot be read is counted; it ended the original's process.
//! * Only who has subscribed to a topic may publish to it. The original asked for nothing; its clients
//!   always subscribe first.
//! * Topics of one connection (`limits.rooms_per_peer`), and what it publishes before it is let in, have
//!   limits; what is over them is counted.
//! * A topic of a list that is refused (too long, empty, no text, or over the limit) does not affect the
//!   others of the list. A client that is left without any topic is closed (1008, with the reason), as there
//!   are no words for errors.
//! * Who cannot be let in just now is closed (1013), and subscribes anew when it reconnects.
//!
//! # Switch
//!
//! ```sh
//! PORT=4444 node node_modules/y-webrtc/bin/server.js
//! SWITCHBOARD_Y_WEBRTC_LISTEN=:4444 switchboard
//! ```
//!
//! On the main listener the client uses `signaling: ['ws://HOST:8080/y-webrtc']`.

use std::sync::Arc;

use bytestring::ByteString;
use serde_json::value::RawValue;
use switchboard_core::{
    Alias, Aliases, Command, DialectTraits, ErrorCode, Event, JoinOptions, LeaveKind, Limits,
    Member, MessageKind, OfferPolicy, PeerId, RequestError, RoomName, Target,
};

use crate::{
    Accepts, ClientFrame, CloseReason, Content, Dialect, Endpoint, FirstFrameTimeout, Handshake,
    HttpAnswer, HttpReply, Session, SessionOutput,
    content::relay,
    json::{JsonObject, JsonWriter, text},
};

static TONGUE: DialectTraits = DialectTraits {
    name: "y-webrtc",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

/// Frames that one connection may publish before it is let in, and their bytes.
const EARLY_FRAMES_MAX: usize = 16;
const EARLY_BYTES_MAX: usize = 256 * 1024;

/// Bytes of an id by which a client names itself in its messages; clients make UUIDs. A longer one is
/// not known, so messages for it go to all.
const ALIAS_BYTES_MAX: usize = 64;

/// Joins of one connection that may be under way. Each is answered with the members of its room, so
/// this bounds how much of the outbox a long list of topics takes.
const JOINS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct YWebrtc;

impl Dialect for YWebrtc {
    fn traits(&self) -> &'static DialectTraits {
        &TONGUE
    }

    fn paths(&self) -> &'static [&'static str] {
        &["/y-webrtc"]
    }

    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        let both = |rest| Endpoint::new(base, rest, Endpoint::MAIN, Accepts::Both);
        vec![both(""), both("/"), both("/{*path}")]
    }

    fn standalone_path(&self) -> &'static str {
        "/"
    }

    fn respond(&self, _door: &'static str, _handshake: &Handshake) -> HttpAnswer {
        HttpAnswer::Ready(HttpReply {
            status: 200,
            content_type: "text/plain",
            body: "okay".to_owned(),
        })
    }

    fn open(&self, handshake: &Handshake, out: &mut SessionOutput) -> Box<dyn Session> {
        out.first_frame = FirstFrameTimeout::Never;
        Box::new(YWebrtcSession {
            own_id: handshake.peer,
            topics: Vec::new(),
            asked: 0,
            limits: handshake.limits.clone(),
        })
    }

    fn read<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }

    fn aliases(&self, frame: &str) -> Aliases {
        JsonObject::parse(frame, 0)
            .map(|object| aliases_of(&object))
            .unwrap_or_default()
    }
}

/// A topic that the client has subscribed to.
struct Topic {
    room: RoomName,
    state: TopicState,
}

/// How far a subscription has come.
enum TopicState {
    /// Its join waits until fewer than [`JOINS_MAX`] are under way. Messages published meanwhile wait too.
    Queued(Vec<ByteString>),
    /// It is asked for. What is published meanwhile waits: only then it is known to how many.
    Joining(Vec<ByteString>),
    /// It is there, with so many others of its kind.
    Subscribed(usize),
}

impl TopicState {
    fn queued_frames(&self) -> &[ByteString] {
        match self {
            Self::Queued(early) | Self::Joining(early) => early,
            Self::Subscribed(_) => &[],
        }
    }

    /// The queue of frames that wait until the topic is entered.
    fn queued_frames_mut(&mut self) -> Option<&mut Vec<ByteString>> {
        match self {
            Self::Queued(early) | Self::Joining(early) => Some(early),
            Self::Subscribed(_) => None,
        }
    }
}

struct YWebrtcSession {
    own_id: PeerId,
    /// Sorted by room; no more than `rooms_per_peer`.
    topics: Vec<Topic>,
    /// Topics in the stage `PendingRequest`.
    asked: usize,
    limits: Arc<Limits>,
}

impl Session for YWebrtcSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let object = JsonObject::parse(&text, self.limits.json_depth)?;
        let frame_type = object.text("type").ok().flatten();
        match &*frame_type.ok_or(ErrorCode::UnknownType)? {
            "subscribe" => self.subscribe(&object, out),
            "unsubscribe" => self.unsubscribe(&object, out),
            "publish" => self.publish(&text, &object, out),
            "ping" => {
                out.frames
                    .push(ByteString::from_static(r#"{"type":"pong"}"#));
                Ok(())
            }
            _ => Err(ErrorCode::UnknownType.into()),
        }
    }

    fn on_event(&mut self, event: &Event, out: &mut SessionOutput) {
        match event {
            Event::Joined { room, others } => {
                let kin = others
                    .iter()
                    .filter(|(other, _)| speaks_y_webrtc(other))
                    .count();
                self.on_joined(&room.name, kin, out);
            }
            Event::Introduced { room, peer, .. } if speaks_y_webrtc(peer) => {
                self.count(&room.name, |kin| kin + 1);
            }
            Event::Departed { room, peer, .. } if speaks_y_webrtc(peer) => {
                self.count(&room.name, |kin| kin.saturating_sub(1));
            }
            Event::Received { message: relay, .. } if relay.origin == TONGUE.name => {
                out.frames.push(relay.frame.clone());
            }
            Event::RequestFailed(refused) => {
                if let (Some(room), Some(_)) = (&refused.room, refused.join) {
                    self.remove_topic(room, out);
                    self.join_queued(out);
                    // The client is told nothing, so it asks again only when it reconnects.
                    let again = refused.code == ErrorCode::Unavailable;
                    out.close = again.then_some(CloseReason::UNAVAILABLE);
                }
                if self.topics.is_empty() && is_of_topic(refused) {
                    out.close = Some(CloseReason::for_rejected_join(&refused.code));
                }
            }
            Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Received { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Evicted(_)
            | Event::Claimed(_)
            | Event::Probe(_) => {}
        }
    }
}

/// Whether a client is refused a topic, for any reason.
fn is_of_topic(refused: &RequestError) -> bool {
    let is_of_name = matches!(
        refused.code,
        ErrorCode::BadField(_)
            | ErrorCode::EmptyName(_)
            | ErrorCode::NameTooLong(_)
            | ErrorCode::InvisibleName(_)
            | ErrorCode::TooManyRooms
    );
    is_of_name || refused.join.is_some()
}

/// Whether a member is a subscriber too.
fn speaks_y_webrtc(member: &Member) -> bool {
    member.dialect.name == TONGUE.name
}

impl YWebrtcSession {
    fn subscribe(
        &mut self,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let result = self.for_each_topic(object, out, |session, room, _| session.queue_join(room));
        self.join_queued(out);
        result
    }

    fn unsubscribe(
        &mut self,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let result = self.for_each_topic(object, out, |session, room, out| {
            if session.remove_topic(&room, out) {
                let farewell = LeaveKind::Announced;
                out.commands.push(Command::Leave {
                    room,
                    kind: farewell,
                });
            }
            Ok(())
        });
        self.join_queued(out);
        result
    }

    /// Does `act` for each topic of the frame. A topic that is refused does not affect the others, and
    /// each reason is counted once. The frame itself is refused if nothing of it could be done.
    fn for_each_topic(
        &mut self,
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
        mut act: impl FnMut(&mut Self, RoomName, &mut SessionOutput) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let topics = topics_of(object)?;
        let (count, mut failures) = (topics.len(), 0);
        let mut refusals: Vec<RequestError> = Vec::new();
        for topic in topics {
            let room = self.room(topic, "topics").map_err(RequestError::from);
            let Err(refused) = room.and_then(|room| act(self, room, out)) else {
                continue;
            };
            failures += 1;
            if !refusals.iter().any(|other| other.code == refused.code) {
                refusals.push(refused);
            }
        }
        if failures == count {
            return refusals.into_iter().next().map_or(Ok(()), Err);
        }
        out.errors.append(&mut refusals);
        Ok(())
    }

    /// Queues the join of a topic, unless the client has subscribed to it already.
    fn queue_join(&mut self, room: RoomName) -> Result<(), RequestError> {
        let Err(index) = self.index_of(&room) else {
            return Ok(());
        };
        if self.is_full() {
            return Err(RequestError::new(ErrorCode::TooManyRooms).in_room(&room));
        }
        let stage = TopicState::Queued(Vec::new());
        self.topics.insert(index, Topic { room, state: stage });
        Ok(())
    }

    /// Joins queued topics while fewer than [`JOINS_MAX`] joins are under way.
    fn join_queued(&mut self, out: &mut SessionOutput) {
        let (me, free) = (self.own_id, JOINS_MAX.saturating_sub(self.asked));
        let topics = self.topics.iter_mut();
        let queued = topics.filter(|topic| matches!(topic.state, TopicState::Queued(_)));
        for topic in queued.take(free) {
            self.asked += 1;
            let early = topic.state.queued_frames_mut().map(std::mem::take);
            topic.state = TopicState::Joining(early.unwrap_or_default());
            out.commands.push(Command::Join {
                room: topic.room.clone(),
                address: me.into(),
                name: None,
                options: JoinOptions::default(),
            });
        }
    }

    fn room(&self, topic: &RawValue, field: &'static str) -> Result<RoomName, ErrorCode> {
        let name = text(topic).ok_or(ErrorCode::BadField(field))?;
        RoomName::parse(&name, self.limits.name_bytes).map_err(|e| ErrorCode::of_name(field, e))
    }

    /// The index of the topic in `topics`, or the index at which to insert it.
    fn index_of(&self, room: &RoomName) -> Result<usize, usize> {
        self.topics.binary_search_by(|topic| topic.room.cmp(room))
    }

    fn topic(&mut self, room: &RoomName) -> Option<&mut Topic> {
        let index = self.index_of(room).ok()?;
        self.topics.get_mut(index)
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
        object: &JsonObject<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let topic = object.get("topic").ok_or(ErrorCode::BadField("topic"))?;
        let room = self.room(topic, "topic")?;
        let not_in = || RequestError::new(ErrorCode::NotInRoom).in_room(&room);
        if let TopicState::Subscribed(kin) = self.topic(&room).ok_or_else(not_in)?.state {
            publish_now(&room, kin, object, out);
        } else if !self.has_place_for(text) {
            return Err(ErrorCode::TooManyFrames.into());
        } else if let Some(early) = self
            .topic(&room)
            .and_then(|topic| topic.state.queued_frames_mut())
        {
            early.push(text.clone());
        }
        Ok(())
    }

    fn has_place_for(&self, text: &ByteString) -> bool {
        let early = self
            .topics
            .iter()
            .flat_map(|topic| topic.state.queued_frames());
        let (frames, bytes) = early.fold((0, 0), |(frames, bytes), frame| {
            (frames + 1, bytes + frame.len())
        });
        frames < EARLY_FRAMES_MAX && bytes + text.len() <= EARLY_BYTES_MAX
    }

    /// The client is in: says what it has published until now.
    fn on_joined(&mut self, room: &RoomName, kin: usize, out: &mut SessionOutput) {
        let Some(topic) = self.topic(room) else {
            return;
        };
        if let TopicState::Queued(_) = topic.state {
            return; // The answer to a join that the client has taken back.
        }
        let before = std::mem::replace(&mut topic.state, TopicState::Subscribed(kin));
        if let TopicState::Joining(_) = before {
            self.asked -= 1;
        }
        self.join_queued(out);
        for text in before.queued_frames() {
            // It was read before.
            if let Ok(object) = JsonObject::parse(text, 0) {
                publish_now(room, kin, &object, out);
            }
        }
    }

    fn count(&mut self, room: &RoomName, counted: impl FnOnce(usize) -> usize) {
        if let Some(Topic {
            state: TopicState::Subscribed(kin),
            ..
        }) = self.topic(room)
        {
            *kin = counted(*kin);
        }
    }

    /// Forgets a topic, and refuses the messages that wait for it. Returns whether its room was asked for.
    fn remove_topic(&mut self, room: &RoomName, out: &mut SessionOutput) -> bool {
        let Ok(index) = self.index_of(room) else {
            return false;
        };
        let topic = self.topics.remove(index);
        let refused = RequestError::new(ErrorCode::NotInRoom).in_room(room);
        let early = topic.state.queued_frames().iter();
        out.errors.extend(early.map(|_| refused.clone()));
        match topic.state {
            TopicState::Joining(_) => self.asked -= 1,
            TopicState::Queued(_) | TopicState::Subscribed(_) => {}
        }
        !matches!(topic.state, TopicState::Queued(_))
    }
}

/// The values of the list that a frame names its topics in.
fn topics_of<'a>(object: &JsonObject<'a>) -> Result<Vec<&'a RawValue>, ErrorCode> {
    let topics = object.get("topics").ok_or(ErrorCode::BadField("topics"))?;
    serde_json::from_str(topics.get()).map_err(|_| ErrorCode::BadField("topics"))
}

/// The ids by which a published message names its sender and its receiver. Encrypted data names none.
fn aliases_of(published: &JsonObject<'_>) -> Aliases {
    let data = only_value(published, "data").and_then(|data| published.nested(data).ok());
    let Some(data) = data else {
        return Aliases::default();
    };
    let alias = |key| {
        let id = text(only_value(&data, key)?)?;
        Alias::parse(&id, ALIAS_BYTES_MAX).ok()
    };
    let kind = only_value(&data, "type").map(RawValue::get);
    let (names_sender, names_receiver) = match kind {
        Some(r#""announce""#) => (true, false),
        Some(r#""signal""#) => (true, true),
        Some(_) | None => (false, false),
    };
    Aliases {
        from: alias("from").filter(|_| names_sender),
        to: alias("to").filter(|_| names_receiver),
    }
}

/// The value of a key that stands once and is spelled so. Of several, clients may read another one.
fn only_value<'a>(object: &JsonObject<'a>, key: &str) -> Option<&'a RawValue> {
    let mut values = object.all(key);
    let value = values.next()?;
    let is_only = values.next().is_none() && object.has_exactly(key);
    is_only.then_some(value)
}

/// Sends a published message to all subscribers, the publisher too; a signal only to the subscriber that
/// it names.
fn publish_now(room: &RoomName, kin: usize, object: &JsonObject<'_>, out: &mut SessionOutput) {
    let frame = published(room, kin + 1, object);
    let aliases = aliases_of(object);
    if aliases.to.is_none() {
        out.frames.push(frame.clone());
    }
    out.commands.push(Command::Send {
        room: room.clone(),
        to: Target::Everyone,
        message: relay(TONGUE.name, MessageKind::Opaque, frame).with_aliases(aliases),
    });
}

/// The frame as subscribers get it: its keys as documented, the rest as it was, and how many they are.
fn published(room: &RoomName, clients: usize, object: &JsonObject<'_>) -> ByteString {
    let clients = u64::try_from(clients).unwrap_or(u64::MAX);
    JsonWriter::with_capacity(256)
        .text("type", "publish")
        .text("topic", room.as_str())
        .fields(object.rest(&["type", "topic", "clients"]))
        .number("clients", clients)
        .finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use switchboard_core::{HubRequest, JoinId, RoomId, SpaceName};

    use super::*;
    use crate::{ClientSession, find};

    #[test]
    fn every_path_below_the_base_is_a_door() {
        for (base, paths) in [
            ("/", ["/", "/", "/{*path}"]),
            (
                "/y-webrtc",
                ["/y-webrtc", "/y-webrtc/", "/y-webrtc/{*path}"],
            ),
        ] {
            let doors = YWebrtc.endpoints(base);
            let found: Vec<_> = doors
                .iter()
                .map(|door| (&*door.path, door.accepts))
                .collect();
            assert_eq!(found, paths.map(|path| (path, Accepts::Both)));
        }
    }

    #[test]
    fn a_plain_request_is_answered_okay() {
        let handshake = Handshake::at(Endpoint::MAIN, &[], &[]);
        let HttpAnswer::Ready(reply) = YWebrtc.respond(Endpoint::MAIN, &handshake) else {
            panic!("it is known at once");
        };
        assert_eq!((reply.status, &*reply.body), (200, "okay"));
    }

    #[test]
    fn whoever_cannot_be_let_in_now_is_to_come_again() {
        for (reason, expected) in [
            (
                ErrorCode::RoomFull,
                Some(CloseReason::for_rejected_join(&ErrorCode::RoomFull)),
            ),
            (ErrorCode::Unavailable, Some(CloseReason::UNAVAILABLE)),
        ] {
            let handshake = Handshake::at(Endpoint::MAIN, &[], &[]);
            let (mut conversation, turn) =
                ClientSession::open(find("y-webrtc"), handshake, SpaceName::default());
            assert_eq!(turn.first_frame, FirstFrameTimeout::Never);
            let frame = ByteString::from_static(r#"{"type":"subscribe","topics":["doc"]}"#);
            let turn = conversation.on_frame(ClientFrame::Text(&frame), 0);
            assert_eq!(turn.requests.len(), 1);
            let room = RoomName::parse("doc", 0).expect("a name");
            let refused = RequestError::join(reason, &room, JoinId::default().next());
            let turn = conversation.on_event(&Event::RequestFailed(refused), 0);
            assert_eq!((turn.close, turn.frames.len()), (expected, 0));
        }
    }

    fn subscribed(topics: &[String]) -> (ClientSession, Vec<RoomName>) {
        let handshake = Handshake::at(Endpoint::MAIN, &[], &[]);
        let (mut conversation, _) =
            ClientSession::open(find("y-webrtc"), handshake, SpaceName::default());
        let topics: Vec<_> = topics
            .iter()
            .map(|topic| crate::json::quote(topic))
            .collect();
        let frame = format!(r#"{{"type":"subscribe","topics":[{}]}}"#, topics.join(","));
        let turn = conversation.on_frame(ClientFrame::Text(&frame.into()), 0);
        assert_eq!(turn.error_codes, [""; 0]);
        (conversation, rooms(&turn.requests))
    }

    fn rooms(asks: &[HubRequest]) -> Vec<RoomName> {
        let room = |ask: &HubRequest| {
            let HubRequest::Join(room, ..) = ask else {
                panic!("{ask:?}");
            };
            room.name.clone()
        };
        asks.iter().map(room).collect()
    }

    fn joined(name: RoomName) -> Event {
        let space = SpaceName::default();
        Event::Joined {
            room: RoomId::shared(space, name),
            others: Vec::new(),
        }
    }

    #[test]
    fn a_list_of_1024_topics_is_joined_64_at_a_time() {
        let topics: Vec<_> = (0..1024).map(|number| format!("topic {number}")).collect();
        let (mut conversation, mut under_way) = subscribed(&topics);
        assert_eq!(under_way.len(), JOINS_MAX);
        let mut entered = BTreeSet::new();
        while let Some(room) = under_way.pop() {
            entered.insert(room.clone());
            under_way.extend(rooms(&conversation.on_event(&joined(room), 0).requests));
            assert!(under_way.len() <= JOINS_MAX);
        }
        let expected = topics
            .iter()
            .map(|topic| RoomName::parse(topic, 0).expect("a name"));
        assert_eq!(entered, expected.collect());
    }

    #[test]
    fn a_refused_join_makes_way_for_the_next() {
        let topics: Vec<_> = (0..=JOINS_MAX)
            .map(|number| format!("topic {number}"))
            .collect();
        let (mut conversation, under_way) = subscribed(&topics);
        let refused =
            RequestError::join(ErrorCode::RoomFull, &under_way[0], JoinId::default().next());
        let turn = conversation.on_event(&Event::RequestFailed(refused), 0);
        assert_eq!(rooms(&turn.requests).len(), 1);
    }

    #[test]
    fn a_topic_that_is_taken_back_before_its_join_is_never_joined() {
        let topics: Vec<_> = (0..=JOINS_MAX)
            .map(|number| format!("topic {number}"))
            .collect();
        let (mut conversation, under_way) = subscribed(&topics);
        let queued = topics
            .iter()
            .find(|topic| !under_way.iter().any(|room| room.as_str() == **topic));
        let queued = queued.expect("one of them waits");
        let frame = format!(r#"{{"type":"unsubscribe","topics":["{queued}"]}}"#);
        let turn = conversation.on_frame(ClientFrame::Text(&frame.into()), 0);
        assert_eq!((turn.requests.len(), turn.error_codes.len()), (0, 0));
        for room in under_way {
            assert_eq!(conversation.on_event(&joined(room), 0).requests.len(), 0);
        }
    }

    #[test]
    fn another_node_reads_the_ids_that_a_frame_names() {
        let id = |id: &str| Alias::parse(id, 0).ok();
        let long = "x".repeat(ALIAS_BYTES_MAX + 1);
        for (data, from, to) in [
            (
                r#"{"type":"signal","from":"a","to":"b"}"#.to_owned(),
                id("a"),
                id("b"),
            ),
            (
                r#"{"type":"announce","from":"a","to":"b"}"#.to_owned(),
                id("a"),
                None,
            ),
            (r#""encrypted""#.to_owned(), None, None),
            (
                format!(r#"{{"type":"signal","from":"{long}","to":"{long}"}}"#),
                None,
                None,
            ),
        ] {
            let frame = format!(r#"{{"type":"publish","topic":"doc","data":{data},"clients":2}}"#);
            let relay = Content::relay("y-webrtc", MessageKind::Opaque, frame.into());
            let aliases = relay.expect("a dialect").aliases;
            assert_eq!(aliases, Aliases { from, to }, "{data}");
        }
    }
}
