//! Letters that wait for the store: bounded as a whole and for each sender, and brought out in
//! portions, so that nobody's letters keep the joins and leaves of others waiting.

use std::collections::{BTreeMap, VecDeque};

use switchboard_core::{NodeId, NodeMessage, NodeMessageBody, PeerId, Position};

use super::envelope::approximate_bytes;

/// Letters that may wait or be under way, and their bytes, about.
const MESSAGES_MAX: usize = 16 * 1024;
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that may wait of one sender: as much as for one client that does not read.
const SENDER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that one round trip takes along, about.
const BATCH_BYTES: usize = 512 * 1024;

/// A letter, and up to where its sender knew the log.
pub(super) type PositionedMessage = (Position, NodeMessage);

/// The letters of a node.
#[derive(Debug, Default)]
pub(super) struct NodeOutbox {
    waiting: BTreeMap<NodeId, VecDeque<PositionedMessage>>,
    /// Who was served last: the next one is first.
    last: Option<NodeId>,
    count: usize,
    bytes: usize,
    of_senders: BTreeMap<PeerId, usize>,
}

impl NodeOutbox {
    /// Letters that wait or are under way.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Takes a letter, or gives it back if there is no room for it.
    pub(super) fn push(
        &mut self,
        to: NodeId,
        at: Position,
        letter: NodeMessage,
    ) -> Option<NodeMessage> {
        let bytes = approximate_bytes(&letter);
        let sender = sender(&letter);
        let of_sender = sender.and_then(|peer| self.of_senders.get(&peer).copied());
        let of_sender = of_sender.unwrap_or_default() + bytes;
        // Of an idle sender's letters the first is taken, however large.
        let is_too_much = of_sender > SENDER_BYTES_MAX && of_sender > bytes;
        if self.count >= MESSAGES_MAX || self.bytes + bytes > BYTES_MAX || is_too_much {
            return Some(letter);
        }
        self.count += 1;
        self.bytes += bytes;
        if let Some(peer) = sender {
            self.of_senders.insert(peer, of_sender);
        }
        self.waiting.entry(to).or_default().push_back((at, letter));
        None
    }

    /// The next portion, by receivers, each letter in the order in which it came. They count until
    /// they are [`mark_sent`](Self::mark_sent).
    pub(super) fn take_batch(&mut self) -> Vec<(NodeId, Vec<PositionedMessage>)> {
        let mut portion = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(to) = self.next() else {
                break;
            };
            let Some(letters) = self.waiting.get_mut(&to) else {
                break;
            };
            let mut message = Vec::new();
            while bytes < BATCH_BYTES
                && let Some(letter) = letters.pop_front()
            {
                bytes += approximate_bytes(&letter.1);
                message.push(letter);
            }
            if letters.is_empty() {
                self.waiting.remove(&to);
            }
            self.last = Some(to);
            portion.push((to, message));
        }
        portion
    }

    fn next(&self) -> Option<NodeId> {
        let mut all = self.waiting.keys().copied();
        let after = all.clone().find(|node| Some(*node) > self.last);
        after.or_else(|| all.next())
    }

    /// These letters are under way no more.
    pub(super) fn mark_sent(&mut self, letters: &[NodeMessage]) {
        for letter in letters {
            let bytes = approximate_bytes(letter);
            self.count -= 1;
            self.bytes -= bytes;
            let Some(peer) = sender(letter) else {
                continue;
            };
            if let Some(rest) = self.of_senders.get_mut(&peer) {
                *rest -= bytes;
                if *rest == 0 {
                    self.of_senders.remove(&peer);
                }
            }
        }
    }

    /// Whether a letter of this sender waits and is not under way yet.
    pub(super) fn has_waiting_of(&self, peer: PeerId) -> bool {
        let mut waiting = self.waiting.values().flatten();
        self.of_senders.contains_key(&peer)
            && waiting.any(|(_, letter)| sender(letter) == Some(peer))
    }

    /// All that waits, for nobody any more.
    pub(super) fn take_all(&mut self) -> Vec<NodeMessage> {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        let letters: Vec<_> = waiting.map(|(_, letter)| letter).collect();
        self.mark_sent(&letters);
        letters
    }
}

/// The member that has sent it.
fn sender(letter: &NodeMessage) -> Option<PeerId> {
    match &letter.body {
        NodeMessageBody::Relay { from, .. } => Some(from.peer),
        NodeMessageBody::Bounce { .. }
        | NodeMessageBody::Announce { .. }
        | NodeMessageBody::Probe(_)
        | NodeMessageBody::Alive(_)
        | NodeMessageBody::SlowReceiver { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytestring::ByteString;
    use switchboard_core::{
        LogId, MembershipRef, MessageKind, Recipient, RelayedMessage, RoomId, RoomName, SpaceName,
    };

    use super::*;

    fn letter(peer: u8, bytes: usize) -> NodeMessage {
        let peer = PeerId::from_random([peer; 16]);
        let since = Position::from(1);
        let frame = ByteString::from("x".repeat(bytes));
        NodeMessage {
            log: LogId::Room(RoomId::shared(
                SpaceName::default(),
                RoomName::parse("room", 0).expect("not empty"),
            )),
            body: NodeMessageBody::Relay {
                from: MembershipRef { peer, since },
                to: Recipient::Everyone,
                message: Arc::new(RelayedMessage::new(
                    "any",
                    MessageKind::Opaque,
                    frame,
                    |_, _| true,
                )),
            },
        }
    }

    fn push(outbox: &mut NodeOutbox, node: u64, peer: u8, bytes: usize) -> bool {
        let at = Position::from(1);
        let back = outbox.push(NodeId::from(node), at, letter(peer, bytes));
        back.is_none()
    }

    #[test]
    fn one_sender_has_its_share_and_others_have_theirs() {
        let mut outbox = NodeOutbox::default();
        let taken = (0..100)
            .filter(|_| push(&mut outbox, 1, 1, 100_000))
            .count();
        assert_eq!(taken, 10);
        assert!(push(&mut outbox, 1, 2, 100_000));
        assert!(
            push(&mut outbox, 2, 3, 2_000_000),
            "the first, however large"
        );
        assert!(!push(&mut outbox, 2, 3, 1));
    }

    #[test]
    fn portions_are_small_and_serve_every_node() {
        let mut outbox = NodeOutbox::default();
        for peer in 0..50 {
            assert!(push(&mut outbox, 1, peer, 100_000));
        }
        assert!(push(&mut outbox, 2, 60, 1));
        let first = outbox.take_batch();
        assert_eq!(
            first
                .iter()
                .map(|(_, letters)| letters.len())
                .sum::<usize>(),
            6
        );
        let second = outbox.take_batch();
        assert_eq!(second[0].0, NodeId::from(2), "who was not served is next");
    }

    #[test]
    fn what_is_done_makes_room() {
        let mut outbox = NodeOutbox::default();
        while push(&mut outbox, 1, 1, 100_000) {}
        let taken = outbox.take_batch().remove(0).1;
        assert!(
            !push(&mut outbox, 1, 1, 100_000),
            "what is under way counts"
        );
        let letters: Vec<_> = taken.into_iter().map(|(_, letter)| letter).collect();
        outbox.mark_sent(&letters);
        assert!(push(&mut outbox, 1, 1, 100_000));
        outbox.take_all();
        assert_eq!(
            (outbox.len(), outbox.bytes, outbox.of_senders.len()),
            (0, 0, 0)
        );
    }
}
