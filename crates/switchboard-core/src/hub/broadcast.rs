//! The receivers of a message to all members of a room, found in one pass over the members.

use std::{ptr, sync::Arc};

use super::{
    effects::{Effects, Receivers},
    relay::received_event,
};
use crate::{
    id::RoomId,
    introduction::{DialectTraits, Member},
    log::NodeId,
    message::RelayedMessage,
    room::{Membership, Room},
};

/// Whether the members of a dialect receive a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reception {
    Understood,
    /// The dialect receives messages of this kind, but cannot express this one.
    Untranslatable,
    /// The dialect receives no messages of this kind.
    Excluded,
    /// The frame must be parsed first.
    Unparsed,
}

impl Reception {
    fn of(message: &RelayedMessage, dialect: &DialectTraits) -> Self {
        if message.is_of_dialect(dialect.name) {
            Self::Understood
        } else if !message.needs_content_for(dialect) {
            Self::Excluded
        } else if message.is_unparsed() {
            Self::Unparsed
        } else if message.is_understood_by(dialect) {
            Self::Understood
        } else {
            Self::Untranslatable
        }
    }
}

/// The receivers of a message.
pub(super) struct Broadcast<L> {
    /// Their connections to this node.
    locals: Receivers<L>,
    /// The other nodes that visible members are connected to, without duplicates.
    pub(super) nodes: Vec<NodeId>,
    /// Their number on all nodes.
    pub(super) receivers: usize,
    /// A member does not receive the message because its dialect cannot express the message's content.
    pub(super) is_untranslatable: bool,
}

impl<L: Clone> Broadcast<L> {
    /// The receivers of a message of the member `from`. `None` if the frame must be parsed first.
    pub(super) fn of_member(
        room: &Room<L>,
        from: &Member,
        message: &RelayedMessage,
    ) -> Option<Self> {
        let Some(alias) = &message.aliases.to else {
            return Self::new(room.visible_to(from), room.members_len(), message);
        };
        // The other nodes resolve the alias for their members.
        let nodes = room.visible_to(from).filter_map(|other| other.node);
        let nodes = without_duplicates(nodes.collect());
        let named = Self::new(room.receivers(from, alias), 0, message)?;
        Some(Self { nodes, ..named })
    }

    /// The receivers of a message of the host program. `None` if the frame must be parsed first.
    pub(super) fn of_host(room: &Room<L>, message: &RelayedMessage) -> Option<Self> {
        Self::new(room.memberships(), room.members_len(), message)
    }

    fn new<'a>(
        memberships: impl Iterator<Item = &'a Membership<L>>,
        count: usize,
        message: &RelayedMessage,
    ) -> Option<Self>
    where
        L: 'a,
    {
        let mut own = Self {
            locals: Receivers::None,
            nodes: Vec::new(),
            receivers: 0,
            is_untranslatable: false,
        };
        let mut is_unparsed = false;
        // Most members have the dialect of the member before.
        let mut last: Option<(&DialectTraits, Reception)> = None;
        // `for_each` of the combined iterators is faster than a loop.
        memberships.for_each(|membership| {
            let dialect = membership.member.dialect;
            let reception = match last {
                Some((known, reception)) if ptr::eq(known, dialect) => reception,
                Some(_) | None => Reception::of(message, dialect),
            };
            last = Some((dialect, reception));
            is_unparsed |= reception == Reception::Unparsed;
            own.add(membership, reception, count);
        });
        own.nodes = without_duplicates(own.nodes);
        (!is_unparsed).then_some(own)
    }

    fn add(&mut self, membership: &Membership<L>, reception: Reception, count: usize) {
        self.nodes.extend(membership.node);
        match reception {
            Reception::Understood => {
                self.receivers += 1;
                if let Some(local) = &membership.local {
                    self.locals.add(local.clone(), count);
                }
            }
            Reception::Untranslatable => self.is_untranslatable = true,
            Reception::Excluded | Reception::Unparsed => {}
        }
    }

    /// Delivers the message to the receivers that are connected to this node.
    pub(super) fn deliver(
        &mut self,
        effects: &mut Effects<L>,
        room: &RoomId,
        from: &Arc<Member>,
        message: &Arc<RelayedMessage>,
    ) {
        let event = received_event(room, from, false, message.clone());
        effects.deliver_all(std::mem::take(&mut self.locals), Arc::new(event));
    }
}

fn without_duplicates(mut nodes: Vec<NodeId>) -> Vec<NodeId> {
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}
