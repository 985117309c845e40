//! What waits for an address that nobody has yet (see [`Target::Awaited`](crate::Target)).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use crate::{
    id::{Address, PeerId, RoomId},
    limits::{
        ABSENT_BYTES_MAX, ABSENT_FRAMES_MAX, ABSENT_PATIENCE, ABSENT_SHARE_BYTES_MAX,
        ABSENT_SHARE_FRAMES_MAX,
    },
    relay::Relay,
};

type Wanted = (RoomId, Address);

/// What one sender has for one address.
#[derive(Debug)]
pub(crate) struct Waiting<L> {
    pub(crate) sender: PeerId,
    pub(crate) local: L,
    pub(crate) relays: Vec<Arc<Relay>>,
    until: Instant,
}

/// What one sender has waiting in all.
#[derive(Debug, Default)]
struct Share {
    frames: usize,
    bytes: usize,
    wanted: BTreeSet<Wanted>,
}

/// Frames for addresses that nobody has, oldest first.
#[derive(Debug)]
pub(crate) struct Absent<L> {
    queues: BTreeMap<Wanted, Vec<Waiting<L>>>,
    by_time: BTreeSet<(Instant, PeerId, RoomId, Address)>,
    shares: HashMap<PeerId, Share>,
}

impl<L> Default for Absent<L> {
    fn default() -> Self {
        Self {
            queues: BTreeMap::new(),
            by_time: BTreeSet::new(),
            shares: HashMap::new(),
        }
    }
}

impl<L> Absent<L> {
    /// Keeps a frame for who is wanted. Says no if its sender, or all who wait for that one, have too much
    /// waiting.
    pub(crate) fn wait(
        &mut self,
        wanted: Wanted,
        sender: PeerId,
        local: L,
        relay: Arc<Relay>,
        now: Instant,
    ) -> bool {
        let weight = relay.frame.len();
        if !self.has_place(&wanted, sender, weight) {
            return false;
        }
        let share = self.shares.entry(sender).or_default();
        share.frames += 1;
        share.bytes += weight;
        share.wanted.insert(wanted.clone());
        let (room, address) = wanted.clone();
        let queue = self.queues.entry(wanted).or_default();
        if let Some(waiting) = queue.iter_mut().find(|waiting| waiting.sender == sender) {
            waiting.relays.push(relay);
            return true;
        }
        let until = now + ABSENT_PATIENCE;
        self.by_time.insert((until, sender, room, address));
        queue.push(Waiting {
            sender,
            local,
            relays: vec![relay],
            until,
        });
        true
    }

    fn has_place(&self, wanted: &Wanted, sender: PeerId, weight: usize) -> bool {
        let queue = self.queues.get(wanted).into_iter().flatten();
        let relays = queue.flat_map(|waiting| &waiting.relays);
        let (frames, bytes) = relays.fold((0, 0), |(frames, bytes), relay| {
            (frames + 1, bytes + relay.frame.len())
        });
        let share = self.shares.get(&sender);
        let (own_frames, own_bytes) = share.map_or((0, 0), |share| (share.frames, share.bytes));
        frames < ABSENT_FRAMES_MAX
            && bytes + weight <= ABSENT_BYTES_MAX
            && own_frames < ABSENT_SHARE_FRAMES_MAX
            && own_bytes + weight <= ABSENT_SHARE_BYTES_MAX
    }

    /// What waits for this address, by sender.
    pub(crate) fn take(&mut self, room: &RoomId, address: &Address) -> Vec<Waiting<L>> {
        if self.queues.is_empty() {
            return Vec::new();
        }
        let wanted = (room.clone(), address.clone());
        let queue = self.queues.remove(&wanted).unwrap_or_default();
        for waiting in &queue {
            self.settle(&wanted, waiting);
        }
        queue
    }

    /// Takes a sender's frames for one address out of the books.
    fn settle(&mut self, (room, address): &Wanted, waiting: &Waiting<L>) {
        let sender = waiting.sender;
        self.by_time
            .remove(&(waiting.until, sender, room.clone(), address.clone()));
        let Some(share) = self.shares.get_mut(&sender) else {
            return;
        };
        share.frames -= waiting.relays.len();
        share.bytes -= waiting
            .relays
            .iter()
            .map(|relay| relay.frame.len())
            .sum::<usize>();
        share.wanted.remove(&(room.clone(), address.clone()));
        if share.wanted.is_empty() {
            self.shares.remove(&sender);
        }
    }

    /// What one sender has for one address.
    fn withdraw(&mut self, wanted: &Wanted, sender: PeerId) -> Option<Waiting<L>> {
        let queue = self.queues.get_mut(wanted)?;
        let index = queue.iter().position(|waiting| waiting.sender == sender)?;
        let waiting = queue.remove(index);
        if queue.is_empty() {
            self.queues.remove(wanted);
        }
        self.settle(wanted, &waiting);
        Some(waiting)
    }

    /// The sender leaves a room: it waits for nobody there any more.
    pub(crate) fn forget(&mut self, sender: PeerId, room: &RoomId) {
        let Some(share) = self.shares.get(&sender) else {
            return;
        };
        let wanted = share.wanted.iter().filter(|(of, _)| of == room);
        for wanted in wanted.cloned().collect::<Vec<_>>() {
            self.withdraw(&wanted, sender);
        }
    }

    /// Who has waited in vain until `now`, and for whom.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(Wanted, Waiting<L>)> {
        let mut due = Vec::new();
        while let Some((until, sender, room, address)) = self.by_time.first().cloned() {
            if until > now {
                break;
            }
            let wanted = (room, address);
            match self.withdraw(&wanted, sender) {
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
