//! What other nodes say to this one.

use std::{sync::Arc, time::Instant};

use super::{Hub, hear_all, heard, place};
use crate::{
    command::{Charge, Effect, Target},
    event::Event,
    id::{PeerId, RoomId},
    introduction::Member,
    log::{Addressee, Letter, LogId, Message, NodeId, SeatRef},
    refusal::{Refusal, Refused},
    relay::Relay,
};

/// Nodes that may wait to hear of one holder; a cluster has fewer.
const ASKERS_MAX: usize = 256;

impl<L: Clone> Hub<L> {
    pub(super) fn letter(&mut self, from: NodeId, letter: Letter, now: Instant) {
        let Letter { log, message } = letter;
        match (message, log) {
            (Message::Probe(holder), log) => self.probed(from, &log, holder),
            (Message::Alive(holder), log) => self.found_alive(&log, holder),
            (Message::SlowReceiver { sender, bytes }, log) => {
                self.charge_slow_receiver(&log, sender, bytes);
            }
            (
                Message::Relay {
                    from: sender,
                    to,
                    relay,
                },
                LogId::Room(room),
            ) => self.relayed(from, room, sender, to, &relay),
            (Message::Bounce { to, target }, LogId::Room(room)) => {
                self.undelivered(&room, to, target, Refusal::NoSuchPeer, now);
            }
            (Message::Announce { to, from, relay }, LogId::Room(room)) => {
                self.announced(&room, to, &from, relay);
            }
            (
                Message::Relay { .. } | Message::Bounce { .. } | Message::Announce { .. },
                LogId::Name(..) | LogId::Duty(_),
            ) => {}
        }
    }

    /// Something could not be sent to another node. A probe that is not sent is as one that is not
    /// answered.
    pub(super) fn unsent(&mut self, letter: Letter, now: Instant) {
        let (Message::Relay { from, to, .. }, LogId::Room(room)) = (letter.message, letter.log)
        else {
            return;
        };
        let target = match to {
            Addressee::Everyone => Target::Everyone,
            Addressee::One { target, .. } => target,
        };
        self.undelivered(&room, from.peer, target, Refusal::Unavailable, now);
    }

    /// A member of this node has sent to a slow receiver on another one.
    fn charge_slow_receiver(&mut self, log: &LogId, sender: PeerId, bytes: usize) {
        if let Some(local) = self.local(log, sender) {
            let charge = Charge::SlowReceiver { bytes };
            self.effects.push_back(Effect::Charge(local, charge));
        }
    }

    fn undelivered(
        &mut self,
        room: &RoomId,
        sender: PeerId,
        target: Target,
        reason: Refusal,
        now: Instant,
    ) {
        let log = LogId::Room(room.clone());
        let Some(local) = self.local(&log, sender) else {
            return;
        };
        if let Target::Awaited(address) = target {
            return self.miss(room, address, (sender, local), now);
        }
        let refused = Refused::new(reason).in_room(&room.name);
        self.refuse(local, refused.to(target));
    }

    fn relayed(
        &mut self,
        node: NodeId,
        id: RoomId,
        from: SeatRef,
        to: Addressee,
        relay: &Arc<Relay>,
    ) {
        let log = LogId::Room(id);
        let LogId::Room(id) = &log else {
            return;
        };
        if let (Some(alias), Some(room)) = (&relay.aliases.from, self.rooms.get_mut(&log))
            && room.seat_of_node(node, from).is_some()
        {
            room.announce(from.peer, alias);
        }
        let room = self.rooms.get(&log);
        let sender = room.and_then(|room| Some((room, room.seat_of_node(node, from)?)));
        let receiver = match (&to, sender) {
            (Addressee::Everyone, Some((room, seat))) => {
                let (sender, effects) = (&seat.member, &mut self.effects);
                // The sender's own node has charged it.
                let _ = match &relay.aliases.to {
                    None => hear_all(room.seen_by(sender), effects, id, sender, relay),
                    Some(to) => hear_all(room.receivers(sender, to), effects, id, sender, relay),
                };
                if relay.kind.is_description() {
                    self.note_description(&log, from.peer, None);
                }
                return;
            }
            (Addressee::One { seat: wanted, .. }, Some((room, sender))) => room
                .seat(wanted.peer)
                .filter(|seat| seat.since == wanted.since && sender.member.sees(&seat.member))
                .and_then(|seat| seat.local.clone())
                .map(|local| (local, sender.member.clone())),
            (_, None) => None,
        };
        match (receiver, to) {
            (Some((local, from)), to) => {
                let sender = from.peer;
                self.deliver(local, heard(id, &from, true, relay.clone()));
                if let Addressee::One { seat, .. } = to
                    && relay.kind.is_description()
                {
                    self.note_description(&log, sender, Some(seat.peer));
                }
            }
            (None, Addressee::One { target, .. }) => {
                let to = from.peer;
                self.send(node, log, Message::Bounce { to, target });
            }
            (None, Addressee::Everyone) => {}
        }
    }

    fn announced(
        &mut self,
        id: &RoomId,
        to: Option<PeerId>,
        from: &Arc<Member>,
        relay: Arc<Relay>,
    ) {
        let log = LogId::Room(id.clone());
        let Some(room) = self.rooms.get(&log) else {
            return;
        };
        let Some(peer) = to else {
            let _ = hear_all(room.seats(), &mut self.effects, id, from, &relay);
            return;
        };
        if let Some(local) = room.seat(peer).and_then(|seat| seat.local.clone()) {
            let event = heard(id, from, true, relay);
            self.effects
                .push_back(Effect::Deliver(local, Arc::new(event)));
        }
    }

    /// Another node asks whether a member of this one is alive.
    fn probed(&mut self, node: NodeId, log: &LogId, holder: PeerId) {
        let seat = self.rooms.get(log).and_then(|room| room.seat(holder));
        let Some((local, place)) =
            seat.and_then(|seat| Some((seat.local.clone()?, place(log, &seat.member.address)?)))
        else {
            return;
        };
        let askers = self.askers.entry(place.clone()).or_default();
        if !askers.contains(&node) && askers.len() < ASKERS_MAX {
            askers.push(node);
        }
        self.deliver(local, Event::Probe(place));
    }

    fn found_alive(&mut self, log: &LogId, holder: PeerId) {
        let seat = self.rooms.get(log).and_then(|room| room.seat(holder));
        let Some(place) = seat.and_then(|seat| place(log, &seat.member.address)) else {
            return;
        };
        for wish in self.challenges.take(&place) {
            self.refuse_join(wish, Refusal::Taken);
        }
    }
}
