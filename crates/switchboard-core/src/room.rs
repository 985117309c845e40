//! One room: a replica of its log of changes, and where its members of this node are reached.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    command::Target,
    id::{Address, PeerId, Position},
    introduction::Member,
};

/// A member and, if it is of this node, its connection.
#[derive(Debug)]
pub(crate) struct Seat<L> {
    pub(crate) member: Arc<Member>,
    /// `None` once the member has asked to leave or was evicted: it is told nothing more.
    pub(crate) local: Option<L>,
}

/// The members in the order of their joins.
#[derive(Debug)]
pub(crate) struct Room<L> {
    position: Position,
    seats: BTreeMap<Position, Seat<L>>,
    by_peer: HashMap<PeerId, Position>,
    by_address: HashMap<Address, Position>,
    /// Joins of this node that the engine has not ordered yet.
    proposed: Vec<Seat<L>>,
}

impl<L> Default for Room<L> {
    fn default() -> Self {
        Self {
            position: Position::default(),
            seats: BTreeMap::new(),
            by_peer: HashMap::new(),
            by_address: HashMap::new(),
            proposed: Vec::new(),
        }
    }
}

impl<L> Room<L> {
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.proposed.is_empty()
    }

    /// Members, those under way included.
    pub(crate) fn len(&self) -> usize {
        self.seats.len() + self.proposed.len()
    }

    pub(crate) fn seat(&self, peer: PeerId) -> Option<&Seat<L>> {
        self.by_peer
            .get(&peer)
            .and_then(|position| self.seats.get(position))
    }

    pub(crate) fn seat_mut(&mut self, peer: PeerId) -> Option<&mut Seat<L>> {
        self.by_peer
            .get(&peer)
            .and_then(|position| self.seats.get_mut(position))
    }

    /// Everybody, in the order of their joins.
    pub(crate) fn seats(&self) -> impl Iterator<Item = &Seat<L>> {
        self.seats.values()
    }

    /// Everybody but `peer`, in the order of their joins.
    pub(crate) fn others(&self, peer: PeerId) -> impl Iterator<Item = &Seat<L>> {
        self.seats().filter(move |seat| seat.member.peer != peer)
    }

    /// The one member that `target` names. `Target::Everyone` names nobody in particular.
    pub(crate) fn find(&self, target: &Target) -> Option<&Seat<L>> {
        match target {
            Target::Everyone => None,
            Target::Peer(peer) => self.seat(*peer),
            Target::Address(address) => self
                .by_address
                .get(address)
                .and_then(|position| self.seats.get(position)),
        }
    }

    /// Who has this address, or will have it when its join is ordered.
    pub(crate) fn holder(&self, address: &Address) -> Option<&Seat<L>> {
        let seated = self
            .by_address
            .get(address)
            .and_then(|position| self.seats.get(position));
        seated.or_else(|| {
            self.proposed
                .iter()
                .find(|seat| seat.member.address == *address)
        })
    }

    pub(crate) fn propose(&mut self, member: Arc<Member>, local: L) {
        self.proposed.push(Seat {
            member,
            local: Some(local),
        });
    }

    /// Whether a join of this peer waits for the engine.
    pub(crate) fn is_proposed(&self, peer: PeerId) -> bool {
        self.proposed.iter().any(|seat| seat.member.peer == peer)
    }

    /// Seats a member at `position`.
    pub(crate) fn join(&mut self, position: Position, member: Arc<Member>) {
        self.position = position;
        let proposed = self
            .proposed
            .iter()
            .position(|seat| seat.member.peer == member.peer);
        let local = proposed.and_then(|index| self.proposed.remove(index).local);
        self.by_peer.insert(member.peer, position);
        self.by_address.insert(member.address.clone(), position);
        self.seats.insert(position, Seat { member, local });
    }

    /// Frees the seat of a member that left at `position`.
    pub(crate) fn leave(&mut self, position: Position, peer: PeerId) -> Option<Arc<Member>> {
        self.position = position;
        let seat = self.seats.remove(&self.by_peer.remove(&peer)?)?;
        self.by_address.remove(&seat.member.address);
        Some(seat.member)
    }
}
