//! The counterparts of a member.

use crate::{id::PeerId, limits::COUNTERPARTS_MAX};

/// Members of this node that are notified of the leave of one member only because they have exchanged a session
/// description with it. Some of them may have left. Most members have no counterpart.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "each member has this type, and few have a list"
)]
pub(crate) struct Counterparts(Option<Box<Vec<PeerId>>>);

impl Counterparts {
    pub(crate) fn iter(&self) -> impl Iterator<Item = PeerId> {
        self.0.iter().flat_map(|list| list.iter().copied())
    }

    pub(crate) fn contains(&self, peer: PeerId) -> bool {
        self.iter().any(|counterpart| counterpart == peer)
    }

    /// Adds a counterpart. At the limit, those that are no members any more are dropped, or else the oldest one.
    pub(crate) fn add(&mut self, peer: PeerId, is_member: impl Fn(PeerId) -> bool) {
        if self.contains(peer) {
            return;
        }
        let list = self.0.get_or_insert_default();
        if list.len() >= COUNTERPARTS_MAX {
            list.retain(|counterpart| is_member(*counterpart));
        }
        if list.len() >= COUNTERPARTS_MAX {
            list.remove(0);
        }
        list.push(peer);
    }
}
