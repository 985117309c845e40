//! The effects of an input, until the driver polls them.

use std::{collections::VecDeque, sync::Arc, vec};

use crate::{
    command::{Charge, Effect},
    event::Event,
    id::PeerId,
};

/// The most receivers for which memory is reserved before they are known.
const RESERVED_MAX: usize = 1024;

/// The deliveries of one event to several connections. Each stands for an [`Effect::Deliver`].
#[derive(Debug)]
pub struct Deliveries<L> {
    /// The connections whose outboxes get the event.
    pub receivers: EventReceivers<L>,
    /// The event that all of them get.
    pub event: Arc<Event>,
}

/// The connections that get one event. There may be none left.
#[derive(Debug)]
pub struct EventReceivers<L>(Listed<L>);

#[derive(Debug)]
enum Listed<L> {
    Own(vec::IntoIter<L>),
    /// All members from the index `next` on, but the sender.
    Shared {
        members: Arc<[(PeerId, L)]>,
        next: usize,
        sender: PeerId,
    },
}

impl<L: Clone> Iterator for EventReceivers<L> {
    type Item = L;

    fn next(&mut self) -> Option<L> {
        match &mut self.0 {
            Listed::Own(receivers) => receivers.next(),
            Listed::Shared {
                members,
                next,
                sender,
            } => loop {
                let (peer, local) = members.get(*next)?;
                *next += 1;
                if peer != sender {
                    return Some(local.clone());
                }
            },
        }
    }

    /// The sender may still be among the rest, so one fewer may follow.
    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Listed::Own(receivers) => receivers.size_hint(),
            Listed::Shared { members, next, .. } => {
                let left = members.len() - next;
                (left.saturating_sub(1), Some(left))
            }
        }
    }
}

/// The receivers of an event. One needs no memory: most rooms have two members.
#[derive(Debug, Default)]
pub(super) enum Receivers<L> {
    #[default]
    None,
    One(L),
    Many(Vec<L>),
    /// All of these members but the sender.
    AllBut(PeerId, Arc<[(PeerId, L)]>),
}

impl<L> Receivers<L> {
    /// Adds a receiver. Not for `AllBut`, which it would replace. Reserves memory for `count` receivers when the second
    /// one is added.
    pub(super) fn add(&mut self, receiver: L, count: usize) {
        match self {
            Self::Many(receivers) => receivers.push(receiver),
            Self::None => *self = Self::One(receiver),
            Self::One(_) | Self::AllBut(..) => {
                let mut receivers = Vec::with_capacity(count.clamp(2, RESERVED_MAX));
                if let Self::One(first) = std::mem::take(self) {
                    receivers.push(first);
                }
                receivers.push(receiver);
                *self = Self::Many(receivers);
            }
        }
    }
}

/// A queued [`Effect`], kept small. The deliveries of one event to many members, as at a join, are one entry; the large
/// effects are rare, so they are boxed.
#[derive(Debug)]
enum QueuedEffect<L> {
    Deliver(L, Arc<Event>),
    DeliverAll(Deliveries<L>),
    /// A cost that counts against the limits of a connection.
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

impl<L: Clone> Effects<L> {
    pub(super) fn deliver(&mut self, to: L, event: Arc<Event>) {
        self.0.push_back(QueuedEffect::Deliver(to, event));
    }

    /// Adds a delivery to each of these connections.
    pub(super) fn deliver_all(&mut self, receivers: Receivers<L>, event: Arc<Event>) {
        match receivers {
            Receivers::None => {}
            Receivers::One(to) => self.deliver(to, event),
            Receivers::Many(receivers) => self.push_all(Listed::Own(receivers.into_iter()), event),
            Receivers::AllBut(sender, members) => {
                let receivers = Listed::Shared {
                    members,
                    next: 0,
                    sender,
                };
                self.push_all(receivers, event);
            }
        }
    }

    fn push_all(&mut self, receivers: Listed<L>, event: Arc<Event>) {
        let receivers = EventReceivers(receivers);
        let deliveries = Deliveries { receivers, event };
        self.0.push_back(QueuedEffect::DeliverAll(deliveries));
    }

    pub(super) fn charge(&mut self, to: L, charge: Charge) {
        self.0.push_back(QueuedEffect::Charge(to, charge));
    }

    /// Adds an effect that is neither a delivery nor a charge.
    pub(super) fn push(&mut self, effect: Effect<L>) {
        self.0.push_back(QueuedEffect::Other(Box::new(effect)));
    }

    /// Removes the next effect if it is a delivery to several connections.
    pub(super) fn pop_deliveries(&mut self) -> Option<Deliveries<L>> {
        let is_deliveries = |effect: &mut _| matches!(effect, QueuedEffect::DeliverAll(_));
        match self.0.pop_front_if(is_deliveries)? {
            QueuedEffect::DeliverAll(deliveries) => Some(deliveries),
            QueuedEffect::Deliver(..) | QueuedEffect::Charge(..) | QueuedEffect::Other(_) => None,
        }
    }

    pub(super) fn pop(&mut self) -> Option<Effect<L>> {
        Some(match self.0.pop_front()? {
            QueuedEffect::Deliver(to, event) => Effect::Deliver(to, event),
            QueuedEffect::DeliverAll(deliveries) => return self.pop_one_of(deliveries),
            QueuedEffect::Charge(to, charge) => Effect::Charge(to, charge),
            QueuedEffect::Other(effect) => *effect,
        })
    }

    /// Removes one of several deliveries. The others stay the next effects.
    fn pop_one_of(&mut self, mut deliveries: Deliveries<L>) -> Option<Effect<L>> {
        let Some(to) = deliveries.receivers.next() else {
            return self.pop();
        };
        let event = deliveries.event.clone();
        self.0.push_front(QueuedEffect::DeliverAll(deliveries));
        Some(Effect::Deliver(to, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn event() -> Arc<Event> {
        Arc::new(Event::RequestFailed(ErrorCode::Taken.into()))
    }

    /// The effects of a broadcast to three members between deliveries to one member and to none.
    fn effects() -> Effects<u8> {
        let mut effects = Effects::default();
        effects.deliver(1, event());
        for receivers in [2..5, 5..6, 6..6] {
            let mut all = Receivers::default();
            receivers.for_each(|receiver| all.add(receiver, 1));
            effects.deliver_all(all, event());
        }
        effects.charge(6, Charge::SlowReceiver { bytes: 1 });
        effects
    }

    fn receiver(effect: &Effect<u8>) -> u8 {
        match effect {
            Effect::Deliver(to, _) | Effect::Charge(to, _) => *to,
            Effect::Propose { .. } | Effect::Send(..) => panic!("not queued: {effect:?}"),
        }
    }

    #[test]
    fn deliveries_to_several_connections_are_popped_one_by_one_in_order() {
        let mut effects = effects();
        let popped: Vec<_> = std::iter::from_fn(|| effects.pop()).collect();
        let receivers: Vec<_> = popped.iter().map(receiver).collect();
        assert_eq!(receivers, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn deliveries_to_several_connections_are_popped_at_once_only_when_they_are_next() {
        let mut effects = effects();
        assert!(effects.pop_deliveries().is_none());
        assert_eq!(effects.pop().as_ref().map(receiver), Some(1));
        assert_eq!(effects.pop().as_ref().map(receiver), Some(2));
        let rest = effects.pop_deliveries().expect("two are left");
        assert_eq!(rest.receivers.collect::<Vec<_>>(), [3, 4]);
        assert!(effects.pop_deliveries().is_none());
        assert_eq!(effects.pop().as_ref().map(receiver), Some(5));
    }

    #[test]
    fn deliveries_to_all_members_skip_the_sender() {
        let members: Arc<[_]> = (1..5)
            .map(|number| (PeerId::from([number; 16]), number))
            .collect();
        for sender in 1..5 {
            let mut effects = Effects::default();
            let all = Receivers::AllBut(PeerId::from([sender; 16]), members.clone());
            effects.deliver_all(all, event());
            effects.charge(9, Charge::SlowReceiver { bytes: 1 });
            let popped: Vec<_> = std::iter::from_fn(|| effects.pop()).collect();
            let receivers: Vec<_> = popped.iter().map(receiver).collect();
            let expected = (1..5).filter(|number| *number != sender).chain([9]);
            assert_eq!(receivers, expected.collect::<Vec<_>>());
        }
    }
}
