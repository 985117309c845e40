//! `y-webrtc`: the signaling server of y-webrtc, for Yjs documents. WebSocket, JSON with a `type`, on
//! `/y-webrtc` and any path below.
//!
//! # Conversation
//!
//! The client sends the first frame, at any time. A topic is a room, and a connection may be in many rooms. A
//! published message goes to all subscribers of its topic, the sender included, with the number of subscribers. A
//! message of the type `signal` that names its receiver goes only to the connection that has announced this id.
//!
//! (→ from the client, ← to the client)
//!
//! * → `{"type":"subscribe","topics":[…]}`, → `{"type":"unsubscribe","topics":[…]}`, which are not answered
//! * → `{"type":"publish","topic":…,"data":…}`, ← the same with `"clients":N`
//! * → `{"type":"ping"}`, ← `{"type":"pong"}`
//! * a plain GET is answered with `okay`
//!
//! Clients are not told about joins and leaves, nor asked to send an offer. They find each other by their published
//! messages, which only clients of `y-webrtc` understand. Therefore clients of other dialects do not meet the
//! subscribers of a topic: in a room of the same name, the subscribers are not listed and do not count against the
//! limit of the room.
//!
//! # Differences from the original server
//!
//! * A `signal` goes only to the connection whose `from` in a message of the topic equals the `to` of the signal. So a
//!   newcomer among n subscribers costs n deliveries and not n². A signal goes to all subscribers if no connection has
//!   announced the id, or if the data is encrypted. If several connections have announced the id, it goes to each of
//!   them, so no announcement takes signals away from another connection. A connection that announces more than four
//!   ids in one topic gets every signal.
//! * A frame that cannot be parsed is counted in the metrics; it ended the process of the original.
//! * Only a subscriber of a topic may publish in it. The original did not check this; its clients always subscribe
//!   first.
//! * The number of topics of a connection (`limits.rooms_per_peer`) and the messages it publishes before its join is
//!   complete are limited; those over the limit are counted as errors.
//! * A rejected topic in a list (too long, empty, not a text, or over the limit) does not affect the other topics. A
//!   client without any topic left is closed (1008, with the reason), because the dialect has no error frames.
//! * If a join is rejected because the server is unavailable, the client is closed (1013), and subscribes again when it
//!   reconnects.
//!
//! # Migration from the original server
//!
//! ```sh
//! PORT=4444 node node_modules/y-webrtc/bin/server.js
//! SWITCHBOARD_Y_WEBRTC_LISTEN=:4444 switchboard
//! ```
//!
//! On the main listener the client uses `signaling: ['ws://HOST:8080/y-webrtc']`.

use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{
    Alias, Aliases, Command, DialectTraits, ErrorCode, Event, JoinOptions, LeaveKind, Limits,
    Member, MessageKind, OfferPolicy, PeerId, RequestError, RoomName, Target,
};

use crate::{
    Accepts, ClientFrame, CloseReason, Content, Dialect, DialectSettings, Endpoint,
    FirstFrameTimeout, Handshake, HttpAnswer, HttpReply, Session, SessionOutput,
    content::relayed_message,
    json::{FoundKey, JsonObject, JsonWriter, Keys, RawJson},
};

static TRAITS: DialectTraits = DialectTraits {
    name: "y-webrtc",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    reveals_members: false,
    ..DialectTraits::DEFAULT
};

/// The number of frames of one connection that may wait for pending joins.
const QUEUED_FRAMES_MAX: usize = 16;

/// The total size in bytes of the frames of one connection that may wait for pending joins.
const QUEUED_BYTES_MAX: usize = 256 * 1024;

/// The longest alias (an id that a client has made for itself) that is remembered for a connection, in bytes. Clients
/// use UUIDs. Signals for a longer id go to all subscribers.
const ALIAS_BYTES_MAX: usize = 64;

/// The number of pending joins of one connection; further joins wait. Each join is answered with the members of its
/// room, so this limit keeps a long list of topics from filling the connection's outbox.
const JOINS_MAX: usize = 64;

/// The keys of a published message that the server reads or writes.
static PUBLISHED_KEYS: Keys<4> = Keys::new(["type", "topic", "clients", "data"]);

#[derive(Debug)]
pub(crate) struct YWebrtc;

impl Dialect for YWebrtc {
    fn traits(&self) -> &'static DialectTraits {
        &TRAITS
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

    fn respond(&self, _endpoint: &'static str, _handshake: &Handshake) -> HttpAnswer {
        HttpAnswer::Ready(HttpReply {
            status: 200,
            content_type: "text/plain",
            body: "okay".to_owned(),
        })
    }

    fn is_public(&self, _endpoint: &'static str) -> bool {
        true
    }

    fn credential_parameter(&self, _settings: &DialectSettings) -> Option<&'static str> {
        Some("token")
    }

    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        output.first_frame = FirstFrameTimeout::Never;
        Box::new(YWebrtcSession {
            own_id: handshake.peer,
            topics: Vec::new(),
            pending_joins: 0,
            limits: handshake.limits.clone(),
        })
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }

    fn aliases(&self, frame: &str) -> Aliases {
        JsonObject::parse(frame, 0)
            .map(|mut object| {
                let [data] = object.find(const { &Keys::new(["data"]) });
                aliases_of(&mut object, &data)
            })
            .unwrap_or_default()
    }
}

/// A topic that the client has subscribed to.
struct Topic {
    room: RoomName,
    state: TopicState,
}

/// The state of a subscription.
enum TopicState {
    /// The join waits until fewer than [`JOINS_MAX`] joins are pending. Published messages are queued.
    Queued(Vec<ByteString>),
    /// The join is pending. Published messages are queued, because they need the number of subscribers.
    Joining(Vec<ByteString>),
    /// The client has joined. The number of other subscribers.
    Subscribed(usize),
}

impl TopicState {
    fn queued_frames(&self) -> &[ByteString] {
        match self {
            Self::Queued(queued_frames) | Self::Joining(queued_frames) => queued_frames,
            Self::Subscribed(_) => &[],
        }
    }

    /// The queue of frames that wait for the join, unless it is complete.
    fn queued_frames_mut(&mut self) -> Option<&mut Vec<ByteString>> {
        match self {
            Self::Queued(queued_frames) | Self::Joining(queued_frames) => Some(queued_frames),
            Self::Subscribed(_) => None,
        }
    }
}

struct YWebrtcSession {
    own_id: PeerId,
    /// Sorted by room; no more than `rooms_per_peer`.
    topics: Vec<Topic>,
    /// The number of topics in the state [`TopicState::Joining`].
    pending_joins: usize,
    limits: Arc<Limits>,
}

impl Session for YWebrtcSession {
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let text = frame.text()?;
        let mut object = JsonObject::parse(&text, self.limits.json_depth)?;
        let [frame_type, topic, _, data] = object.find(&PUBLISHED_KEYS);
        let frame_type = frame_type.text().ok().flatten();
        match &*frame_type.ok_or(ErrorCode::UnknownType)? {
            "subscribe" => self.subscribe(&object, output),
            "unsubscribe" => self.unsubscribe(&object, output),
            "publish" => self.publish(&text, &topic, &data, &mut object, output),
            "ping" => {
                output
                    .frames
                    .push(ByteString::from_static(r#"{"type":"pong"}"#));
                Ok(())
            }
            _ => Err(ErrorCode::UnknownType.into()),
        }
    }

    fn on_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match event {
            Event::Joined { room, others } => {
                let others_subscribed = others
                    .iter()
                    .filter(|(other, _)| speaks_y_webrtc(other))
                    .count();
                self.on_joined(&room.name, others_subscribed, output);
            }
            Event::Introduced { room, peer, .. } if speaks_y_webrtc(peer) => {
                self.update_count(&room.name, |others_subscribed| others_subscribed + 1);
            }
            Event::Departed { room, peer, .. } if speaks_y_webrtc(peer) => {
                self.update_count(&room.name, |others_subscribed| {
                    others_subscribed.saturating_sub(1)
                });
            }
            Event::Received { message, .. } if message.is_of_dialect(TRAITS.name) => {
                output.frames.push(message.frame.clone());
            }
            Event::RequestFailed(error) => {
                if let (Some(room), Some(_)) = (&error.room, error.join) {
                    self.remove_topic(room, output);
                    self.join_queued(output);
                    // The client gets no error frame and subscribes again only when it reconnects.
                    let is_unavailable = error.code == ErrorCode::Unavailable;
                    output.close = is_unavailable.then_some(CloseReason::UNAVAILABLE);
                }
                if self.topics.is_empty() && rejects_a_topic(error) {
                    output.close = Some(CloseReason::for_rejected_join(&error.code));
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

/// Whether the error rejects the subscription of a topic.
fn rejects_a_topic(error: &RequestError) -> bool {
    let is_of_name = matches!(
        error.code,
        ErrorCode::BadField(_)
            | ErrorCode::EmptyName(_)
            | ErrorCode::NameTooLong(_)
            | ErrorCode::InvisibleName(_)
            | ErrorCode::TooManyRooms
    );
    is_of_name || error.join.is_some()
}

/// Whether a member uses this dialect, so that it counts as a subscriber.
fn speaks_y_webrtc(member: &Member) -> bool {
    member.dialect.name == TRAITS.name
}

impl YWebrtcSession {
    fn subscribe(
        &mut self,
        object: &JsonObject<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let result =
            self.for_each_topic(object, output, |session, room, _| session.queue_join(room));
        self.join_queued(output);
        result
    }

    fn unsubscribe(
        &mut self,
        object: &JsonObject<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let result = self.for_each_topic(object, output, |session, room, output| {
            if session.remove_topic(&room, output) {
                let kind = LeaveKind::Announced;
                output.commands.push(Command::Leave { room, kind });
            }
            Ok(())
        });
        self.join_queued(output);
        result
    }

    /// Calls `act` for each topic of the frame. A rejected topic does not affect the others, and each error
    /// code is reported once.
    ///
    /// # Errors
    /// The first error, if every topic was rejected.
    fn for_each_topic(
        &mut self,
        object: &JsonObject<'_>,
        output: &mut SessionOutput,
        mut act: impl FnMut(&mut Self, RoomName, &mut SessionOutput) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let topics = topics_of(object)?;
        let (count, mut failures) = (topics.len(), 0);
        let mut errors: Vec<RequestError> = Vec::new();
        for topic in topics {
            let room = self.room(topic, "topics").map_err(RequestError::from);
            let Err(error) = room.and_then(|room| act(self, room, output)) else {
                continue;
            };
            failures += 1;
            if !errors.iter().any(|other| other.code == error.code) {
                errors.push(error);
            }
        }
        if failures == count {
            return errors.into_iter().next().map_or(Ok(()), Err);
        }
        output.errors.append(&mut errors);
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
        let state = TopicState::Queued(Vec::new());
        self.topics.insert(index, Topic { room, state });
        Ok(())
    }

    /// Sends the joins of queued topics while fewer than [`JOINS_MAX`] joins are pending.
    fn join_queued(&mut self, output: &mut SessionOutput) {
        let (me, free) = (self.own_id, JOINS_MAX.saturating_sub(self.pending_joins));
        let topics = self.topics.iter_mut();
        let queued = topics.filter(|topic| matches!(topic.state, TopicState::Queued(_)));
        for topic in queued.take(free) {
            self.pending_joins += 1;
            let queued_frames = topic.state.queued_frames_mut().map(std::mem::take);
            topic.state = TopicState::Joining(queued_frames.unwrap_or_default());
            output.commands.push(Command::Join {
                room: topic.room.clone(),
                address: me.into(),
                name: None,
                options: JoinOptions::default(),
            });
        }
    }

    fn room(&self, topic: RawJson<'_>, field: &'static str) -> Result<RoomName, ErrorCode> {
        let name = topic.text().ok_or(ErrorCode::BadField(field))?;
        RoomName::parse(&name, self.limits.name_bytes).map_err(|e| ErrorCode::of_name(field, e))
    }

    /// The index of the topic in `topics`, or the index at which to insert it.
    fn index_of(&self, room: &RoomName) -> Result<usize, usize> {
        self.topics.binary_search_by(|topic| topic.room.cmp(room))
    }

    /// The topic with this name, if the client has subscribed to it.
    fn topic_of(&self, name: RawJson<'_>) -> Option<&Topic> {
        let name = name.text()?;
        let topics = &self.topics;
        let found = topics.binary_search_by(|topic| topic.room.as_str().cmp(&name));
        topics.get(found.ok()?)
    }

    fn topic(&mut self, room: &RoomName) -> Option<&mut Topic> {
        let index = self.index_of(room).ok()?;
        self.topics.get_mut(index)
    }

    /// Whether the connection has `rooms_per_peer` topics. Further topics of a long list are rejected.
    fn is_full(&self) -> bool {
        let limit = self.limits.rooms_per_peer;
        limit != 0 && self.topics.len() >= limit
    }

    fn publish<'a>(
        &mut self,
        text: &ByteString,
        topic: &FoundKey<'_>,
        data: &FoundKey<'a>,
        object: &mut JsonObject<'a>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let topic = topic.get().ok_or(ErrorCode::BadField("topic"))?;
        if let Some(Topic {
            room,
            state: TopicState::Subscribed(others_subscribed),
        }) = self.topic_of(topic)
        {
            publish_now(room, *others_subscribed, data, object, output);
            return Ok(());
        }
        let room = self.room(topic, "topic")?;
        let not_in_room = || RequestError::new(ErrorCode::NotInRoom).in_room(&room);
        self.topic(&room).ok_or_else(not_in_room)?;
        if !self.has_queue_space_for(text) {
            return Err(ErrorCode::TooManyFrames.into());
        }
        if let Some(queued_frames) = self
            .topic(&room)
            .and_then(|topic| topic.state.queued_frames_mut())
        {
            queued_frames.push(text.clone());
        }
        Ok(())
    }

    fn has_queue_space_for(&self, text: &ByteString) -> bool {
        let queued_frames = self
            .topics
            .iter()
            .flat_map(|topic| topic.state.queued_frames());
        let (frames, bytes) = queued_frames.fold((0, 0), |(frames, bytes), frame| {
            (frames + 1, bytes + frame.len())
        });
        frames < QUEUED_FRAMES_MAX && bytes + text.len() <= QUEUED_BYTES_MAX
    }

    /// Handles a completed join: publishes the queued messages.
    fn on_joined(&mut self, room: &RoomName, others_subscribed: usize, output: &mut SessionOutput) {
        let Some(topic) = self.topic(room) else {
            return;
        };
        if let TopicState::Queued(_) = topic.state {
            // An earlier join of this room is complete. The client has unsubscribed and subscribed again since.
            return;
        }
        let previous =
            std::mem::replace(&mut topic.state, TopicState::Subscribed(others_subscribed));
        if let TopicState::Joining(_) = previous {
            self.pending_joins -= 1;
        }
        self.join_queued(output);
        for text in previous.queued_frames() {
            // The frame was parsed before it was queued.
            if let Ok(mut object) = JsonObject::parse(text, 0) {
                let [_, _, _, data] = object.find(&PUBLISHED_KEYS);
                publish_now(room, others_subscribed, &data, &mut object, output);
            }
        }
    }

    /// Changes the number of other subscribers of a topic.
    fn update_count(&mut self, room: &RoomName, updated: impl FnOnce(usize) -> usize) {
        if let Some(Topic {
            state: TopicState::Subscribed(others_subscribed),
            ..
        }) = self.topic(room)
        {
            *others_subscribed = updated(*others_subscribed);
        }
    }

    /// Removes a topic, and reports an error for each message queued for it. Returns whether a join of its
    /// room was sent.
    fn remove_topic(&mut self, room: &RoomName, output: &mut SessionOutput) -> bool {
        let Ok(index) = self.index_of(room) else {
            return false;
        };
        let topic = self.topics.remove(index);
        let error = RequestError::new(ErrorCode::NotInRoom).in_room(room);
        let queued_frames = topic.state.queued_frames().iter();
        output.errors.extend(queued_frames.map(|_| error.clone()));
        match topic.state {
            TopicState::Joining(_) => self.pending_joins -= 1,
            TopicState::Queued(_) | TopicState::Subscribed(_) => {}
        }
        !matches!(topic.state, TopicState::Queued(_))
    }
}

/// The elements of the field `topics` of a frame.
fn topics_of<'a>(object: &JsonObject<'a>) -> Result<Vec<RawJson<'a>>, ErrorCode> {
    let topics = object.get("topics").ok_or(ErrorCode::BadField("topics"))?;
    topics.elements().ok_or(ErrorCode::BadField("topics"))
}

/// The ids of the sender and the receiver in a published message, as aliases: ids that the clients make for themselves.
/// Empty for encrypted data.
fn aliases_of<'a>(published: &mut JsonObject<'a>, data: &FoundKey<'a>) -> Aliases {
    let is_only = data.only_exactly().is_some();
    let found =
        is_only.then(|| published.find_in(data, const { &Keys::new(["type", "from", "to"]) }));
    let Some([kind, from, to]) = found.flatten() else {
        return Aliases::default();
    };
    let alias = |key: &FoundKey<'_>| {
        let id = key.only_exactly()?.text()?;
        Alias::parse(&id, ALIAS_BYTES_MAX).ok()
    };
    let kind = kind.only_exactly().map(RawJson::as_str);
    let (names_sender, names_receiver) = match kind {
        Some(r#""announce""#) => (true, false),
        Some(r#""signal""#) => (true, true),
        Some(_) | None => (false, false),
    };
    Aliases {
        from: alias(&from).filter(|_| names_sender),
        to: alias(&to).filter(|_| names_receiver),
    }
}

/// Sends a published message to all subscribers, the publisher included. A signal goes only to the
/// subscriber that it names.
fn publish_now<'a>(
    room: &RoomName,
    others_subscribed: usize,
    data: &FoundKey<'a>,
    object: &mut JsonObject<'a>,
    output: &mut SessionOutput,
) {
    let frame = published(room, others_subscribed + 1, data, object);
    let aliases = aliases_of(object, data);
    if aliases.to.is_none() {
        output.frames.push(frame.clone());
    }
    output.commands.push(Command::Send {
        room: room.clone(),
        to: Target::Everyone,
        message: relayed_message(TRAITS.name, MessageKind::Opaque, frame).with_aliases(aliases),
    });
}

/// The frame as subscribers get it, for an object in which [`PUBLISHED_KEYS`] were looked up: with the number of subscribers in `clients`, keys spelled as documented, and other
/// fields unchanged.
fn published(
    room: &RoomName,
    clients: usize,
    data: &FoundKey<'_>,
    object: &JsonObject<'_>,
) -> ByteString {
    let clients = u64::try_from(clients).unwrap_or(u64::MAX);
    let writer = JsonWriter::with_capacity(object.as_str().len() + room.as_str().len() + 48)
        .raw("type", r#""publish""#)
        .text("topic", room.as_str());
    let writer = match data.only_exactly() {
        Some(data) => writer.raw("data", data.as_str()).fields(object.others()),
        // Another spelling of the key is kept too.
        None => writer.fields(object.rest(&["type", "topic", "clients"])),
    };
    writer.number("clients", clients).finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use switchboard_core::{JoinId, RoomId, SpaceName};

    use super::*;

    #[test]
    fn every_path_below_the_base_is_an_endpoint() {
        for (base, paths) in [
            ("/", ["/", "/", "/{*path}"]),
            (
                "/y-webrtc",
                ["/y-webrtc", "/y-webrtc/", "/y-webrtc/{*path}"],
            ),
        ] {
            let endpoints = YWebrtc.endpoints(base);
            let paths_found: Vec<_> = endpoints
                .iter()
                .map(|endpoint| (&*endpoint.path, endpoint.accepts))
                .collect();
            assert_eq!(paths_found, paths.map(|path| (path, Accepts::Both)));
        }
    }

    #[test]
    fn a_plain_request_is_answered_okay() {
        let handshake = Handshake::at(Endpoint::MAIN, &[], &[]);
        let HttpAnswer::Ready(reply) = YWebrtc.respond(Endpoint::MAIN, &handshake) else {
            panic!("the reply does not depend on a room");
        };
        assert_eq!((reply.status, &*reply.body), (200, "okay"));
    }

    #[test]
    fn a_rejected_join_closes_a_client_without_topics() {
        for (reason, expected) in [
            (
                ErrorCode::RoomFull,
                Some(CloseReason::for_rejected_join(&ErrorCode::RoomFull)),
            ),
            (ErrorCode::Unavailable, Some(CloseReason::UNAVAILABLE)),
        ] {
            let handshake = Handshake::at(Endpoint::MAIN, &[], &[]);
            let mut output = SessionOutput::default();
            let mut session = YWebrtc.open(&handshake, &mut output);
            assert_eq!(output.first_frame, FirstFrameTimeout::Never);
            let frame = ByteString::from_static(r#"{"type":"subscribe","topics":["doc"]}"#);
            let result = session.on_frame(ClientFrame::Text(&frame), &mut output);
            assert!(result.is_ok());
            assert_eq!(output.commands.len(), 1);
            let room = RoomName::parse("doc", 0).expect("a name");
            let error = RequestError::join(reason, &room, JoinId::default().next());
            session.on_event(&Event::RequestFailed(error), &mut output);
            assert_eq!((output.close, output.frames.len()), (expected, 0));
        }
    }

    /// A session that has got a `subscribe` frame for `topics`, and the rooms that it then joins.
    fn subscribed(topics: &[String]) -> (Box<dyn Session>, Vec<RoomName>) {
        let handshake = Handshake::at(Endpoint::MAIN, &[], &[]);
        let mut output = SessionOutput::default();
        let mut session = YWebrtc.open(&handshake, &mut output);
        let topics: Vec<_> = topics
            .iter()
            .map(|topic| crate::json::quote(topic))
            .collect();
        let frame = format!(r#"{{"type":"subscribe","topics":[{}]}}"#, topics.join(","));
        let result = session.on_frame(ClientFrame::Text(&frame.into()), &mut output);
        assert!(result.is_ok() && output.errors.is_empty());
        (session, joined_rooms(&output))
    }

    /// The rooms of the joins in `output`, which has no other commands.
    fn joined_rooms(output: &SessionOutput) -> Vec<RoomName> {
        let room = |command: &Command| {
            let Command::Join { room, .. } = command else {
                panic!("{command:?}");
            };
            room.clone()
        };
        output.commands.iter().map(room).collect()
    }

    fn joins_after(session: &mut dyn Session, event: &Event) -> Vec<RoomName> {
        let mut output = SessionOutput::default();
        session.on_event(event, &mut output);
        joined_rooms(&output)
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
        let (mut session, mut pending) = subscribed(&topics);
        assert_eq!(pending.len(), JOINS_MAX);
        let mut entered = BTreeSet::new();
        while let Some(room) = pending.pop() {
            entered.insert(room.clone());
            pending.extend(joins_after(&mut *session, &joined(room)));
            assert!(pending.len() <= JOINS_MAX);
        }
        let expected = topics
            .iter()
            .map(|topic| RoomName::parse(topic, 0).expect("a name"));
        assert_eq!(entered, expected.collect());
    }

    #[test]
    fn after_a_rejected_join_the_next_queued_join_is_sent() {
        let topics: Vec<_> = (0..=JOINS_MAX)
            .map(|number| format!("topic {number}"))
            .collect();
        let (mut session, pending) = subscribed(&topics);
        let error = RequestError::join(ErrorCode::RoomFull, &pending[0], JoinId::default().next());
        let joins = joins_after(&mut *session, &Event::RequestFailed(error));
        assert_eq!(joins.len(), 1);
    }

    #[test]
    fn a_queued_topic_is_not_joined_after_unsubscribe() {
        let topics: Vec<_> = (0..=JOINS_MAX)
            .map(|number| format!("topic {number}"))
            .collect();
        let (mut session, pending) = subscribed(&topics);
        let queued = topics
            .iter()
            .find(|topic| !pending.iter().any(|room| room.as_str() == **topic));
        let queued = queued.expect("a topic whose join is not sent yet");
        let frame = format!(r#"{{"type":"unsubscribe","topics":["{queued}"]}}"#);
        let mut output = SessionOutput::default();
        let result = session.on_frame(ClientFrame::Text(&frame.into()), &mut output);
        assert!(result.is_ok() && output.errors.is_empty());
        let is_leave = |command: &Command| matches!(command, Command::Leave { .. });
        assert!(
            output.commands.iter().all(is_leave),
            "a join is sent after `unsubscribe`"
        );
        for room in pending {
            assert_eq!(joins_after(&mut *session, &joined(room)), []);
        }
    }

    #[test]
    fn a_message_from_another_node_has_the_aliases_of_its_frame() {
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
            let message = Content::relayed_message(
                "y-webrtc",
                MessageKind::Opaque,
                frame.into(),
                crate::DialectTable::default(),
            );
            let aliases = message.expect("a dialect").aliases;
            assert_eq!(aliases, Aliases { from, to }, "{data}");
        }
    }
}
