//! Checks that the clients of a run received the events that the invariants require, and no others.
//!
//! The simulation's log of joins and leaves determines the events that each client must receive in its dialect. If the
//! client's connection has ended, the later ones of these events may be missing.

use std::{collections::BTreeSet, sync::Arc};

use switchboard_core::{Change, LeaveCause, LeaveKind, Member, PeerId, RoomId};
use switchboard_dialects::CloseReason;

use crate::{
    drivers::{ClientEvent, OfferRule, driver_of},
    random_run::{NICKS, ObservedEvent, RandomRun, TestClient, name_for, paired_peer},
};

/// The members of all rooms, oldest first.
type MembersByRoom = Vec<(RoomId, Arc<Member>)>;

pub(crate) struct Oracle<'p> {
    run: &'p RandomRun,
    /// The members before each change of the log, and after the last change.
    members_at: Vec<MembersByRoom>,
}

/// The time that two members share in a room, from the join of the later one to the first leave.
struct Encounter {
    newcomer: Arc<Member>,
    member: Arc<Member>,
    /// The values of [`ObservedEvent::at`] that the frames caused by this encounter can have.
    times: std::ops::RangeInclusive<usize>,
}

impl<'p> Oracle<'p> {
    pub(crate) fn new(run: &'p RandomRun) -> Self {
        let mut members_at = vec![MembersByRoom::new()];
        for entry in run.simulation.log() {
            let mut next = members_at.last().cloned().unwrap_or_default();
            match &entry.change {
                Change::Join(member) => next.push((entry.room.clone(), member.clone())),
                Change::Leave(peer, _) => {
                    next.retain(|(room, member)| *room != entry.room || member.peer != *peer);
                }
            }
            members_at.push(next);
        }
        Self { run, members_at }
    }

    pub(crate) fn check(&self) {
        let encounters = self.encounters();
        for (index, client) in self.run.clients.iter().enumerate() {
            check_order(index, client);
            self.check_presence(index, client);
            self.check_offer_events(index, client, &encounters);
            self.check_received_texts(index, client);
            check_senders_are_introduced(index, client);
            self.check_membership(index, client);
        }
        self.check_delivery();
    }

    fn peer(&self, client: &TestClient) -> PeerId {
        self.run.simulation.peer(client.id)
    }

    /// The client observes the joins and leaves of the log in its order.
    fn check_presence(&self, index: usize, client: &TestClient) {
        let expected = self.expected_presence(client);
        let observed = client.observed.iter().map(|observed| &observed.event);
        let observed: Vec<_> = observed
            .filter(|event| matches!(event, ClientEvent::Joined(_) | ClientEvent::Left(_)))
            .cloned()
            .collect();
        if self.run.simulation.is_connected(client.id) {
            assert_eq!(
                observed, expected,
                "joins and leaves observed by client {index} ({})",
                client.driver.name
            );
        } else {
            assert!(
                expected.starts_with(&observed),
                "client {index}: observed {observed:?}, expected {expected:?}"
            );
        }
    }

    fn expected_presence(&self, client: &TestClient) -> Vec<ClientEvent> {
        let mut expected = Vec::new();
        for (entry, members_at) in self.run.simulation.log().iter().zip(&self.members_at) {
            if self.is_member(members_at, &entry.room, self.peer(client)) {
                expected.extend(self.expected_of(&entry.change, members_at, client));
            } else if entry.change.peer() == self.peer(client) {
                expected.extend(announced_at_join(members_at, &entry.room, client));
            }
        }
        expected
    }

    fn is_member(&self, members_at: &MembersByRoom, room: &RoomId, peer: PeerId) -> bool {
        members_at
            .iter()
            .any(|(at, member)| at == room && member.peer == peer)
    }

    /// The event with which a member is told of a change in its room, if it is told.
    fn expected_of(
        &self,
        change: &Change,
        members_at: &MembersByRoom,
        client: &TestClient,
    ) -> Option<ClientEvent> {
        match change {
            Change::Join(member) => {
                let joined = ClientEvent::Joined(name_for(client.driver, member));
                client.driver.announces_joins.then_some(joined)
            }
            Change::Leave(peer, cause) => {
                let (_, member) = members_at.iter().find(|(_, member)| member.peer == *peer)?;
                // A silent leave, which only `mesh` has, is announced to members of other dialects, not to those of
                // `mesh`.
                let is_silent = *cause == LeaveCause::Requested(LeaveKind::Silent)
                    && member.dialect.name == "mesh";
                let is_announced = client.driver.announces_leaves
                    && self.observes(client, *peer)
                    && *peer != self.peer(client)
                    && !(is_silent && client.driver.name == "mesh");
                is_announced.then(|| ClientEvent::Left(name_for(client.driver, member)))
            }
        }
    }

    fn encounters(&self) -> Vec<Encounter> {
        let mut encounters = Vec::new();
        for (index, entry) in self.run.simulation.log().iter().enumerate() {
            let Change::Join(newcomer) = &entry.change else {
                continue;
            };
            let present = self.members_at[index]
                .iter()
                .filter(|(room, _)| *room == entry.room);
            encounters.extend(present.map(|(room, member)| Encounter {
                newcomer: newcomer.clone(),
                member: member.clone(),
                times: index + 1..=self.end(index + 1, room, newcomer, member),
            }));
        }
        encounters
    }

    /// The log length at which one of two members leaves, from `start` on.
    fn end(&self, start: usize, room: &RoomId, one: &Member, other: &Member) -> usize {
        let is_over = |members_at: &MembersByRoom| {
            [one, other]
                .iter()
                .any(|member| !self.is_member(members_at, room, member.peer))
        };
        let ends = self.members_at[start..].iter().position(is_over);
        ends.map_or(self.members_at.len(), |length| start + length)
    }

    /// Of two members, the one that the offer policy determines is told once to send the offer.
    fn check_offer_events(&self, index: usize, client: &TestClient, encounters: &[Encounter]) {
        let mut in_encounters = 0;
        for encounter in encounters {
            let Some((other, must_offer)) = self.side_of(client, encounter) else {
                continue;
            };
            if !self.observes(client, other.peer) {
                continue;
            }
            let name = name_for(client.driver, other);
            let count = count_offer_events(client, &name, encounter);
            in_encounters += count;
            let has_rejoined = client.rejoins.iter().any(|at| encounter.times.contains(at));
            let expected = usize::from(must_offer);
            let is_connected = self.run.simulation.is_connected(client.id);
            let fits = (count == expected)
                || (has_rejoined && must_offer && count > expected)
                || (has_rejoined && !must_offer && client.driver.announces_joins)
                || (!is_connected && count < expected);
            assert!(
                fits,
                "client {index} ({}) is told {count} times to offer to {name}, expected {expected}",
                client.driver.name
            );
        }
        let all = client
            .observed
            .iter()
            .filter(|observed| matches!(observed.event, ClientEvent::MustOffer(_)));
        assert_eq!(
            all.count(),
            in_encounters,
            "client {index} is told to offer to a member that it did not meet"
        );
    }

    /// Whether a client is told of a member in its room: clients of two-member dialects are told of one only.
    fn observes(&self, client: &TestClient, other: PeerId) -> bool {
        client.driver.has_member_ids
            || paired_peer(&self.run.simulation, self.peer(client)) == Some(other)
    }

    /// The other member of an encounter, and whether the client must offer to it.
    fn side_of<'m>(
        &self,
        client: &TestClient,
        encounter: &'m Encounter,
    ) -> Option<(&'m Member, bool)> {
        let own_peer = self.peer(client);
        let driver_for = |member: &Member| driver_of(member.dialect.name);
        let newcomer_must_offer =
            driver_for(&encounter.newcomer).newcomer_offers(driver_for(&encounter.member));
        if encounter.newcomer.peer == own_peer {
            Some((&encounter.member, newcomer_must_offer == Some(true)))
        } else if encounter.member.peer == own_peer {
            Some((&encounter.newcomer, newcomer_must_offer == Some(false)))
        } else {
            None
        }
    }

    /// The client receives the messages that are addressed to it once, in order, with the true sender.
    fn check_received_texts(&self, index: usize, client: &TestClient) {
        let mut last = vec![None; self.run.clients.len()];
        for ObservedEvent { event, at } in &client.observed {
            let (from, text) = match event {
                ClientEvent::Offer { from, sdp } => (from, sdp),
                ClientEvent::Text { from, text } => (from, text),
                ClientEvent::MustOffer(_)
                | ClientEvent::Joined(_)
                | ClientEvent::Left(_)
                | ClientEvent::Error(_)
                | ClientEvent::Other => {
                    continue;
                }
            };
            let serial: usize = text.parse().expect("a serial number");
            let sent = &self.run.sent[serial];
            let sender = match &sent.member {
                Some(member) => {
                    assert!(
                        sent.receivers.contains(&index),
                        "client {index} receives {sent:?}"
                    );
                    member.clone()
                }
                None => self.member_when_received(sent.from, *at),
            };
            let sender = &sender;
            // A chat message of `p2p` names its sender by the display name, not by the id.
            let is_chat = client.driver.name == "p2p" && matches!(event, ClientEvent::Text { .. });
            let name = match &sender.name {
                Some(name) if is_chat => name.to_string(),
                None if is_chat => sender.address.to_string(),
                _ => name_for(client.driver, sender),
            };
            assert_eq!(*from, name, "client {index} receives {sent:?}");
            assert!(
                last[sent.from] < Some(serial),
                "client {index} receives message {serial} twice or out of order"
            );
            last[sent.from] = Some(serial);
        }
    }

    /// The sender's membership at the time of delivery (`at`, a log length), for a message that was queued until the
    /// sender's join was committed.
    fn member_when_received(&self, from: usize, at: usize) -> Arc<Member> {
        let peer = self.peer(&self.run.clients[from]);
        let members = self.members_at[at].iter().map(|(_, member)| member);
        let mut members = members.filter(|member| member.peer == peer);
        members.next().expect("the sender is a member").clone()
    }

    /// Every message reaches all its receivers that are still connected.
    fn check_delivery(&self) {
        for (serial, sent) in self.run.sent.iter().enumerate() {
            for &receiver in &sent.receivers {
                let client = &self.run.clients[receiver];
                let is_received = client
                    .observed
                    .iter()
                    .any(|observed| carries_serial(&observed.event, serial));
                let is_connected = self.run.simulation.is_connected(client.id);
                assert!(
                    is_received || !is_connected,
                    "client {receiver} did not receive message {serial}: {sent:?}"
                );
            }
        }
    }

    /// Every join is committed or answered with an error, and no responsive client is evicted.
    fn check_membership(&self, index: usize, client: &TestClient) {
        let simulation = &self.run.simulation;
        if simulation.closed(client.id) == Some(CloseReason::GONE) {
            assert!(
                simulation.is_frozen(client.id),
                "client {index} is responsive and was evicted"
            );
        }
        if !self.run.can_act(index) {
            return;
        }
        match (simulation.member(client.id), &client.requested) {
            (None, None) => {}
            (Some((room, _)), Some(requested)) => {
                assert_eq!(room.name.as_str(), requested.room, "{index}")
            }
            (Some(membership), None) => {
                panic!("client {index} is in {membership:?} without a request")
            }
            (None, Some(requested)) => {
                let mut events_since = client.observed[requested.events_before..].iter();
                let is_rejected =
                    events_since.any(|observed| matches!(observed.event, ClientEvent::Error(_)));
                assert!(
                    is_rejected,
                    "the join {requested:?} of client {index} ({}) is not answered",
                    client.driver.name
                );
            }
        }
    }
}

/// The `Joined` events for the present members that neither send nor receive offers. They replace the `MustOffer`
/// events with which a newcomer is told of other members.
fn announced_at_join<'s>(
    members_at: &'s MembersByRoom,
    room: &'s RoomId,
    newcomer: &'s TestClient,
) -> impl Iterator<Item = ClientEvent> {
    let present = members_at.iter().filter(move |(at, _)| at == room);
    let without_offers = present
        .filter(|(_, member)| driver_of(member.dialect.name).offer_rule == OfferRule::NoOffers);
    let joined =
        without_offers.map(|(_, member)| ClientEvent::Joined(name_for(newcomer.driver, member)));
    joined.filter(|_| newcomer.driver.announces_joins)
}

fn count_offer_events(client: &TestClient, name: &str, encounter: &Encounter) -> usize {
    let offer_events = client.observed.iter().filter(|observed| {
        matches!(&observed.event, ClientEvent::MustOffer(other) if other == name)
            && encounter.times.contains(&observed.at)
    });
    offer_events.count()
}

fn carries_serial(event: &ClientEvent, serial: usize) -> bool {
    match event {
        ClientEvent::Offer { sdp: text, .. } | ClientEvent::Text { text, .. } => {
            *text == serial.to_string()
        }
        ClientEvent::MustOffer(_)
        | ClientEvent::Joined(_)
        | ClientEvent::Left(_)
        | ClientEvent::Error(_)
        | ClientEvent::Other => false,
    }
}

/// The client receives events in the order of their causes.
fn check_order(index: usize, client: &TestClient) {
    let events = client.observed.iter();
    let events = events
        .filter(|observed| !matches!(observed.event, ClientEvent::Error(_) | ClientEvent::Other));
    let times: Vec<_> = events.map(|observed| observed.at).collect();
    assert!(
        times.is_sorted(),
        "client {index} receives events out of order: {times:?}"
    );
}

/// A client whose dialect announces joins receives offers and leaves only of members that it was told of.
fn check_senders_are_introduced(index: usize, client: &TestClient) {
    if !client.driver.announces_joins {
        return;
    }
    let mut known = BTreeSet::new();
    for ObservedEvent { event, .. } in &client.observed {
        match event {
            ClientEvent::MustOffer(name) | ClientEvent::Joined(name) => drop(known.insert(name)),
            ClientEvent::Left(name) => {
                assert!(
                    known.remove(name),
                    "client {index} is told that {name} left, without a join"
                );
            }
            ClientEvent::Offer { from, .. } => assert!(
                known.contains(from) || is_self(client, from),
                "client {index} receives an offer of {from}, which was not introduced"
            ),
            ClientEvent::Text { .. } | ClientEvent::Error(_) | ClientEvent::Other => {}
        }
    }
}

/// Whether an offer may be one that the client sent to itself.
fn is_self(client: &TestClient, from: &str) -> bool {
    NICKS.contains(&from) || client.driver.name == "p2p"
}
