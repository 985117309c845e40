//! A run of random steps, with a record of the requests and received events of all clients.

use std::time::Duration;

use switchboard_core::{Change, Input, Limits, Member, PeerId, RoomId};
use switchboard_testkit::{ClientId, Simulation, permissive_settings};

use crate::drivers::{ClientEvent, DRIVERS, DialectDriver, OfferRule};

/// The member limit of a room, so low that rooms become full.
pub(crate) const ROOM_MEMBERS: usize = 4;
pub(crate) const NICKS: [&str; 3] = ["ann", "ben", "cyd"];
/// The longest time for which events stay in an outbox while the time advances.
const DELAY_MAX: Duration = Duration::from_millis(500);
const ROOMS: [&str; 2] = ["red", "blue"];

/// A step of a run. `index` and `to` select a client, `dialect`, `room` and `nick` an entry of their tables, each
/// modulo the length. `events` is a count.
#[derive(Clone, Debug)]
pub(crate) enum RandomStep {
    Open {
        dialect: usize,
        room: usize,
        nick: usize,
    },
    Join {
        index: usize,
        room: usize,
        nick: usize,
    },
    Leave {
        index: usize,
    },
    Offer {
        index: usize,
        to: usize,
    },
    Broadcast {
        index: usize,
    },
    Crash {
        index: usize,
    },
    Freeze {
        index: usize,
    },
    Kick {
        index: usize,
    },
    Deliver {
        index: usize,
        events: usize,
    },
    Wait {
        millis: u64,
    },
}

/// An event that a client received. `at` is the time of its cause: the number of joins and leaves in the simulation's
/// log at that moment.
#[derive(Debug)]
pub(crate) struct ObservedEvent {
    pub(crate) at: usize,
    pub(crate) event: ClientEvent,
}

/// The room and name of the last join request, with the number of events that the client had received before it.
#[derive(Debug)]
pub(crate) struct RequestedMembership {
    pub(crate) room: &'static str,
    pub(crate) nick: &'static str,
    pub(crate) events_before: usize,
}

pub(crate) struct TestClient {
    pub(crate) id: ClientId,
    pub(crate) driver: &'static DialectDriver,
    /// The membership that the client has last requested, unless it has left since.
    pub(crate) requested: Option<RequestedMembership>,
    /// The lengths of the simulation's log at which the client repeated its last join.
    pub(crate) rejoins: Vec<usize>,
    pub(crate) observed: Vec<ObservedEvent>,
    nick: &'static str,
}

/// A sent message: the clients that must receive it, and the sender's membership.
#[derive(Debug)]
pub(crate) struct SentText {
    pub(crate) from: usize,
    /// The sender's membership; `None` without one. If its join is pending, the server queues the message until the
    /// join is committed.
    pub(crate) member: Option<std::sync::Arc<Member>>,
    pub(crate) receivers: Vec<usize>,
}

pub(crate) struct RandomRun {
    pub(crate) simulation: Simulation,
    pub(crate) clients: Vec<TestClient>,
    /// The sent messages, by the serial number that is the text of their frames.
    pub(crate) sent: Vec<SentText>,
}

impl RandomRun {
    pub(crate) fn run(seed: u64, steps: &[RandomStep]) -> Self {
        let limits = Limits {
            room_members: ROOM_MEMBERS,
            directory_members: ROOM_MEMBERS,
            ..Limits::default()
        };
        let mut run = Self {
            simulation: Simulation::with(seed, limits, permissive_settings()),
            clients: Vec::new(),
            sent: Vec::new(),
        };
        run.simulation.hold();
        for step in steps {
            run.step(step);
            run.record_events();
        }
        run.run_until_quiescent();
        run
    }

    fn step(&mut self, step: &RandomStep) {
        match *step {
            RandomStep::Open {
                dialect,
                room,
                nick,
            } => self.open(dialect, room, nick),
            RandomStep::Join { index, room, nick } => {
                self.on(index, |run, index| run.join(index, room, nick))
            }
            RandomStep::Leave { index } => self.on(index, Self::leave),
            RandomStep::Offer { index, to } => self.on(index, |run, index| run.offer(index, to)),
            RandomStep::Broadcast { index } => self.on(index, Self::broadcast),
            RandomStep::Crash { index } => self.on(index, |run, index| {
                run.simulation.crash(run.clients[index].id)
            }),
            RandomStep::Freeze { index } => self.on(index, |run, index| {
                run.simulation.freeze(run.clients[index].id)
            }),
            RandomStep::Kick { index } => self.on(index, Self::kick),
            RandomStep::Deliver { index, events } => self.on(index, |run, index| {
                let id = run.clients[index].id;
                (0..events).all(|_| run.simulation.deliver(id));
            }),
            RandomStep::Wait { millis } => self.wait(Duration::from_millis(millis)),
        }
    }

    /// Applies `act` to a client, if there is one.
    fn on(&mut self, index: usize, act: impl FnOnce(&mut Self, usize)) {
        if !self.clients.is_empty() {
            act(self, index % self.clients.len());
        }
    }

    /// Whether the client is connected and responsive.
    pub(crate) fn can_act(&self, index: usize) -> bool {
        let id = self.clients[index].id;
        self.simulation.is_connected(id) && !self.simulation.is_frozen(id)
    }

    fn open(&mut self, dialect: usize, room: usize, nick: usize) {
        let driver = &DRIVERS[dialect % DRIVERS.len()];
        let (room, nick) = (ROOMS[room % ROOMS.len()], NICKS[nick % NICKS.len()]);
        let is_member = (driver.join)(room, nick).is_none();
        self.clients.push(TestClient {
            id: driver.open(&mut self.simulation, room, nick),
            driver,
            requested: is_member.then_some(RequestedMembership {
                room,
                nick,
                events_before: 0,
            }),
            rejoins: Vec::new(),
            observed: Vec::new(),
            nick,
        });
    }

    fn join(&mut self, index: usize, room: usize, nick: usize) {
        let client = &self.clients[index];
        // Only the join frame of `lightstream` contains the name.
        let nick = match client.driver.name {
            "lightstream" => NICKS[nick % NICKS.len()],
            _ => client.nick,
        };
        let room = ROOMS[room % ROOMS.len()];
        let Some(join) = (client.driver.join)(room, nick) else {
            return;
        };
        let is_identified = self.is_identified(index);
        if !self.can_act(index) || !(is_identified || self.clients[index].requested.is_none()) {
            return;
        }
        let at = self.simulation.log().len();
        let client = &mut self.clients[index];
        let is_same =
            |requested: &RequestedMembership| (requested.room, requested.nick) == (room, nick);
        if client.driver.can_join_several_rooms && !client.requested.as_ref().is_none_or(is_same) {
            return; // The oracle expects a client in one room only.
        }
        if client.requested.as_ref().is_some_and(is_same) {
            client.rejoins.push(at);
        }
        let events_before = client.observed.len();
        client.requested = Some(RequestedMembership {
            room,
            nick,
            events_before,
        });
        self.simulation.send(client.id, join.to_string());
    }

    /// Whether the client has identified itself, if its dialect requires that. The server queues the frames of an
    /// unidentified client for a time that the test cannot predict, so its events are delivered first. The events of a
    /// client whose dialect has no member ids are also delivered first: its offer goes to the member that it has been
    /// told of, so it must have been told.
    fn is_identified(&mut self, index: usize) -> bool {
        let client = &self.clients[index];
        let is_pending = (client.driver.identify)("").is_some() && client.observed.is_empty();
        if is_pending || !client.driver.has_member_ids {
            while self.simulation.deliver(self.clients[index].id) {}
            self.record_events();
        }
        let client = &self.clients[index];
        (client.driver.identify)("").is_none() || !client.observed.is_empty()
    }

    fn leave(&mut self, index: usize) {
        let client = &self.clients[index];
        if let Some(leave) = client.driver.leave.filter(|_| self.can_act(index)) {
            let room = client
                .requested
                .as_ref()
                .map_or(ROOMS[0], |requested| requested.room);
            self.simulation.send(client.id, leave(room).to_string());
            self.clients[index].requested = None;
        }
    }

    fn offer(&mut self, index: usize, to: usize) {
        let to = to % self.clients.len();
        let driver = self.clients[index].driver;
        if driver.offer_rule == OfferRule::NoOffers {
            return;
        }
        let target = self.simulation.member(self.clients[to].id);
        let name = match target {
            Some((_, member)) => name_for(driver, &member),
            None => self.simulation.peer(self.clients[to].id).to_string(),
        };
        let own_peer = self.simulation.peer(self.clients[index].id);
        let (paired, paired_with_others) = (
            paired_peer(&self.simulation, own_peer),
            self.peers_paired_with_others(own_peer),
        );
        let is_named = |member: &Member| match driver.has_member_ids {
            true => {
                let receives = member.dialect.signals && !paired_with_others.contains(&member.peer);
                receives && name_for(driver, member) == name
            }
            false => paired == Some(member.peer),
        };
        let membership = self.simulation.member(self.clients[index].id);
        let has_receiver =
            membership.is_some_and(|(room, _)| !self.receivers(&room, is_named).is_empty());
        if !has_receiver && !driver.deferral.is_zero() {
            return; // The frame is deferred, and the test cannot predict which member receives it.
        }
        let frame = (driver.offer)(&name, &self.sent.len().to_string());
        self.send_text(index, &frame.to_string(), is_named);
    }

    /// The peer ids of the clients without member ids in their dialect that are not paired with `peer` (paired with
    /// another member, or with none).
    fn peers_paired_with_others(&self, peer: PeerId) -> Vec<PeerId> {
        let paired = self
            .clients
            .iter()
            .filter(|client| !client.driver.has_member_ids);
        let paired = paired.map(|client| self.simulation.peer(client.id));
        paired
            .filter(|paired| paired_peer(&self.simulation, *paired) != Some(peer))
            .collect()
    }

    fn broadcast(&mut self, index: usize) {
        let Some(broadcast) = self.clients[index].driver.broadcast else {
            return;
        };
        let own_peer = self.simulation.peer(self.clients[index].id);
        let receives = |member: &Member| member.peer != own_peer && member.dialect.messages;
        let frame = broadcast(&self.sent.len().to_string());
        self.send_text(index, &frame.to_string(), receives);
    }

    /// Sends a frame and records the members of the sender's room that must receive it.
    fn send_text(&mut self, index: usize, frame: &str, receives: impl Fn(&Member) -> bool) {
        if !self.is_identified(index) || !self.can_act(index) {
            return;
        }
        let membership = self.simulation.member(self.clients[index].id);
        let receivers = membership
            .iter()
            .flat_map(|(room, _)| self.receivers(room, &receives));
        self.sent.push(SentText {
            from: index,
            receivers: receivers.collect(),
            member: membership.as_ref().map(|(_, member)| member.clone()),
        });
        self.simulation
            .send(self.clients[index].id, frame.to_owned());
    }

    fn receivers(&self, room: &RoomId, receives: impl Fn(&Member) -> bool) -> Vec<usize> {
        let members = self.simulation.hub().members(room);
        let receivers = members.iter().filter(|member| receives(member));
        receivers
            .filter_map(|member| {
                let mut clients = self.clients.iter();
                clients.position(|client| self.simulation.peer(client.id) == member.peer)
            })
            .collect()
    }

    fn kick(&mut self, index: usize) {
        if let Some((room, member)) = self.simulation.member(self.clients[index].id) {
            let address = member.address.clone();
            let peer = member.peer;
            self.simulation.handle(Input::Kick {
                room,
                address,
                peer,
            });
            self.clients[index].requested = None;
        }
    }

    /// Waits until all challenges have ended. In a challenge, the hub (the rooms) asks the holder of a claimed name
    /// whether it is alive. One challenge can follow another: a frozen claimant may get the name and then be challenged
    /// itself.
    fn run_until_quiescent(&mut self) {
        self.wait(DELAY_MAX);
        for _ in 0..4 * (self.clients.len() + 1) {
            if self.simulation.hub().poll_timeout().is_some() {
                self.wait(DELAY_MAX);
            }
        }
    }

    /// Advances the time in steps of the longest delivery delay, and delivers all events after each step.
    fn wait(&mut self, mut time: Duration) {
        self.simulation.deliver_all();
        while !time.is_zero() {
            let step = time.min(DELAY_MAX);
            self.simulation.advance(step);
            self.simulation.deliver_all();
            time -= step;
        }
        self.record_events();
    }

    /// Records the events that the clients received, and checks the limits.
    fn record_events(&mut self) {
        for client in &mut self.clients {
            for frame in self.simulation.take_frames(client.id) {
                let value = serde_json::from_str(&frame.text).expect("frames are JSON");
                let at = frame.at;
                let events = (client.driver.parse_events)(&value).into_iter();
                client
                    .observed
                    .extend(events.map(|event| ObservedEvent { at, event }));
            }
            let (at, error_codes) = (
                self.simulation.log().len(),
                self.simulation.take_error_codes(client.id),
            );
            if !client.driver.reports_join_errors {
                let error_codes = error_codes
                    .into_iter()
                    .map(|code| ClientEvent::Error(code.to_owned()));
                client
                    .observed
                    .extend(error_codes.map(|event| ObservedEvent { at, event }));
            }
        }
        self.check_limits();
    }

    fn check_limits(&self) {
        let mut peers = Vec::new();
        for room in self.simulation.rooms() {
            let members = self.simulation.hub().members(&room);
            assert!(
                members.len() <= ROOM_MEMBERS,
                "{room:?} exceeds its member limit"
            );
            peers.extend(members.iter().map(|member| member.peer));
        }
        peers.sort();
        let duplicate = peers.windows(2).find(|two| two[0] == two[1]);
        assert_eq!(
            duplicate, None,
            "a client is in several rooms of a single-room dialect"
        );
    }
}

/// The member that a client of a two-member dialect observes: the earliest one, or else the first that joins later.
pub(crate) fn paired_peer(simulation: &Simulation, peer: PeerId) -> Option<PeerId> {
    let mut present: Vec<(&RoomId, &Member)> = Vec::new();
    let mut membership = None;
    for entry in simulation.log() {
        match &entry.change {
            Change::Join(member) if member.peer == peer => {
                membership = Some(&entry.room);
                let mut others = present.iter().filter(|(room, _)| *room == &entry.room);
                if let Some((_, other)) = others.find(|(_, other)| other.dialect.signals) {
                    return Some(other.peer);
                }
            }
            Change::Join(member) => {
                if membership == Some(&entry.room) && member.dialect.signals {
                    return Some(member.peer);
                }
                present.push((&entry.room, member));
            }
            Change::Leave(left, _) => present.retain(|(_, member)| member.peer != *left),
        }
    }
    None
}

/// The id by which clients of this dialect name a member.
pub(crate) fn name_for(driver: &DialectDriver, member: &Member) -> String {
    if driver.uses_peer_ids {
        member.peer.to_string()
    } else if driver.has_member_ids {
        member.address.to_string()
    } else {
        String::new()
    }
}
