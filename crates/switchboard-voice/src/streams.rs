//! Event streams (SSE) of the users.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use switchboard_transport::{ConnectionAbort, network};
use tokio::sync::mpsc;

use crate::{gostream::SseEvent, id::User, signaling::Audience};

/// Maximum events queued for one client.
const QUEUED_EVENTS_MAX: usize = 256;

/// The open event streams. Sending never waits: a client whose queue is full is disconnected, because its state would
/// be wrong if it missed an event.
#[derive(Debug)]
pub(crate) struct EventStreams {
    by_user: BTreeMap<User, Vec<OpenStream>>,
    /// Maximum streams of one user from one network. 0: no limit.
    per_user_max: usize,
}

#[derive(Debug)]
struct OpenStream {
    id: StreamId,
    events: mpsc::Sender<Arc<SseEvent>>,
    listener: StreamListener,
}

/// The client of an event stream: its connection, address and whether it is authenticated.
#[derive(Debug)]
pub(crate) struct StreamListener {
    pub(crate) abort: ConnectionAbort,
    /// Whether the client has proven that it is the user whose events it receives.
    pub(crate) is_proven: bool,
    pub(crate) address: Option<IpAddr>,
}

/// Identifies a stream among those of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamId(u64);

impl EventStreams {
    pub(crate) fn new(per_user_max: usize) -> Self {
        Self {
            by_user: BTreeMap::new(),
            per_user_max,
        }
    }

    /// Opens a stream for a user. Returns `None` if the user has the maximum number of streams from the network of
    /// `listener`: clients elsewhere cannot use up the limit. An authenticated client replaces an unauthenticated one
    /// of the same network, so unauthenticated clients cannot lock the user out.
    pub(crate) fn open(
        &mut self,
        user: &User,
        listener: StreamListener,
    ) -> Option<(StreamId, mpsc::Receiver<Arc<SseEvent>>)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let streams = self.by_user.entry(user.clone()).or_default();
        let network_of_listener = listener.address.map(network);
        let is_same_network =
            |stream: &OpenStream| stream.listener.address.map(network) == network_of_listener;
        let count = streams
            .iter()
            .filter(|stream| is_same_network(stream))
            .count();
        if self.per_user_max != 0 && count >= self.per_user_max {
            let replaceable =
                |stream: &OpenStream| is_same_network(stream) && !stream.listener.is_proven;
            let unproven = streams.iter().position(replaceable);
            let replaced = streams.remove(unproven.filter(|_| listener.is_proven)?);
            replaced.listener.abort.abort();
        }
        let id = StreamId(NEXT.fetch_add(1, Ordering::Relaxed));
        let (events, receiver) = mpsc::channel(QUEUED_EVENTS_MAX);
        streams.push(OpenStream {
            id,
            events,
            listener,
        });
        Some((id, receiver))
    }

    pub(crate) fn close(&mut self, user: &User, id: StreamId) {
        self.retain(user, |stream| stream.id != id);
    }

    /// Whether any stream is open for the audience.
    pub(crate) fn has_listeners(&self, audience: &Audience) -> bool {
        match audience {
            Audience::User(user) => self.is_open(user),
            Audience::AllUsers => !self.by_user.is_empty(),
        }
    }

    pub(crate) fn is_open(&self, user: &User) -> bool {
        self.by_user.contains_key(user)
    }

    /// Queues an event for all streams of the audience. Returns the number of streams that were disconnected
    /// because their queue was full.
    pub(crate) fn send(&mut self, audience: &Audience, event: &Arc<SseEvent>) -> u64 {
        let mut disconnected = 0;
        let mut try_send = |stream: &OpenStream| {
            let has_room = stream.events.try_send(event.clone()).is_ok();
            if !has_room {
                stream.listener.abort.abort();
                disconnected += 1;
            }
            has_room
        };
        match audience {
            Audience::User(user) => self.retain(user, try_send),
            Audience::AllUsers => self.by_user.retain(|_, streams| {
                streams.retain(&mut try_send);
                !streams.is_empty()
            }),
        }
        disconnected
    }

    /// Closes the streams of a user. Returns their number.
    pub(crate) fn end_user(&mut self, user: &User) -> usize {
        let streams = self.by_user.remove(user).unwrap_or_default();
        streams
            .iter()
            .for_each(|stream| stream.listener.abort.abort());
        streams.len()
    }

    /// Closes all streams.
    pub(crate) fn end(&mut self) {
        self.by_user.clear();
    }

    fn retain(&mut self, user: &User, keep: impl FnMut(&OpenStream) -> bool) {
        let Some(streams) = self.by_user.get_mut(user) else {
            return;
        };
        streams.retain(keep);
        if streams.is_empty() {
            self.by_user.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        User::parse(name).unwrap()
    }

    fn listener(is_proven: bool) -> StreamListener {
        StreamListener {
            abort: ConnectionAbort::default(),
            is_proven,
            address: None,
        }
    }

    fn event() -> Arc<SseEvent> {
        Arc::new(SseEvent {
            name: "newCall",
            data: "{}".to_owned(),
        })
    }

    #[test]
    fn every_stream_of_a_user_receives_events_and_their_number_is_bounded() {
        let mut streams = EventStreams::new(2);
        let (_, mut first) = streams.open(&user("1"), listener(false)).unwrap();
        let (_, mut second) = streams.open(&user("1"), listener(false)).unwrap();
        assert!(streams.open(&user("1"), listener(false)).is_none());
        assert!(streams.open(&user("2"), listener(false)).is_some());
        assert_eq!(streams.send(&Audience::User(user("1")), &event()), 0);
        assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
    }

    #[test]
    fn streams_from_other_addresses_do_not_use_up_the_limit() {
        let mut streams = EventStreams::new(1);
        let from = |address: [u8; 4]| StreamListener {
            address: Some(address.into()),
            ..listener(false)
        };
        let _stranger = streams.open(&user("1"), from([192, 0, 2, 1])).unwrap();
        assert!(streams.open(&user("1"), from([192, 0, 2, 1])).is_none());
        assert!(streams.open(&user("1"), from([192, 0, 2, 2])).is_some());
    }

    #[test]
    fn clients_of_one_ipv6_network_share_the_limit() {
        let mut streams = EventStreams::new(1);
        let from = |address: &str| StreamListener {
            address: Some(address.parse().unwrap()),
            ..listener(false)
        };
        let _first = streams.open(&user("1"), from("2001:db8::1")).unwrap();
        assert!(streams.open(&user("1"), from("2001:db8::ffff:2")).is_none());
        assert!(streams.open(&user("1"), from("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn authenticated_client_replaces_an_unauthenticated_one() {
        let mut streams = EventStreams::new(2);
        let (_, mut stranger) = streams.open(&user("1"), listener(false)).unwrap();
        let _own = streams.open(&user("1"), listener(true)).unwrap();
        assert!(streams.open(&user("1"), listener(false)).is_none());
        assert!(streams.open(&user("1"), listener(true)).is_some());
        assert_eq!(
            stranger.try_recv().unwrap_err(),
            mpsc::error::TryRecvError::Disconnected
        );
        assert!(streams.open(&user("1"), listener(true)).is_none());
    }

    #[test]
    fn only_the_client_that_does_not_read_is_disconnected() {
        let mut streams = EventStreams::new(0);
        let (_, mut reading) = streams.open(&user("1"), listener(false)).unwrap();
        let (_, _stuck) = streams.open(&user("1"), listener(false)).unwrap();
        for _ in 0..QUEUED_EVENTS_MAX {
            assert_eq!(streams.send(&Audience::AllUsers, &event()), 0);
            reading.try_recv().unwrap();
        }
        assert_eq!(streams.send(&Audience::AllUsers, &event()), 1);
        assert!(reading.try_recv().is_ok());
        assert_eq!(streams.send(&Audience::AllUsers, &event()), 0);
    }

    #[test]
    fn closed_stream_leaves_no_entry() {
        let mut streams = EventStreams::new(0);
        let (id, _receiver) = streams.open(&user("1"), listener(false)).unwrap();
        assert!(streams.is_open(&user("1")));
        streams.close(&user("1"), id);
        assert!(!streams.is_open(&user("1")));
        assert!(streams.by_user.is_empty());
    }
}
