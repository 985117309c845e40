//! What Redis says unasked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use redis::{PushInfo, PushKind};
use switchboard_core::{LogId, NodeId};
use tokio::sync::mpsc;

use super::{StoreError, keys::KeyNames, wire};
use crate::cluster::store::LogEvent;

/// How many bytes of news and mail may wait for the node.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// What a node is told unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePush {
    /// News of a log that it has opened.
    LogEvent(LogId, LogEvent),
    /// A message to it, as it was posted.
    Envelope(Vec<u8>),
    /// The last: the connection has broken, or too much has come at once, or something that
    /// nobody can read. Whatever came since is not told any more; the node is to connect anew.
    Lost(String),
}

/// The way from the connections of a node to the node.
#[derive(Debug)]
pub(super) struct PushQueue {
    keys: KeyNames,
    mail: String,
    state: Mutex<QueueState>,
}

#[derive(Debug)]
enum QueueState {
    Open {
        queue: mpsc::Sender<StorePush>,
        /// How many bytes each of the pushes has that waited when the last one came, and together.
        sizes: VecDeque<usize>,
        bytes: usize,
        /// The room for [`StorePush::Lost`], however full the queue is.
        last: mpsc::OwnedPermit<StorePush>,
        /// Per channel how often it was asked to be silent and has not confirmed yet.
        closing: BTreeMap<String, u32>,
    },
    Closed(String),
}

impl PushQueue {
    /// At most `queue` pushes wait, and [`QUEUE_BYTES`].
    pub(super) fn new(
        keys: KeyNames,
        node: NodeId,
        queue: usize,
    ) -> (Self, mpsc::Receiver<StorePush>) {
        let (sender, receiver) = mpsc::channel(queue + 1);
        let gate = match sender.clone().try_reserve_owned() {
            Ok(last) => QueueState::Open {
                queue: sender,
                sizes: VecDeque::new(),
                bytes: 0,
                last,
                closing: BTreeMap::new(),
            },
            Err(_) => QueueState::Closed("the queue is closed".to_owned()),
        };
        let pushes = Self {
            mail: keys.node_channel(node),
            keys,
            state: Mutex::new(gate),
        };
        (pushes, receiver)
    }

    /// Takes what a connection says.
    pub(super) fn handle_push(&self, info: &PushInfo) {
        let is = |kinds: &[PushKind]| kinds.contains(&info.kind);
        let told = if is(&[PushKind::Message, PushKind::SMessage]) {
            self.read(info)
                .and_then(|(push, size)| self.push(push, size))
        } else if is(&[PushKind::Unsubscribe, PushKind::SUnsubscribe]) {
            self.handle_unsubscribed(info)
        } else if is(&[PushKind::Disconnection]) {
            let why = "the connection to Redis has broken";
            Err(StoreError::Unreachable(why.to_owned()))
        } else {
            Ok(())
        };
        if let Err(why) = told {
            self.close(&why.to_string());
        }
    }

    /// The next confirmation of this channel's silence was asked for.
    pub(super) fn expect_unsubscribe(&self, channel: String) {
        if let QueueState::Open { closing, .. } = &mut *self.state() {
            *closing.entry(channel).or_default() += 1;
        }
    }

    /// Ends it: the last push says why.
    pub(super) fn close(&self, why: &str) {
        let mut gate = self.state();
        if matches!(*gate, QueueState::Open { .. })
            && let QueueState::Open { last, .. } =
                std::mem::replace(&mut *gate, QueueState::Closed(why.to_owned()))
        {
            last.send(StorePush::Lost(why.to_owned()));
        }
    }

    /// Why it has ended, if it has.
    pub(super) fn close_reason(&self) -> Option<String> {
        match &*self.state() {
            QueueState::Open { .. } => None,
            QueueState::Closed(why) => Some(why.clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A push, and how many bytes it has.
    fn read(&self, info: &PushInfo) -> Result<(StorePush, usize), StoreError> {
        let [channel, payload] = info.data.as_slice() else {
            return Err(StoreError::malformed("a channel and a message"));
        };
        let (channel, payload) = (wire::text(channel)?, wire::bytes(payload)?);
        if channel == self.mail {
            return Ok((StorePush::Envelope(payload.to_vec()), payload.len()));
        }
        let log = self.keys.log_of_channel(channel);
        let log = log.ok_or(StoreError::malformed("the channel of a log"))?;
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
        // One place is taken by the last push.
        let waiting = (queue.max_capacity() - queue.capacity()).saturating_sub(1);
        let received = sizes.len().saturating_sub(waiting);
        *bytes -= sizes.drain(..received).sum::<usize>();
        sizes.push_back(size);
        *bytes += size;
        let sent = *bytes <= QUEUE_BYTES && queue.try_send(push).is_ok();
        sent.then_some(()).ok_or_else(|| {
            StoreError::Unreachable("more comes from Redis than this node can take".to_owned())
        })
    }

    /// A server that gives a slot to another also ends the subscriptions to its channels.
    fn handle_unsubscribed(&self, info: &PushInfo) -> Result<(), StoreError> {
        let channel = info.data.first().map(wire::text).transpose()?;
        let channel = channel.ok_or(StoreError::malformed("a channel"))?;
        let QueueState::Open { closing, .. } = &mut *self.state() else {
            return Ok(());
        };
        match closing.get_mut(channel) {
            Some(1) => {
                closing.remove(channel);
                Ok(())
            }
            Some(times) => {
                *times -= 1;
                Ok(())
            }
            None => Err(StoreError::Unreachable(
                "Redis has ended a subscription: its slots are being moved".to_owned(),
            )),
        }
    }
}
