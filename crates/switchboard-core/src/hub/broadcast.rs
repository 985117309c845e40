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
    room::{Membership, Room, UniformMembers},
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
    /// The receivers' connections to this node.
    locals: Receivers<L>,
    /// The other nodes that visible members are connected to, without duplicates.
    pub(super) nodes: Vec<NodeId>,
    /// The number of receivers on all nodes.
    pub(super) receivers: usize,
    /// Whether a member misses the message because its dialect cannot express the content.
    pub(super) is_untranslatable: bool,
}

impl<L: Clone> Broadcast<L> {
    /// The receivers of a message of the member `from`. `None` if the frame must be parsed first.
    ///
    /// The message may be for an alias: an id that a client has made for itself, and that several members may have.
    pub(super) fn of_member(
        room: &Room<L>,
        from: &Member,
        message: &RelayedMessage,
    ) -> Option<Self> {
        if message.aliases.to.is_none()
            && let Some(members) = room.uniform_members()
            && message.is_of_dialect(members.dialect.name)
        {
            return Some(Self::of_uniform(members, from));
        }
        let Some(alias) = &message.aliases.to else {
            return Self::new(room.visible_to(from), room.visible_reserve(from), message);
        };
        // Every node with a visible member gets the message: it resolves the alias for its own members.
        let nodes = room.visible_to(from).filter_map(Membership::node);
        let nodes = without_duplicates(nodes.collect());
        let named = Self::new(room.receivers(from, alias), 0, message)?;
        Some(Self { nodes, ..named })
    }

    /// The receivers of a message of the program that embeds the server. `None` if the frame must be parsed first.
    pub(super) fn of_host(room: &Room<L>, message: &RelayedMessage) -> Option<Self> {
        Self::new(room.memberships(), room.members_len(), message)
    }

    /// The receivers of a message of `from`, which must be one of `members`.
    fn of_uniform(members: &UniformMembers<L>, from: &Member) -> Self {
        let receivers = members.locals.len() - 1;
        let locals = match receivers {
            0 => Receivers::None,
            _ => Receivers::AllBut(from.peer, members.locals.clone()),
        };
        Self {
            locals,
            nodes: Vec::new(),
            receivers,
            is_untranslatable: false,
        }
    }

    /// The receivers of a message to `memberships`. `None` if the frame must be parsed first. Memory is reserved for
    /// `reserved` receivers when there is a second local one.
    fn new<'a>(
        mut memberships: impl Iterator<Item = &'a Membership<L>>,
        reserved: usize,
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
        // Most members have the dialect of the member before.
        let mut last: Option<(&DialectTraits, Reception)> = None;
        // `try_for_each` of the combined iterators is faster than a loop.
        let passed = memberships.try_for_each(|membership| {
            let dialect = membership.member.dialect;
            let reception = match last {
                Some((known, reception)) if ptr::eq(known, dialect) => reception,
                Some(_) | None => Reception::of(message, dialect),
            };
            last = Some((dialect, reception));
            if reception == Reception::Unparsed {
                return None;
            }
            own.add(membership, reception, reserved);
            Some(())
        });
        own.nodes = without_duplicates(own.nodes);
        passed.map(|()| own)
    }

    fn add(&mut self, membership: &Membership<L>, reception: Reception, reserved: usize) {
        self.nodes.extend(membership.node());
        match reception {
            Reception::Understood => {
                self.receivers += 1;
                if let Some(local) = membership.local() {
                    self.locals.add(local.clone(), reserved);
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        id::{PeerId, Position},
        introduction::Group,
        message::MessageKind,
        room::{Counterparts, MemberLocation},
    };

    static OWN: DialectTraits = DialectTraits {
        name: "own",
        ..DialectTraits::DEFAULT
    };

    static OTHER: DialectTraits = DialectTraits {
        name: "other",
        ..DialectTraits::DEFAULT
    };

    /// Kind 1 has another dialect, 2 is in a group, 3 is on another node; all others are uniform.
    fn membership(number: u8, kind: u8) -> Membership<u8> {
        let peer = PeerId::from([number; 16]);
        let dialect = if kind == 1 { &OTHER } else { &OWN };
        let capacity = NonZeroUsize::MIN;
        let group = (kind == 2).then(|| {
            Box::new(Group {
                first: peer,
                capacity,
            })
        });
        Membership {
            member: Arc::new(Member {
                group,
                ..Member::new(peer, peer.into(), dialect)
            }),
            since: u64::from(number).into(),
            location: match kind {
                3 => MemberLocation::Remote(NodeId::from(1)),
                _ => MemberLocation::Connected(number),
            },
            counterparts: Counterparts::default(),
        }
    }

    fn result(broadcast: Broadcast<u8>) -> impl PartialEq + std::fmt::Debug {
        let mut locals = match broadcast.locals {
            Receivers::None => Vec::new(),
            Receivers::One(local) => vec![local],
            Receivers::Many(locals) => locals,
            Receivers::AllBut(sender, members) => {
                let others = members.iter().filter(|(peer, _)| *peer != sender);
                others.map(|(_, local)| *local).collect()
            }
        };
        locals.sort_unstable();
        (
            locals,
            broadcast.nodes,
            broadcast.receivers,
            broadcast.is_untranslatable,
        )
    }

    proptest! {
        /// The steps are joins, leaves that are committed, and leaves that are pending.
        #[test]
        fn uniform_members_give_the_same_receivers_as_a_pass_over_all_members(
            steps in vec((1..12_u8, 0..40_u8), 1..80),
        ) {
            let message = RelayedMessage::new("own", MessageKind::Opaque, "".into(), |_, _| false);
            let mut room = Room::default();
            for (number, action) in steps {
                let peer = PeerId::from([number; 16]);
                match room.membership(peer) {
                    None => room.join(membership(number, action)),
                    Some(_) if action < 4 => {
                        room.membership_mut(peer).expect("a member").location = MemberLocation::Leaving;
                    }
                    Some(_) => drop(room.leave(Position::default(), peer)),
                }
                let senders: Vec<_> = room.memberships().filter(|own| own.local().is_some()).collect();
                for sender in senders {
                    let from = &sender.member;
                    let found = Broadcast::of_member(&room, from, &message).map(result);
                    let passed = Broadcast::new(room.visible_to(from), 0, &message).map(result);
                    prop_assert_eq!(found, passed);
                }
            }
        }
    }
}
