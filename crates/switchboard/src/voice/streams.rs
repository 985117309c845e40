//! Event streams: what happens, told to everybody it concerns.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use switchboard_core::{Audience, User};
use switchboard_dialect::gostream::SseEvent;
use switchboard_transport::{ConnectionAbort, network};
use tokio::sync::mpsc;

/// Events that may wait for a client that does not read.
const EVENTS_WAITING_MAX: usize = 256;

/// The event streams that are open. Telling never waits: a client that reads slower than its
/// events come is cut off, because one who misses an event can no longer be told the truth.
#[derive(Debug)]
pub(super) struct EventStreams {
    of: HashMap<User, Vec<OpenStream>>,
    per_user_max: usize,
}

#[derive(Debug)]
struct OpenStream {
    id: StreamId,
    events: mpsc::Sender<Arc<SseEvent>>,
    listener: StreamListener,
}

/// Who listens, as far as the connection tells.
#[derive(Debug)]
pub(super) struct StreamListener {
    pub(super) abort: ConnectionAbort,
    /// Whether the client has shown that it is the user whose events it wants.
    pub(super) is_proven: bool,
    pub(super) address: Option<IpAddr>,
}

/// Tells the streams of one user apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamId(u64);

impl EventStreams {
    pub(super) fn new(per_user_max: usize) -> Self {
        Self {
            of: HashMap::new(),
            per_user_max,
        }
    }

    /// One more stream of this user, unless there are as many from that address as may be. One whose
    /// client has proven to be this user takes the place of one whose client has not: strangers who
    /// listen in his name, from elsewhere or from next door, do not lock him out.
    pub(super) fn open(
        &mut self,
        user: &User,
        listener: StreamListener,
    ) -> Option<(StreamId, mpsc::Receiver<Arc<SseEvent>>)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let streams = self.of.entry(user.clone()).or_default();
        let there = listener.address.map(network);
        let from_there = |stream: &OpenStream| stream.listener.address.map(network) == there;
        let count = streams.iter().filter(|stream| from_there(stream)).count();
        if self.per_user_max != 0 && count >= self.per_user_max {
            let replaceable =
                |stream: &OpenStream| from_there(stream) && !stream.listener.is_proven;
            let unproven = streams.iter().position(replaceable);
            let replaced = streams.remove(unproven.filter(|_| listener.is_proven)?);
            replaced.listener.abort.abort();
        }
        let id = StreamId(NEXT.fetch_add(1, Ordering::Relaxed));
        let (events, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        streams.push(OpenStream {
            id,
            events,
            listener,
        });
        Some((id, receiver))
    }

    pub(super) fn close(&mut self, user: &User, id: StreamId) {
        self.keep(user, |stream| stream.id != id);
    }

    /// Whether there is anybody to be told.
    pub(super) fn is_heard(&self, audience: &Audience) -> bool {
        match audience {
            Audience::User(user) => self.is_open(user),
            Audience::Everybody => !self.of.is_empty(),
        }
    }

    pub(super) fn is_open(&self, user: &User) -> bool {
        self.of.contains_key(user)
    }

    /// Tells whom it concerns. Says how many were cut off.
    pub(super) fn tell(&mut self, audience: &Audience, told: &Arc<SseEvent>) -> u64 {
        let mut cut_off = 0;
        let mut hear = |stream: &OpenStream| {
            let has_room = stream.events.try_send(told.clone()).is_ok();
            if !has_room {
                stream.listener.abort.abort();
                cut_off += 1;
            }
            has_room
        };
        match audience {
            Audience::User(user) => self.keep(user, hear),
            Audience::Everybody => self.of.retain(|_, streams| {
                streams.retain(&mut hear);
                !streams.is_empty()
            }),
        }
        cut_off
    }

    /// Ends all streams.
    pub(super) fn end(&mut self) {
        self.of.clear();
    }

    fn keep(&mut self, user: &User, which: impl FnMut(&OpenStream) -> bool) {
        let Some(streams) = self.of.get_mut(user) else {
            return;
        };
        streams.retain(which);
        if streams.is_empty() {
            self.of.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        User::parse(name, 0).unwrap()
    }

    fn listener(is_proven: bool) -> StreamListener {
        StreamListener {
            abort: ConnectionAbort::default(),
            is_proven,
            address: None,
        }
    }

    fn told() -> Arc<SseEvent> {
        Arc::new(SseEvent {
            name: "newCall",
            data: "{}".to_owned(),
        })
    }

    #[test]
    fn several_streams_of_one_user_are_all_told_and_bounded() {
        let mut streams = EventStreams::new(2);
        let (_, mut first) = streams.open(&user("1"), listener(false)).unwrap();
        let (_, mut second) = streams.open(&user("1"), listener(false)).unwrap();
        assert!(streams.open(&user("1"), listener(false)).is_none());
        assert!(streams.open(&user("2"), listener(false)).is_some());
        assert_eq!(streams.tell(&Audience::User(user("1")), &told()), 0);
        assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
    }

    #[test]
    fn who_listens_elsewhere_takes_no_place() {
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
    fn the_clients_of_one_ipv6_network_share_their_places() {
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
    fn who_proves_himself_takes_the_place_of_one_who_did_not() {
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
    fn who_does_not_read_is_cut_off_and_nobody_else_is() {
        let mut streams = EventStreams::new(0);
        let (_, mut reading) = streams.open(&user("1"), listener(false)).unwrap();
        let (_, _stuck) = streams.open(&user("1"), listener(false)).unwrap();
        for _ in 0..EVENTS_WAITING_MAX {
            assert_eq!(streams.tell(&Audience::Everybody, &told()), 0);
            reading.try_recv().unwrap();
        }
        assert_eq!(streams.tell(&Audience::Everybody, &told()), 1);
        assert!(reading.try_recv().is_ok());
        assert_eq!(streams.tell(&Audience::Everybody, &told()), 0);
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let mut streams = EventStreams::new(0);
        let (id, _receiver) = streams.open(&user("1"), listener(false)).unwrap();
        assert!(streams.is_open(&user("1")));
        streams.close(&user("1"), id);
        assert!(!streams.is_open(&user("1")));
        assert!(streams.of.is_empty());
    }
}
