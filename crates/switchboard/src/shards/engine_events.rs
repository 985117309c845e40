//! The results of the engine, on their way to the shards and the election.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::Instant,
};

use bytestring::ByteString;
use switchboard_cluster::{DialectRegistry, EngineHandler};
use switchboard_core::{
    Address, DialectTraits, Entry, Input, LogId, Member, MessageKind, NodeId, NodeMessage,
    NodeMessageBody, OfferPolicy, PeerId, RejectReason, RelayedMessage, error_chain,
};
use switchboard_dialects::{Content, DialectTable, HOST};
use switchboard_transport::OutboxHandle;

use super::{Deferred, Shard, Shards};
use crate::election::{self, Election};

/// After this number of messages of other nodes their receivers are handed over to the tasks of the server. More would
/// wait in the outboxes for the rest of a large batch, and receivers that are idle would count as slow.
const MESSAGES_PER_HAND_OVER: usize = 16;

/// Likewise after this number of bytes of the messages' frames.
const BYTES_PER_HAND_OVER: usize = 64 * 1024;

/// Passes the results of the engine to the shards and the election.
pub(super) struct EngineEventHandler {
    pub(super) shards: Weak<Shards>,
    pub(super) dialects: DialectTable,
    pub(super) election: Option<Arc<Election>>,
}

impl EngineEventHandler {
    fn with_shard(&self, log: &LogId, act: impl FnOnce(&Shards, &mut Shard, &mut Deferred)) {
        if let Some(shards) = self.shards.upgrade() {
            let act = |shard: &mut Shard, deferred: &mut Deferred| {
                deferred.in_helper_tasks = true;
                act(&shards, shard, deferred);
            };
            shards.with_shard(shards.index_of_log(log), Instant::now(), act);
        }
    }

    fn pass_input(&self, log: &LogId, input: Input<OutboxHandle>) -> usize {
        let Some(shards) = self.shards.upgrade() else {
            return 0;
        };
        shards.pass_waking_input(shards.index_of_log(log), input)
    }
}

impl EngineHandler for EngineEventHandler {
    fn on_committed(&self, log: &LogId, entries: Vec<Entry>) {
        if let (LogId::Election(_), Some(election)) = (log, &self.election) {
            return election.on_committed(&entries);
        }
        self.with_shard(log, |shards, shard, deferred| {
            for entry in entries {
                shards.commit(shard, log.clone(), entry, deferred);
                shards.drain_effects(shard, deferred);
            }
        });
    }

    fn on_rejected(&self, log: &LogId, peer: PeerId, reason: RejectReason) {
        if let (LogId::Election(_), Some(election)) = (log, &self.election) {
            return election.on_rejected(reason);
        }
        self.with_shard(log, |shards, shard, deferred| {
            shards.reject(shard, log, peer, reason, deferred);
        });
    }

    fn on_node_message(&self, from: NodeId, message: NodeMessage) {
        self.on_node_messages(vec![(from, message)]);
    }

    fn on_node_messages(&self, messages: Vec<(NodeId, NodeMessage)>) {
        let Some(shards) = self.shards.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut messages = messages.into_iter();
        loop {
            let count = messages_to_hand_over(messages.as_slice());
            if count == 0 {
                return;
            }
            let mut deferred = Deferred {
                in_helper_tasks: true,
                ..Deferred::default()
            };
            for (from, message) in messages.by_ref().take(count) {
                shards.pass_node_message(from, message, now, &mut deferred);
            }
            deferred.finish(shards.runtime.get(), now);
        }
    }

    fn on_undeliverable(&self, message: NodeMessage) {
        self.pass_input(&message.log.clone(), Input::Undeliverable(message));
    }
}

/// The number of messages after which their receivers are handed over.
fn messages_to_hand_over(messages: &[(NodeId, NodeMessage)]) -> usize {
    let mut bytes = 0;
    let is_within = |(_, message): &&(NodeId, NodeMessage)| {
        let was_within = bytes < BYTES_PER_HAND_OVER;
        bytes += frame_bytes(&message.body);
        was_within
    };
    let messages = messages.iter().take(MESSAGES_PER_HAND_OVER);
    messages.take_while(is_within).count()
}

fn frame_bytes(message: &NodeMessageBody) -> usize {
    match message {
        NodeMessageBody::Relay { message, .. } | NodeMessageBody::Announce { message, .. } => {
            message.frame.len()
        }
        NodeMessageBody::Bounce { .. }
        | NodeMessageBody::Probe(_)
        | NodeMessageBody::Alive(_)
        | NodeMessageBody::SlowReceiver { .. } => 0,
    }
}

impl DialectRegistry for EngineEventHandler {
    fn dialect(&self, name: &str) -> &'static DialectTraits {
        if name == election::ELECTION_TRAITS.name {
            return &election::ELECTION_TRAITS;
        }
        if name == HOST.name {
            return &HOST;
        }
        self.dialects
            .find(name)
            .map_or(&UNKNOWN, |dialect| dialect.traits())
    }

    fn encode_member(&self, member: &Member, join: u64) -> Vec<u8> {
        switchboard_dialects::encode_member(member, join)
    }

    fn decode_member(&self, peer: PeerId, address: Address, metadata: &[u8]) -> Member {
        let dialect = |name: &str| self.dialect(name);
        let member = switchboard_dialects::decode_member(peer, address.clone(), metadata, dialect);
        member.unwrap_or_else(|error| {
            tracing::warn!(
                error = error_chain(&error),
                "metadata of another node's member is malformed"
            );
            Member::new(peer, address, &UNKNOWN)
        })
    }

    fn message(
        &self,
        origin: &str,
        kind: MessageKind,
        frame: ByteString,
    ) -> Option<RelayedMessage> {
        let message = AssertUnwindSafe(|| {
            Content::relayed_message(origin, kind, frame.clone(), self.dialects)
        });
        // A panic would end the thread of the engine.
        catch_unwind(message).unwrap_or_else(|_| {
            tracing::error!(
                dialect = origin,
                "a dialect panicked at a frame of another node"
            );
            let name = self.dialects.find(origin)?.traits().name;
            Some(RelayedMessage::new(name, kind, frame, |_, _| false))
        })
    }
}

/// The properties of a member whose dialect this node does not know: it can neither be called nor get messages.
static UNKNOWN: DialectTraits = DialectTraits {
    name: "unknown",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

#[cfg(test)]
mod tests {
    use switchboard_core::{RoomId, RoomName, SpaceName};

    use super::*;

    fn announcement(bytes: usize) -> (NodeId, NodeMessage) {
        let room = RoomName::parse("room", 0).expect("a name");
        let peer = PeerId::from_random([1; 16]);
        let frame = "x".repeat(bytes).into();
        let message = RelayedMessage::new("mesh", MessageKind::Opaque, frame, |_, _| false);
        let body = NodeMessageBody::Announce {
            to: None,
            from: Arc::new(Member::new(peer, peer.into(), &UNKNOWN)),
            message: Arc::new(message),
        };
        let log = LogId::Room(RoomId::shared(SpaceName::default(), room));
        (NodeId::from(1), NodeMessage { log, body })
    }

    #[test]
    fn receivers_are_handed_over_after_a_number_of_messages_and_of_bytes() {
        let count = |bytes: &[usize]| {
            let messages: Vec<_> = bytes.iter().copied().map(announcement).collect();
            messages_to_hand_over(&messages)
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[100; 9]), 9);
        assert_eq!(count(&[100; 40]), MESSAGES_PER_HAND_OVER);
        assert_eq!(count(&[BYTES_PER_HAND_OVER; 3]), 1);
        assert_eq!(count(&[1, BYTES_PER_HAND_OVER, 1]), 2);
    }
}
