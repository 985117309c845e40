//! A play of random steps, and everything that its actors did and were told.

use std::time::Duration;

use switchboard_core::{Change, Input, Limits, Member, PeerId, RoomId};
use switchboard_testkit::{ClientId, Simulation, permissive_settings};

use crate::drivers::{ACCENTS, ClientEvent, DialectDriver, OfferRule};

/// So few that rooms fill up.
pub(crate) const ROOM_MEMBERS: usize = 4;
pub(crate) const NICKS: [&str; 3] = ["ann", "ben", "cyd"];
/// The longest that anything is on its way.
const DELAY_MAX: Duration = Duration::from_millis(500);
const ROOMS: [&str; 2] = ["red", "blue"];

/// What happens next. Actors are numbered from the first, round and round.
#[derive(Clone, Debug)]
pub(crate) enum RandomStep {
    Open {
        dialect: usize,
        room: usize,
        nick: usize,
    },
    Join {
        who: usize,
        room: usize,
        nick: usize,
    },
    Leave {
        who: usize,
    },
    Offer {
        who: usize,
        to: usize,
    },
    Shout {
        who: usize,
    },
    Crash {
        who: usize,
    },
    Freeze {
        who: usize,
    },
    Kick {
        who: usize,
    },
    Deliver {
        who: usize,
        events: usize,
    },
    Wait {
        millis: u64,
    },
}

/// Something that an actor was told, and how long the log was when it happened.
#[derive(Debug)]
pub(crate) struct ObservedMember {
    pub(crate) at: usize,
    pub(crate) told: ClientEvent,
}

/// A place that an actor has asked for last, and how much it had been told then.
#[derive(Debug)]
pub(crate) struct JoinedClient {
    pub(crate) room: &'static str,
    pub(crate) nick: &'static str,
    pub(crate) after: usize,
}

pub(crate) struct TestClient {
    pub(crate) id: ClientId,
    pub(crate) accent: &'static DialectDriver,
    pub(crate) wish: Option<JoinedClient>,
    /// When it asked again for the place it had asked for last.
    pub(crate) rejoins: Vec<usize>,
    pub(crate) seen: Vec<ObservedMember>,
    nick: &'static str,
}

/// Something said: to whom it must come, by which name of the sender's.
#[derive(Debug)]
pub(crate) struct SentText {
    pub(crate) from: usize,
    pub(crate) member: Option<std::sync::Arc<Member>>,
    pub(crate) hearers: Vec<usize>,
}

pub(crate) struct RandomRun {
    pub(crate) world: Simulation,
    pub(crate) actors: Vec<TestClient>,
    /// By the number that is the text of the frame.
    pub(crate) said: Vec<SentText>,
}

impl RandomRun {
    pub(crate) fn run(seed: u64, steps: &[RandomStep]) -> Self {
        let limits = Limits {
            room_members: ROOM_MEMBERS,
            directory_members: ROOM_MEMBERS,
            ..Limits::default()
        };
        let mut play = Self {
            world: Simulation::with(seed, limits, permissive_settings()),
            actors: Vec::new(),
            said: Vec::new(),
        };
        play.world.hold();
        for step in steps {
            play.step(step);
            play.look();
        }
        play.settle();
        play
    }

    fn step(&mut self, step: &RandomStep) {
        match *step {
            RandomStep::Open {
                dialect,
                room,
                nick,
            } => self.open(dialect, room, nick),
            RandomStep::Join { who, room, nick } => {
                self.on(who, |play, who| play.join(who, room, nick))
            }
            RandomStep::Leave { who } => self.on(who, Self::leave),
            RandomStep::Offer { who, to } => self.on(who, |play, who| play.offer(who, to)),
            RandomStep::Shout { who } => self.on(who, Self::shout),
            RandomStep::Crash { who } => {
                self.on(who, |play, who| play.world.crash(play.actors[who].id))
            }
            RandomStep::Freeze { who } => {
                self.on(who, |play, who| play.world.freeze(play.actors[who].id))
            }
            RandomStep::Kick { who } => self.on(who, Self::kick),
            RandomStep::Deliver { who, events } => self.on(who, |play, who| {
                let id = play.actors[who].id;
                (0..events).all(|_| play.world.deliver(id));
            }),
            RandomStep::Wait { millis } => self.wait(Duration::from_millis(millis)),
        }
    }

    /// Does something with an actor, if there is any.
    fn on(&mut self, who: usize, act: impl FnOnce(&mut Self, usize)) {
        if !self.actors.is_empty() {
            act(self, who % self.actors.len());
        }
    }

    /// Whether the actor can still send anything.
    pub(crate) fn is_live(&self, who: usize) -> bool {
        let id = self.actors[who].id;
        self.world.is_connected(id) && !self.world.is_frozen(id)
    }

    fn open(&mut self, dialect: usize, room: usize, nick: usize) {
        let accent = &ACCENTS[dialect % ACCENTS.len()];
        let (room, nick) = (ROOMS[room % ROOMS.len()], NICKS[nick % NICKS.len()]);
        let is_in = (accent.join)(room, nick).is_none();
        self.actors.push(TestClient {
            id: accent.open(&mut self.world, room, nick),
            accent,
            wish: is_in.then_some(JoinedClient {
                room,
                nick,
                after: 0,
            }),
            rejoins: Vec::new(),
            seen: Vec::new(),
            nick,
        });
    }

    fn join(&mut self, who: usize, room: usize, nick: usize) {
        let actor = &self.actors[who];
        // Only in this dialect is the name part of the join.
        let nick = match actor.accent.name {
            "lightstream" => NICKS[nick % NICKS.len()],
            _ => actor.nick,
        };
        let room = ROOMS[room % ROOMS.len()];
        let Some(join) = (actor.accent.join)(room, nick) else {
            return;
        };
        let is_known = self.is_known(who);
        if !self.is_live(who) || !(is_known || self.actors[who].wish.is_none()) {
            return;
        }
        let at = self.world.log().len();
        let actor = &mut self.actors[who];
        let is_there = |wish: &JoinedClient| (wish.room, wish.nick) == (room, nick);
        if actor.accent.gathers && !actor.wish.as_ref().is_none_or(is_there) {
            return; // Whoever is in one room only can be judged by it.
        }
        if actor.wish.as_ref().is_some_and(is_there) {
            actor.rejoins.push(at);
        }
        let after = actor.seen.len();
        actor.wish = Some(JoinedClient { room, nick, after });
        self.world.send(actor.id, join.to_string());
    }

    /// Whether the actor is known by its name. One that is not may ask for a place; what else it
    /// sends waits as well, and it cannot be foreseen for how long. One that has no name for the
    /// other speaks to whom it knows of.
    fn is_known(&mut self, who: usize) -> bool {
        let actor = &self.actors[who];
        let waits = (actor.accent.greet)("").is_some() && actor.seen.is_empty();
        if waits || !actor.accent.names_others {
            while self.world.deliver(self.actors[who].id) {}
            self.look();
        }
        let actor = &self.actors[who];
        (actor.accent.greet)("").is_none() || !actor.seen.is_empty()
    }

    fn leave(&mut self, who: usize) {
        let actor = &self.actors[who];
        if let Some(leave) = actor.accent.leave.filter(|_| self.is_live(who)) {
            let room = actor.wish.as_ref().map_or(ROOMS[0], |wish| wish.room);
            self.world.send(actor.id, leave(room).to_string());
            self.actors[who].wish = None;
        }
    }

    fn offer(&mut self, who: usize, to: usize) {
        let to = to % self.actors.len();
        let accent = self.actors[who].accent;
        if accent.calls == OfferRule::Apart {
            return;
        }
        let target = self.world.member(self.actors[to].id);
        let name = match target {
            Some((_, member)) => name_for(accent, &member),
            None => self.world.peer(self.actors[to].id).to_string(),
        };
        let me = self.world.peer(self.actors[who].id);
        let (mine, deaf) = (partner(&self.world, me), self.deaf_to(me));
        let is_named = |member: &Member| match accent.names_others {
            true => {
                let hears = member.dialect.signals && !deaf.contains(&member.peer);
                hears && name_for(accent, member) == name
            }
            false => mine == Some(member.peer),
        };
        let place = self.world.member(self.actors[who].id);
        let is_there = place.is_some_and(|(room, _)| !self.hearers(&room, is_named).is_empty());
        if !is_there && !accent.waits.is_zero() {
            return; // Who will have come by then cannot be foreseen.
        }
        let frame = (accent.offer)(&name, &self.said.len().to_string());
        self.say(who, &frame.to_string(), is_named);
    }

    /// Who knows of one other only, and not of this one.
    fn deaf_to(&self, peer: PeerId) -> Vec<PeerId> {
        let narrow = self
            .actors
            .iter()
            .filter(|actor| !actor.accent.names_others);
        let narrow = narrow.map(|actor| self.world.peer(actor.id));
        narrow
            .filter(|narrow| partner(&self.world, *narrow) != Some(peer))
            .collect()
    }

    fn shout(&mut self, who: usize) {
        let Some(shout) = self.actors[who].accent.shout else {
            return;
        };
        let me = self.world.peer(self.actors[who].id);
        let hears = |member: &Member| member.peer != me && member.dialect.messages;
        let frame = shout(&self.said.len().to_string());
        self.say(who, &frame.to_string(), hears);
    }

    /// Sends a frame that those members of the sender's room shall hear.
    fn say(&mut self, who: usize, frame: &str, hears: impl Fn(&Member) -> bool) {
        if !self.is_known(who) || !self.is_live(who) {
            return;
        }
        let place = self.world.member(self.actors[who].id);
        let hearers = place
            .iter()
            .flat_map(|(room, _)| self.hearers(room, &hears));
        self.said.push(SentText {
            from: who,
            hearers: hearers.collect(),
            member: place.as_ref().map(|(_, member)| member.clone()),
        });
        self.world.send(self.actors[who].id, frame.to_owned());
    }

    fn hearers(&self, room: &RoomId, hears: impl Fn(&Member) -> bool) -> Vec<usize> {
        let members = self.world.hub().members(room);
        let hearers = members.iter().filter(|member| hears(member));
        hearers
            .filter_map(|member| {
                let mut actors = self.actors.iter();
                actors.position(|actor| self.world.peer(actor.id) == member.peer)
            })
            .collect()
    }

    fn kick(&mut self, who: usize) {
        if let Some((room, member)) = self.world.member(self.actors[who].id) {
            let address = member.address.clone();
            self.world.handle(Input::Kick { room, address });
            self.actors[who].wish = None;
        }
    }

    /// Lets every challenge come to its end: one ghost may wait for the name of another.
    fn settle(&mut self) {
        self.wait(DELAY_MAX);
        for _ in 0..4 * (self.actors.len() + 1) {
            if self.world.hub().poll_timeout().is_some() {
                self.wait(DELAY_MAX);
            }
        }
    }

    /// Delays are shorter than any time that counts: everything arrives while time passes.
    fn wait(&mut self, mut time: Duration) {
        self.world.deliver_all();
        while !time.is_zero() {
            let moment = time.min(DELAY_MAX);
            self.world.advance(moment);
            self.world.deliver_all();
            time -= moment;
        }
        self.look();
    }

    /// Notes what everybody was told, and that nothing has grown beyond its limit.
    fn look(&mut self) {
        for actor in &mut self.actors {
            for frame in self.world.take_frames(actor.id) {
                let value = serde_json::from_str(&frame.text).expect("frames are JSON");
                let at = frame.at;
                let told = (actor.accent.hear)(&value).into_iter();
                actor
                    .seen
                    .extend(told.map(|told| ObservedMember { at, told }));
            }
            let (at, refused) = (
                self.world.log().len(),
                self.world.take_error_codes(actor.id),
            );
            if !actor.accent.answers_joins {
                let refused = refused
                    .into_iter()
                    .map(|code| ClientEvent::Error(code.to_owned()));
                actor
                    .seen
                    .extend(refused.map(|told| ObservedMember { at, told }));
            }
        }
        self.must_be_bounded();
    }

    fn must_be_bounded(&self) {
        let mut peers = Vec::new();
        for room in self.world.rooms() {
            let members = self.world.hub().members(&room);
            assert!(members.len() <= ROOM_MEMBERS, "{room:?} is too full");
            peers.extend(members.iter().map(|member| member.peer));
        }
        peers.sort();
        let many = peers.windows(2).find(|two| two[0] == two[1]);
        assert_eq!(many, None, "in several rooms, though its dialect knows one");
    }
}

/// With whom a client is that knows only of one other: who was there, or came first.
pub(crate) fn partner(world: &Simulation, peer: PeerId) -> Option<PeerId> {
    let mut there: Vec<(&RoomId, &Member)> = Vec::new();
    let mut place = None;
    for entry in world.log() {
        match &entry.change {
            Change::Join(member) if member.peer == peer => {
                place = Some(&entry.room);
                let mut others = there.iter().filter(|(room, _)| *room == &entry.room);
                if let Some((_, other)) = others.find(|(_, other)| other.dialect.signals) {
                    return Some(other.peer);
                }
            }
            Change::Join(member) => {
                if place == Some(&entry.room) && member.dialect.signals {
                    return Some(member.peer);
                }
                there.push((&entry.room, member));
            }
            Change::Leave(left, _) => there.retain(|(_, member)| member.peer != *left),
        }
    }
    None
}

/// What clients of this dialect call that member.
pub(crate) fn name_for(accent: &DialectDriver, member: &Member) -> String {
    if accent.names_by_peer {
        member.peer.to_string()
    } else if accent.names_others {
        member.address.to_string()
    } else {
        String::new()
    }
}
