//! Messages that wait for a member with an absent address: an address that no member of the room has yet (see
//! [`Target::AddressOrWait`](crate::Target::AddressOrWait)).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use crate::{
    id::{Address, PeerId, RoomId},
    limits::{
        ABSENT_ADDRESSES_MAX, ABSENT_BYTES_MAX, ABSENT_DESCRIPTIONS_MAX, ABSENT_FRAME_BYTES,
        ABSENT_HUB_BYTES_MAX, ABSENT_OTHERS_MAX, ABSENT_PAIR_BYTES_MAX, ABSENT_PAIRS_MAX,
        ABSENT_SENDER_BYTES_MAX, ABSENT_TIMEOUT, Limits, lower_limit,
    },
    message::RelayedMessage,
    seeded_hash::PeerIdMap,
};

type AbsentAddress = (RoomId, Address);

/// The frames of one sender for one absent address.
#[derive(Debug)]
pub(crate) struct DeferredFrames<L> {
    pub(crate) sender: PeerId,
    /// The sender's connection.
    pub(crate) local: L,
    pub(crate) messages: Vec<Arc<RelayedMessage>>,
    /// A frame was dropped: the sender gets an error, even if its other frames are delivered.
    pub(crate) is_incomplete: bool,
    counts: FrameCounts,
    /// The time at which the frames expire.
    until: Instant,
}

impl<L> DeferredFrames<L> {
    fn new(sender: PeerId, local: L, until: Instant) -> Self {
        Self {
            sender,
            local,
            messages: Vec::new(),
            is_incomplete: false,
            counts: FrameCounts::default(),
            until,
        }
    }
}

/// Count and bytes of the frames of one sender for one address.
#[derive(Clone, Copy, Debug, Default)]
struct FrameCounts {
    descriptions: usize,
    /// Candidates and all other frames that are not descriptions.
    others: usize,
    bytes: usize,
}

impl FrameCounts {
    fn plus(self, message: &RelayedMessage) -> Self {
        let (descriptions, others) = match message.kind.is_description() {
            true => (1, 0),
            false => (0, 1),
        };
        Self {
            descriptions: self.descriptions + descriptions,
            others: self.others + others,
            bytes: self.bytes + charged_bytes(message),
        }
    }

    fn is_allowed(self) -> bool {
        self.descriptions <= ABSENT_DESCRIPTIONS_MAX
            && self.others <= ABSENT_OTHERS_MAX
            && self.bytes <= ABSENT_PAIR_BYTES_MAX
    }
}

/// The bytes that a frame is charged for: its text and a constant overhead.
fn charged_bytes(message: &RelayedMessage) -> usize {
    message.frame.len() + ABSENT_FRAME_BYTES
}

/// The bytes and addresses of one sender's waiting frames.
#[derive(Debug, Default)]
struct SenderUsage {
    bytes: usize,
    addresses: BTreeSet<AbsentAddress>,
}

/// Frames for absent addresses, oldest first.
#[derive(Debug)]
pub(crate) struct DeferredDelivery<L> {
    queues: BTreeMap<AbsentAddress, Vec<DeferredFrames<L>>>,
    /// The pairs of a sender and an address, by the time at which their frames expire.
    by_time: BTreeSet<(Instant, PeerId, RoomId, Address)>,
    senders: PeerIdMap<SenderUsage>,
    /// Bytes of all frames.
    bytes: usize,
}

impl<L> Default for DeferredDelivery<L> {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            by_time: BTreeSet::new(),
            senders: PeerIdMap::default(),
            bytes: 0,
        }
    }
}

impl<L> DeferredDelivery<L> {
    /// Queues a frame for an absent address, or records that it is lost if a limit is reached. The sender gets one
    /// error for the address if a frame is lost or the address stays absent. Returns false, and records nothing, if
    /// the sender waits for too many addresses.
    pub(crate) fn defer(
        &mut self,
        absent: &AbsentAddress,
        (sender, local): (PeerId, L),
        message: &Arc<RelayedMessage>,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        if !self.has_capacity(absent, sender, message, limits) {
            return self.note_lost(absent, (sender, local), now);
        }
        let Some(waiting) = self.entry(absent, sender, local, now) else {
            return false;
        };
        waiting.counts = waiting.counts.plus(message);
        waiting.messages.push(message.clone());
        self.senders.entry(sender).or_default().bytes += charged_bytes(message);
        self.bytes += charged_bytes(message);
        true
    }

    /// Records that a frame for an address is lost. Returns false if its sender waits for too many addresses.
    pub(crate) fn note_lost(
        &mut self,
        absent: &AbsentAddress,
        (sender, local): (PeerId, L),
        now: Instant,
    ) -> bool {
        let waiting = self.entry(absent, sender, local, now);
        waiting
            .map(|waiting| waiting.is_incomplete = true)
            .is_some()
    }

    /// The entry of a sender for an address, created if missing. `None` if the sender waits for too many addresses.
    fn entry(
        &mut self,
        absent: &AbsentAddress,
        sender: PeerId,
        local: L,
        now: Instant,
    ) -> Option<&mut DeferredFrames<L>> {
        let usage = self.senders.get(&sender);
        let is_new = usage.is_none_or(|usage| !usage.addresses.contains(absent));
        let addresses = usage.map_or(0, |usage| usage.addresses.len());
        let is_full = addresses >= ABSENT_ADDRESSES_MAX || self.by_time.len() >= ABSENT_PAIRS_MAX;
        if is_new && is_full {
            return None;
        }
        let usage = self.senders.entry(sender).or_default();
        let queue = self.queues.entry(absent.clone()).or_default();
        if is_new {
            usage.addresses.insert(absent.clone());
            let waiting = DeferredFrames::new(sender, local, now + ABSENT_TIMEOUT);
            let (room, address) = absent.clone();
            self.by_time.insert((waiting.until, sender, room, address));
            queue.push(waiting);
        }
        queue.iter_mut().find(|waiting| waiting.sender == sender)
    }

    fn has_capacity(
        &self,
        absent: &AbsentAddress,
        sender: PeerId,
        message: &RelayedMessage,
        limits: &Limits,
    ) -> bool {
        let queue = self.queues.get(absent).map_or(&[][..], Vec::as_slice);
        let bytes = queue
            .iter()
            .map(|waiting| waiting.counts.bytes)
            .sum::<usize>();
        let bytes_max = lower_limit(ABSENT_BYTES_MAX, limits.outbox_bytes / 2);
        let of_sender = queue.iter().find(|waiting| waiting.sender == sender);
        let counts = of_sender.map_or(FrameCounts::default(), |waiting| waiting.counts);
        let usage = self.senders.get(&sender).map_or(0, |usage| usage.bytes);
        counts.plus(message).is_allowed()
            && bytes + charged_bytes(message) <= bytes_max
            && usage + charged_bytes(message) <= ABSENT_SENDER_BYTES_MAX
            && self.bytes + charged_bytes(message) <= ABSENT_HUB_BYTES_MAX
    }

    /// Removes and returns the frames for this address, by sender.
    pub(crate) fn take_frames_for(
        &mut self,
        room: &RoomId,
        address: &Address,
    ) -> Vec<DeferredFrames<L>> {
        if self.queues.is_empty() {
            return Vec::new();
        }
        let absent = (room.clone(), address.clone());
        let queue = self.queues.remove(&absent).unwrap_or_default();
        for waiting in &queue {
            self.subtract_usage(&absent, waiting);
        }
        queue
    }

    /// Subtracts an entry from the usage of its sender and from the totals.
    fn subtract_usage(&mut self, (room, address): &AbsentAddress, waiting: &DeferredFrames<L>) {
        let sender = waiting.sender;
        self.by_time
            .remove(&(waiting.until, sender, room.clone(), address.clone()));
        self.bytes -= waiting.counts.bytes;
        let Some(usage) = self.senders.get_mut(&sender) else {
            return;
        };
        usage.bytes -= waiting.counts.bytes;
        usage.addresses.remove(&(room.clone(), address.clone()));
        if usage.addresses.is_empty() {
            self.senders.remove(&sender);
        }
    }

    /// Removes and returns the entry of one sender for one address.
    fn remove(&mut self, absent: &AbsentAddress, sender: PeerId) -> Option<DeferredFrames<L>> {
        let queue = self.queues.get_mut(absent)?;
        let index = queue.iter().position(|waiting| waiting.sender == sender)?;
        let waiting = queue.remove(index);
        if queue.is_empty() {
            self.queues.remove(absent);
        }
        self.subtract_usage(absent, &waiting);
        Some(waiting)
    }

    /// Removes all entries of a sender that leaves a room.
    pub(crate) fn remove_sender(&mut self, sender: PeerId, room: &RoomId) {
        let Some(usage) = self.senders.get(&sender) else {
            return;
        };
        let absent = usage.addresses.iter().filter(|(of, _)| of == room);
        for absent in absent.cloned().collect::<Vec<_>>() {
            self.remove(&absent, sender);
        }
    }

    /// Removes and returns the entries that have expired at `now`, with their addresses.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<(AbsentAddress, DeferredFrames<L>)> {
        let mut expired = Vec::new();
        while let Some((until, sender, room, address)) = self.by_time.first().cloned() {
            if until > now {
                break;
            }
            let absent = (room, address);
            match self.remove(&absent, sender) {
                Some(waiting) => expired.push((absent, waiting)),
                None => drop(self.by_time.pop_first()),
            }
        }
        expired
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_time.first().map(|(until, ..)| *until)
    }
}

#[cfg(test)]
mod tests {
    use bytestring::ByteString;

    use super::*;
    use crate::{
        id::{RoomName, SpaceName},
        message::MessageKind,
    };

    fn absent(number: usize) -> AbsentAddress {
        let room = RoomName::parse("key", 0).expect("a name");
        let address = Address::parse(&format!("absent{number}"), 0).expect("an address");
        (RoomId::shared(SpaceName::default(), room), address)
    }

    fn sender(number: usize) -> (PeerId, usize) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        (bytes.into(), number)
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "there is no other way to get an Instant; the test does not depend on its value"
    )]
    fn the_frames_of_all_senders_together_are_bounded() {
        let (limits, now) = (Limits::default(), Instant::now());
        let frame = ByteString::from("x".repeat(300 * 1024));
        let message = RelayedMessage::new("d", MessageKind::Offer, frame, |_, _| true);
        let message = Arc::new(message);
        let mut deferred = DeferredDelivery::default();
        let senders = ABSENT_HUB_BYTES_MAX / message.frame.len() + 10;
        for number in 0..senders {
            let absent = absent(number);
            assert!(deferred.defer(&absent, sender(number), &message, &limits, now));
        }
        assert!(deferred.bytes <= ABSENT_HUB_BYTES_MAX);
        let expired = deferred.take_expired(now + ABSENT_TIMEOUT);
        assert_eq!(expired.len(), senders, "each sender gets one error");
        let lost = expired.iter().filter(|(_, waiting)| waiting.is_incomplete);
        assert!(lost.count() >= 10, "too few frames were dropped");
        assert_eq!(deferred.bytes, 0);
    }
}
