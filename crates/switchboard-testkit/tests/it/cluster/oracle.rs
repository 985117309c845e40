//! Checks the invariants of the cluster over the histories of all clients.
//!
//! A client is introduced to another member when an event tells it of that member. It observes the member from then on
//! until an event tells it that the member has left.

use std::{collections::BTreeSet, time::Duration};

use switchboard_cluster::store::StoredChange;
use switchboard_core::{
    DialectTraits, EvictionReason, LeaveCause, LogId, OfferPolicy, OfferRole, Position, RoomId,
};
use switchboard_testkit::cluster::{ClientKey, ClusterSimulation, LEASE, SentMessage, room};

use crate::cluster::memberships::{ConnectionHistory, Observation, OwnMembership, read_history};

const ROOMS: [&str; 2] = ["red", "blue"];

/// The longest time from a message to its answer in a run without faults, with a tolerance.
const ROUND_TRIPS: Duration = Duration::from_millis(200);

/// Returns the violated invariants of a quiescent run. Delivery and order are only checked if the run had no faults
/// (`is_calm`), because a fault may lose messages, and a node that missed changes shows only their net difference.
pub(crate) fn find_violations(cluster: &ClusterSimulation, is_calm: bool) -> Vec<String> {
    let histories = (0..cluster.clients().len()).map(|client| read_history(cluster, client));
    let mut oracle = ClusterOracle {
        cluster,
        histories: histories.collect(),
        violations: Vec::new(),
    };
    for history in &mut oracle.histories {
        oracle.violations.append(&mut history.violations);
    }
    for name in ROOMS {
        oracle.check_views(&room(name));
    }
    oracle.check_names();
    oracle.check_joins();
    oracle.check_dead_nodes();
    oracle.check_evictions();
    if is_calm {
        oracle.check_delivery();
        oracle.check_order();
    }
    oracle.violations
}

struct ClusterOracle<'c> {
    cluster: &'c ClusterSimulation,
    histories: Vec<ConnectionHistory>,
    violations: Vec<String>,
}

impl ClusterOracle<'_> {
    fn report(&mut self, violation: String) {
        self.violations.push(violation);
    }

    /// The current members of a room, according to the clients.
    fn present_members(&self, room: &RoomId) -> Vec<ClientKey> {
        let clients = 0..self.histories.len();
        clients
            .filter(|client| self.cluster.clients()[*client].is_connected())
            .filter(|client| self.histories[*client].current_membership(room).is_some())
            .collect()
    }

    /// Every client observes exactly the other members, and the offer roles of every two members match.
    fn check_views(&mut self, room: &RoomId) {
        let present = self.present_members(room);
        for client in &present {
            let Some(own) = self.histories[*client].current_membership(room) else {
                continue;
            };
            let observed: Vec<_> = own.visible().map(|observation| observation.other).collect();
            let others: Vec<_> = present
                .iter()
                .filter(|other| *other != client)
                .copied()
                .collect();
            let mut sorted = observed.clone();
            sorted.sort_unstable();
            if sorted != others {
                self.report(format!(
                    "{room:?}: c{client} observes {observed:?}, expected {others:?}"
                ));
            }
        }
        for (index, one) in present.iter().enumerate() {
            for other in &present[index + 1..] {
                self.check_pair(room, *one, *other);
            }
        }
        self.check_stores_agree(room, &present);
    }

    fn check_pair(&mut self, room: &RoomId, one: ClientKey, other: ClientKey) {
        let (Some(a), Some(b)) = (
            self.histories[one].current_membership(room).cloned(),
            self.histories[other].current_membership(room).cloned(),
        ) else {
            return;
        };
        let (of_b, of_a) = (observations_of(&a, other, &b), observations_of(&b, one, &a));
        let (Some(last_of_b), Some(last_of_a)) = (of_b.last(), of_a.last()) else {
            return;
        };
        let dialects = [one, other].map(|client| self.cluster.clients()[client].dialect());
        let allowed = [
            expected_role(dialects[0], dialects[1]),
            expected_role(dialects[1], dialects[0]).flipped(),
        ];
        if last_of_b.role != last_of_a.role.flipped() || !allowed.contains(&last_of_b.role) {
            self.report(format!(
                "{room:?}: c{one} has the role towards c{other} {:?}, c{other} towards c{one}: {:?}",
                last_of_b.role, last_of_a.role
            ));
        }
        // Each of two members is introduced to the other equally often. Observations that began before
        // the later of their joins (`met`) are ignored, because one of the two was not a member yet. If
        // the store has lost a membership and its node has restored it, the restoration may be taken as
        // the join (`restored`).
        let met = self
            .member_since(room, one)
            .max(self.member_since(room, other));
        let introductions = |observer, observations: &[Observation], is_restored| {
            let met = self.observed_since(room, observer, [one, other], is_restored);
            let late = observations
                .iter()
                .filter(|observation| observation.from >= met);
            let late: Vec<_> = late.collect();
            // If an observation begins when the one before ends, the member has joined again: the
            // earlier one is of its former membership.
            let old = late
                .windows(2)
                .filter(|pair| pair[0].until == Some(pair[1].from));
            late.len() - old.count()
        };
        let data_losses = self.data_losses(met);
        let is_excused = !data_losses.is_empty()
            && [one, other].iter().any(|client| {
                self.is_contested(room, *client)
                    || data_losses.len() > 1
                    || self.is_late(*client, &data_losses)
                    || self.was_lost(room, *client, met)
            });
        let counts = |is_restored| {
            (
                introductions(one, &of_b, is_restored),
                introductions(other, &of_a, is_restored),
            )
        };
        let is_mutual = |(one, other)| one == other;
        let (joined, restored) = (counts(false), counts(true));
        if !is_mutual(joined) && !is_mutual(restored) && !is_excused {
            self.report(format!(
                "{room:?}: c{one} was introduced to c{other} {} times, c{other} to c{one} {} times since {met:?}",
                joined.0, joined.1
            ));
        }
    }

    /// The time at which the node of `observer` has applied the current memberships of two clients. The
    /// store has them earlier, and until then the node may still introduce the former ones.
    fn observed_since(
        &self,
        room: &RoomId,
        observer: ClientKey,
        clients: [ClientKey; 2],
        is_restored: bool,
    ) -> Duration {
        let log = LogId::Room(room.clone());
        let node = self.cluster.clients()[observer].node();
        let applied = clients.map(|client| {
            let peer = self.cluster.clients()[client].id();
            let Some((stored, since)) = self.last_join(room, client, is_restored) else {
                return Duration::ZERO;
            };
            let joins = self.cluster.applied_joins().iter();
            let mut joins = joins.filter(|join| {
                join.at >= stored
                    && (join.node, &join.log, join.peer, join.since) == (node, &log, peer, since)
            });
            joins.next().map_or(stored, |join| join.at)
        });
        applied[0].max(applied[1])
    }

    /// The times since `met` at which the store lost data. After a loss, client A may be told that
    /// member B has left, and be introduced to B again when B's node restores B at its old position,
    /// while B saw no change of A. That is allowed in four cases: [B's address](Self::is_contested)
    /// belonged to another member for a while; B's node [came back late](Self::is_late); [its lease had
    /// lapsed](Self::was_lost) and the store lost that change; data were lost more than once.
    fn data_losses(&self, met: Duration) -> Vec<Duration> {
        let outages = self.cluster.outages().iter();
        let data_losses = outages.filter(|outage| outage.kind == "data lost" && outage.from >= met);
        data_losses.map(|outage| outage.from).collect()
    }

    /// Whether an outage of a third of a lease or longer affected the client's node at a loss of data.
    fn is_late(&self, client: ClientKey, data_losses: &[Duration]) -> bool {
        let node = self.cluster.clients()[client].node();
        let mut outages = self.cluster.outages().iter();
        outages.any(|outage| {
            let mut data_losses = data_losses.iter();
            outage.node == Some(node)
                && outage.until >= outage.from + LEASE / 3
                && data_losses.any(|at| outage.from <= *at + LEASE && outage.until >= *at)
        })
    }

    /// Whether the client was removed since `met` because its node's lease had lapsed.
    fn was_lost(&self, room: &RoomId, client: ClientKey, met: Duration) -> bool {
        let leave = StoredChange::Leave(self.cluster.clients()[client].id(), LeaveCause::NodeLost);
        let log = LogId::Room(room.clone());
        let mut history = self.cluster.history().iter();
        history.any(|(at, of, event)| *at >= met && *of == log && event.change == leave)
    }

    /// Whether another client ever had the address that the client has in the room.
    fn is_contested(&self, room: &RoomId, client: ClientKey) -> bool {
        let peer = self.cluster.clients()[client].id();
        let log = LogId::Room(room.clone());
        let members = self.cluster.history().iter();
        let members = members.filter_map(|(_, of, event)| match &event.change {
            StoredChange::Join(member) if *of == log => Some(member),
            StoredChange::Join(_) | StoredChange::Leave(..) => None,
        });
        let members: Vec<_> = members.collect();
        let own = members.iter().rev().find(|member| member.peer == peer);
        own.is_some_and(|own| {
            let mut others = members.iter();
            others.any(|member| member.address == own.address && member.peer != peer)
        })
    }

    /// The time at which the current membership of a client began.
    fn member_since(&self, room: &RoomId, client: ClientKey) -> Duration {
        let join = self.last_join(room, client, false);
        join.map(|(at, _)| at).unwrap_or_default()
    }

    /// The time and the position of the last join of a client or, if `is_restored`, of its last
    /// addition to the store.
    fn last_join(
        &self,
        room: &RoomId,
        client: ClientKey,
        is_restored: bool,
    ) -> Option<(Duration, Position)> {
        let peer = self.cluster.clients()[client].id();
        let log = LogId::Room(room.clone());
        let history = self.cluster.history().iter().rev();
        let mut joins = history.filter_map(|(at, of, event)| match &event.change {
            StoredChange::Join(member) if *of == log => Some((*at, member, event.version.head)),
            StoredChange::Join(_) | StoredChange::Leave(..) => None,
        });
        let join = joins.find(|(_, member, head)| {
            member.peer == peer && (is_restored || member.since == *head)
        });
        join.map(|(at, member, _)| (at, member.since))
    }

    /// The store, and the hub of each node with a member, have exactly the members that are present.
    fn check_stores_agree(&mut self, room: &RoomId, present: &[ClientKey]) {
        let expected: BTreeSet<_> = present.iter().copied().collect();
        let members = self
            .cluster
            .stored(room)
            .map(|it| it.members)
            .unwrap_or_default();
        let stored: BTreeSet<_> = members
            .iter()
            .filter_map(|member| self.cluster.client_of(member.peer))
            .collect();
        if stored != expected {
            self.report(format!(
                "{room:?}: stored: {stored:?}, expected {expected:?}"
            ));
        }
        let addresses: BTreeSet<_> = members.iter().map(|member| &member.address).collect();
        if addresses.len() != members.len() {
            self.report(format!("{room:?}: duplicate address: {members:?}"));
        }
        for (key, node) in self.cluster.nodes().iter().enumerate() {
            let members = node.hub().members(room);
            let members: BTreeSet<_> = members
                .iter()
                .filter_map(|member| self.cluster.client_of(member.peer))
                .collect();
            let has_member = present
                .iter()
                .any(|client| self.cluster.clients()[*client].node() == key);
            if node.is_alive() && has_member && members != expected {
                self.report(format!(
                    "{room:?}: s{key} has {members:?}, expected {expected:?}"
                ));
            }
        }
    }

    /// Each name belongs to one client.
    fn check_names(&mut self) {
        let claimed = self
            .histories
            .iter()
            .enumerate()
            .flat_map(|(client, history)| {
                let names = history.claimed.keys();
                names.map(move |name| (name.clone(), client))
            });
        let mut claimed: Vec<_> = claimed.collect();
        claimed.sort();
        for pair in claimed.windows(2) {
            if pair[0].0 == pair[1].0 {
                self.report(format!("two clients have a name: {pair:?}"));
            }
        }
        for (name, client) in claimed {
            let members = self.cluster.stored_name(&name).map(|it| it.members);
            let holder = members.and_then(|members| self.cluster.client_of(members.first()?.peer));
            if holder != Some(client) {
                self.report(format!(
                    "c{client} has {name:?}, the stored holder is {holder:?}"
                ));
            }
        }
    }

    /// Every join is answered in time.
    fn check_joins(&mut self) {
        for client in 0..self.histories.len() {
            for join in self.histories[client].joins.clone() {
                let is_connected = self.cluster.clients()[client].is_connected();
                let Some(answered) = join.answered else {
                    if is_connected {
                        self.report(format!(
                            "c{client}'s join of {:?} is not answered",
                            join.requested
                        ));
                    }
                    continue;
                };
                let node = self.cluster.clients()[client].node();
                let limit = Duration::from_secs(4) + LEASE * 2 + ROUND_TRIPS;
                let limit = limit + self.paused_time(node, join.requested);
                if answered > join.requested + limit {
                    let took = answered.saturating_sub(join.requested);
                    self.report(format!(
                        "c{client}'s join of {:?} took {took:?}",
                        join.requested
                    ));
                }
            }
        }
    }

    /// The time for which a process was paused after `since`.
    fn paused_time(&self, node: usize, since: Duration) -> Duration {
        let outages = self.cluster.outages().iter();
        let pauses = outages.filter(|it| it.kind == "pause" && it.node == Some(node));
        let pauses = pauses.filter(|it| it.until >= since);
        pauses.map(|it| it.until - it.from.min(it.until)).sum()
    }

    /// Members of a dead node are removed within the lease.
    fn check_dead_nodes(&mut self) {
        let limit = self.cluster.eviction_deadline();
        let mut violations = Vec::new();
        let crashes = self.cluster.outages().iter();
        for crash in crashes.filter(|outage| outage.kind == "crash") {
            let end = crash.from + limit;
            for (client, history) in self.histories.iter().enumerate() {
                let node = self.cluster.clients()[client].node();
                let from = crash.from.saturating_sub(LEASE);
                if self.has_fault(Some(node), from, end) || self.has_fault(None, from, end) {
                    continue;
                }
                let memberships = history.memberships.iter();
                let observations = memberships.flat_map(|membership| {
                    membership
                        .observations
                        .iter()
                        .map(|it| (it, membership.until))
                });
                for (observation, left_at) in observations {
                    let their_node = self.cluster.clients()[observation.other].node();
                    let removed_at = observation.until.or(left_at).unwrap_or(self.cluster.now());
                    if Some(their_node) == crash.node
                        && observation.from <= crash.from
                        && removed_at > end
                    {
                        let other_client = observation.other;
                        let after = removed_at.saturating_sub(crash.from);
                        violations.push(format!("c{client} still observes c{other_client} of a crashed node after {after:?}"));
                    }
                }
            }
        }
        self.violations.append(&mut violations);
    }

    /// Whether a node (`None`: the store) had a fault in an interval.
    fn has_fault(&self, node: Option<usize>, from: Duration, until: Duration) -> bool {
        let outages = self.cluster.outages().iter();
        let mut matching = outages.filter(|outage| outage.node == node);
        matching.any(|outage| outage.from <= until && outage.until + Duration::from_secs(1) >= from)
    }

    /// A live client whose node is connected to the store is not evicted as unresponsive.
    fn check_evictions(&mut self) {
        for client in 0..self.histories.len() {
            let Some((at, EvictionReason::Unresponsive)) = self.histories[client].evicted else {
                continue;
            };
            let client_state = &self.cluster.clients()[client];
            // A node that missed the leave, and finds another member at the address, can only guess its reason.
            let mut history = self.cluster.history().iter();
            let is_guessed = !history.any(|(_, _, event)| {
                event.change
                    == StoredChange::Leave(
                        client_state.id(),
                        LeaveCause::Evicted(EvictionReason::Unresponsive),
                    )
            });
            let from = at.saturating_sub(Duration::from_millis(2500));
            let has_fault = self.has_fault(Some(client_state.node()), from, at)
                || self.has_fault(None, from.saturating_sub(LEASE), at);
            // A claimant's process that was paused until shortly before the end of the challenge
            // may handle its timers before the data in its sockets.
            let mut pauses = self
                .cluster
                .outages()
                .iter()
                .filter(|it| it.kind == "pause");
            let is_sudden = pauses.any(|it| it.until <= at && it.until + ROUND_TRIPS >= at);
            if client_state.frozen_at().is_none() && !has_fault && !is_sudden && !is_guessed {
                self.report(format!("c{client} is alive and was evicted at {at:?}"));
            }
        }
    }

    // Checks of runs without faults

    /// A message among clients that stay members for a while arrives: at the membership that its
    /// sender observes, or at all members that were introduced to the sender. A message to one
    /// client that does not arrive is answered with an error.
    fn check_delivery(&mut self) {
        for (serial, sent) in self.cluster.sent().iter().enumerate() {
            let until = sent.at + ROUND_TRIPS;
            let sender = &self.histories[sent.from];
            let sender_membership = sender.membership_during(&sent.room, sent.at, until);
            let Some(sender_membership) =
                sender_membership.filter(|_| sender.requested.contains_key(&serial))
            else {
                continue;
            };
            let sender_membership = &sender_membership.clone();
            for client in 0..self.histories.len() {
                let own = self.histories[client].membership_during(&sent.room, sent.at, until);
                // Two clients that are not introduced to each other yet may receive the joins in
                // either order.
                let is_addressed = own.is_some_and(|own| match sent.to {
                    // The receiver may have left and joined again before the sender observes it. A
                    // message to its former membership is not delivered to the new one.
                    Some(to) => to == client && observed_at(sender_membership, to, own, sent.at),
                    None => {
                        observed_during(own, sent.from, sent.at, until)
                            && observed_during(sender_membership, client, sent.at, until)
                    }
                });
                let is_received = self.histories[client].received_serials.contains(&serial);
                if is_addressed && !is_received && self.understands(client, sent) {
                    self.report(format!("c{client} does not receive {serial}: {sent:?}"));
                }
            }
            self.check_answered(serial, sent, until);
        }
    }

    /// Of the messages of a member to one client, those that do not arrive are answered with an
    /// error, unless they reached a connection that was about to end.
    fn check_answered(&mut self, serial: usize, sent: &SentMessage, until: Duration) {
        let Some(to) = sent.to.filter(|to| self.stays_connected(*to, until)) else {
            return;
        };
        let is_same = |other: &SentMessage| {
            (other.from, other.to, &other.room) == (sent.from, sent.to, &sent.room)
                && (sent.at..until).contains(&other.at)
        };
        let same = self.cluster.sent().iter().enumerate();
        let same = same.filter(|(_, other)| is_same(other));
        let received = &self.histories[to].received_serials;
        let requested = &self.histories[sent.from].requested;
        let lost =
            same.filter(|(other, _)| requested.contains_key(other) && !received.contains(other));
        let lost = lost.count();
        let errors = self.histories[sent.from].undelivered.iter();
        let errors = errors.filter(|(at, room, target)| {
            *at >= sent.at && *room == sent.room && *target == Some(to)
        });
        if errors.count() < lost {
            let from = sent.from;
            self.report(format!(
                "c{from} is not told that {serial} was not delivered: {sent:?}"
            ));
        }
    }

    fn stays_connected(&self, client: ClientKey, until: Duration) -> bool {
        let history = &self.histories[client];
        let evicted = history.evicted.map(|(at, _)| at);
        let end = history.ended.into_iter().chain(evicted).min();
        end.is_none_or(|end| end > until)
    }

    /// Whether the dialect of the client can express the message.
    fn understands(&self, client: ClientKey, sent: &SentMessage) -> bool {
        let [of, to] = [sent.from, client].map(|client| self.cluster.clients()[client].dialect());
        !sent.is_offer || to.signals || of.name == to.name
    }

    /// All clients observe the joins and leaves of the log in its order.
    fn check_order(&mut self) {
        for name in ROOMS {
            let log = LogId::Room(room(name));
            let changes = self.cluster.history().iter();
            let changes: Vec<_> = changes
                .filter(|(_, of, _)| *of == log)
                .map(|(_, _, event)| event.change.clone())
                .collect();
            for client in 0..self.histories.len() {
                for own in self.histories[client].memberships.clone() {
                    if own.room == room(name) {
                        self.check_order_of(client, &own, &changes);
                    }
                }
            }
        }
    }

    fn check_order_of(&mut self, client: ClientKey, own: &OwnMembership, changes: &[StoredChange]) {
        let cluster = self.cluster;
        let mut rest = changes.iter();
        for (other_client, is_join) in own.order.iter().copied() {
            let found = rest.any(|change| match change {
                StoredChange::Join(member) => {
                    is_join && cluster.client_of(member.peer) == Some(other_client)
                }
                StoredChange::Leave(peer, _) => {
                    !is_join && cluster.client_of(*peer) == Some(other_client)
                }
            });
            if !found {
                self.report(format!(
                    "c{client} observes a change of c{other_client} out of order ({is_join})"
                ));
                return;
            }
        }
    }
}

/// Whether another client was observed for a whole interval. An introduction at the start of the
/// interval is not enough, because it may have followed the message.
fn observed_during(
    own: &OwnMembership,
    other_client: ClientKey,
    from: Duration,
    until: Duration,
) -> bool {
    let mut observations = own
        .observations
        .iter()
        .filter(|observation| observation.other == other_client);
    observations.any(|observation| {
        observation.from < from && observation.until.is_none_or(|end| end > until)
    })
}

/// Whether a client observed this membership of another client at a moment before which it was introduced.
fn observed_at(
    own: &OwnMembership,
    other_client: ClientKey,
    other_membership: &OwnMembership,
    at: Duration,
) -> bool {
    let mut observations = observations_of(own, other_client, other_membership).into_iter();
    observations
        .any(|observation| observation.from < at && observation.until.is_none_or(|end| end > at))
}

/// The observations of the current membership of another client.
fn observations_of(
    own: &OwnMembership,
    other: ClientKey,
    their_membership: &OwnMembership,
) -> Vec<Observation> {
    let observations = own.observations.iter();
    observations
        .filter(|observation| {
            observation.other == other && their_membership.names.contains(&observation.membership)
        })
        .cloned()
        .collect()
}

/// The expected role of a newcomer towards a member.
fn expected_role(newcomer: &DialectTraits, member: &DialectTraits) -> OfferRole {
    let is_same = newcomer.name == member.name;
    match (newcomer.offer_policy, member.offer_policy) {
        _ if !(is_same || newcomer.signals && member.signals) => OfferRole::None,
        (OfferPolicy::Unspecified, OfferPolicy::Unspecified) => OfferRole::None,
        (OfferPolicy::MemberOffers, _) if is_same => OfferRole::Answerer,
        (OfferPolicy::NewcomerOffers | OfferPolicy::MemberOffers, _) => OfferRole::Offerer,
        (OfferPolicy::Unspecified, _) => OfferRole::Answerer,
    }
}
