//! The push messages of Redis: messages of channels, and confirmations of subscriptions.

use std::collections::BTreeMap;

use parking_lot::{Mutex, MutexGuard};
use redis::{PushInfo, PushKind, Value};
use switchboard_cluster::{PushQueue, store::StorePush};
use switchboard_core::{NodeId, error_chain};

use super::{StoreError, keys::KeyNames, wire};

/// Decodes the pushes to a node and queues them.
#[derive(Debug)]
pub(super) struct PushReader {
    keys: KeyNames,
    node_channel: String,
    queue: PushQueue,
    /// Per channel, the number of unsubscribe commands without confirmation.
    pending_unsubscribes: Mutex<BTreeMap<String, u32>>,
}

impl PushReader {
    pub(super) fn new(keys: KeyNames, node: NodeId, queue: PushQueue) -> Self {
        Self {
            node_channel: keys.node_channel(node),
            keys,
            queue,
            pending_unsubscribes: Mutex::default(),
        }
    }

    /// The queue of the decoded pushes.
    pub(super) fn queue(&self) -> &PushQueue {
        &self.queue
    }

    /// Processes a push of a connection.
    pub(super) fn handle_push(&self, info: PushInfo) {
        let PushInfo { kind, data } = info;
        let is_kind = |kinds: &[PushKind]| kinds.contains(&kind);
        let result = if is_kind(&[PushKind::Message, PushKind::SMessage]) {
            self.read(data)
                .map(|(push, size)| self.queue.push(push, size))
        } else if is_kind(&[PushKind::Unsubscribe, PushKind::SUnsubscribe]) {
            self.handle_unsubscribed(&data)
        } else if is_kind(&[PushKind::Disconnection]) {
            Err(StoreError::Closed)
        } else {
            Ok(())
        };
        if let Err(error) = result {
            self.queue.close(&error_chain(&error));
        }
    }

    /// Expects one more confirmation of an unsubscribe command for this channel.
    pub(super) fn expect_unsubscribe(&self, channel: String) {
        *self.pending_unsubscribes().entry(channel).or_default() += 1;
    }

    fn pending_unsubscribes(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        self.pending_unsubscribes.lock()
    }

    /// Decodes a push. Returns it with its size in bytes.
    fn read(&self, data: Vec<Value>) -> Result<(StorePush, usize), StoreError> {
        let [channel, payload] = <[Value; 2]>::try_from(data)
            .map_err(|_| StoreError::expected("a channel and a message"))?;
        let channel = wire::text(&channel)?;
        if channel == self.node_channel
            && let Value::BulkString(payload) = payload
        {
            let size = payload.len();
            return Ok((StorePush::Envelope(payload), size));
        }
        let payload = wire::bytes(&payload)?;
        let log = self.keys.log_of_channel(channel);
        let log = log.ok_or(StoreError::expected("a channel of a log"))?;
        let event = wire::log_event(payload).map_err(|error| error.in_key(channel))?;
        Ok((StorePush::LogEvent(log, event), payload.len()))
    }

    /// Handles the confirmation of an unsubscribe command. A confirmation without a command is an error: it means that
    /// the server has moved a slot to another server and ended the subscriptions to the channels of that slot.
    fn handle_unsubscribed(&self, data: &[Value]) -> Result<(), StoreError> {
        let channel = data.first().map(wire::text).transpose()?;
        let channel = channel.ok_or(StoreError::expected("a channel"))?;
        let mut pending_unsubscribes = self.pending_unsubscribes();
        match pending_unsubscribes.get_mut(channel) {
            Some(1) => {
                pending_unsubscribes.remove(channel);
                Ok(())
            }
            Some(count) => {
                *count -= 1;
                Ok(())
            }
            None => Err(StoreError::Unsubscribed),
        }
    }
}
