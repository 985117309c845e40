//! What members of this node want, and what they say to those of others.

use std::{sync::Arc, time::Instant};

use switchboard_core::{
    Addressee, Declined, Departure, Eviction, Letter, LogId, Member, Message, NodeId, PeerId,
};

use super::{Alarm, Asked, CHALLENGE, Effect, JOIN_PATIENCE, LINGER, Node, QUEUE_MAX};
use crate::cluster::{
    mail,
    replica::{HeldBack, Hold, Replica, Want},
    store::{Proposal, Request, Wanted},
};

impl Node {
    pub(super) fn join(&mut self, log: LogId, member: Arc<Member>, now: Instant) {
        let peer = member.peer;
        let is_long_gone = self.down_for(now) >= Some(JOIN_PATIENCE);
        if is_long_gone || self.is_closing || self.queue.len() >= QUEUE_MAX {
            return self.decline(&log, peer, Declined::Unavailable);
        }
        let until = now + JOIN_PATIENCE;
        self.joins += 1;
        let card = mail::card(&member, self.joins);
        let want = Want {
            member,
            card,
            until: Some(until),
        };
        let node = self.lease.node;
        let is_new = !self.replicas.contains_key(&log);
        let replica = self
            .replicas
            .entry(log.clone())
            .or_insert_with(|| Replica::new(node));
        replica.linger = None;
        replica.wanted.insert(peer, want.copy());
        self.alarms.insert((until, Alarm::Join(log.clone(), peer)));
        if self.connected.is_err() {
            return;
        }
        if is_new {
            self.open(&log);
        } else {
            self.ask_join(log, want);
        }
    }

    pub(super) fn ask_join(&mut self, log: LogId, want: Want) {
        let wanted = Wanted {
            peer: want.member.peer,
            address: want.member.address.clone(),
            since: None,
            card: want.card.clone(),
        };
        let request = Request::Change {
            seats: self.seats_max(&log, &want.member),
            log: log.clone(),
            lease: self.lease,
            proposal: Proposal::Join(wanted),
        };
        let epoch = self.lease.epoch;
        self.ask(request, Asked::Join(log, want, epoch));
    }

    pub(super) fn leave(&mut self, log: LogId, peer: PeerId, departure: Departure, now: Instant) {
        let Some(replica) = self.replicas.get_mut(&log) else {
            return self.decline(&log, peer, Declined::Absent);
        };
        let is_own = replica.wanted.remove(&peer).is_some() || replica.is_own(peer);
        // It may have answered when this node could not hear it.
        let is_heard = self.connected.is_ok_and(|since| now >= since + CHALLENGE);
        if !is_own && !is_heard && departure == Departure::Evicted(Eviction::Ghost) {
            return self.decline(&log, peer, Declined::Unavailable);
        }
        if is_own {
            replica.dismiss(peer, departure);
        }
        if self.connected.is_err() {
            match departure {
                _ if is_own => self.leave_alone(&log, peer),
                Departure::Evicted(_) => self.decline(&log, peer, Declined::Unavailable),
                Departure::Asked(_) | Departure::Lost => {
                    self.decline(&log, peer, Declined::Absent);
                }
            }
            return self.let_linger(&log, now);
        }
        let request = Request::Change {
            log: log.clone(),
            lease: self.lease,
            proposal: Proposal::Leave(peer, departure),
            seats: 0,
        };
        let epoch = self.lease.epoch;
        self.ask(request, Asked::Leave(log, peer, departure, epoch));
    }

    /// A member of this node goes while the store is away: those of this node see it at once, the
    /// others when the store is back.
    pub(super) fn leave_alone(&mut self, log: &LogId, peer: PeerId) {
        let mut entries = Vec::new();
        if let Some(replica) = self.replicas.get_mut(log) {
            let departure = replica.farewell(peer);
            replica.unseat(peer, departure, &mut entries);
        }
        if entries.is_empty() {
            self.decline(log, peer, Declined::Absent);
        }
        self.tell(log, entries);
    }

    /// Gives a log up some time after nobody here has wanted it.
    pub(super) fn let_linger(&mut self, log: &LogId, now: Instant) {
        let Some(replica) = self.replicas.get_mut(log) else {
            return;
        };
        if replica.linger.is_none() && !replica.is_needed() {
            let until = now + LINGER;
            replica.linger = Some(until);
            self.alarms.insert((until, Alarm::Linger(log.clone())));
        }
    }

    pub(super) fn send(&mut self, to: NodeId, letter: Letter) {
        let Some(replica) = self.replicas.get(&letter.log) else {
            return self.effects.push_back(Effect::Unsent(letter));
        };
        let at = replica.known.head;
        let unsent = match self.connected {
            Ok(_) => self.outbox.push(to, at, letter),
            Err(_) => Some(letter),
        };
        self.effects.extend(unsent.map(Effect::Unsent));
    }

    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant) {
        let Some((from, letters)) = mail::read(bytes, &*self.words) else {
            return;
        };
        for (at, letter) in letters {
            let log = letter.log.clone();
            let letter = HeldBack { from, at, letter };
            let Some(replica) = self.replicas.get_mut(&log) else {
                self.effects.push_back(Effect::Letter(from, letter.letter));
                continue;
            };
            match replica.hold(letter) {
                Hold::Now(held) => self.effects.push_back(Effect::Letter(from, held.letter)),
                Hold::Later => self.mind_the_gap(&log, now),
                Hold::Full(held) => self.bounce(held),
            }
        }
    }

    /// Sends a letter back that cannot wait here.
    pub(super) fn bounce(&mut self, held: HeldBack) {
        let Letter { log, message } = held.letter;
        if let Message::Relay {
            from,
            to: Addressee::One { target, .. },
            ..
        } = message
        {
            let to = from.peer;
            let message = Message::Bounce { to, target };
            self.send(held.from, Letter { log, message });
        }
    }
}
