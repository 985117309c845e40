//! What the store says: news of the logs, and answers.

use std::time::Instant;

use switchboard_core::{Declined, Departure, Farewell, LogId, PeerId};

use super::{Alarm, Asked, Effect, Node};
use crate::cluster::{
    replica::{Taken, Want},
    store::{
        Answer, Known, Lease, News, NoSeat, Outcome, Proposal, Request, Seat, Snapshot,
        StoredChange,
    },
};

impl Node {
    pub(super) fn news(&mut self, log: &LogId, news: News, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let (taken, entries) = replica.take(news, &*self.words);
        self.tell(log, entries);
        self.follow(log, taken, now);
    }

    /// After changes were taken.
    pub(super) fn follow(&mut self, log: &LogId, taken: Taken, now: Instant) {
        match taken {
            Taken::InOrder => {}
            Taken::Gap => self.mind_the_gap(log, now),
            Taken::Fenced(epoch) if epoch == self.lease.epoch => self.lose_lease(epoch, now),
            // The seats of an epoch that is over are being asked for anew.
            Taken::Fenced(_) => self.mind_the_gap(log, now),
        }
        self.free_outdated(log);
        self.release(log, now);
        self.let_linger(log, now);
    }

    /// Gives the seats of joins that were given up back, and asks anew for what is wanted now.
    pub(super) fn free_outdated(&mut self, log: &LogId) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let mut outdated = std::mem::take(&mut replica.outdated);
        outdated.retain(|peer| replica.freeing.insert(*peer));
        if outdated.is_empty() {
            return;
        }
        for peer in outdated {
            let request = Request::Change {
                log: log.clone(),
                lease: self.lease,
                proposal: Proposal::Leave(peer, Departure::Asked(Farewell::Aloud)),
                seats: 0,
            };
            self.ask(request, Asked::Free(log.clone(), peer));
        }
        self.sync(log);
    }

    pub(super) fn release(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let letters = replica.release(false).into_iter();
        self.effects
            .extend(letters.map(|held| Effect::Letter(held.from, held.letter)));
        if replica.is_behind() {
            self.mind_the_gap(log, now);
        }
    }

    pub(super) fn answered(&mut self, asked: Asked, answer: Answer, now: Instant) {
        match (asked, answer) {
            (asked, Answer::Failed(_)) => self.failed(asked, now),
            (
                Asked::Beat(epoch),
                Answer::Beaten {
                    valid,
                    is_listed,
                    nodes,
                },
            ) => {
                if self.is_known && !is_listed {
                    self.effects.push_back(Effect::Forgotten);
                    self.open_all();
                }
                self.is_known = true;
                self.beaten(epoch, valid, nodes, now);
            }
            (Asked::Bury(lease), Answer::Buried(true)) => {
                self.ask(Request::Logs(lease.node), Asked::Logs(lease));
            }
            (Asked::Logs(lease), Answer::Logs(logs)) => self.free(lease, logs),
            (Asked::OwnLogs, Answer::Logs(logs)) => self.leave_forgotten(logs),
            (Asked::Look(log), Answer::Read(snapshot)) => self.has_seen(&log, snapshot, now),
            (Asked::Read(log, taken), Answer::Read(snapshot)) => {
                self.has_read(&log, snapshot, taken, now);
            }
            (
                Asked::Sync(log, epoch),
                Answer::Synced {
                    fenced,
                    declined,
                    snapshot,
                },
            ) => match fenced {
                true => self.lose_lease(epoch, now),
                false => self.synced(&log, declined, snapshot, now),
            },
            (Asked::Join(log, want, epoch), Answer::Changed { outcome, .. }) => {
                self.join_answered(&log, want, epoch, outcome, now);
            }
            (Asked::Leave(log, peer, departure, epoch), Answer::Changed { outcome, .. }) => {
                self.leave_answered(&log, peer, departure, epoch, outcome, now);
            }
            (Asked::Free(log, peer), _) => {
                if let Some(replica) = self.replicas.get_mut(&log) {
                    replica.freeing.remove(&peer);
                }
            }
            (Asked::Post(letters), answer) => {
                self.outbox.done(&letters);
                if answer == Answer::Posted(0) {
                    self.effects.extend(letters.into_iter().map(Effect::Unsent));
                }
            }
            // Nothing to do, or a store that answers what was not asked.
            (_, _) => {}
        }
    }

    /// The store could not do one thing; all else goes on.
    pub(super) fn failed(&mut self, asked: Asked, now: Instant) {
        let log = match &asked {
            Asked::Sync(log, _)
            | Asked::Read(log, _)
            | Asked::Look(log)
            | Asked::Join(log, ..)
            | Asked::Leave(log, ..)
            | Asked::Free(log, _) => log.clone(),
            Asked::Post(letters) => return self.return_letters(letters.clone()),
            Asked::Beat(_) | Asked::Bury(_) | Asked::Logs(_) | Asked::OwnLogs | Asked::Nothing => {
                return;
            }
        };
        let mut in_vain = Vec::new();
        if let Some(replica) = self.replicas.get_mut(&log) {
            replica.is_looking = false;
            in_vain.extend(replica.unseated());
        }
        for peer in in_vain {
            if self.give_up(&log, peer) {
                self.decline(&log, peer, Declined::Unavailable);
            }
        }
        match asked {
            Asked::Read(_, taken) => {
                for peer in taken {
                    self.decline(&log, peer, Declined::Unavailable);
                }
            }
            Asked::Leave(_, peer, ..) => {
                let replica = self.replicas.get(&log);
                match replica.is_some_and(|it| it.is_seated(peer) && !it.is_own(peer)) {
                    true => self.decline(&log, peer, Declined::Unavailable),
                    false => self.leave_alone(&log, peer),
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
            | Asked::Post(_)
            | Asked::Nothing => {}
        }
        self.let_linger(&log, now);
    }

    pub(super) fn join_answered(
        &mut self,
        log: &LogId,
        want: Want,
        epoch: u32,
        outcome: Outcome,
        now: Instant,
    ) {
        let peer = want.member.peer;
        match outcome {
            Outcome::At(at) => {
                let seat = Seat {
                    peer,
                    address: want.member.address.clone(),
                    lease: Lease {
                        epoch,
                        ..self.lease
                    },
                    since: at.head,
                    card: want.card,
                };
                let change = StoredChange::Join(seat);
                self.news(log, News { at, change }, now);
            }
            Outcome::NoSeat(NoSeat::Taken) => {
                if self.give_up(log, peer) {
                    self.read(log, vec![peer]);
                }
            }
            Outcome::NoSeat(NoSeat::Full) => {
                if self.give_up(log, peer) {
                    self.decline(log, peer, Declined::Full);
                    self.let_linger(log, now);
                }
            }
            Outcome::Fenced => self.lose_lease(epoch, now),
            Outcome::Present(_) | Outcome::Absent => {}
        }
    }

    /// Gives up the wish of a peer that has no seat; says whether it had it still.
    pub(super) fn give_up(&mut self, log: &LogId, peer: PeerId) -> bool {
        let replica = self.replicas.get_mut(log);
        replica.is_some_and(|replica| {
            !replica.is_seated(peer) && replica.wanted.remove(&peer).is_some()
        })
    }

    pub(super) fn leave_answered(
        &mut self,
        log: &LogId,
        peer: PeerId,
        departure: Departure,
        epoch: u32,
        outcome: Outcome,
        now: Instant,
    ) {
        match outcome {
            Outcome::At(at) => {
                if let Some(replica) = self.replicas.get_mut(log) {
                    replica.is_to_depart(peer, at);
                }
                let change = StoredChange::Leave(peer, departure);
                self.news(log, News { at, change }, now);
            }
            Outcome::Fenced => {
                self.lose_lease(epoch, now);
                self.has_no_seat(log, peer);
            }
            Outcome::Absent | Outcome::Present(_) | Outcome::NoSeat(_) => {
                self.has_no_seat(log, peer);
            }
        }
    }

    /// Somebody who was to leave has left already, which this node may have missed.
    pub(super) fn has_no_seat(&mut self, log: &LogId, peer: PeerId) {
        if self.replicas.get(log).is_some_and(|it| it.is_seated(peer)) {
            self.read(log, Vec::new());
        } else {
            self.decline(log, peer, Declined::Absent);
        }
    }

    /// What a look in between shows may have overtaken news that are still to come, in their order.
    pub(super) fn has_seen(&mut self, log: &LogId, snapshot: Option<Snapshot>, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let seen = snapshot.as_ref().map(|snapshot| snapshot.known);
        match seen {
            Some(seen) if seen.generation == replica.known.generation => {
                replica.seen = seen.head;
                if replica.is_behind() {
                    self.mind_the_gap(log, now);
                }
            }
            Some(_) | None => self.has_read(log, snapshot, Vec::new(), now),
        }
    }

    pub(super) fn has_read(
        &mut self,
        log: &LogId,
        snapshot: Option<Snapshot>,
        taken: Vec<PeerId>,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        let snapshot = snapshot.unwrap_or_else(|| nothing(replica.known));
        if replica.is_missed_in(&snapshot) {
            self.sync(log);
        } else {
            self.adopt(log, snapshot, now);
        }
        for peer in taken {
            self.decline(log, peer, Declined::Taken);
        }
    }

    pub(super) fn synced(
        &mut self,
        log: &LogId,
        declined: Vec<(PeerId, NoSeat)>,
        snapshot: Option<Snapshot>,
        now: Instant,
    ) {
        let Some(replica) = self.replicas.get(log) else {
            return;
        };
        let snapshot = snapshot.unwrap_or_else(|| nothing(replica.known));
        let (_, never): (Vec<_>, Vec<_>) = declined
            .into_iter()
            .partition(|(peer, _)| replica.is_seated(*peer));
        self.adopt(log, snapshot, now);
        for (peer, why) in never {
            if self.give_up(log, peer) {
                let why = match why {
                    NoSeat::Taken => Declined::Taken,
                    NoSeat::Full => Declined::Full,
                };
                self.decline(log, peer, why);
            }
        }
        self.let_linger(log, now);
    }

    /// Takes a log as it is.
    pub(super) fn adopt(&mut self, log: &LogId, snapshot: Snapshot, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        replica.is_looking = false;
        // News that came before this answer may have overtaken it.
        let is_old = snapshot.known.head < replica.known.head
            && snapshot.known.generation <= replica.known.generation;
        if is_old {
            let must_read_again = replica.must_free_missing;
            let (taken, entries) = replica.resume(&*self.words);
            self.tell(log, entries);
            if must_read_again {
                self.read(log, Vec::new());
            }
            return self.follow(log, taken, now);
        }
        replica.must_free_missing = false;
        let was = replica.known.generation;
        if was != 0 && was != snapshot.known.generation {
            let until = now + self.settings.lease;
            replica.doubt = Some(until);
            self.alarms.insert((until, Alarm::Doubt(log.clone())));
        }
        let mut entries = replica.adopt(snapshot, &*self.words);
        let (taken, more) = replica.resume(&*self.words);
        entries.extend(more);
        let departed = replica.departed();
        self.tell(log, entries);
        for peer in departed {
            self.decline(log, peer, Declined::Absent);
        }
        self.follow(log, taken, now);
    }
}

/// A log that nobody is in.
fn nothing(known: Known) -> Snapshot {
    Snapshot {
        known,
        seats: Vec::new(),
    }
}
