//! Addresses that stay reserved for clients that have lost their connection (see [`Token`](crate::Token)).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use crate::{command::ResourceKey, introduction::Member, limits::RESERVATIONS_MAX};

/// The reserved addresses, each until it expires or its client has returned.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    by_resource: BTreeMap<ResourceKey, (Arc<Member>, Instant)>,
    by_time: BTreeSet<(Instant, ResourceKey)>,
}

impl Reservations {
    /// Reserves the address of a member that has lost its connection, if the member has a token. At the limit, the
    /// reservation that expires first is dropped.
    pub(crate) fn keep(&mut self, resource: ResourceKey, member: &Arc<Member>, now: Instant) {
        let Some(token) = member.token.as_ref().filter(|token| !token.grace.is_zero()) else {
            return;
        };
        self.release(&resource);
        if self.by_resource.len() >= RESERVATIONS_MAX
            && let Some((_, resource)) = self.by_time.pop_first()
        {
            self.by_resource.remove(&resource);
        }
        let until = now + token.grace;
        self.by_time.insert((until, resource.clone()));
        self.by_resource.insert(resource, (member.clone(), until));
    }

    /// Removes the reservation of a resource that a member holds again.
    pub(crate) fn release(&mut self, resource: &ResourceKey) {
        if let Some((_, until)) = self.by_resource.remove(resource) {
            self.by_time.remove(&(until, resource.clone()));
        }
    }

    /// Whether the resource is reserved for the client of `member`.
    pub(crate) fn is_kept_for(
        &self,
        resource: &ResourceKey,
        member: &Member,
        now: Instant,
    ) -> bool {
        let kept = self.by_resource.get(resource);
        kept.is_some_and(|(lost, until)| now < *until && lost.is_proven_same(member))
    }

    /// Whether the resource is reserved for another client than that of `member`.
    pub(crate) fn blocks(&self, resource: &ResourceKey, member: &Member, now: Instant) -> bool {
        let kept = self
            .by_resource
            .get(resource)
            .filter(|(_, until)| now < *until);
        kept.is_some_and(|(lost, _)| !lost.is_proven_same(member))
    }

    /// Removes the reservations that have expired at `now`.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((until, resource)) = self.by_time.pop_first() {
            if until > now {
                self.by_time.insert((until, resource));
                return;
            }
            self.by_resource.remove(&resource);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, _)| *until)
    }
}
