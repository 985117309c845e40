//! Whether the promises were kept.

use std::{collections::BTreeSet, time::Duration};

use switchboard_core::{
    DialectTraits, EvictionReason, LeaveCause, LogId, OfferPolicy, OfferRole, RoomId,
};
use switchboard_engine::cluster::store::StoredChange;
use switchboard_sim::cluster::{ClientKey, ClusterSimulation, LEASE, SentMessage, room};

use crate::cluster::memberships::{ConnectionHistory, Observation, OwnMembership, life};

const ROOMS: [&str; 2] = ["red", "blue"];

/// How long a message and its answer may take, with some to spare.
const ROUND_TRIPS: Duration = Duration::from_millis(200);

/// What is to be said against a play that has come to rest. `is_calm`: nothing disturbed it.
pub(crate) fn judge(cluster: &ClusterSimulation, is_calm: bool) -> Vec<String> {
    let lives = (0..cluster.clients().len()).map(|who| life(cluster, who));
    let mut judge = ClusterOracle {
        cluster,
        lives: lives.collect(),
        complaints: Vec::new(),
    };
    for life in &mut judge.lives {
        judge.complaints.append(&mut life.complaints);
    }
    for name in ROOMS {
        judge.views(&room(name));
    }
    judge.names();
    judge.joins();
    judge.ghosts();
    judge.evictions();
    if is_calm {
        judge.everything_arrives();
        judge.one_order();
    }
    judge.complaints
}

struct ClusterOracle<'c> {
    cluster: &'c ClusterSimulation,
    lives: Vec<ConnectionHistory>,
    complaints: Vec<String>,
}

impl ClusterOracle<'_> {
    fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    /// Who is in a room now, by what clients were told and have asked.
    fn present(&self, room: &RoomId) -> Vec<ClientKey> {
        let clients = 0..self.lives.len();
        clients
            .filter(|who| self.cluster.clients()[*who].is_connected())
            .filter(|who| self.lives[*who].present(room).is_some())
            .collect()
    }

    /// Every view equals the truth, and every pair has exactly one caller.
    fn views(&mut self, room: &RoomId) {
        let present = self.present(room);
        for who in &present {
            let Some(own) = self.lives[*who].present(room) else {
                continue;
            };
            let seen: Vec<_> = own.view().map(|sight| sight.whose).collect();
            let others: Vec<_> = present
                .iter()
                .filter(|other| *other != who)
                .copied()
                .collect();
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            if sorted != others {
                self.complain(format!(
                    "{room:?}: c{who} sees {seen:?}, there are {others:?}"
                ));
            }
        }
        for (index, one) in present.iter().enumerate() {
            for other in &present[index + 1..] {
                self.pair(room, *one, *other);
            }
        }
        self.same_everywhere(room, &present);
    }

    fn pair(&mut self, room: &RoomId, one: ClientKey, other: ClientKey) {
        let (Some(a), Some(b)) = (
            self.lives[one].present(room).cloned(),
            self.lives[other].present(room).cloned(),
        ) else {
            return;
        };
        let (of_b, of_a) = (meetings(&a, other, &b), meetings(&b, one, &a));
        let (Some(last), Some(flipped)) = (of_b.last(), of_a.last()) else {
            return;
        };
        let tongues = [one, other].map(|who| self.cluster.clients()[who].dialect());
        let allowed = [
            decide(tongues[0], tongues[1]),
            decide(tongues[1], tongues[0]).flipped(),
        ];
        if last.call != flipped.call.flipped() || !allowed.contains(&last.call) {
            self.complain(format!(
                "{room:?}: c{one} calls c{other}: {:?}, c{other} calls c{one}: {:?}",
                last.call, flipped.call
            ));
        }
        // Whoever meets the other anew is met anew, too. What was seen of earlier seats does not count:
        // some may have seen them that could not be seen from there.
        let met = self
            .seated(room, one, false)
            .max(self.seated(room, other, false));
        let found = self
            .seated(room, one, true)
            .max(self.seated(room, other, true));
        let since = |sights: &[Observation], met| {
            let late = sights.iter().filter(|sight| sight.from >= met);
            let late: Vec<_> = late.collect();
            // Who comes back in the same moment has a new seat, and what was seen was the old one.
            let old = late
                .windows(2)
                .filter(|pair| pair[0].until == Some(pair[1].from));
            late.len() - old.count()
        };
        let losses = self.losses(met);
        let is_excused = !losses.is_empty()
            && [one, other].iter().any(|who| {
                self.is_contested(room, *who)
                    || losses.len() > 1
                    || self.is_late(*who, &losses)
                    || self.was_lost(room, *who, met)
            });
        let is_mutual = |met| since(&of_b, met) == since(&of_a, met);
        if !is_mutual(met) && !is_mutual(found) && !is_excused {
            self.complain(format!(
                "{room:?}: c{one} met c{other} {} times, c{other} met c{one} {} times since {met:?}",
                since(&of_b, met),
                since(&of_a, met)
            ));
        }
    }

    /// When the store lost data since a moment. After that some may take a member for gone that
    /// never lost sight of them, and meet it anew when its node restores it at its old place. It cannot
    /// know of that, so it is told nothing: where [its address](Self::is_contested) was another's for a
    /// while, where its node [came back late](Self::is_late), or its [lease had lapsed](Self::was_lost)
    /// and the store forgot that, or where data were lost once more.
    fn losses(&self, met: Duration) -> Vec<Duration> {
        let troubles = self.cluster.outages().iter();
        let losses = troubles.filter(|trouble| trouble.what == "data lost" && trouble.from >= met);
        losses.map(|trouble| trouble.from).collect()
    }

    fn is_late(&self, who: ClientKey, losses: &[Duration]) -> bool {
        let station = self.cluster.clients()[who].station();
        let mut troubles = self.cluster.outages().iter();
        troubles.any(|trouble| {
            let mut losses = losses.iter();
            trouble.station == Some(station)
                && trouble.until >= trouble.from + LEASE / 3
                && losses.any(|at| trouble.from <= *at + LEASE && trouble.until >= *at)
        })
    }

    fn was_lost(&self, room: &RoomId, who: ClientKey, met: Duration) -> bool {
        let leave = StoredChange::Leave(self.cluster.clients()[who].id(), LeaveCause::NodeLost);
        let log = LogId::Room(room.clone());
        let mut history = self.cluster.history().iter();
        history.any(|(at, of, news)| *at >= met && *of == log && news.change == leave)
    }

    fn is_contested(&self, room: &RoomId, who: ClientKey) -> bool {
        let peer = self.cluster.clients()[who].id();
        let log = LogId::Room(room.clone());
        let seats = self.cluster.history().iter();
        let seats = seats.filter_map(|(_, of, news)| match &news.change {
            StoredChange::Join(seat) if *of == log => Some(seat),
            StoredChange::Join(_) | StoredChange::Leave(..) => None,
        });
        let seats: Vec<_> = seats.collect();
        let own = seats.iter().rev().find(|seat| seat.peer == peer);
        own.is_some_and(|own| {
            let mut others = seats.iter();
            others.any(|seat| seat.address == own.address && seat.peer != peer)
        })
    }

    /// When somebody was given the seat that it has, or it was last restored.
    fn seated(&self, room: &RoomId, who: ClientKey, restored: bool) -> Duration {
        let peer = self.cluster.clients()[who].id();
        let log = LogId::Room(room.clone());
        let history = self.cluster.history().iter().rev();
        let mut joins = history.filter_map(|(at, of, news)| match &news.change {
            StoredChange::Join(seat) if *of == log => Some((*at, seat, news.version.head)),
            StoredChange::Join(_) | StoredChange::Leave(..) => None,
        });
        let join =
            joins.find(|(_, seat, head)| seat.peer == peer && (restored || seat.since == *head));
        join.map(|(at, ..)| at).unwrap_or_default()
    }

    /// The hubs and the store agree with the clients.
    fn same_everywhere(&mut self, room: &RoomId, present: &[ClientKey]) {
        let expected: BTreeSet<_> = present.iter().copied().collect();
        let seats = self
            .cluster
            .stored(room)
            .map(|it| it.members)
            .unwrap_or_default();
        let stored: BTreeSet<_> = seats
            .iter()
            .filter_map(|seat| self.cluster.client_of(seat.peer))
            .collect();
        if stored != expected {
            self.complain(format!(
                "{room:?}: stored are {stored:?}, there are {expected:?}"
            ));
        }
        let addresses: BTreeSet<_> = seats.iter().map(|seat| &seat.address).collect();
        if addresses.len() != seats.len() {
            self.complain(format!("{room:?}: an address twice: {seats:?}"));
        }
        for (key, station) in self.cluster.nodes().iter().enumerate() {
            let members = station.hub().members(room);
            let members: BTreeSet<_> = members
                .iter()
                .filter_map(|member| self.cluster.client_of(member.peer))
                .collect();
            let own = present
                .iter()
                .any(|who| self.cluster.clients()[*who].station() == key);
            if station.is_alive() && own && members != expected {
                self.complain(format!(
                    "{room:?}: s{key} has {members:?}, there are {expected:?}"
                ));
            }
        }
    }

    /// A name is one client's.
    fn names(&mut self) {
        let claimed = self.lives.iter().enumerate().flat_map(|(who, life)| {
            let names = life.claimed.keys();
            names.map(move |name| (name.clone(), who))
        });
        let mut claimed: Vec<_> = claimed.collect();
        claimed.sort();
        for pair in claimed.windows(2) {
            if pair[0].0 == pair[1].0 {
                self.complain(format!("two have a name: {pair:?}"));
            }
        }
        for (name, who) in claimed {
            let seats = self.cluster.stored_name(&name).map(|it| it.members);
            let holder = seats.and_then(|seats| self.cluster.client_of(seats.first()?.peer));
            if holder != Some(who) {
                self.complain(format!("c{who} has {name:?}, stored is {holder:?}"));
            }
        }
    }

    /// Every join is answered, and in time.
    fn joins(&mut self) {
        for who in 0..self.lives.len() {
            for wait in self.lives[who].waits.clone() {
                let is_there = self.cluster.clients()[who].is_connected();
                let Some(answered) = wait.answered else {
                    if is_there {
                        self.complain(format!("c{who}'s join of {:?} is not answered", wait.asked));
                    }
                    continue;
                };
                let station = self.cluster.clients()[who].station();
                let most = Duration::from_secs(4) + LEASE * 2 + ROUND_TRIPS;
                let most = most + self.stood_still(station, wait.asked);
                if answered > wait.asked + most {
                    let took = answered.saturating_sub(wait.asked);
                    self.complain(format!("c{who}'s join of {:?} took {took:?}", wait.asked));
                }
            }
        }
    }

    /// How long a process stood still since a moment.
    fn stood_still(&self, station: usize, since: Duration) -> Duration {
        let troubles = self.cluster.outages().iter();
        let pauses = troubles.filter(|it| it.what == "pause" && it.station == Some(station));
        let pauses = pauses.filter(|it| it.until >= since);
        pauses.map(|it| it.until - it.from.min(it.until)).sum()
    }

    /// Members of a dead station are gone within the lease.
    fn ghosts(&mut self) {
        let limit = ClusterSimulation::ghosts_gone_after();
        let mut complaints = Vec::new();
        let crashes = self.cluster.outages().iter();
        for crash in crashes.filter(|trouble| trouble.what == "crash") {
            let end = crash.from + limit;
            for (who, life) in self.lives.iter().enumerate() {
                let station = self.cluster.clients()[who].station();
                let from = crash.from.saturating_sub(LEASE);
                if self.is_disturbed(Some(station), from, end) || self.is_disturbed(None, from, end)
                {
                    continue;
                }
                let stays = life.stays.iter();
                let sights = stays.flat_map(|stay| stay.sights.iter().map(|it| (it, stay.until)));
                for (sight, left) in sights {
                    let its = self.cluster.clients()[sight.whose].station();
                    let gone = sight.until.or(left).unwrap_or(self.cluster.now());
                    if Some(its) == crash.station && sight.from <= crash.from && gone > end {
                        let whose = sight.whose;
                        let after = gone.saturating_sub(crash.from);
                        complaints.push(format!("c{who} sees the ghost of c{whose} for {after:?}"));
                    }
                }
            }
        }
        self.complaints.append(&mut complaints);
    }

    /// Whether a station (none: the store) was disturbed then.
    fn is_disturbed(&self, station: Option<usize>, from: Duration, until: Duration) -> bool {
        let troubles = self.cluster.outages().iter();
        let mut its = troubles.filter(|trouble| trouble.station == station);
        its.any(|trouble| trouble.from <= until && trouble.until + Duration::from_secs(1) >= from)
    }

    /// Who is alive and in contact with the store is not taken for a ghost.
    fn evictions(&mut self) {
        for who in 0..self.lives.len() {
            let Some((at, EvictionReason::Unresponsive)) = self.lives[who].evicted else {
                continue;
            };
            let client = &self.cluster.clients()[who];
            // A node that missed the news can only guess why somebody else has the address now.
            let mut history = self.cluster.history().iter();
            let is_guessed = !history.any(|(_, _, news)| {
                news.change
                    == StoredChange::Leave(
                        client.id(),
                        LeaveCause::Evicted(EvictionReason::Unresponsive),
                    )
            });
            let from = at.saturating_sub(Duration::from_millis(2500));
            let is_disturbed = self.is_disturbed(Some(client.station()), from, at)
                || self.is_disturbed(None, from.saturating_sub(LEASE), at);
            // A claimant's process that stood still until just before the end of the challenge
            // may serve its clock before what waits in its sockets.
            let mut pauses = self
                .cluster
                .outages()
                .iter()
                .filter(|it| it.what == "pause");
            let is_sudden = pauses.any(|it| it.until <= at && it.until + ROUND_TRIPS >= at);
            if client.frozen().is_none() && !is_disturbed && !is_sudden && !is_guessed {
                self.complain(format!("c{who} is alive and evicted at {at:?}"));
            }
        }
    }

    // Without disturbances

    /// What is sent among those who stay for a while arrives: at one member, or at all that knew the
    /// sender.
    fn everything_arrives(&mut self) {
        for (serial, sent) in self.cluster.sent().iter().enumerate() {
            let until = sent.at + ROUND_TRIPS;
            let sender = &self.lives[sent.from];
            let speaking = sender.stayed(&sent.room, sent.at, until);
            let Some(speaking) = speaking.filter(|_| sender.asked.contains_key(&serial)) else {
                continue;
            };
            let speaking = &speaking.clone();
            for who in 0..self.lives.len() {
                let own = self.lives[who].stayed(&sent.room, sent.at, until);
                // Of two who do not know each other yet, each may be before the other's join.
                let is_addressed = match sent.to {
                    Some(to) => to == who,
                    None => own.is_some_and(|own| {
                        sees(own, sent.from, sent.at, until) && sees(speaking, who, sent.at, until)
                    }),
                };
                let is_heard = self.lives[who].heard.contains(&serial);
                if own.is_some() && is_addressed && !is_heard && self.understands(who, sent) {
                    self.complain(format!("c{who} does not hear {serial}: {sent:?}"));
                }
            }
        }
    }

    fn understands(&self, who: ClientKey, sent: &SentMessage) -> bool {
        let [of, to] = [sent.from, who].map(|who| self.cluster.clients()[who].dialect());
        !sent.is_offer || to.signals || of.name == to.name
    }

    /// All see joins and leaves in the log's order, and exactly those.
    fn one_order(&mut self) {
        for name in ROOMS {
            let log = LogId::Room(room(name));
            let changes = self.cluster.history().iter();
            let changes: Vec<_> = changes
                .filter(|(_, of, _)| *of == log)
                .map(|(_, _, news)| news.change.clone())
                .collect();
            for who in 0..self.lives.len() {
                for own in self.lives[who].stays.clone() {
                    if own.room == room(name) {
                        self.in_order(who, &own, &changes);
                    }
                }
            }
        }
    }

    fn in_order(&mut self, who: ClientKey, own: &OwnMembership, changes: &[StoredChange]) {
        let cluster = self.cluster;
        let mut rest = changes.iter();
        for (whose, is_join) in own.order.iter().copied() {
            let found = rest.any(|change| match change {
                StoredChange::Join(seat) => is_join && cluster.client_of(seat.peer) == Some(whose),
                StoredChange::Leave(peer, _) => !is_join && cluster.client_of(*peer) == Some(whose),
            });
            if !found {
                self.complain(format!(
                    "c{who} is told of c{whose} out of order ({is_join})"
                ));
                return;
            }
        }
    }
}

/// Whether somebody was seen all the time. Who is met at this very moment may be met after it.
fn sees(own: &OwnMembership, whose: ClientKey, from: Duration, until: Duration) -> bool {
    let mut sights = own.sights.iter().filter(|sight| sight.whose == whose);
    sights.any(|sight| sight.from < from && sight.until.is_none_or(|end| end > until))
}

/// How often, and as what, one met the other's present stay.
fn meetings(own: &OwnMembership, other: ClientKey, its: &OwnMembership) -> Vec<Observation> {
    let sights = own.sights.iter();
    sights
        .filter(|sight| sight.whose == other && its.names.contains(&sight.stay))
        .cloned()
        .collect()
}

/// Who calls by the design: a newcomer's side of it.
fn decide(newcomer: &DialectTraits, member: &DialectTraits) -> OfferRole {
    let is_same = newcomer.name == member.name;
    match (newcomer.offer_policy, member.offer_policy) {
        _ if !(is_same || newcomer.signals && member.signals) => OfferRole::None,
        (OfferPolicy::Unspecified, OfferPolicy::Unspecified) => OfferRole::None,
        (OfferPolicy::MemberOffers, _) if is_same => OfferRole::Answerer,
        (OfferPolicy::NewcomerOffers | OfferPolicy::MemberOffers, _) => OfferRole::Offerer,
        (OfferPolicy::Unspecified, _) => OfferRole::Answerer,
    }
}
