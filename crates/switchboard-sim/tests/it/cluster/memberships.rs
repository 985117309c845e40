//! What one client was told, read as stays in rooms.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use switchboard_core::{
    DisplayName, Event, EvictionReason, JoinId, Member, NameId, OfferRole, ResourceKey, RoomId,
};
use switchboard_sim::cluster::{ClientKey, ClientLogEntry, ClientRequest, ClusterSimulation};

/// A stay of somebody in a room: each has a name of its own.
pub(crate) type MemberName = DisplayName;

/// What one client saw of another's stay.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) whose: ClientKey,
    pub(crate) stay: MemberName,
    pub(crate) call: OfferRole,
    pub(crate) from: Duration,
    pub(crate) until: Option<Duration>,
}

/// A stay of the client itself.
#[derive(Clone, Debug)]
pub(crate) struct OwnMembership {
    pub(crate) room: RoomId,
    /// What it may be called by the others: a join that is asked again may count as the first.
    pub(crate) names: BTreeSet<MemberName>,
    pub(crate) from: Duration,
    pub(crate) until: Option<Duration>,
    pub(crate) sights: Vec<Observation>,
    /// Who came (true) and left, in the order told.
    pub(crate) order: Vec<(ClientKey, bool)>,
}

impl OwnMembership {
    /// Whom it sees now.
    pub(crate) fn view(&self) -> impl Iterator<Item = &Observation> {
        self.sights.iter().filter(|sight| sight.until.is_none())
    }
}

/// A join and how long it took to be answered.
#[derive(Clone, Debug)]
pub(crate) struct PendingInterval {
    pub(crate) asked: Duration,
    pub(crate) answered: Option<Duration>,
}

/// All that one client was told.
#[derive(Debug, Default)]
pub(crate) struct ConnectionHistory {
    pub(crate) stays: Vec<OwnMembership>,
    pub(crate) heard: Vec<usize>,
    pub(crate) asked: BTreeMap<usize, Duration>,
    pub(crate) waits: Vec<PendingInterval>,
    pub(crate) evicted: Option<(Duration, EvictionReason)>,
    pub(crate) probes: Vec<(Duration, ResourceKey)>,
    pub(crate) claimed: BTreeMap<NameId, Duration>,
    pub(crate) ended: Option<Duration>,
    pub(crate) complaints: Vec<String>,
}

impl ConnectionHistory {
    /// Its stay in a room that lasted from one moment to another.
    pub(crate) fn stayed(
        &self,
        room: &RoomId,
        from: Duration,
        until: Duration,
    ) -> Option<&OwnMembership> {
        let mut stays = self.stays.iter();
        stays.find(|stay| {
            stay.room == *room && stay.from <= from && stay.until.is_none_or(|end| end > until)
        })
    }

    /// Its stay in a room that goes on.
    pub(crate) fn present(&self, room: &RoomId) -> Option<&OwnMembership> {
        let mut stays = self.stays.iter();
        stays.find(|stay| stay.room == *room && stay.until.is_none())
    }
}

/// Reads what a client was told.
pub(crate) fn life(cluster: &ClusterSimulation, who: ClientKey) -> ConnectionHistory {
    let mut reader = HistoryReader {
        cluster,
        who,
        now: Duration::ZERO,
        life: ConnectionHistory::default(),
        pending: BTreeMap::new(),
        last: BTreeMap::new(),
    };
    for (at, noted) in cluster.clients()[who].log() {
        reader.now = *at;
        reader.read(noted);
    }
    reader.end()
}

/// A join that is not answered yet.
struct Pending {
    since: Vec<Duration>,
    names: BTreeSet<MemberName>,
    latest: JoinId,
}

struct HistoryReader<'c> {
    cluster: &'c ClusterSimulation,
    who: ClientKey,
    now: Duration,
    life: ConnectionHistory,
    pending: BTreeMap<RoomId, Pending>,
    /// The last serial from each sender, by room: rooms are independent of each other.
    last: BTreeMap<(ClientKey, RoomId), usize>,
}

impl HistoryReader<'_> {
    fn complain(&mut self, what: impl Into<String>) {
        let (who, now, what) = (self.who, self.now, what.into());
        self.life
            .complaints
            .push(format!("c{who} at {now:?}: {what}"));
    }

    fn read(&mut self, noted: &ClientLogEntry) {
        match noted {
            ClientLogEntry::Requested(asked) => self.ask(asked),
            ClientLogEntry::Received(event, stands) => self.hear(event, *stands),
            ClientLogEntry::Ended => {
                self.life.ended = Some(self.now);
                self.leave_all();
            }
        }
    }

    fn end(mut self) -> ConnectionHistory {
        for pending in std::mem::take(&mut self.pending).into_values() {
            self.answered(pending, false);
        }
        self.life
    }

    fn answered(&mut self, pending: Pending, is_answered: bool) {
        let answered = is_answered.then_some(self.now);
        let waits = pending.since.into_iter();
        self.life
            .waits
            .extend(waits.map(|asked| PendingInterval { asked, answered }));
    }

    fn leave_all(&mut self) {
        for stay in &mut self.life.stays {
            stay.until.get_or_insert(self.now);
        }
        self.pending.clear();
        self.life.claimed.clear();
    }

    fn ask(&mut self, asked: &ClientRequest) {
        match asked {
            ClientRequest::Join {
                room,
                stay,
                attempt,
                ..
            } => {
                let (now, stay) = (self.now, stay.clone());
                let names = self.present_names(room);
                let pending = self.pending.entry(room.clone()).or_insert(Pending {
                    since: Vec::new(),
                    names,
                    latest: *attempt,
                });
                pending.since.push(now);
                pending.names.insert(stay);
                pending.latest = *attempt;
            }
            ClientRequest::Leave(room) => {
                self.pending.remove(room);
                let now = self.now;
                if let Some(stay) = self.stay(room) {
                    stay.until = Some(now);
                }
            }
            ClientRequest::Send(serial) => {
                self.life.asked.insert(*serial, self.now);
            }
            ClientRequest::Claim(_) | ClientRequest::List => {}
        }
    }

    fn stay(&mut self, room: &RoomId) -> Option<&mut OwnMembership> {
        let mut stays = self.life.stays.iter_mut();
        stays.find(|stay| stay.room == *room && stay.until.is_none())
    }

    fn present_names(&self, room: &RoomId) -> BTreeSet<MemberName> {
        let stay = self.life.present(room);
        stay.map(|stay| stay.names.clone()).unwrap_or_default()
    }

    fn hear(&mut self, event: &Event, stands: bool) {
        match event {
            Event::Joined { room, others } => self.joined(room, others),
            Event::Rejoined { room, others } => {
                match self.pending.remove(room) {
                    Some(pending) => self.answered(pending, true),
                    None => self.complain(format!("rejoined {room:?} without asking")),
                }
                self.lists(room, others);
            }
            Event::Members { room, others } => self.lists(room, others),
            Event::Introduced {
                room,
                peer,
                role: call,
            } => self.meet(room, peer, *call),
            Event::Departed { room, peer, .. } => self.depart(room, peer),
            Event::Received {
                room,
                from,
                direct,
                message: relay,
            } => {
                let serial = relay.frame.parse().expect("a serial number");
                self.heard(room, from, *direct, serial);
            }
            Event::Probe(place) => self.life.probes.push((self.now, place.clone())),
            Event::Evicted(why) => {
                self.life.evicted = Some((self.now, *why));
                self.leave_all();
            }
            Event::Claimed(name) => {
                self.life.claimed.insert(name.clone(), self.now);
            }
            Event::RequestFailed(refused) => {
                if let (Some(room), Some(attempt)) = (&refused.room, refused.join) {
                    self.refused(
                        &switchboard_sim::cluster::room(room.as_str()),
                        attempt,
                        stands,
                    );
                }
            }
        }
    }

    fn refused(&mut self, room: &RoomId, attempt: JoinId, stands: bool) {
        if !stands {
            return;
        }
        match self.pending.remove(room) {
            Some(pending) if pending.latest == attempt => self.answered(pending, true),
            Some(pending) => {
                self.complain(format!("{attempt:?} refused, {:?} asked", pending.latest));
            }
            // Refused before it was asked: too many rooms.
            None => {}
        }
        let now = self.now;
        if let Some(stay) = self.stay(room) {
            stay.until = Some(now);
            self.complain(format!("told to be in {room:?}, then refused"));
        }
    }

    fn joined(&mut self, room: &RoomId, others: &[(std::sync::Arc<Member>, OfferRole)]) {
        if self.life.present(room).is_some() {
            self.complain(format!("joined {room:?} twice"));
        }
        let Some(pending) = self.pending.remove(room) else {
            return self.complain(format!("joined {room:?} without asking"));
        };
        self.life.stays.push(OwnMembership {
            room: room.clone(),
            names: pending.names.clone(),
            from: self.now,
            until: None,
            sights: Vec::new(),
            order: Vec::new(),
        });
        self.answered(pending, true);
        for (other, call) in others {
            self.meet(room, other, *call);
        }
    }

    fn meet(&mut self, room: &RoomId, member: &Member, call: OfferRole) {
        let Some(whose) = self.cluster.client_of(member.peer) else {
            return self.complain(format!("introduced to nobody: {member:?}"));
        };
        if whose == self.who {
            return self.complain("introduced to itself");
        }
        let (who, now) = (self.who, self.now);
        let Some(stay) = member.name.clone() else {
            return self.complain(format!("{member:?} has no name"));
        };
        let Some(own) = self.stay(room) else {
            return self.complain(format!(
                "c{who} meets c{whose} in {room:?}, where it is not"
            ));
        };
        own.order.push((whose, true));
        let knows = own.view().any(|sight| sight.whose == whose);
        own.sights.push(Observation {
            whose,
            stay,
            call,
            from: now,
            until: None,
        });
        if knows {
            self.complain(format!("introduced twice to c{whose}"));
        }
    }

    fn depart(&mut self, room: &RoomId, member: &Member) {
        let whose = self.cluster.client_of(member.peer);
        let now = self.now;
        let Some(own) = self.stay(room) else {
            return self.complain(format!("{whose:?} departs from {room:?}, where it is not"));
        };
        own.order.extend(whose.map(|whose| (whose, false)));
        let mut sights = own.sights.iter_mut();
        let sight = sights.find(|sight| Some(sight.whose) == whose && sight.until.is_none());
        match sight {
            Some(sight) if Some(&sight.stay) == member.name.as_ref() => sight.until = Some(now),
            Some(sight) => {
                let stay = sight.stay.clone();
                sight.until = Some(now);
                self.complain(format!(
                    "{whose:?} departs as {:?}, came as {stay:?}",
                    member.name
                ));
            }
            None => self.complain(format!("{whose:?} departs, whom it does not know")),
        }
    }

    fn lists(&mut self, room: &RoomId, others: &[std::sync::Arc<Member>]) {
        let Some(own) = self.life.present(room) else {
            return self.complain(format!("told who is in {room:?}, where it is not"));
        };
        let seen: BTreeSet<_> = own.view().map(|sight| sight.stay.clone()).collect();
        let listed: BTreeSet<_> = others
            .iter()
            .filter_map(|member| member.name.clone())
            .collect();
        if seen != listed {
            self.complain(format!("sees {seen:?}, is told {listed:?}"));
        }
    }

    fn heard(&mut self, room: &RoomId, from: &Member, direct: bool, serial: usize) {
        let whose = self.cluster.client_of(from.peer);
        let Some(sent) = self.cluster.sent().get(serial) else {
            return self.complain(format!("hears {serial}, which nobody sent"));
        };
        if Some(sent.from) != whose {
            self.complain(format!("hears {serial} as from {whose:?}: {sent:?}"));
        }
        if sent.room != *room || sent.to.is_some() != direct {
            self.complain(format!("hears {serial} in {room:?}: {sent:?}"));
        }
        if sent.to.is_some_and(|to| to != self.who) {
            self.complain(format!("hears {serial}: {sent:?}"));
        }
        let knows = self
            .life
            .present(room)
            .is_some_and(|own| own.view().any(|sight| Some(sight.whose) == whose));
        if !knows {
            self.complain(format!(
                "hears {serial} from {whose:?}, whom it does not know"
            ));
        }
        if let Some(last) = self.last.insert((sent.from, room.clone()), serial)
            && last >= serial
        {
            self.complain(format!("hears {serial} after {last} from {whose:?}"));
        }
        self.life.heard.push(serial);
    }
}
