//! Property test of voice rooms: four users take random steps in three rooms. After each step, the state machine must
//! be in the same state as the model and have the same outputs. The outputs must also satisfy invariants that are
//! checked without the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use switchboard_core::RoomName;
use switchboard_voice::{
    Audience, Direction, RoomKey, User, VoiceEvent, VoiceRoomError, VoiceRoomId, VoiceRooms,
};

use crate::{
    room_model::{RoomModel, limits},
    script::{epoch, user},
};

const USERS: [&str; 4] = ["ann", "bob", "cid", "dan"];

/// A step of the test. `user` and `key` are indices into the lists of the test.
#[derive(Clone, Debug)]
enum RoomStep {
    Enter {
        user: usize,
        key: usize,
        direction: Direction,
    },
    Leave {
        user: usize,
        room: u64,
        direction: Direction,
    },
    /// Time passes, without a call of `handle_timeout`.
    Wait { secs: u64 },
    /// `handle_timeout` is called, as by the timer of the server.
    Timer,
}

fn step() -> impl Strategy<Value = RoomStep> {
    let direction = || prop_oneof![Just(Direction::Publish), Just(Direction::Subscribe)];
    let user = || 0..USERS.len();
    prop_oneof![
        6 => (user(), 0..3_usize, direction()).prop_map(|(user, key, direction)| RoomStep::Enter { user, key, direction }),
        6 => (user(), 0..8_u64, direction()).prop_map(|(user, room, direction)| RoomStep::Leave { user, room, direction }),
        2 => (0..7_u64).prop_map(|secs| RoomStep::Wait { secs }),
        1 => Just(RoomStep::Timer),
    ]
}

fn name(text: &str) -> RoomKey {
    RoomKey::Named(RoomName::parse(text, 0).expect("not a valid room name"))
}

/// Keys of three rooms: names (identity `keys`), numbers (identity `site`), or both. No server has both, but ids must
/// be unique even then.
fn keys() -> impl Strategy<Value = [RoomKey; 3]> {
    let number = RoomKey::Numbered;
    prop_oneof![
        4 => Just([name("lounge"), name("kitchen"), name("2")]),
        4 => Just([number(7), number(0), number(2)]),
        1 => Just([name("lounge"), number(1), number(2)]),
        1 => Just([name("2"), name("lounge"), number(2)]),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/proptest-regressions/rooms.txt",
        ))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 1000 } else { 20_000 })
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn machine_agrees_with_the_model_and_keeps_its_invariants(
        keys in keys(),
        maxima in [0..4_usize, 0..4_usize, 0..4_usize],
        steps in prop::collection::vec(step(), 1..100),
    ) {
        let mut run = RoomRun::new(keys, maxima);
        for step in &steps {
            run.step(step);
        }
        run.finish();
    }
}

struct RoomRun {
    rooms: VoiceRooms,
    model: RoomModel,
    observer: RoomObserver,
    keys: [RoomKey; 3],
    maxima: [usize; 3],
    now: Instant,
}

impl RoomRun {
    fn new(keys: [RoomKey; 3], maxima: [usize; 3]) -> Self {
        let [rooms, sources, listeners] = maxima;
        let observer = RoomObserver {
            only_named: keys.iter().all(|key| matches!(key, RoomKey::Named(_))),
            ..RoomObserver::default()
        };
        Self {
            rooms: VoiceRooms::new(limits(rooms, sources, listeners)),
            model: RoomModel::new(limits(rooms, sources, listeners)),
            observer,
            keys,
            maxima,
            now: epoch(),
        }
    }

    fn step(&mut self, step: &RoomStep) {
        self.apply_step(step);
        self.compare_outputs();
        self.compare_states();
    }

    fn apply_step(&mut self, step: &RoomStep) {
        let now = self.now;
        match step {
            RoomStep::Enter {
                user: index,
                key,
                direction,
            } => {
                let (user, key) = (user(USERS[*index]), &self.keys[*key]);
                let entered = self.rooms.enter(&user, key, *direction, now);
                assert_eq!(entered, self.model.enter(&user, key, *direction, now));
                assert_eq!(
                    entered.is_ok().then(|| self.rooms.find(key)).flatten(),
                    entered.ok()
                );
                self.observer.entered(entered, &user, *direction);
            }
            RoomStep::Leave {
                user: index,
                room,
                direction,
            } => {
                let (user, id) = (user(USERS[*index]), VoiceRoomId::from(*room));
                self.leave(&user, id, *direction);
            }
            RoomStep::Wait { secs } => self.now += Duration::from_secs(*secs),
            RoomStep::Timer => {
                self.rooms.handle_timeout(now);
                self.model.advance_to(now);
            }
        }
    }

    fn leave(&mut self, user: &User, id: VoiceRoomId, direction: Direction) {
        self.rooms.leave(user, id, direction, self.now);
        self.model.leave(user, id, direction, self.now);
        self.observer
            .connected
            .remove(&(id, user.clone(), direction));
    }

    fn compare_outputs(&mut self) {
        let events: Vec<_> = std::iter::from_fn(|| self.rooms.poll_event()).collect();
        let mut ended: Vec<_> = std::iter::from_fn(|| self.rooms.poll_ended()).collect();
        for id in &ended {
            self.observer.ended(*id);
        }
        for (to, event) in &events {
            self.observer.check_event(to, event);
        }
        assert_eq!(events, std::mem::take(&mut self.model.events));
        // Timeouts of the same time may fire in any order.
        ended.sort();
        self.model.ended.sort();
        assert_eq!(ended, std::mem::take(&mut self.model.ended));
    }

    fn compare_states(&self) {
        assert_eq!(self.rooms.poll_timeout(), self.model.next_time());
        let listed: Vec<_> = self
            .rooms
            .list()
            .map(|it| (it.id, it.name, it.count))
            .collect();
        let rooms = self.model.rooms.iter();
        let expected: Vec<_> = rooms
            .map(|it| (it.id, it.name.clone(), it.users().len()))
            .collect();
        assert_eq!(listed, expected);
        let alive: Vec<_> = self.observer.alive.keys().copied().collect();
        assert_eq!(listed.iter().map(|it| it.0).collect::<Vec<_>>(), alive);
        let [rooms, sources, listeners] = self.maxima;
        assert!(rooms == 0 || listed.len() <= rooms);
        for room in &self.model.rooms {
            let members: BTreeSet<_> = self
                .rooms
                .members(room.id)
                .expect("the listed room has no members list")
                .collect();
            assert_eq!(members, self.observer.members(room.id));
            assert!(sources == 0 || room.count(Direction::Publish) <= sources);
            assert!(listeners == 0 || room.count(Direction::Subscribe) <= listeners);
        }
        assert!(self.rooms.members(1000.into()).is_none());
    }

    /// Disconnects all audio and waits for all timeouts, then checks that no state is left and every room has ended.
    fn finish(&mut self) {
        for (id, user, direction) in self.observer.connected.clone() {
            self.leave(&user, id, direction);
            self.compare_outputs();
        }
        while let Some(time) = self.rooms.poll_timeout() {
            self.now = self.now.max(time);
            self.step(&RoomStep::Timer);
        }
        assert!(self.rooms.is_empty(), "{:?}", self.rooms);
        assert!(self.observer.alive.is_empty());
    }
}

/// Checks the invariants from results and events, without the model.
#[derive(Default)]
struct RoomObserver {
    /// Whether no room is numbered, so that ids only increase.
    only_named: bool,
    /// The rooms that have not ended.
    alive: BTreeMap<VoiceRoomId, RoomName>,
    connected: BTreeSet<(VoiceRoomId, User, Direction)>,
    last_id: Option<VoiceRoomId>,
}

impl RoomObserver {
    fn entered(
        &mut self,
        entered: Result<VoiceRoomId, VoiceRoomError>,
        user: &User,
        direction: Direction,
    ) {
        if let Ok(id) = entered {
            self.connected.insert((id, user.clone(), direction));
        }
    }

    fn check_event(&mut self, to: &Audience, event: &VoiceEvent) {
        match (to, event) {
            (Audience::AllUsers, VoiceEvent::NewRoom { id, name, count }) => {
                assert_eq!(*count, 1);
                assert_eq!(
                    self.alive.insert(*id, name.clone()),
                    None,
                    "room {id} is not new"
                );
                let is_higher = self.last_id.replace(*id) < Some(*id);
                assert!(is_higher || !self.only_named, "room id {id} is reused");
            }
            (
                Audience::User(to),
                VoiceEvent::AudioState {
                    from,
                    room: Some(id),
                    mic,
                    headphones,
                },
            ) => {
                assert!(self.alive.contains_key(id), "room {id} was not announced");
                let has = |user: &User, direction| {
                    self.connected.contains(&(*id, user.clone(), direction))
                };
                assert!(
                    from != to && (has(to, Direction::Publish) || has(to, Direction::Subscribe)),
                    "{to} is the sender or not in the room"
                );
                assert_eq!(
                    (*mic, *headphones),
                    (
                        has(from, Direction::Publish),
                        has(from, Direction::Subscribe)
                    )
                );
            }
            other => panic!("unexpected event: {other:?}"),
        }
    }

    fn ended(&mut self, id: VoiceRoomId) {
        assert!(
            self.alive.remove(&id).is_some(),
            "room {id} has ended twice"
        );
        let is_of = |it: &(VoiceRoomId, User, Direction)| it.0 == id;
        assert!(
            !self.connected.iter().any(is_of),
            "room {id} has ended with audio connected"
        );
    }

    fn members(&self, id: VoiceRoomId) -> BTreeSet<(User, bool, bool)> {
        let here = self.connected.iter().filter(|it| it.0 == id);
        let has = |user: &User, direction| self.connected.contains(&(id, user.clone(), direction));
        here.map(|(_, user, _)| {
            (
                user.clone(),
                has(user, Direction::Publish),
                has(user, Direction::Subscribe),
            )
        })
        .collect()
    }
}
