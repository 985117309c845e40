//! Messages that wait for the store. The total and the share of each sender are bounded. Messages
//! are sent in batches so that they do not delay joins and leaves.

use std::collections::{BTreeMap, VecDeque};

use switchboard_core::{NodeId, NodeMessage, NodeMessageBody, PeerId, PeerIdMap, Position};

use crate::envelope::approximate_bytes;

/// Maximum number of messages that are queued or in flight, and of their bytes (approximate).
const MESSAGES_MAX: usize = 16 * 1024;
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Maximum number of bytes queued for one sending member: half of the default `outbox_bytes` of one client.
const SENDER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of messages in one round trip (approximate). A batch is complete when it has reached this size.
const BATCH_BYTES: usize = 512 * 1024;

/// A message, and the head of its log (the position of the last change) on this node when it was queued.
pub(super) type PositionedMessage = (Position, NodeMessage);

/// The queued messages of a node, by receiving node.
#[derive(Debug, Default)]
pub(super) struct NodeOutbox {
    waiting: BTreeMap<NodeId, VecDeque<PositionedMessage>>,
    /// The node that was served last. The next batch begins with the node after it.
    last_served: Option<NodeId>,
    count: usize,
    bytes: usize,
    bytes_by_sender: PeerIdMap<usize>,
}

impl NodeOutbox {
    /// The number of messages that are queued or in flight.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Queues a message, or returns it if a limit is reached.
    pub(super) fn push(
        &mut self,
        to: NodeId,
        at: Position,
        message: NodeMessage,
    ) -> Option<NodeMessage> {
        let bytes = approximate_bytes(&message);
        let sender = sender(&message);
        let sender_bytes = sender.and_then(|peer| self.bytes_by_sender.get(&peer).copied());
        let sender_bytes = sender_bytes.unwrap_or_default() + bytes;
        // The first message of an idle sender is accepted at any size.
        let is_too_much = sender_bytes > SENDER_BYTES_MAX && sender_bytes > bytes;
        if self.count >= MESSAGES_MAX || self.bytes + bytes > BYTES_MAX || is_too_much {
            return Some(message);
        }
        self.count += 1;
        self.bytes += bytes;
        if let Some(peer) = sender {
            self.bytes_by_sender.insert(peer, sender_bytes);
        }
        self.waiting.entry(to).or_default().push_back((at, message));
        None
    }

    /// Removes the next batch, grouped by receiver, in the order of queueing. The messages count
    /// against the limits until [`mark_sent`](Self::mark_sent).
    pub(super) fn take_batch(&mut self) -> Vec<(NodeId, Vec<PositionedMessage>)> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(to) = self.next_receiver() else {
                break;
            };
            let Some(messages) = self.waiting.get_mut(&to) else {
                break;
            };
            let mut for_node = Vec::new();
            while bytes < BATCH_BYTES
                && let Some(message) = messages.pop_front()
            {
                bytes += approximate_bytes(&message.1);
                for_node.push(message);
            }
            if messages.is_empty() {
                self.waiting.remove(&to);
            }
            self.last_served = Some(to);
            batch.push((to, for_node));
        }
        batch
    }

    fn next_receiver(&self) -> Option<NodeId> {
        let mut all = self.waiting.keys().copied();
        let after = all.clone().find(|node| Some(*node) > self.last_served);
        after.or_else(|| all.next())
    }

    /// Stops counting messages that are no longer in flight.
    pub(super) fn mark_sent(&mut self, messages: &[NodeMessage]) {
        for message in messages {
            let bytes = approximate_bytes(message);
            self.count -= 1;
            self.bytes -= bytes;
            let Some(peer) = sender(message) else {
                continue;
            };
            if let Some(remaining) = self.bytes_by_sender.get_mut(&peer) {
                *remaining -= bytes;
                if *remaining == 0 {
                    self.bytes_by_sender.remove(&peer);
                }
            }
        }
    }

    /// Whether a message of this sender is queued and not yet in flight.
    pub(super) fn has_waiting_of(&self, peer: PeerId) -> bool {
        let mut waiting = self.waiting.values().flatten();
        self.bytes_by_sender.contains_key(&peer)
            && waiting.any(|(_, message)| sender(message) == Some(peer))
    }

    /// Removes all queued messages; they will not be sent.
    pub(super) fn take_all(&mut self) -> Vec<NodeMessage> {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        let messages: Vec<_> = waiting.map(|(_, message)| message).collect();
        self.mark_sent(&messages);
        messages
    }
}

/// The member whose frame the message carries. The nodes themselves send all other messages.
fn sender(message: &NodeMessage) -> Option<PeerId> {
    match &message.body {
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

    fn message(peer: u8, bytes: usize) -> NodeMessage {
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
        let refused = outbox.push(NodeId::from(node), at, message(peer, bytes));
        refused.is_none()
    }

    #[test]
    fn each_sender_has_its_own_byte_limit() {
        let mut outbox = NodeOutbox::default();
        let accepted = (0..100)
            .filter(|_| push(&mut outbox, 1, 1, 100_000))
            .count();
        assert_eq!(accepted, 10);
        assert!(push(&mut outbox, 1, 2, 100_000));
        assert!(
            push(&mut outbox, 2, 3, 2_000_000),
            "the first message of a sender is accepted at any size"
        );
        assert!(!push(&mut outbox, 2, 3, 1));
    }

    #[test]
    fn batches_are_bounded_and_each_begins_with_the_next_node() {
        let mut outbox = NodeOutbox::default();
        for peer in 0..50 {
            assert!(push(&mut outbox, 1, peer, 100_000));
        }
        assert!(push(&mut outbox, 2, 60, 1));
        let first = outbox.take_batch();
        assert_eq!(
            first
                .iter()
                .map(|(_, messages)| messages.len())
                .sum::<usize>(),
            6
        );
        let second = outbox.take_batch();
        assert_eq!(
            second[0].0,
            NodeId::from(2),
            "the second batch must begin with the node that the first has not served"
        );
    }

    #[test]
    fn sent_messages_free_the_byte_limit() {
        let mut outbox = NodeOutbox::default();
        while push(&mut outbox, 1, 1, 100_000) {}
        let in_flight = outbox.take_batch().remove(0).1;
        assert!(
            !push(&mut outbox, 1, 1, 100_000),
            "messages in flight must count against the limit"
        );
        let messages: Vec<_> = in_flight.into_iter().map(|(_, message)| message).collect();
        outbox.mark_sent(&messages);
        assert!(push(&mut outbox, 1, 1, 100_000));
        outbox.take_all();
        assert_eq!(
            (outbox.len(), outbox.bytes, outbox.bytes_by_sender.len()),
            (0, 0, 0)
        );
    }
}
