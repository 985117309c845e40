//! Messages that wait for a member with an address that no member has yet (see
//! [`Target::AddressOrWait`](crate::Target::AddressOrWait)).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use crate::{
    id::{Address, PeerId, RoomId},
    limits::{
        ABSENT_ADDRESSES_MAX, ABSENT_BYTES_MAX, ABSENT_CANDIDATES_MAX, ABSENT_DESCRIPTIONS_MAX,
        ABSENT_FRAME_BYTES, ABSENT_HUB_BYTES_MAX, ABSENT_PAIR_BYTES_MAX, ABSENT_PAIRS_MAX,
        ABSENT_SENDER_BYTES_MAX, ABSENT_TIMEOUT, Limits, lower_limit,
    },
    message::RelayedMessage,
};

type AbsentAddress = (RoomId, Address);

/// The frames of one sender for one absent address.
#[derive(Debug)]
pub(crate) struct DeferredFrames<L> {
    pub(crate) sender: PeerId,
    pub(crate) local: L,
    pub(crate) messages: Vec<Arc<RelayedMessage>>,
    /// A frame was dropped: the sender gets an error, even if its other frames are delivered.
    pub(crate) is_incomplete: bool,
    load: FrameCounts,
    until: Instant,
}

impl<L> DeferredFrames<L> {
    fn new(sender: PeerId, local: L, until: Instant) -> Self {
        Self {
            sender,
            local,
            messages: Vec::new(),
            is_incomplete: false,
            load: FrameCounts::default(),
            until,
        }
    }
}

/// Count and bytes of the frames of one sender for one address.
#[derive(Clone, Copy, Debug, Default)]
struct FrameCounts {
    descriptions: usize,
    candidates: usize,
    bytes: usize,
}

impl FrameCounts {
    fn plus(self, message: &RelayedMessage) -> Self {
        let (descriptions, candidates) = match message.kind.is_description() {
            true => (1, 0),
            false => (0, 1),
        };
        Self {
            descriptions: self.descriptions + descriptions,
            candidates: self.candidates + candidates,
            bytes: self.bytes + charged_bytes(message),
        }
    }

    fn is_allowed(self) -> bool {
        self.descriptions <= ABSENT_DESCRIPTIONS_MAX
            && self.candidates <= ABSENT_CANDIDATES_MAX
            && self.bytes <= ABSENT_PAIR_BYTES_MAX
    }
}

/// The bytes that a frame is charged for: its text and a constant overhead.
fn charged_bytes(message: &RelayedMessage) -> usize {
    message.frame.len() + ABSENT_FRAME_BYTES
}

/// The usage of one sender over all absent addresses.
#[derive(Debug, Default)]
struct SenderUsage {
    bytes: usize,
    wanted: BTreeSet<AbsentAddress>,
}

/// Frames for absent addresses, oldest first.
#[derive(Debug)]
pub(crate) struct DeferredDelivery<L> {
    queues: BTreeMap<AbsentAddress, Vec<DeferredFrames<L>>>,
    by_time: BTreeSet<(Instant, PeerId, RoomId, Address)>,
    senders: HashMap<PeerId, SenderUsage>,
    /// Bytes of all frames.
    bytes: usize,
}

impl<L> Default for DeferredDelivery<L> {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            by_time: BTreeSet::new(),
            senders: HashMap::new(),
            bytes: 0,
        }
    }
}

impl<L> DeferredDelivery<L> {
    /// Queues a frame for an absent address. If a limit is reached, records that the frame is lost. The sender
    /// gets one error if the address stays absent. Returns false if the sender waits for too many addresses.
    pub(crate) fn defer(
        &mut self,
        wanted: &AbsentAddress,
        (sender, local): (PeerId, L),
        message: &Arc<RelayedMessage>,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        if !self.has_capacity(wanted, sender, message, limits) {
            return self.note_lost(wanted, (sender, local), now);
        }
        let Some(waiting) = self.entry(wanted, sender, local, now) else {
            return false;
        };
        waiting.load = waiting.load.plus(message);
        waiting.messages.push(message.clone());
        self.senders.entry(sender).or_default().bytes += charged_bytes(message);
        self.bytes += charged_bytes(message);
        true
    }

    /// Records that a frame for an address is lost. Returns false if its sender waits for too many addresses.
    pub(crate) fn note_lost(
        &mut self,
        wanted: &AbsentAddress,
        (sender, local): (PeerId, L),
        now: Instant,
    ) -> bool {
        let waiting = self.entry(wanted, sender, local, now);
        waiting
            .map(|waiting| waiting.is_incomplete = true)
            .is_some()
    }

    /// The entry of a sender for an address, created if missing. `None` if the sender waits for too many addresses.
    fn entry(
        &mut self,
        wanted: &AbsentAddress,
        sender: PeerId,
        local: L,
        now: Instant,
    ) -> Option<&mut DeferredFrames<L>> {
        let usage = self.senders.get(&sender);
        let is_new = usage.is_none_or(|usage| !usage.wanted.contains(wanted));
        let addresses = usage.map_or(0, |usage| usage.wanted.len());
        let is_full = addresses >= ABSENT_ADDRESSES_MAX || self.by_time.len() >= ABSENT_PAIRS_MAX;
        if is_new && is_full {
            return None;
        }
        let usage = self.senders.entry(sender).or_default();
        let queue = self.queues.entry(wanted.clone()).or_default();
        if is_new {
            usage.wanted.insert(wanted.clone());
            let waiting = DeferredFrames::new(sender, local, now + ABSENT_TIMEOUT);
            let (room, address) = wanted.clone();
            self.by_time.insert((waiting.until, sender, room, address));
            queue.push(waiting);
        }
        queue.iter_mut().find(|waiting| waiting.sender == sender)
    }

    fn has_capacity(
        &self,
        wanted: &AbsentAddress,
        sender: PeerId,
        message: &RelayedMessage,
        limits: &Limits,
    ) -> bool {
        let queue = self.queues.get(wanted).map_or(&[][..], Vec::as_slice);
        let bytes = queue
            .iter()
            .map(|waiting| waiting.load.bytes)
            .sum::<usize>();
        let bytes_max = lower_limit(ABSENT_BYTES_MAX, limits.outbox_bytes / 2);
        let own = queue.iter().find(|waiting| waiting.sender == sender);
        let own = own.map_or(FrameCounts::default(), |waiting| waiting.load);
        let usage = self.senders.get(&sender).map_or(0, |usage| usage.bytes);
        own.plus(message).is_allowed()
            && bytes + charged_bytes(message) <= bytes_max
            && usage + charged_bytes(message) <= ABSENT_SENDER_BYTES_MAX
            && self.bytes + charged_bytes(message) <= ABSENT_HUB_BYTES_MAX
    }

    /// Removes and returns the frames for this address, by sender.
    pub(crate) fn take(&mut self, room: &RoomId, address: &Address) -> Vec<DeferredFrames<L>> {
        if self.queues.is_empty() {
            return Vec::new();
        }
        let wanted = (room.clone(), address.clone());
        let queue = self.queues.remove(&wanted).unwrap_or_default();
        for waiting in &queue {
            self.unaccount(&wanted, waiting);
        }
        queue
    }

    /// Subtracts an entry from the usage of its sender and from the totals.
    fn unaccount(&mut self, (room, address): &AbsentAddress, waiting: &DeferredFrames<L>) {
        let sender = waiting.sender;
        self.by_time
            .remove(&(waiting.until, sender, room.clone(), address.clone()));
        self.bytes -= waiting.load.bytes;
        let Some(usage) = self.senders.get_mut(&sender) else {
            return;
        };
        usage.bytes -= waiting.load.bytes;
        usage.wanted.remove(&(room.clone(), address.clone()));
        if usage.wanted.is_empty() {
            self.senders.remove(&sender);
        }
    }

    /// Removes and returns the entry of one sender for one address.
    fn remove(&mut self, wanted: &AbsentAddress, sender: PeerId) -> Option<DeferredFrames<L>> {
        let queue = self.queues.get_mut(wanted)?;
        let index = queue.iter().position(|waiting| waiting.sender == sender)?;
        let waiting = queue.remove(index);
        if queue.is_empty() {
            self.queues.remove(wanted);
        }
        self.unaccount(wanted, &waiting);
        Some(waiting)
    }

    /// Removes all entries of a sender that leaves a room.
    pub(crate) fn remove_sender(&mut self, sender: PeerId, room: &RoomId) {
        let Some(usage) = self.senders.get(&sender) else {
            return;
        };
        let wanted = usage.wanted.iter().filter(|(of, _)| of == room);
        for wanted in wanted.cloned().collect::<Vec<_>>() {
            self.remove(&wanted, sender);
        }
    }

    /// Removes and returns the entries that have expired at `now`, with their addresses.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<(AbsentAddress, DeferredFrames<L>)> {
        let mut expired = Vec::new();
        while let Some((until, sender, room, address)) = self.by_time.first().cloned() {
            if until > now {
                break;
            }
            let wanted = (room, address);
            match self.remove(&wanted, sender) {
                Some(waiting) => expired.push((wanted, waiting)),
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

    fn wanted(number: usize) -> AbsentAddress {
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
            let wanted = wanted(number);
            assert!(deferred.defer(&wanted, sender(number), &message, &limits, now));
        }
        assert!(deferred.bytes <= ABSENT_HUB_BYTES_MAX);
        let expired = deferred.take_expired(now + ABSENT_TIMEOUT);
        assert_eq!(expired.len(), senders, "each sender gets one error");
        let lost = expired.iter().filter(|(_, waiting)| waiting.is_incomplete);
        assert!(lost.count() >= 10);
        assert_eq!(deferred.bytes, 0);
    }
}
