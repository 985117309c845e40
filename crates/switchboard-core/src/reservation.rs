//! Addresses that are kept for a client that lost its connection (see [`Token`](crate::Token)).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use crate::{command::ResourceKey, introduction::Member, limits::RESERVATIONS_MAX};

/// The addresses that are kept, each until its time is over or its client is back.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    by_place: BTreeMap<ResourceKey, (Arc<Member>, Instant)>,
    by_time: BTreeSet<(Instant, ResourceKey)>,
}

impl Reservations {
    /// Keeps the place of a member that has lost its connection, if it has shown a token. If too many are
    /// kept, the one that would be kept the shortest is not kept any more.
    pub(crate) fn keep(&mut self, place: ResourceKey, member: &Arc<Member>, now: Instant) {
        let Some(token) = member.token.as_ref().filter(|token| !token.grace.is_zero()) else {
            return;
        };
        self.lift(&place);
        if self.by_place.len() >= RESERVATIONS_MAX
            && let Some((_, place)) = self.by_time.pop_first()
        {
            self.by_place.remove(&place);
        }
        let until = now + token.grace;
        self.by_time.insert((until, place.clone()));
        self.by_place.insert(place, (member.clone(), until));
    }

    /// Somebody has the place again.
    pub(crate) fn lift(&mut self, place: &ResourceKey) {
        if let Some((_, until)) = self.by_place.remove(place) {
            self.by_time.remove(&(until, place.clone()));
        }
    }

    /// Whether the place is kept for somebody else than `member`.
    pub(crate) fn is_against(&self, place: &ResourceKey, member: &Member, now: Instant) -> bool {
        let kept = self.by_place.get(place).filter(|(_, until)| now < *until);
        kept.is_some_and(|(lost, _)| !lost.is_proven_same(member))
    }

    /// Forgets what is over at `now`.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((until, place)) = self.by_time.pop_first() {
            if until > now {
                self.by_time.insert((until, place));
                return;
            }
            self.by_place.remove(&place);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }
}
