//! What waits for an address that nobody has yet (see [`Target::Awaited`](crate::Target)).

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
        ABSENT_PATIENCE, ABSENT_SHARE_BYTES_MAX, Limits, lower_limit,
    },
    message::RelayedMessage,
};

type AbsentAddress = (RoomId, Address);

/// What one sender has for one address.
#[derive(Debug)]
pub(crate) struct DeferredFrames<L> {
    pub(crate) sender: PeerId,
    pub(crate) local: L,
    pub(crate) relays: Vec<Arc<RelayedMessage>>,
    /// A frame had no place: its sender is told so, even if the others are delivered.
    pub(crate) is_incomplete: bool,
    load: FrameCounts,
    until: Instant,
}

impl<L> DeferredFrames<L> {
    fn new(sender: PeerId, local: L, until: Instant) -> Self {
        Self {
            sender,
            local,
            relays: Vec::new(),
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
    fn plus(self, relay: &RelayedMessage) -> Self {
        let (descriptions, candidates) = match relay.kind.is_description() {
            true => (1, 0),
            false => (0, 1),
        };
        Self {
            descriptions: self.descriptions + descriptions,
            candidates: self.candidates + candidates,
            bytes: self.bytes + charged_bytes(relay),
        }
    }

    fn is_allowed(self) -> bool {
        self.descriptions <= ABSENT_DESCRIPTIONS_MAX
            && self.candidates <= ABSENT_CANDIDATES_MAX
            && self.bytes <= ABSENT_PAIR_BYTES_MAX
    }
}

/// The bytes that a frame is counted for.
fn charged_bytes(relay: &RelayedMessage) -> usize {
    relay.frame.len() + ABSENT_FRAME_BYTES
}

/// What one sender has waiting in all.
#[derive(Debug, Default)]
struct SenderUsage {
    bytes: usize,
    wanted: BTreeSet<AbsentAddress>,
}

/// Frames for addresses that nobody has, oldest first.
#[derive(Debug)]
pub(crate) struct DeferredDelivery<L> {
    queues: BTreeMap<AbsentAddress, Vec<DeferredFrames<L>>>,
    by_time: BTreeSet<(Instant, PeerId, RoomId, Address)>,
    shares: HashMap<PeerId, SenderUsage>,
    /// Bytes of all frames.
    bytes: usize,
}

impl<L> Default for DeferredDelivery<L> {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            by_time: BTreeSet::new(),
            shares: HashMap::new(),
            bytes: 0,
        }
    }
}

impl<L> DeferredDelivery<L> {
    /// Keeps a frame for an absent address, or notes that it has no place: either way the sender is told
    /// once if the address stays absent. Returns false if the sender waits for too many addresses.
    pub(crate) fn defer(
        &mut self,
        wanted: &AbsentAddress,
        (sender, local): (PeerId, L),
        relay: &Arc<RelayedMessage>,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        if !self.has_place(wanted, sender, relay, limits) {
            return self.note_lost(wanted, (sender, local), now);
        }
        let Some(waiting) = self.entry(wanted, sender, local, now) else {
            return false;
        };
        waiting.load = waiting.load.plus(relay);
        waiting.relays.push(relay.clone());
        self.shares.entry(sender).or_default().bytes += charged_bytes(relay);
        self.bytes += charged_bytes(relay);
        true
    }

    /// Notes that a frame for an address is lost. Returns false if its sender waits for too many addresses.
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

    /// The frames of a sender for an address, new if there are none. `None` if it waits for too many addresses.
    fn entry(
        &mut self,
        wanted: &AbsentAddress,
        sender: PeerId,
        local: L,
        now: Instant,
    ) -> Option<&mut DeferredFrames<L>> {
        let share = self.shares.get(&sender);
        let is_new = share.is_none_or(|share| !share.wanted.contains(wanted));
        let addresses = share.map_or(0, |share| share.wanted.len());
        let is_full = addresses >= ABSENT_ADDRESSES_MAX || self.by_time.len() >= ABSENT_PAIRS_MAX;
        if is_new && is_full {
            return None;
        }
        let share = self.shares.entry(sender).or_default();
        let queue = self.queues.entry(wanted.clone()).or_default();
        if is_new {
            share.wanted.insert(wanted.clone());
            let waiting = DeferredFrames::new(sender, local, now + ABSENT_PATIENCE);
            let (room, address) = wanted.clone();
            self.by_time.insert((waiting.until, sender, room, address));
            queue.push(waiting);
        }
        queue.iter_mut().find(|waiting| waiting.sender == sender)
    }

    fn has_place(
        &self,
        wanted: &AbsentAddress,
        sender: PeerId,
        relay: &RelayedMessage,
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
        let share = self.shares.get(&sender).map_or(0, |share| share.bytes);
        own.plus(relay).is_allowed()
            && bytes + charged_bytes(relay) <= bytes_max
            && share + charged_bytes(relay) <= ABSENT_SHARE_BYTES_MAX
            && self.bytes + charged_bytes(relay) <= ABSENT_HUB_BYTES_MAX
    }

    /// What waits for this address, by sender.
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

    /// Takes a sender's frames for one address out of the books.
    fn unaccount(&mut self, (room, address): &AbsentAddress, waiting: &DeferredFrames<L>) {
        let sender = waiting.sender;
        self.by_time
            .remove(&(waiting.until, sender, room.clone(), address.clone()));
        self.bytes -= waiting.load.bytes;
        let Some(share) = self.shares.get_mut(&sender) else {
            return;
        };
        share.bytes -= waiting.load.bytes;
        share.wanted.remove(&(room.clone(), address.clone()));
        if share.wanted.is_empty() {
            self.shares.remove(&sender);
        }
    }

    /// What one sender has for one address.
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

    /// The sender leaves a room: it waits for nobody there any more.
    pub(crate) fn remove_sender(&mut self, sender: PeerId, room: &RoomId) {
        let Some(share) = self.shares.get(&sender) else {
            return;
        };
        let wanted = share.wanted.iter().filter(|(of, _)| of == room);
        for wanted in wanted.cloned().collect::<Vec<_>>() {
            self.remove(&wanted, sender);
        }
    }

    /// Who has waited in vain until `now`, and for whom.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<(AbsentAddress, DeferredFrames<L>)> {
        let mut due = Vec::new();
        while let Some((until, sender, room, address)) = self.by_time.first().cloned() {
            if until > now {
                break;
            }
            let wanted = (room, address);
            match self.remove(&wanted, sender) {
                Some(waiting) => due.push((wanted, waiting)),
                None => drop(self.by_time.pop_first()),
            }
        }
        due
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
        reason = "an Instant can be had in no other way; what happens does not depend on which it is"
    )]
    fn the_frames_of_all_senders_together_are_bounded() {
        let (limits, now) = (Limits::default(), Instant::now());
        let frame = ByteString::from("x".repeat(300 * 1024));
        let relay = RelayedMessage::new("d", MessageKind::Offer, frame, |_, _| true);
        let relay = Arc::new(relay);
        let mut absent = DeferredDelivery::default();
        let senders = ABSENT_HUB_BYTES_MAX / relay.frame.len() + 10;
        for number in 0..senders {
            let wanted = wanted(number);
            assert!(absent.defer(&wanted, sender(number), &relay, &limits, now));
        }
        assert!(absent.bytes <= ABSENT_HUB_BYTES_MAX);
        let given_up = absent.take_expired(now + ABSENT_PATIENCE);
        assert_eq!(given_up.len(), senders, "each sender is told");
        let lost = given_up.iter().filter(|(_, waiting)| waiting.is_incomplete);
        assert!(lost.count() >= 10);
        assert_eq!(absent.bytes, 0);
    }
}
