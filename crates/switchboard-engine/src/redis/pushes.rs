//! What Redis says unasked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use redis::{PushInfo, PushKind};
use switchboard_core::{LogId, NodeId};
use tokio::sync::mpsc;

use super::{Error, keys::Keys, wire};
use crate::cluster::store::News;

/// How many bytes of news and mail may wait for the node.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// What a node is told unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// News of a log that it has opened.
    News(LogId, News),
    /// A message to it, as it was posted.
    Mail(Vec<u8>),
    /// The last: the connection has broken, or too much has come at once, or something that
    /// nobody can read. Whatever came since is not told any more; the node is to connect anew.
    Lost(String),
}

/// The way from the connections of a node to the node.
#[derive(Debug)]
pub(super) struct Pushes {
    keys: Keys,
    mail: String,
    gate: Mutex<Gate>,
}

#[derive(Debug)]
enum Gate {
    Open {
        queue: mpsc::Sender<Push>,
        /// How many bytes each of the pushes has that waited when the last one came, and together.
        sizes: VecDeque<usize>,
        bytes: usize,
        /// The room for [`Push::Lost`], however full the queue is.
        last: mpsc::OwnedPermit<Push>,
        /// Per channel how often it was asked to be silent and has not confirmed yet.
        closing: BTreeMap<String, u32>,
    },
    Closed(String),
}

impl Pushes {
    /// At most `queue` pushes wait, and [`QUEUE_BYTES`].
    pub(super) fn new(keys: Keys, node: NodeId, queue: usize) -> (Self, mpsc::Receiver<Push>) {
        let (sender, receiver) = mpsc::channel(queue + 1);
        let gate = match sender.clone().try_reserve_owned() {
            Ok(last) => Gate::Open {
                queue: sender,
                sizes: VecDeque::new(),
                bytes: 0,
                last,
                closing: BTreeMap::new(),
            },
            Err(_) => Gate::Closed("the queue is closed".to_owned()),
        };
        let pushes = Self {
            mail: keys.mail(node),
            keys,
            gate: Mutex::new(gate),
        };
        (pushes, receiver)
    }

    /// Takes what a connection says.
    pub(super) fn take(&self, info: &PushInfo) {
        let is = |kinds: &[PushKind]| kinds.contains(&info.kind);
        let told = if is(&[PushKind::Message, PushKind::SMessage]) {
            self.read(info)
                .and_then(|(push, size)| self.tell(push, size))
        } else if is(&[PushKind::Unsubscribe, PushKind::SUnsubscribe]) {
            self.confirm(info)
        } else if is(&[PushKind::Disconnection]) {
            let why = "the connection to Redis has broken";
            Err(Error::Unreachable(why.to_owned()))
        } else {
            Ok(())
        };
        if let Err(why) = told {
            self.lose(&why.to_string());
        }
    }

    /// The next confirmation of this channel's silence was asked for.
    pub(super) fn expect_silence(&self, channel: String) {
        if let Gate::Open { closing, .. } = &mut *self.gate() {
            *closing.entry(channel).or_default() += 1;
        }
    }

    /// Ends it: the last push says why.
    pub(super) fn lose(&self, why: &str) {
        let mut gate = self.gate();
        if matches!(*gate, Gate::Open { .. })
            && let Gate::Open { last, .. } =
                std::mem::replace(&mut *gate, Gate::Closed(why.to_owned()))
        {
            last.send(Push::Lost(why.to_owned()));
        }
    }

    /// Why it has ended, if it has.
    pub(super) fn lost(&self) -> Option<String> {
        match &*self.gate() {
            Gate::Open { .. } => None,
            Gate::Closed(why) => Some(why.clone()),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A push, and how many bytes it has.
    fn read(&self, info: &PushInfo) -> Result<(Push, usize), Error> {
        let [channel, payload] = info.data.as_slice() else {
            return Err(Error::garbage("a channel and a message"));
        };
        let (channel, payload) = (wire::text(channel)?, wire::bytes(payload)?);
        if channel == self.mail {
            return Ok((Push::Mail(payload.to_vec()), payload.len()));
        }
        let log = self.keys.log_of_channel(channel);
        let log = log.ok_or(Error::garbage("the channel of a log"))?;
        Ok((Push::News(log, wire::news(payload)?), payload.len()))
    }

    fn tell(&self, push: Push, size: usize) -> Result<(), Error> {
        let Gate::Open {
            queue,
            sizes,
            bytes,
            ..
        } = &mut *self.gate()
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
            Error::Unreachable("more comes from Redis than this node can take".to_owned())
        })
    }

    /// A server that gives a slot to another also ends the subscriptions to its channels.
    fn confirm(&self, info: &PushInfo) -> Result<(), Error> {
        let channel = info.data.first().map(wire::text).transpose()?;
        let channel = channel.ok_or(Error::garbage("a channel"))?;
        let Gate::Open { closing, .. } = &mut *self.gate() else {
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
            None => Err(Error::Unreachable(
                "Redis has ended a subscription: its slots are being moved".to_owned(),
            )),
        }
    }
}
