//! The queue of tasks from the callers of an engine to its thread.
//!
//! Waking a thread costs a system call, so a task wakes the thread only if the thread waits for it.
//! While a batch is in flight, a message cannot be sent anyway: messages gather then, up to a bound, without a wake.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use parking_lot::{Mutex, MutexGuard};
use switchboard_core::{Change, LogId, NodeId, NodeMessage};
use tokio::sync::oneshot;

use crate::envelope::approximate_bytes;

/// Maximum number of joins and messages in the inbox, and of the bytes of the messages (approximate).
const TASKS_MAX: usize = 64 * 1024;
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// The numbers of tasks and of bytes up to which messages gather without a wake.
const GATHERED_TASKS: usize = 256;
const GATHERED_BYTES: usize = 256 * 1024;

/// Capacity that an empty inbox keeps, in tasks.
const KEPT_CAPACITY: usize = 1024;

/// A task for the engine thread.
pub(crate) enum EngineTask {
    Propose(LogId, Change),
    Send(NodeId, NodeMessage),
    Close(oneshot::Sender<()>),
}

impl EngineTask {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(_, message) => approximate_bytes(message),
            Self::Propose(..) | Self::Close(_) => 0,
        }
    }

    /// Whether the task is refused when the inbox is full. Leaves are bounded by the number of members.
    fn is_refusable(&self) -> bool {
        match self {
            Self::Propose(_, Change::Join(_)) | Self::Send(..) => true,
            Self::Propose(_, Change::Leave(..)) | Self::Close(_) => false,
        }
    }

    fn is_message(&self) -> bool {
        matches!(self, Self::Send(..))
    }
}

/// The tasks that wake the engine thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeMode {
    /// Every task.
    Any,
    /// Messages gather; every other task wakes the thread, and so does a full gathering.
    Gather,
}

/// The callers' end of the inbox.
pub(crate) struct InboxSender(Arc<Mutex<InboxState>>);

/// The engine thread's end of the inbox.
pub(crate) struct Inbox(Arc<Mutex<InboxState>>);

#[derive(Default)]
struct InboxState {
    tasks: VecDeque<EngineTask>,
    /// The approximate bytes of the messages in `tasks`.
    bytes: usize,
    /// The number of tasks in `tasks` that are not messages.
    pressing: usize,
    /// The waiting engine thread, and the tasks for which it waits.
    waiting: Option<(Waker, WakeMode)>,
    /// The engine thread has ended.
    is_closed: bool,
    /// The engine was dropped: no further tasks will arrive.
    is_abandoned: bool,
}

impl InboxState {
    fn is_full(&self) -> bool {
        self.tasks.len() >= TASKS_MAX || self.bytes >= BYTES_MAX
    }

    /// Whether the thread that waits in this mode has something to do.
    fn is_ready(&self, mode: WakeMode) -> bool {
        let is_filled = match mode {
            WakeMode::Any => !self.tasks.is_empty(),
            WakeMode::Gather => {
                self.pressing > 0
                    || self.tasks.len() >= GATHERED_TASKS
                    || self.bytes >= GATHERED_BYTES
            }
        };
        is_filled || self.is_abandoned
    }

    /// Removes the waker if the thread has something to do.
    fn take_waker(&mut self) -> Option<Waker> {
        let is_ready = (self.waiting.as_ref()).is_some_and(|(_, mode)| self.is_ready(*mode));
        let (waker, _) = self.waiting.take_if(|_| is_ready)?;
        Some(waker)
    }

    fn drain(&mut self, into: &mut Vec<EngineTask>, count_max: usize) {
        let count = self.tasks.len().min(count_max);
        for task in self.tasks.drain(..count) {
            self.bytes -= task.bytes();
            self.pressing -= usize::from(!task.is_message());
            into.push(task);
        }
        if self.tasks.is_empty() {
            self.tasks.shrink_to(KEPT_CAPACITY);
        }
    }
}

/// Creates an empty inbox.
pub(crate) fn inbox() -> (InboxSender, Inbox) {
    let state = Arc::new(Mutex::new(InboxState::default()));
    (InboxSender(state.clone()), Inbox(state))
}

impl InboxSender {
    /// Queues a task, or returns it if the inbox is full or the engine thread has ended.
    pub(crate) fn submit(&self, task: EngineTask) -> Option<EngineTask> {
        let mut state = self.0.lock();
        if state.is_closed || (state.is_full() && task.is_refusable()) {
            return Some(task);
        }
        state.bytes += task.bytes();
        state.pressing += usize::from(!task.is_message());
        state.tasks.push_back(task);
        wake(state);
        None
    }
}

impl Drop for InboxSender {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_abandoned = true;
        wake(state);
    }
}

/// Wakes the engine thread if it waits for the tasks that are queued.
fn wake(mut state: MutexGuard<'_, InboxState>) {
    let waker = state.take_waker();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Inbox {
    /// Moves at most `count_max` tasks into `tasks`, if there are any for which a thread that waits in this mode would
    /// wake. Until the next [`wait`](Self::wait) no task wakes the thread. Returns false, once, if the
    /// engine was dropped and its last task has been received.
    pub(crate) fn try_receive(
        &self,
        mode: WakeMode,
        tasks: &mut Vec<EngineTask>,
        count_max: usize,
    ) -> bool {
        let mut state = self.0.lock();
        state.waiting = None;
        let has_ended = state.tasks.is_empty() && std::mem::take(&mut state.is_abandoned);
        if state.is_ready(mode) {
            state.drain(tasks, count_max);
        }
        !has_ended
    }

    /// Waits until [`try_receive`](Self::try_receive) in this mode moves a task or returns false.
    pub(crate) async fn wait(&self, mode: WakeMode) {
        poll_fn(|context| {
            let mut state = self.0.lock();
            if state.is_ready(mode) {
                return Poll::Ready(());
            }
            state.waiting = Some((context.waker().clone(), mode));
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let tasks = std::mem::take(&mut state.tasks);
        drop(state);
        drop(tasks);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Wake},
    };

    use bytestring::ByteString;
    use switchboard_core::{
        ElectionId, LeaveCause, LeaveKind, MembershipRef, MessageKind, NodeMessageBody, PeerId,
        Recipient, RelayedMessage,
    };

    use super::*;

    #[derive(Default)]
    struct WakeCount(AtomicUsize);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn log() -> LogId {
        LogId::Election(ElectionId::parse("voice", 0).expect("a name"))
    }

    fn message() -> EngineTask {
        let peer = PeerId::from([7; 16]);
        let body = NodeMessageBody::Probe(peer);
        EngineTask::Send(NodeId::from(1), NodeMessage { log: log(), body })
    }

    /// A message with a frame of this size.
    fn large_message(bytes: usize) -> EngineTask {
        let frame = ByteString::from("x".repeat(bytes));
        let message = RelayedMessage::new("any", MessageKind::Opaque, frame, |_, _| true);
        let from = MembershipRef {
            peer: PeerId::from([7; 16]),
            since: 1.into(),
        };
        let body = NodeMessageBody::Relay {
            from,
            to: Recipient::Everyone,
            message: Arc::new(message),
        };
        EngineTask::Send(NodeId::from(1), NodeMessage { log: log(), body })
    }

    fn leave() -> EngineTask {
        let cause = LeaveCause::Requested(LeaveKind::Announced);
        EngineTask::Propose(log(), Change::Leave(PeerId::from([7; 16]), cause))
    }

    /// The number of wakes while `submit` runs, after the thread has begun to wait, and the number of tasks received
    /// then: `None` if the engine was dropped.
    fn wakes(
        mode: WakeMode,
        submit: impl FnOnce(InboxSender) -> Option<InboxSender>,
    ) -> (usize, Option<usize>) {
        let (sender, inbox) = inbox();
        let count = Arc::new(WakeCount::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let mut wait = Box::pin(inbox.wait(mode));
        assert!(wait.as_mut().poll(&mut context).is_pending());
        let _sender = submit(sender);
        let is_ready = wait.as_mut().poll(&mut context).is_ready();
        let mut tasks = Vec::new();
        let is_open = inbox.try_receive(mode, &mut tasks, TASKS_MAX);
        assert_eq!(is_ready, !is_open || !tasks.is_empty());
        let received = is_open.then_some(tasks.len());
        (count.0.load(Ordering::Relaxed), received)
    }

    fn submit(
        tasks: impl IntoIterator<Item = EngineTask>,
    ) -> impl FnOnce(InboxSender) -> Option<InboxSender> {
        move |sender| {
            for task in tasks {
                assert!(sender.submit(task).is_none());
            }
            Some(sender)
        }
    }

    #[test]
    fn one_wake_covers_all_tasks_until_the_thread_waits_again() {
        let messages = (0..5).map(|_| message());
        assert_eq!(wakes(WakeMode::Any, submit(messages)), (1, Some(5)));
    }

    #[test]
    fn messages_gather_without_a_wake_up_to_a_bound() {
        let few = (0..GATHERED_TASKS - 1).map(|_| message());
        assert_eq!(wakes(WakeMode::Gather, submit(few)), (0, Some(0)));
        let many = (0..GATHERED_TASKS).map(|_| message());
        let all = Some(GATHERED_TASKS);
        assert_eq!(wakes(WakeMode::Gather, submit(many)), (1, all));
    }

    #[test]
    fn the_bytes_of_gathered_messages_are_bounded() {
        let half = || large_message(GATHERED_BYTES / 2);
        assert_eq!(wakes(WakeMode::Gather, submit([half()])), (0, Some(0)));
        let both = submit([half(), half()]);
        assert_eq!(wakes(WakeMode::Gather, both), (1, Some(2)));
    }

    #[test]
    fn the_bytes_of_the_inbox_are_bounded() {
        let (sender, inbox) = inbox();
        let messages = (0..8).map(|_| large_message(BYTES_MAX / 4));
        let results = messages.map(|message| sender.submit(message));
        let accepted = results.filter(Option::is_none).count();
        assert_eq!(accepted, 4);
        inbox.try_receive(WakeMode::Any, &mut Vec::new(), 1);
        assert!(sender.submit(message()).is_none());
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let (sender, inbox) = inbox();
        for _ in 0..TASKS_MAX {
            assert!(sender.submit(message()).is_none());
        }
        inbox.try_receive(WakeMode::Any, &mut Vec::new(), TASKS_MAX);
        assert!(sender.0.lock().tasks.capacity() < 2 * KEPT_CAPACITY);
    }

    #[test]
    fn joins_and_leaves_end_a_gathering() {
        let tasks = [message(), leave(), message()];
        assert_eq!(wakes(WakeMode::Gather, submit(tasks)), (1, Some(3)));
    }

    #[test]
    fn a_dropped_engine_wakes_and_ends_the_thread() {
        assert_eq!(wakes(WakeMode::Gather, |_| None), (1, None));
    }

    #[test]
    fn a_full_inbox_refuses_messages_and_accepts_leaves() {
        let (sender, inbox) = inbox();
        while sender.submit(message()).is_none() {}
        assert!(sender.submit(leave()).is_none());
        let mut tasks = Vec::new();
        inbox.try_receive(WakeMode::Gather, &mut tasks, 1);
        inbox.try_receive(WakeMode::Any, &mut tasks, TASKS_MAX);
        assert_eq!(tasks.len(), TASKS_MAX + 1);
        assert!(sender.submit(message()).is_none());
        let state = sender.0.lock();
        assert_eq!((state.bytes, state.pressing), (message().bytes(), 0));
    }

    #[test]
    fn the_inbox_of_an_ended_thread_returns_every_task() {
        let (sender, inbox) = inbox();
        drop(inbox);
        assert!(sender.submit(leave()).is_some());
    }
}
