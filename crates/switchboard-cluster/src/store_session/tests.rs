use std::{
    convert::Infallible,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use switchboard_core::NodeId;

use super::*;
use crate::store::ConnectResult;

/// A store that answers a batch at once.
#[derive(Debug)]
struct FastStore;

impl fmt::Display for FastStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fast")
    }
}

impl Store for FastStore {
    type Connection = Self;

    async fn connect(&self, _node: NodeId) -> ConnectResult<Self> {
        std::future::pending().await
    }
}

impl StoreConnection for FastStore {
    type Error = Infallible;

    async fn execute(&self, batch: &[StoreRequest]) -> Result<Vec<StoreResponse>, Infallible> {
        Ok(vec![StoreResponse::Done; batch.len()])
    }

    async fn secret(&self) -> Result<String, Infallible> {
        std::future::pending().await
    }
}

/// A session, and the sender of its pushes.
fn session() -> (StoreSession<FastStore>, mpsc::Sender<StorePush>) {
    let (sender, pushes) = mpsc::channel(2 * PUSHES_MAX);
    (StoreSession::new(FastStore, pushes), sender)
}

#[tokio::test]
async fn responses_come_before_pushes_and_an_event_has_a_bounded_number_of_pushes() {
    let (mut session, sender) = session();
    for _ in 0..=PUSHES_MAX {
        let push = StorePush::Envelope(Vec::new());
        sender.try_send(push).expect("room");
    }
    session.begin(vec![StoreRequest::SubscribedLogs(NodeId::from(1))]);
    assert!(!session.is_idle());
    let Some(StoreEvent::Responses(responses, _)) = session.try_next_event().await else {
        panic!("no responses");
    };
    assert_eq!((responses.len(), session.is_idle()), (1, true));
    for expected in [PUSHES_MAX, 1] {
        let Some(StoreEvent::Pushes(pushes)) = session.try_next_event().await else {
            panic!("no pushes");
        };
        assert_eq!(pushes.len(), expected);
    }
    assert!(session.try_next_event().await.is_none());
}

/// The requests must be on their way while the thread pauses.
#[tokio::test]
async fn tasks_that_are_ready_run_before_a_pause() {
    let has_run = Arc::new(AtomicBool::new(false));
    let task = has_run.clone();
    tokio::spawn(async move { task.store(true, Ordering::Relaxed) });
    run_ready_tasks().await;
    assert!(has_run.load(Ordering::Relaxed));
}
