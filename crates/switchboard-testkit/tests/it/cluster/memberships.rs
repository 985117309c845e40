//! Reads the log of a client as its memberships in rooms.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use switchboard_core::{
    DisplayName, Event, EvictionReason, JoinId, Member, NameId, OfferRole, RequestError,
    ResourceKey, RoomId,
};
use switchboard_testkit::cluster::{ClientKey, ClientLogEntry, ClientRequest, ClusterSimulation};

/// The display name, which identifies a membership: the simulated clients give each join a name of its own.
pub(crate) type MemberName = DisplayName;

/// A membership of another client, as one client has observed it.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// The observed client.
    pub(crate) other: ClientKey,
    pub(crate) membership: MemberName,
    /// The role of the observing client towards the other.
    pub(crate) role: OfferRole,
    /// The time of the introduction: the event that told of the membership.
    pub(crate) from: Duration,
    /// The time of the event that told of its end, if there was one.
    pub(crate) until: Option<Duration>,
}

/// A membership of the client itself.
#[derive(Clone, Debug)]
pub(crate) struct OwnMembership {
    pub(crate) room: RoomId,
    /// The names under which others may see this membership: after a repeated join, that of the first join or of the
    /// repetition.
    pub(crate) names: BTreeSet<MemberName>,
    /// The time at which the client learned that it had joined.
    pub(crate) from: Duration,
    /// The time at which the client left, or learned that it was removed.
    pub(crate) until: Option<Duration>,
    pub(crate) observations: Vec<Observation>,
    /// Observed joins (true) and leaves (false), in the order received.
    pub(crate) order: Vec<(ClientKey, bool)>,
}

impl OwnMembership {
    /// The members that it observes now.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &Observation> {
        self.observations
            .iter()
            .filter(|observation| observation.until.is_none())
    }
}

/// The times of a join request and of its answer.
#[derive(Clone, Debug)]
pub(crate) struct JoinTimes {
    pub(crate) requested: Duration,
    pub(crate) answered: Option<Duration>,
}

/// The history of one client.
#[derive(Debug, Default)]
pub(crate) struct ConnectionHistory {
    pub(crate) memberships: Vec<OwnMembership>,
    /// The serial numbers of the received messages.
    pub(crate) received_serials: Vec<usize>,
    /// The serial numbers of the messages that the client was allowed to send.
    pub(crate) requested: BTreeMap<usize, Duration>,
    pub(crate) joins: Vec<JoinTimes>,
    pub(crate) evicted: Option<(Duration, EvictionReason)>,
    /// The probes that it received: questions of the hub whether it is alive.
    pub(crate) probes: Vec<(Duration, ResourceKey)>,
    /// The names that it holds, each with the time of the answer to its claim.
    pub(crate) claimed: BTreeMap<NameId, Duration>,
    /// The time at which its connection ended.
    pub(crate) ended: Option<Duration>,
    /// The errors for messages to one client: the room and the receiver.
    pub(crate) undelivered: Vec<(Duration, RoomId, Option<ClientKey>)>,
    pub(crate) violations: Vec<String>,
}

impl ConnectionHistory {
    /// The client's membership in a room that covers an interval.
    pub(crate) fn membership_during(
        &self,
        room: &RoomId,
        from: Duration,
        until: Duration,
    ) -> Option<&OwnMembership> {
        let mut memberships = self.memberships.iter();
        memberships.find(|membership| {
            membership.room == *room
                && membership.from <= from
                && membership.until.is_none_or(|end| end > until)
        })
    }

    /// The client's current membership in a room.
    pub(crate) fn current_membership(&self, room: &RoomId) -> Option<&OwnMembership> {
        let mut memberships = self.memberships.iter();
        memberships.find(|membership| membership.room == *room && membership.until.is_none())
    }
}

/// Reads the log of a client.
pub(crate) fn read_history(cluster: &ClusterSimulation, client: ClientKey) -> ConnectionHistory {
    let mut reader = HistoryReader {
        cluster,
        client,
        now: Duration::ZERO,
        history: ConnectionHistory::default(),
        pending: BTreeMap::new(),
        last: BTreeMap::new(),
    };
    for (at, entry) in cluster.clients()[client].log() {
        reader.now = *at;
        reader.read(entry);
    }
    reader.end()
}

/// The join requests of one room that have no answer yet. The next answer settles all of them.
struct PendingJoins {
    requested_at: Vec<Duration>,
    names: BTreeSet<MemberName>,
    latest: JoinId,
}

struct HistoryReader<'c> {
    cluster: &'c ClusterSimulation,
    client: ClientKey,
    now: Duration,
    history: ConnectionHistory,
    pending: BTreeMap<RoomId, PendingJoins>,
    /// The serial number of the last message from each sender in each room. Messages are ordered only within a room.
    last: BTreeMap<(ClientKey, RoomId), usize>,
}

impl HistoryReader<'_> {
    fn report(&mut self, violation: impl Into<String>) {
        let (client, now, violation) = (self.client, self.now, violation.into());
        self.history
            .violations
            .push(format!("c{client} at {now:?}: {violation}"));
    }

    fn read(&mut self, entry: &ClientLogEntry) {
        match entry {
            ClientLogEntry::Requested(requested) => self.handle_request(requested),
            ClientLogEntry::Received(event, is_current) => self.handle_event(event, *is_current),
            ClientLogEntry::Ended => {
                self.history.ended = Some(self.now);
                self.leave_all();
            }
        }
    }

    fn end(mut self) -> ConnectionHistory {
        for pending in std::mem::take(&mut self.pending).into_values() {
            self.record_joins(pending, false);
        }
        self.history
    }

    /// Records pending join requests: as answered now, or as unanswered.
    fn record_joins(&mut self, pending: PendingJoins, is_answered: bool) {
        let answered = is_answered.then_some(self.now);
        let joins = pending.requested_at.into_iter();
        self.history.joins.extend(joins.map(|requested| JoinTimes {
            requested,
            answered,
        }));
    }

    fn leave_all(&mut self) {
        for membership in &mut self.history.memberships {
            membership.until.get_or_insert(self.now);
        }
        self.pending.clear();
        self.history.claimed.clear();
    }

    fn handle_request(&mut self, requested: &ClientRequest) {
        match requested {
            ClientRequest::Join {
                room,
                name,
                join_id,
                ..
            } => {
                let (now, name) = (self.now, name.clone());
                let names = self.current_names(room);
                let pending = self.pending.entry(room.clone()).or_insert(PendingJoins {
                    requested_at: Vec::new(),
                    names,
                    latest: *join_id,
                });
                pending.requested_at.push(now);
                pending.names.insert(name);
                pending.latest = *join_id;
            }
            ClientRequest::Leave(room) => {
                self.pending.remove(room);
                let now = self.now;
                if let Some(membership) = self.membership(room) {
                    membership.until = Some(now);
                }
            }
            ClientRequest::Send(serial) => {
                self.history.requested.insert(*serial, self.now);
            }
            ClientRequest::Claim(_) | ClientRequest::Other => {}
        }
    }

    fn membership(&mut self, room: &RoomId) -> Option<&mut OwnMembership> {
        let mut memberships = self.history.memberships.iter_mut();
        memberships.find(|membership| membership.room == *room && membership.until.is_none())
    }

    fn current_names(&self, room: &RoomId) -> BTreeSet<MemberName> {
        let membership = self.history.current_membership(room);
        membership
            .map(|membership| membership.names.clone())
            .unwrap_or_default()
    }

    fn handle_event(&mut self, event: &Event, is_current: bool) {
        match event {
            Event::Joined { room, others } => self.joined(room, others),
            Event::Rejoined { room, others } => {
                match self.pending.remove(room) {
                    Some(pending) => self.record_joins(pending, true),
                    None => self.report(format!("rejoined {room:?} without a request")),
                }
                self.check_member_list(room, others);
            }
            Event::Members { room, others } => self.check_member_list(room, others),
            Event::Introduced {
                room, peer, role, ..
            } => self.observe_join(room, peer, *role),
            Event::Departed { room, peer, .. } => self.observe_leave(room, peer),
            Event::Received {
                room,
                from,
                direct,
                message,
            } => {
                let serial = message.frame.parse().expect("a serial number");
                self.handle_message(room, from, *direct, serial);
            }
            Event::Probe(resource) => self.history.probes.push((self.now, resource.clone())),
            Event::Evicted(reason) => {
                self.history.evicted = Some((self.now, *reason));
                self.leave_all();
            }
            Event::Claimed(name) => {
                self.history.claimed.insert(name.clone(), self.now);
            }
            Event::RequestFailed(rejected) => {
                self.note_undelivered(rejected);
                if let (Some(room), Some(join_id)) = (&rejected.room, rejected.join) {
                    self.rejected(
                        &switchboard_testkit::cluster::room(room.as_str()),
                        join_id,
                        is_current,
                    );
                }
            }
        }
    }

    fn note_undelivered(&mut self, error: &RequestError) {
        if let (Some(name), Some(target), None) = (&error.room, &error.target, error.join) {
            let target = target.as_str().parse().ok();
            let target = target.and_then(|peer| self.cluster.client_of(peer));
            let room = switchboard_testkit::cluster::room(name.as_str());
            self.history.undelivered.push((self.now, room, target));
        }
    }

    fn rejected(&mut self, room: &RoomId, join_id: JoinId, is_current: bool) {
        if !is_current {
            return;
        }
        match self.pending.remove(room) {
            Some(pending) if pending.latest == join_id => self.record_joins(pending, true),
            Some(pending) => {
                self.report(format!(
                    "{join_id:?} rejected, {:?} requested",
                    pending.latest
                ));
            }
            // The client's `Peer` has rejected the join, before the hub received it: too many rooms.
            None => {}
        }
        let now = self.now;
        if let Some(membership) = self.membership(room) {
            membership.until = Some(now);
            self.report(format!("joined {room:?}, then rejected"));
        }
    }

    fn joined(&mut self, room: &RoomId, others: &[(std::sync::Arc<Member>, OfferRole)]) {
        if self.history.current_membership(room).is_some() {
            self.report(format!("joined {room:?} twice"));
        }
        let Some(pending) = self.pending.remove(room) else {
            return self.report(format!("joined {room:?} without a request"));
        };
        self.history.memberships.push(OwnMembership {
            room: room.clone(),
            names: pending.names.clone(),
            from: self.now,
            until: None,
            observations: Vec::new(),
            order: Vec::new(),
        });
        self.record_joins(pending, true);
        for (other, role) in others {
            self.observe_join(room, other, *role);
        }
    }

    fn observe_join(&mut self, room: &RoomId, member: &Member, role: OfferRole) {
        let Some(other) = self.cluster.client_of(member.peer) else {
            return self.report(format!("introduced to an unknown peer: {member:?}"));
        };
        if other == self.client {
            return self.report("introduced to itself");
        }
        let (client, now) = (self.client, self.now);
        let Some(membership) = member.name.clone() else {
            return self.report(format!("{member:?} has no name"));
        };
        let Some(own) = self.membership(room) else {
            return self.report(format!(
                "c{client} is introduced to c{other} in {room:?}, where it is not a member"
            ));
        };
        own.order.push((other, true));
        let knows = own.visible().any(|observation| observation.other == other);
        own.observations.push(Observation {
            other,
            membership,
            role,
            from: now,
            until: None,
        });
        if knows {
            self.report(format!("introduced twice to c{other}"));
        }
    }

    fn observe_leave(&mut self, room: &RoomId, member: &Member) {
        let other = self.cluster.client_of(member.peer);
        let now = self.now;
        let Some(own) = self.membership(room) else {
            return self.report(format!(
                "{other:?} leaves {room:?}, where the client is not a member"
            ));
        };
        own.order.extend(other.map(|other| (other, false)));
        let mut observations = own.observations.iter_mut();
        let observation = observations
            .find(|observation| Some(observation.other) == other && observation.until.is_none());
        match observation {
            Some(observation) if Some(&observation.membership) == member.name.as_ref() => {
                observation.until = Some(now)
            }
            Some(observation) => {
                let membership = observation.membership.clone();
                observation.until = Some(now);
                self.report(format!(
                    "{other:?} leaves as {:?}, joined as {membership:?}",
                    member.name
                ));
            }
            None => self.report(format!("{other:?} leaves without an introduction")),
        }
    }

    fn check_member_list(&mut self, room: &RoomId, others: &[std::sync::Arc<Member>]) {
        let Some(own) = self.history.current_membership(room) else {
            return self.report(format!(
                "received the member list of {room:?}, where it is not a member"
            ));
        };
        let observed: BTreeSet<_> = own
            .visible()
            .map(|observation| observation.membership.clone())
            .collect();
        let listed: BTreeSet<_> = others
            .iter()
            .filter_map(|member| member.name.clone())
            .collect();
        if observed != listed {
            self.report(format!(
                "observes {observed:?}, the member list is {listed:?}"
            ));
        }
    }

    fn handle_message(&mut self, room: &RoomId, from: &Member, direct: bool, serial: usize) {
        let other = self.cluster.client_of(from.peer);
        let Some(sent) = self.cluster.sent().get(serial) else {
            return self.report(format!("receives {serial}, which was not sent"));
        };
        if Some(sent.from) != other {
            self.report(format!("receives {serial} as from {other:?}: {sent:?}"));
        }
        if sent.room != *room || sent.to.is_some() != direct {
            self.report(format!("receives {serial} in {room:?}: {sent:?}"));
        }
        if sent.to.is_some_and(|to| to != self.client) {
            self.report(format!("receives {serial}: {sent:?}"));
        }
        let knows = self.history.current_membership(room).is_some_and(|own| {
            own.visible()
                .any(|observation| Some(observation.other) == other)
        });
        if !knows {
            self.report(format!(
                "receives {serial} from {other:?} without an introduction"
            ));
        }
        if let Some(last) = self.last.insert((sent.from, room.clone()), serial)
            && last >= serial
        {
            self.report(format!("receives {serial} after {last} from {other:?}"));
        }
        self.history.received_serials.push(serial);
    }
}
