//! How the store comes and goes, and who of the nodes lives.

use std::{ops::Bound, time::Instant};

use switchboard_core::{Declined, Letter, LogId, PeerId};

use super::{Alarm, Asked, BEATS_PER_LEASE, Effect, GAP_PATIENCE, LOOKS, Node};
use crate::cluster::{
    replica::Replica,
    store::{Known, Lease, NodeStatus, Request},
};

impl Node {
    pub(super) fn connect(&mut self, now: Instant) {
        self.lose(now);
        self.connected = Ok(now);
        self.watch.begin(now);
        self.send_beat(now);
        self.ask(Request::Logs(self.lease.node), Asked::OwnLogs);
        self.open_all();
    }

    /// Writes anew what this node wants of every log.
    pub(super) fn open_all(&mut self) {
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            self.open(&log);
        }
    }

    /// The logs that the store believes to be open here. Where it has come back as it once was, there
    /// may be seats of this node in logs that it has left since.
    pub(super) fn leave_forgotten(&mut self, logs: Vec<LogId>) {
        for log in logs {
            if self.replicas.contains_key(&log) {
                continue;
            }
            self.free_all(log.clone(), Known::default());
            self.ask(Request::Close(self.lease.node, log), Asked::Nothing);
        }
    }

    /// Frees all seats of this node in a log, in good order.
    pub(super) fn free_all(&mut self, log: LogId, known: Known) {
        let request = Request::Sync {
            log,
            lease: self.lease,
            known,
            wanted: Vec::new(),
            seats: 0,
        };
        self.ask(request, Asked::Nothing);
    }

    pub(super) fn lose(&mut self, now: Instant) {
        if self.connected.is_ok() {
            self.connected = Err(now);
        }
        self.is_known = false;
        let under_way = std::mem::take(&mut self.under_way);
        let queue = std::mem::take(&mut self.queue);
        let asked = under_way
            .into_iter()
            .chain(queue.into_iter().map(|(_, asked)| asked));
        let mut evictions = Vec::new();
        for asked in asked.collect::<Vec<_>>() {
            match asked {
                Asked::Post(letters) => self.return_letters(letters),
                Asked::Leave(log, peer, ..) => evictions.push((log, peer)),
                Asked::Read(log, taken) => {
                    for peer in taken {
                        self.decline(&log, peer, Declined::Unavailable);
                    }
                }
                Asked::Beat(_)
                | Asked::Bury(_)
                | Asked::Logs(_)
                | Asked::OwnLogs
                | Asked::Look(_)
                | Asked::Sync(..)
                | Asked::Join(..)
                | Asked::Free(..)
                | Asked::Nothing => {}
            }
        }
        let letters = self.outbox.clear();
        self.effects.extend(letters.into_iter().map(Effect::Unsent));
        self.lose_leaves(evictions);
        for log in self.replicas.keys().cloned().collect::<Vec<_>>() {
            if let Some(replica) = self.replicas.get_mut(&log) {
                replica.is_looking = false;
                replica.freeing.clear();
            }
            self.let_linger(&log, now);
        }
    }

    pub(super) fn return_letters(&mut self, letters: Vec<Letter>) {
        self.outbox.done(&letters);
        self.effects.extend(letters.into_iter().map(Effect::Unsent));
    }

    /// What was to be ordered by a store that is away: the leaves of this node's members are.
    pub(super) fn lose_leaves(&mut self, proposed: Vec<(LogId, PeerId)>) {
        for (log, peer) in proposed {
            let replica = self.replicas.get(&log);
            let stays = replica.is_some_and(|it| it.wanted.contains_key(&peer));
            let is_others = replica.is_some_and(|it| it.is_seated(peer) && !it.is_own(peer));
            if is_others {
                self.decline(&log, peer, Declined::Unavailable);
            } else if !stays {
                self.leave_alone(&log, peer);
            }
        }
        for (log, replica) in &mut self.replicas {
            let mut entries = Vec::new();
            for peer in replica.leaving() {
                let departure = replica.farewell(peer);
                replica.unseat(peer, departure, &mut entries);
            }
            if !entries.is_empty() {
                self.effects
                    .push_back(Effect::Committed(log.clone(), entries));
            }
        }
    }

    /// Asks for a log's news from now on, and makes the seats what they should be.
    pub(super) fn open(&mut self, log: &LogId) {
        let request = Request::Open(self.lease.node, log.clone());
        self.ask(request, Asked::Nothing);
        self.sync(log);
    }

    pub(super) fn sync(&mut self, log: &LogId) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        // One number for all of them: the tightest is right for its own, and declines the others at
        // worst once too often.
        let newcomers = replica.newcomers();
        let bounds = newcomers.map(|newcomer| self.seats_max(log, newcomer));
        let seats = bounds.filter(|bound| *bound != 0).min().unwrap_or(0);
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        replica.is_looking = true;
        let request = Request::Sync {
            log: log.clone(),
            lease: self.lease,
            known: replica.known,
            wanted: replica.wishes(),
            seats,
        };
        self.ask(request, Asked::Sync(log.clone(), self.lease.epoch));
    }

    pub(super) fn read(&mut self, log: &LogId, taken: Vec<PeerId>) {
        if let Some(replica) = self.replicas.get_mut(log) {
            replica.is_looking = true;
            let request = Request::Read(log.clone());
            self.ask(request, Asked::Read(log.clone(), taken));
        }
    }

    /// Something of a log is missing: if it does not come by itself soon, the log is read anew.
    pub(super) fn mind_the_gap(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        if !replica.is_looking && self.connected.is_ok() {
            replica.is_looking = true;
            self.alarms
                .insert((now + GAP_PATIENCE, Alarm::Gap(log.clone())));
        }
    }

    pub(super) fn send_beat(&mut self, now: Instant) {
        self.beat += 1;
        let request = Request::Beat {
            lease: self.lease,
            beat: self.beat,
            status: self.status.clone(),
        };
        self.queue
            .push_front((request, Asked::Beat(self.lease.epoch)));
        self.alarms.retain(|(_, alarm)| *alarm != Alarm::Beat);
        self.alarms
            .insert((now + self.settings.lease / BEATS_PER_LEASE, Alarm::Beat));
    }

    pub(super) fn beaten(&mut self, epoch: u32, valid: bool, nodes: Vec<NodeStatus>, now: Instant) {
        if !valid {
            return self.lose_lease(epoch, now);
        }
        for dead in self.watch.look(nodes, now) {
            let (lease, beat) = (dead.lease, dead.beat);
            self.ask(Request::Bury { lease, beat }, Asked::Bury(lease));
        }
        self.look_around();
        let leases = self.replicas.values().flat_map(Replica::leases).collect();
        for stray in self.watch.strays(leases) {
            let logs = self.replicas.iter();
            let logs = logs.filter(|(_, replica)| replica.leases().any(|lease| lease == stray));
            let logs: Vec<_> = logs.map(|(log, _)| log.clone()).collect();
            for log in logs {
                self.ask(Request::Evict(log, stray), Asked::Nothing);
            }
        }
    }

    /// Reads the next few logs.
    pub(super) fn look_around(&mut self) {
        let from = self
            .looked_at
            .take()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let logs = self.replicas.range((from, Bound::Unbounded)).take(LOOKS);
        for log in logs.map(|(log, _)| log.clone()).collect::<Vec<_>>() {
            self.ask(Request::Read(log.clone()), Asked::Look(log.clone()));
            self.looked_at = Some(log);
        }
    }

    /// Frees the seats of a dead node and strikes it off the list.
    pub(super) fn free(&mut self, dead: Lease, logs: Vec<LogId>) {
        for log in logs {
            self.ask(Request::Evict(log.clone(), dead), Asked::Nothing);
            self.ask(Request::Close(dead.node, log), Asked::Nothing);
        }
        self.ask(Request::Forget(dead), Asked::Nothing);
    }

    /// The others have taken this node for dead under `epoch`: it comes back under another.
    pub(super) fn lose_lease(&mut self, epoch: u32, now: Instant) {
        if epoch != self.lease.epoch {
            return;
        }
        self.lease.epoch += 1;
        self.send_beat(now);
        // The list of what this node has open was torn up with the lease.
        self.open_all();
    }
}
