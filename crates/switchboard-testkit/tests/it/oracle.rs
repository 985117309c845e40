//! Whether everybody in a play was told what the promises of the design say, and nothing else.
//!
//! The log of membership is what really happened; from it follows, for each actor, what it must
//! have heard, in its own dialect. An actor whose connection has ended may have heard less of it,
//! but nothing else.

use std::{collections::BTreeSet, sync::Arc};

use switchboard_core::{Change, LeaveCause, LeaveKind, Member, PeerId, RoomId};
use switchboard_dialects::CloseReason;

use crate::{
    drivers::{ClientEvent, OfferRule, accent},
    random_run::{NICKS, ObservedMember, RandomRun, TestClient, name_for, partner},
};

/// Who was where, oldest first.
type RoomMembers = Vec<(RoomId, Arc<Member>)>;

pub(crate) struct Oracle<'p> {
    play: &'p RandomRun,
    /// The seats before each change of the log, and after the last.
    seats: Vec<RoomMembers>,
}

/// Two members of one room, from the join of the later one to the departure of the first to go.
struct Encounter {
    newcomer: Arc<Member>,
    member: Arc<Member>,
    /// What a frame of this meeting can bear as the length of the log.
    times: std::ops::RangeInclusive<usize>,
}

impl<'p> Oracle<'p> {
    pub(crate) fn new(play: &'p RandomRun) -> Self {
        let mut seats = vec![RoomMembers::new()];
        for entry in play.world.log() {
            let mut next = seats.last().cloned().unwrap_or_default();
            match &entry.change {
                Change::Join(member) => next.push((entry.room.clone(), member.clone())),
                Change::Leave(peer, _) => {
                    next.retain(|(room, member)| *room != entry.room || member.peer != *peer);
                }
            }
            seats.push(next);
        }
        Self { play, seats }
    }

    pub(crate) fn judge(&self) {
        let meetings = self.meetings();
        for (who, actor) in self.play.actors.iter().enumerate() {
            in_order(who, actor);
            self.presence(who, actor);
            self.calls(who, actor, &meetings);
            self.heard(who, actor);
            introduced_before_heard(who, actor);
            self.place(who, actor);
        }
        self.everything_arrives();
    }

    fn peer(&self, actor: &TestClient) -> PeerId {
        self.play.world.peer(actor.id)
    }

    /// Promise 3: joins and leaves, as the log has them.
    fn presence(&self, who: usize, actor: &TestClient) {
        let expected = self.expected_presence(actor);
        let seen = actor.seen.iter().map(|seen| &seen.told);
        let seen: Vec<_> = seen
            .filter(|told| matches!(told, ClientEvent::Came(_) | ClientEvent::Left(_)))
            .cloned()
            .collect();
        if self.play.world.is_connected(actor.id) {
            assert_eq!(
                seen, expected,
                "what {} {who} saw come and go",
                actor.accent.name
            );
        } else {
            assert!(
                expected.starts_with(&seen),
                "{who}: {seen:?} of {expected:?}"
            );
        }
    }

    fn expected_presence(&self, actor: &TestClient) -> Vec<ClientEvent> {
        let mut expected = Vec::new();
        for (entry, seats) in self.play.world.log().iter().zip(&self.seats) {
            if self.is_seated(seats, &entry.room, self.peer(actor)) {
                expected.extend(self.expected_of(&entry.change, seats, actor));
            } else if entry.change.peer() == self.peer(actor) {
                expected.extend(found(seats, &entry.room, actor));
            }
        }
        expected
    }

    fn is_seated(&self, seats: &RoomMembers, room: &RoomId, peer: PeerId) -> bool {
        seats
            .iter()
            .any(|(at, member)| at == room && member.peer == peer)
    }

    fn expected_of(
        &self,
        change: &Change,
        seats: &RoomMembers,
        actor: &TestClient,
    ) -> Option<ClientEvent> {
        match change {
            Change::Join(member) => {
                let came = ClientEvent::Came(name_for(actor.accent, member));
                actor.accent.tells_arrivals.then_some(came)
            }
            Change::Leave(peer, departure) => {
                let (_, member) = seats.iter().find(|(_, member)| member.peer == *peer)?;
                let is_quiet = *departure == LeaveCause::Requested(LeaveKind::Silent)
                    && member.dialect.name == "mesh";
                let is_told = actor.accent.tells_departures
                    && self.is_known(actor, *peer)
                    && *peer != self.peer(actor)
                    && !(is_quiet && actor.accent.name == "mesh");
                is_told.then(|| ClientEvent::Left(name_for(actor.accent, member)))
            }
        }
    }

    fn meetings(&self) -> Vec<Encounter> {
        let mut meetings = Vec::new();
        for (index, entry) in self.play.world.log().iter().enumerate() {
            let Change::Join(newcomer) = &entry.change else {
                continue;
            };
            let there = self.seats[index]
                .iter()
                .filter(|(room, _)| *room == entry.room);
            meetings.extend(there.map(|(room, member)| Encounter {
                newcomer: newcomer.clone(),
                member: member.clone(),
                times: index + 1..=self.end(index + 1, room, newcomer, member),
            }));
        }
        meetings
    }

    /// When the first of two has left, from `start` on.
    fn end(&self, start: usize, room: &RoomId, one: &Member, other: &Member) -> usize {
        let apart = |seats: &RoomMembers| {
            [one, other]
                .iter()
                .any(|member| !self.is_seated(seats, room, member.peer))
        };
        let ends = self.seats[start..].iter().position(apart);
        ends.map_or(self.seats.len(), |length| start + length)
    }

    /// Promise 1: of two members, one is told to call the other, once, by the rule.
    fn calls(&self, who: usize, actor: &TestClient, meetings: &[Encounter]) {
        let mut accounted = 0;
        for meeting in meetings {
            let Some((other, calls)) = self.side_of(actor, meeting) else {
                continue;
            };
            if !self.is_known(actor, other.peer) {
                continue;
            }
            let name = name_for(actor.accent, other);
            let count = calls_of(actor, &name, meeting);
            accounted += count;
            let asked_again = actor.rejoins.iter().any(|at| meeting.times.contains(at));
            let expected = usize::from(calls);
            let is_whole = self.play.world.is_connected(actor.id);
            let fits = (count == expected)
                || (asked_again && calls && count > expected)
                || (asked_again && !calls && actor.accent.tells_arrivals)
                || (!is_whole && count < expected);
            assert!(
                fits,
                "{} {who} is told {count} times to call {name}",
                actor.accent.name
            );
        }
        let all = actor
            .seen
            .iter()
            .filter(|seen| matches!(seen.told, ClientEvent::Call(_)));
        assert_eq!(
            all.count(),
            accounted,
            "{who} is told to call somebody it has not met"
        );
    }

    /// Whether an actor knows of a member that it meets: some know of one only.
    fn is_known(&self, actor: &TestClient, other: PeerId) -> bool {
        actor.accent.names_others || partner(&self.play.world, self.peer(actor)) == Some(other)
    }

    /// The other of a meeting, and whether the actor is the one to call.
    fn side_of<'m>(
        &self,
        actor: &TestClient,
        meeting: &'m Encounter,
    ) -> Option<(&'m Member, bool)> {
        let me = self.peer(actor);
        let spoken_by = |member: &Member| accent(member.dialect.name);
        let newcomer_calls =
            spoken_by(&meeting.newcomer).calls_as_newcomer(spoken_by(&meeting.member));
        if meeting.newcomer.peer == me {
            Some((&meeting.member, newcomer_calls == Some(true)))
        } else if meeting.member.peer == me {
            Some((&meeting.newcomer, newcomer_calls == Some(false)))
        } else {
            None
        }
    }

    /// Promises 3 and 4: what was said to it, once, in order, in the name of who said it.
    fn heard(&self, who: usize, actor: &TestClient) {
        let mut last = vec![None; self.play.actors.len()];
        for ObservedMember { told, at } in &actor.seen {
            let (from, text) = match told {
                ClientEvent::Offer { from, sdp } => (from, sdp),
                ClientEvent::Words { from, words } => (from, words),
                ClientEvent::Call(_)
                | ClientEvent::Came(_)
                | ClientEvent::Left(_)
                | ClientEvent::Error(_)
                | ClientEvent::Other => {
                    continue;
                }
            };
            let number: usize = text.parse().expect("the number of what was said");
            let said = &self.play.said[number];
            let sender = match &said.member {
                Some(member) => {
                    assert!(said.hearers.contains(&who), "{who} hears {said:?}");
                    member.clone()
                }
                None => self.let_in(said.from, *at),
            };
            let sender = &sender;
            let is_chat = actor.accent.name == "p2p" && matches!(told, ClientEvent::Words { .. });
            let name = match &sender.name {
                Some(name) if is_chat => name.to_string(),
                None if is_chat => sender.address.to_string(),
                _ => name_for(actor.accent, sender),
            };
            assert_eq!(*from, name, "{who} hears {said:?}");
            assert!(
                last[said.from] < Some(number),
                "{who} hears {number} again or late"
            );
            last[said.from] = Some(number);
        }
    }

    /// Somebody who spoke while it waited for its place, as the member that it was when it was heard.
    fn let_in(&self, from: usize, at: usize) -> Arc<Member> {
        let peer = self.peer(&self.play.actors[from]);
        let members = self.seats[at].iter().map(|(_, member)| member);
        let mut members = members.filter(|member| member.peer == peer);
        members.next().expect("who is heard is in a room").clone()
    }

    /// Nothing gets lost on the way to somebody who is there.
    fn everything_arrives(&self) {
        for (number, said) in self.play.said.iter().enumerate() {
            for &hearer in &said.hearers {
                let actor = &self.play.actors[hearer];
                let heard = actor.seen.iter().any(|seen| is_about(&seen.told, number));
                let is_there = self.play.world.is_connected(actor.id);
                assert!(
                    heard || !is_there,
                    "{hearer} did not hear {number}: {said:?}"
                );
            }
        }
    }

    /// Promises 5 and 8: who asked for a place has it, or was told that it has not; and nobody who is
    /// alive was taken for dead.
    fn place(&self, who: usize, actor: &TestClient) {
        let world = &self.play.world;
        if world.closed(actor.id) == Some(CloseReason::GONE) {
            assert!(
                world.is_frozen(actor.id),
                "{who} is alive and taken for dead"
            );
        }
        if !self.play.is_live(who) {
            return;
        }
        match (world.member(actor.id), &actor.wish) {
            (None, None) => {}
            (Some((room, _)), Some(wish)) => assert_eq!(room.name.as_str(), wish.room, "{who}"),
            (Some(place), None) => panic!("{who} is in {place:?}, and asked for nothing"),
            (None, Some(wish)) => {
                let mut since = actor.seen[wish.after..].iter();
                let refused = since.any(|seen| matches!(seen.told, ClientEvent::Error(_)));
                assert!(
                    refused,
                    "{} {who} waits for ever for {wish:?}",
                    actor.accent.name
                );
            }
        }
    }
}

/// Whom a newcomer finds and is told of like those who come later: who is there, and not to be called.
fn found<'s>(
    seats: &'s RoomMembers,
    room: &'s RoomId,
    newcomer: &'s TestClient,
) -> impl Iterator<Item = ClientEvent> {
    let there = seats.iter().filter(move |(at, _)| at == room);
    let apart = there.filter(|(_, member)| accent(member.dialect.name).calls == OfferRule::Apart);
    let came = apart.map(|(_, member)| ClientEvent::Came(name_for(newcomer.accent, member)));
    came.filter(|_| newcomer.accent.tells_arrivals)
}

fn calls_of(actor: &TestClient, name: &str, meeting: &Encounter) -> usize {
    let calls = actor.seen.iter().filter(|seen| {
        matches!(&seen.told, ClientEvent::Call(called) if called == name)
            && meeting.times.contains(&seen.at)
    });
    calls.count()
}

fn is_about(told: &ClientEvent, number: usize) -> bool {
    match told {
        ClientEvent::Offer { sdp: text, .. } | ClientEvent::Words { words: text, .. } => {
            *text == number.to_string()
        }
        ClientEvent::Call(_)
        | ClientEvent::Came(_)
        | ClientEvent::Left(_)
        | ClientEvent::Error(_)
        | ClientEvent::Other => false,
    }
}

/// What happened first is told first.
fn in_order(who: usize, actor: &TestClient) {
    let happened = actor.seen.iter();
    let happened =
        happened.filter(|seen| !matches!(seen.told, ClientEvent::Error(_) | ClientEvent::Other));
    let times: Vec<_> = happened.map(|seen| seen.at).collect();
    assert!(times.is_sorted(), "{who} is told late: {times:?}");
}

/// Promise 2: clients that are told of arrivals know everybody they hear, and nobody who has left.
fn introduced_before_heard(who: usize, actor: &TestClient) {
    if !actor.accent.tells_arrivals {
        return;
    }
    let mut known = BTreeSet::new();
    for ObservedMember { told, .. } in &actor.seen {
        match told {
            ClientEvent::Call(name) | ClientEvent::Came(name) => drop(known.insert(name)),
            ClientEvent::Left(name) => {
                assert!(
                    known.remove(name),
                    "{who} sees {name} leave, and did not know it"
                );
            }
            ClientEvent::Offer { from, .. } => assert!(
                known.contains(from) || is_self(actor, from),
                "{who} hears {from}"
            ),
            ClientEvent::Words { .. } | ClientEvent::Error(_) | ClientEvent::Other => {}
        }
    }
}

/// Whether an offer is one that the actor has sent to itself.
fn is_self(actor: &TestClient, from: &str) -> bool {
    NICKS.contains(&from) || actor.accent.name == "p2p"
}
