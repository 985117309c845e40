//! The bounded queue of pushes: the events and messages that a store sends to a node without a request.

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;

use crate::store::StorePush;

/// Maximum number of bytes of events and messages queued for the node.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// The queue from a connection to its node. A full queue closes itself: the node has missed pushes
/// and must reconnect.
#[derive(Debug)]
pub struct PushQueue {
    state: Mutex<QueueState>,
}

#[derive(Debug)]
enum QueueState {
    Open {
        queue: mpsc::Sender<StorePush>,
        /// The sizes in bytes of the queued pushes, as of the last call of `push`; received pushes are removed then.
        sizes: VecDeque<usize>,
        /// The sum of `sizes`.
        bytes: usize,
        /// A reserved slot, so that [`StorePush::Lost`] fits into a full queue.
        lost_permit: mpsc::OwnedPermit<StorePush>,
    },
    Closed(String),
}

impl PushQueue {
    /// Maximum number of queued pushes of a connection in production.
    pub const DEFAULT_LEN: usize = 16 * 1024;

    /// Creates a queue for at most `len` pushes and 64 MiB.
    #[must_use]
    pub fn new(len: usize) -> (Self, mpsc::Receiver<StorePush>) {
        let (sender, receiver) = mpsc::channel(len + 1);
        let state = match sender.clone().try_reserve_owned() {
            Ok(lost_permit) => QueueState::Open {
                queue: sender,
                sizes: VecDeque::new(),
                bytes: 0,
                lost_permit,
            },
            Err(_) => QueueState::Closed("the queue is closed".to_owned()),
        };
        let state = Mutex::new(state);
        (Self { state }, receiver)
    }

    /// Queues a push of `size` bytes. Closes the queue if it is full. A closed queue drops the push.
    pub fn push(&self, push: StorePush, size: usize) {
        let mut state = self.state();
        let QueueState::Open {
            queue,
            sizes,
            bytes,
            ..
        } = &mut *state
        else {
            return;
        };
        // One slot is reserved for the last push.
        let waiting = (queue.max_capacity() - queue.capacity()).saturating_sub(1);
        let delivered = sizes.len().saturating_sub(waiting);
        *bytes -= sizes.drain(..delivered).sum::<usize>();
        sizes.push_back(size);
        *bytes += size;
        if *bytes > QUEUE_BYTES || queue.try_send(push).is_err() {
            state.close("the push queue is full: the store sends faster than this node processes");
        }
    }

    /// Closes the queue. The last push carries the reason. A closed queue keeps its first reason.
    pub fn close(&self, reason: &str) {
        self.state().close(reason);
    }

    /// The reason for which the queue is closed, if it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<String> {
        match &*self.state() {
            QueueState::Open { .. } => None,
            QueueState::Closed(reason) => Some(reason.clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock()
    }
}

impl QueueState {
    fn close(&mut self, reason: &str) {
        if matches!(self, Self::Open { .. })
            && let Self::Open { lost_permit, .. } =
                std::mem::replace(self, Self::Closed(reason.to_owned()))
        {
            lost_permit.send(StorePush::Lost(reason.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queue_closes_and_its_last_push_carries_the_reason() {
        let (queue, mut pushes) = PushQueue::new(2);
        for byte in 0..3 {
            queue.push(StorePush::Envelope(vec![byte]), 1);
        }
        queue.push(StorePush::Envelope(vec![9]), 1);
        queue.close("closed later");
        for byte in 0..2 {
            assert_eq!(pushes.try_recv(), Ok(StorePush::Envelope(vec![byte])));
        }
        let reason = queue.close_reason().expect("the queue is closed");
        assert!(reason.contains("push queue is full"), "{reason}");
        assert_eq!(pushes.try_recv(), Ok(StorePush::Lost(reason)));
        assert_eq!(
            pushes.try_recv(),
            Err(mpsc::error::TryRecvError::Disconnected)
        );
    }

    #[test]
    fn received_pushes_do_not_count_against_the_byte_limit() {
        let (queue, mut pushes) = PushQueue::new(8);
        for _ in 0..4 {
            queue.push(StorePush::Envelope(Vec::new()), QUEUE_BYTES);
            assert!(matches!(pushes.try_recv(), Ok(StorePush::Envelope(_))));
        }
        assert_eq!(queue.close_reason(), None);
        queue.push(StorePush::Envelope(Vec::new()), 1);
        queue.push(StorePush::Envelope(Vec::new()), QUEUE_BYTES);
        assert!(queue.close_reason().is_some());
    }
}
