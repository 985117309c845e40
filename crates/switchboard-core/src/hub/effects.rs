//! The effects of an input, until the driver polls them.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    command::{Charge, Effect},
    event::Event,
};

/// An [`Effect`]. A join has an event for each member of a large room, so an event takes little memory here; the
/// other effects are larger and few.
#[derive(Debug)]
enum QueuedEffect<L> {
    Deliver(L, Arc<Event>),
    Charge(L, Charge),
    Other(Box<Effect<L>>),
}

/// The effects in order.
#[derive(Debug)]
pub(super) struct Effects<L>(VecDeque<QueuedEffect<L>>);

impl<L> Default for Effects<L> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<L> Effects<L> {
    pub(super) fn deliver(&mut self, to: L, event: Arc<Event>) {
        self.0.push_back(QueuedEffect::Deliver(to, event));
    }

    pub(super) fn charge(&mut self, to: L, charge: Charge) {
        self.0.push_back(QueuedEffect::Charge(to, charge));
    }

    /// Adds an effect that is neither a delivery nor a charge.
    pub(super) fn push(&mut self, effect: Effect<L>) {
        self.0.push_back(QueuedEffect::Other(Box::new(effect)));
    }

    pub(super) fn pop(&mut self) -> Option<Effect<L>> {
        Some(match self.0.pop_front()? {
            QueuedEffect::Deliver(to, event) => Effect::Deliver(to, event),
            QueuedEffect::Charge(to, charge) => Effect::Charge(to, charge),
            QueuedEffect::Other(effect) => *effect,
        })
    }
}
