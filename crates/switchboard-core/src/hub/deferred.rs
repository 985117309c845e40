//! Frames for somebody who is not there, but may come.

use std::{sync::Arc, time::Instant};

use super::Hub;
use crate::{
    command::Target,
    error::{ErrorCode, RequestError},
    id::{Address, PeerId, RoomId},
    message::RelayedMessage,
};

impl<L: Clone> Hub<L> {
    /// Keeps a frame for who will have this address.
    pub(super) fn defer(
        &mut self,
        room: &RoomId,
        address: Address,
        (sender, local): (PeerId, L),
        relay: &Arc<RelayedMessage>,
        now: Instant,
    ) {
        let wanted = (room.clone(), address.clone());
        let sender = (sender, local.clone());
        if !(self.deferred).defer(&wanted, sender, relay, &self.limits, now) {
            self.report_absent(local, room, address);
        }
    }

    /// Notes that a frame for an address got lost between nodes: the sender is told as if the frame had no
    /// place.
    pub(super) fn note_lost_frame(
        &mut self,
        room: &RoomId,
        address: Address,
        (sender, local): (PeerId, L),
        now: Instant,
    ) {
        let wanted = (room.clone(), address.clone());
        if !self
            .deferred
            .note_lost(&wanted, (sender, local.clone()), now)
        {
            self.report_absent(local, room, address);
        }
    }

    /// Gives who has come what has waited for it.
    pub(super) fn deliver_deferred(&mut self, room: &RoomId, address: &Address, now: Instant) {
        for waiting in self.deferred.take(room, address) {
            for relay in waiting.relays {
                let to = Target::AddressOrWait(address.clone());
                self.relay(waiting.sender, waiting.local.clone(), room, to, relay, now);
            }
            if waiting.is_incomplete {
                self.report_absent(waiting.local, room, address.clone());
            }
        }
    }

    /// Tells those whose patience is over at `now` that nobody has come: each once for each address.
    pub(super) fn expire_deferred(&mut self, now: Instant) {
        for ((room, address), waiting) in self.deferred.take_expired(now) {
            self.report_absent(waiting.local, &room, address);
        }
    }

    fn report_absent(&mut self, local: L, room: &RoomId, address: Address) {
        let refused = RequestError::new(ErrorCode::Expired).in_room(&room.name);
        self.refuse(local, refused.to(Target::AddressOrWait(address)));
    }
}
