//! Messages for an absent address: an address that no member of the room has yet.

use std::{sync::Arc, time::Instant};

use super::Hub;
use crate::{
    command::Target,
    error::{ErrorCode, RequestError},
    id::{Address, PeerId, RoomId},
    message::RelayedMessage,
};

impl<L: Clone> Hub<L> {
    /// Keeps a frame until a member with this address joins or the frame expires.
    pub(super) fn defer(
        &mut self,
        room: &RoomId,
        address: Address,
        (sender, local): (PeerId, L),
        message: &Arc<RelayedMessage>,
        now: Instant,
    ) {
        let absent = (room.clone(), address.clone());
        let sender = (sender, local.clone());
        if !(self.deferred).defer(&absent, sender, message, &self.limits, now) {
            self.report_undeliverable_address(local, room, address);
        }
    }

    /// Records that a frame for an address was lost between nodes. Its sender gets the error that it would get for a
    /// frame that has expired, and when that frame would have expired.
    pub(super) fn note_lost_frame(
        &mut self,
        room: &RoomId,
        address: Address,
        (sender, local): (PeerId, L),
        now: Instant,
    ) {
        let absent = (room.clone(), address.clone());
        if !self
            .deferred
            .note_lost(&absent, (sender, local.clone()), now)
        {
            self.report_undeliverable_address(local, room, address);
        }
    }

    /// Relays the frames that have waited for this address.
    pub(super) fn deliver_deferred(&mut self, room: &RoomId, address: &Address, now: Instant) {
        for waiting in self.deferred.take_frames_for(room, address) {
            for message in waiting.messages {
                let to = Target::AddressOrWait(address.clone());
                self.relay(
                    waiting.sender,
                    waiting.local.clone(),
                    room.clone(),
                    to,
                    message,
                    now,
                );
            }
            if waiting.is_incomplete {
                self.report_undeliverable_address(waiting.local, room, address.clone());
            }
        }
    }

    /// Sends an error for frames that have expired at `now`: one for each sender and address.
    pub(super) fn expire_deferred(&mut self, now: Instant) {
        for ((room, address), waiting) in self.deferred.take_expired(now) {
            self.report_undeliverable_address(waiting.local, &room, address);
        }
    }

    fn report_undeliverable_address(&mut self, local: L, room: &RoomId, address: Address) {
        let error = RequestError::new(ErrorCode::Expired).in_room(&room.name);
        self.refuse(local, error.to(Target::AddressOrWait(address)));
    }
}
