//! Whether the promises were kept.

use std::{collections::BTreeSet, time::Duration};

use switchboard_core::{Call, Custom, Eviction, LogId, RoomId, Tongue};
use switchboard_sim::cluster::{ClientKey, Cluster, LEASE, room};

use crate::cluster::stays::{Life, Own, Sight, life};

const ROOMS: [&str; 2] = ["red", "blue"];

/// How long a message and its answer may take, with some to spare.
const ROUND_TRIPS: Duration = Duration::from_millis(200);

/// What is to be said against a play that has come to rest. `is_calm`: nothing disturbed it.
pub(crate) fn judge(cluster: &Cluster, is_calm: bool) -> Vec<String> {
    let lives = (0..cluster.clients().len()).map(|who| life(cluster, who));
    let mut judge = Judge {
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

struct Judge<'c> {
    cluster: &'c Cluster,
    lives: Vec<Life>,
    complaints: Vec<String>,
}

impl Judge<'_> {
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
        let tongues = [one, other].map(|who| self.cluster.clients()[who].tongue());
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
        // Who meets somebody anew is met anew, too; unless what one saw before was what was left of
        // an earlier seat, which the other could not see from there.
        if of_b.len() != of_a.len() && (is_alone(&of_b, flipped) || is_alone(&of_a, last)) {
            self.complain(format!(
                "{room:?}: c{one} met c{other} {} times, c{other} met c{one} {} times",
                of_b.len(),
                of_a.len()
            ));
        }
    }

    /// The hubs and the store agree with the clients.
    fn same_everywhere(&mut self, room: &RoomId, present: &[ClientKey]) {
        let expected: BTreeSet<_> = present.iter().copied().collect();
        let seats = self
            .cluster
            .stored(room)
            .map(|it| it.seats)
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
        for (key, station) in self.cluster.stations().iter().enumerate() {
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
            let seats = self.cluster.stored_name(&name).map(|it| it.seats);
            let holder = seats.and_then(|seats| self.cluster.client_of(seats.first()?.peer));
            if holder != Some(who) {
                self.complain(format!("c{who} has {name}, stored is {holder:?}"));
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
                let most = Duration::from_secs(4) + LEASE * 2 + ROUND_TRIPS;
                if answered > wait.asked + most {
                    let took = answered.saturating_sub(wait.asked);
                    self.complain(format!("c{who}'s join of {:?} took {took:?}", wait.asked));
                }
            }
        }
    }

    /// Members of a dead station are gone within the lease.
    fn ghosts(&mut self) {
        let limit = Cluster::ghosts_gone_after();
        let mut complaints = Vec::new();
        let crashes = self.cluster.troubles().iter();
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
        let troubles = self.cluster.troubles().iter();
        let mut its = troubles.filter(|trouble| trouble.station == station);
        its.any(|trouble| trouble.from <= until && trouble.until + Duration::from_secs(1) >= from)
    }

    /// Who is alive and in contact with the store is not taken for a ghost.
    fn evictions(&mut self) {
        for who in 0..self.lives.len() {
            let Some((at, Eviction::Ghost)) = self.lives[who].evicted else {
                continue;
            };
            let client = &self.cluster.clients()[who];
            let from = at.saturating_sub(Duration::from_millis(2500));
            let is_disturbed = self.is_disturbed(Some(client.station()), from, at)
                || self.is_disturbed(None, from.saturating_sub(LEASE), at);
            // A claimant's process that stood still until just before the end of the challenge
            // may serve its clock before what waits in its sockets.
            let mut pauses = self.cluster.troubles().iter().filter(|it| it.what == "pause");
            let is_sudden = pauses.any(|it| it.until <= at && it.until + ROUND_TRIPS >= at);
            if client.frozen().is_none() && !is_disturbed && !is_sudden {
                self.complain(format!("c{who} is alive and evicted at {at:?}"));
            }
        }
    }

    // Without disturbances

    /// What is sent arrives, or is refused.
    fn everything_arrives(&mut self) {
        for (serial, sent) in self.cluster.sent().iter().enumerate() {
            let Some(to) = sent.to else {
                continue;
            };
            if !self.lives[sent.from].asked.contains_key(&serial) {
                continue;
            }
            let is_heard = self.lives[to]
                .heard
                .iter()
                .any(|heard| heard.serial == serial);
            let is_gone = self.lives[to].ended.is_some() || self.lives[to].evicted.is_some();
            // What it said before it left is not heard after that.
            let is_gone = is_gone || self.leaves_soon(sent.from, sent.at);
            if !is_heard && !is_gone && self.lives[sent.from].refused == 0 {
                self.complain(format!("{serial} is lost: {sent:?}"));
            }
        }
    }

    fn leaves_soon(&self, who: ClientKey, at: Duration) -> bool {
        let mut stays = self.lives[who].stays.iter().filter_map(|stay| stay.until);
        stays.any(|until| until >= at && until <= at + ROUND_TRIPS)
    }

    /// All see joins and leaves in the log's order, and exactly those.
    fn one_order(&mut self) {
        for name in ROOMS {
            let log = LogId::Room(room(name));
            let changes = self.cluster.history().iter();
            let changes: Vec<_> = changes
                .filter(|(of, _)| *of == log)
                .map(|(_, news)| news.change.clone())
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

    fn in_order(
        &mut self,
        who: ClientKey,
        own: &Own,
        changes: &[switchboard_engine::cluster::store::StoredChange],
    ) {
        use switchboard_engine::cluster::store::StoredChange;
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

/// How often, and as what, one met the other's present stay.
fn meetings(own: &Own, other: ClientKey, its: &Own) -> Vec<Sight> {
    let sights = own.sights.iter();
    sights
        .filter(|sight| sight.whose == other && its.names.contains(&sight.stay))
        .cloned()
        .collect()
}

/// Whether somebody was met anew who has not met anybody since before the first meeting ended.
fn is_alone(meetings: &[Sight], its: &Sight) -> bool {
    let mut ended = meetings.iter().filter_map(|sight| sight.until);
    ended.any(|until| its.from < until)
}

/// Who calls by the design: a newcomer's side of it.
fn decide(newcomer: &Tongue, member: &Tongue) -> Call {
    let is_same = newcomer.name == member.name;
    match (newcomer.custom, member.custom) {
        _ if !is_same && !(newcomer.signals && member.signals) => Call::Nobody,
        (Custom::NeverTold, Custom::NeverTold) => Call::Nobody,
        (Custom::MemberCalls, _) if is_same => Call::They,
        (Custom::NewcomerCalls | Custom::MemberCalls, _) => Call::You,
        (Custom::NeverTold, _) => Call::They,
    }
}
