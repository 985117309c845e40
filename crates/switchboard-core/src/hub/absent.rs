//! Frames for somebody who is not there, but may come.

use std::{sync::Arc, time::Instant};

use super::Hub;
use crate::{
    command::Target,
    id::{Address, PeerId, RoomId},
    refusal::{Refusal, Refused},
    relay::Relay,
};

impl<L: Clone> Hub<L> {
    /// Keeps a frame for who will have this address.
    pub(super) fn wait_for(
        &mut self,
        room: &RoomId,
        address: Address,
        (sender, local): (PeerId, L),
        relay: &Arc<Relay>,
        now: Instant,
    ) {
        let wanted = (room.clone(), address.clone());
        let sender = (sender, local.clone());
        if !(self.absent).wait(&wanted, sender, relay, &self.limits, now) {
            self.refuse_absent(local, room, address);
        }
    }

    /// Notes that a frame for an address got lost between nodes: the sender is told as if the frame had no
    /// place.
    pub(super) fn miss(
        &mut self,
        room: &RoomId,
        address: Address,
        (sender, local): (PeerId, L),
        now: Instant,
    ) {
        let wanted = (room.clone(), address.clone());
        if !self.absent.miss(&wanted, (sender, local.clone()), now) {
            self.refuse_absent(local, room, address);
        }
    }

    /// Gives who has come what has waited for it.
    pub(super) fn welcome(&mut self, room: &RoomId, address: &Address, now: Instant) {
        for waiting in self.absent.take(room, address) {
            for relay in waiting.relays {
                let to = Target::Awaited(address.clone());
                self.relay(waiting.sender, waiting.local.clone(), room, to, relay, now);
            }
            if waiting.is_incomplete {
                self.refuse_absent(waiting.local, room, address.clone());
            }
        }
    }

    /// Tells those whose patience is over at `now` that nobody has come: each once for each address.
    pub(super) fn give_up_absent(&mut self, now: Instant) {
        for ((room, address), waiting) in self.absent.due(now) {
            self.refuse_absent(waiting.local, &room, address);
        }
    }

    fn refuse_absent(&mut self, local: L, room: &RoomId, address: Address) {
        let refused = Refused::new(Refusal::Expired).in_room(&room.name);
        self.refuse(local, refused.to(Target::Awaited(address)));
    }
}
