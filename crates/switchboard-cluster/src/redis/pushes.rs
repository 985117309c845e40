//! The push messages of Redis.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use redis::{PushInfo, PushKind};
use switchboard_core::{LogId, NodeId};
use tokio::sync::mpsc;

use super::{StoreError, keys::KeyNames, wire};
use crate::cluster::store::LogEvent;

/// Maximum number of bytes of events and messages queued for the node.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// A push message for the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePush {
    /// An event of a log to which the node is subscribed.
    LogEvent(LogId, LogEvent),
    /// An envelope for the node, as it was posted.
    Envelope(Vec<u8>),
    /// The last push: the connection has failed, a queue limit is exceeded, or a push is malformed.
    /// Later pushes are dropped; the node must reconnect.
    Lost(String),
}

/// The queue from the connections of a node to the node.
#[derive(Debug)]
pub(super) struct PushQueue {
    keys: KeyNames,
    node_channel: String,
    state: Mutex<QueueState>,
}

#[derive(Debug)]
enum QueueState {
    Open {
        queue: mpsc::Sender<StorePush>,
        /// The sizes in bytes of the pushes that were queued when the last one arrived.
        sizes: VecDeque<usize>,
        /// The sum of `sizes`.
        bytes: usize,
        /// The reserved slot for [`StorePush::Lost`] in a full queue.
        lost_permit: mpsc::OwnedPermit<StorePush>,
        /// Per channel, the number of unsubscribe commands without confirmation.
        pending_unsubscribes: BTreeMap<String, u32>,
    },
    Closed(String),
}

impl PushQueue {
    /// Creates a queue for at most `queue` pushes and [`QUEUE_BYTES`].
    pub(super) fn new(
        keys: KeyNames,
        node: NodeId,
        queue: usize,
    ) -> (Self, mpsc::Receiver<StorePush>) {
        let (sender, receiver) = mpsc::channel(queue + 1);
        let state = match sender.clone().try_reserve_owned() {
            Ok(lost_permit) => QueueState::Open {
                queue: sender,
                sizes: VecDeque::new(),
                bytes: 0,
                lost_permit,
                pending_unsubscribes: BTreeMap::new(),
            },
            Err(_) => QueueState::Closed("the queue is closed".to_owned()),
        };
        let pushes = Self {
            node_channel: keys.node_channel(node),
            keys,
            state: Mutex::new(state),
        };
        (pushes, receiver)
    }

    /// Processes a push of a connection.
    pub(super) fn handle_push(&self, info: &PushInfo) {
        let is_kind = |kinds: &[PushKind]| kinds.contains(&info.kind);
        let result = if is_kind(&[PushKind::Message, PushKind::SMessage]) {
            self.read(info)
                .and_then(|(push, size)| self.push(push, size))
        } else if is_kind(&[PushKind::Unsubscribe, PushKind::SUnsubscribe]) {
            self.handle_unsubscribed(info)
        } else if is_kind(&[PushKind::Disconnection]) {
            let reason = "the connection to Redis was closed";
            Err(StoreError::Unreachable(reason.to_owned()))
        } else {
            Ok(())
        };
        if let Err(reason) = result {
            self.close(&reason.to_string());
        }
    }

    /// Expects one more confirmation of an unsubscribe command for this channel.
    pub(super) fn expect_unsubscribe(&self, channel: String) {
        if let QueueState::Open {
            pending_unsubscribes,
            ..
        } = &mut *self.state()
        {
            *pending_unsubscribes.entry(channel).or_default() += 1;
        }
    }

    /// Closes the queue. The last push carries the reason.
    pub(super) fn close(&self, reason: &str) {
        let mut state = self.state();
        if matches!(*state, QueueState::Open { .. })
            && let QueueState::Open { lost_permit, .. } =
                std::mem::replace(&mut *state, QueueState::Closed(reason.to_owned()))
        {
            lost_permit.send(StorePush::Lost(reason.to_owned()));
        }
    }

    /// The reason for which the queue is closed, if it is.
    pub(super) fn close_reason(&self) -> Option<String> {
        match &*self.state() {
            QueueState::Open { .. } => None,
            QueueState::Closed(reason) => Some(reason.clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decodes a push. Returns it with its size in bytes.
    fn read(&self, info: &PushInfo) -> Result<(StorePush, usize), StoreError> {
        let [channel, payload] = info.data.as_slice() else {
            return Err(StoreError::malformed("a channel and a message"));
        };
        let (channel, payload) = (wire::text(channel)?, wire::bytes(payload)?);
        if channel == self.node_channel {
            return Ok((StorePush::Envelope(payload.to_vec()), payload.len()));
        }
        let log = self.keys.log_of_channel(channel);
        let log = log.ok_or(StoreError::malformed("a channel of a log"))?;
        Ok((
            StorePush::LogEvent(log, wire::log_event(payload)?),
            payload.len(),
        ))
    }

    fn push(&self, push: StorePush, size: usize) -> Result<(), StoreError> {
        let QueueState::Open {
            queue,
            sizes,
            bytes,
            ..
        } = &mut *self.state()
        else {
            return Ok(());
        };
        // One slot is reserved for the last push.
        let waiting = (queue.max_capacity() - queue.capacity()).saturating_sub(1);
        let delivered = sizes.len().saturating_sub(waiting);
        *bytes -= sizes.drain(..delivered).sum::<usize>();
        sizes.push_back(size);
        *bytes += size;
        let is_queued = *bytes <= QUEUE_BYTES && queue.try_send(push).is_ok();
        is_queued.then_some(()).ok_or_else(|| {
            StoreError::Unreachable(
                "the push queue is full: Redis sends faster than this node processes".to_owned(),
            )
        })
    }

    /// Handles an unsubscribe confirmation. A server that moves a slot to another server also ends
    /// the subscriptions to its channels, without a command.
    fn handle_unsubscribed(&self, info: &PushInfo) -> Result<(), StoreError> {
        let channel = info.data.first().map(wire::text).transpose()?;
        let channel = channel.ok_or(StoreError::malformed("a channel"))?;
        let QueueState::Open {
            pending_unsubscribes,
            ..
        } = &mut *self.state()
        else {
            return Ok(());
        };
        match pending_unsubscribes.get_mut(channel) {
            Some(1) => {
                pending_unsubscribes.remove(channel);
                Ok(())
            }
            Some(count) => {
                *count -= 1;
                Ok(())
            }
            None => Err(StoreError::Unreachable(
                "Redis ended a subscription: its slot is moving to another server".to_owned(),
            )),
        }
    }
}
