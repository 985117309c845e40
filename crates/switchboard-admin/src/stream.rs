//! The stream of live events of all nodes (server-sent events).
//!
//! For each node a task asks for the events after a position and waits for new ones. The `id` of an event has the
//! positions in the logs of all nodes, so a stream resumes at any node.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::{
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    caller::{AdminCaller, Need},
    error::{ApiError, ApiErrorCode},
    events::{AdminEvent, EventBatch, EventKind, Positions},
    node_call::{EVENTS_WAIT_MS_MAX, NodeAction, from_value},
    service::AdminService,
    types::NodeInfo,
};

/// The time between two looks for nodes that have joined the cluster, and before a failed node is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// The time between two comments on a stream without events.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The batches that wait for a slow reader. The log of each node keeps the rest.
const QUEUED_BATCHES: usize = 4;

/// The header with the id of the last event that a client has read.
const LAST_EVENT_ID: &str = "last-event-id";

impl AdminService {
    /// The response with the live events.
    pub(crate) fn stream(
        &self,
        caller: &AdminCaller,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        caller.check(Need::Admin)?;
        let positions = last_event_id(headers)?;
        let permit = self.streams.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            ApiError::new(
                ApiErrorCode::LimitReached,
                "this node serves its limit of event streams",
            )
        })?;
        let (sender, receiver) = mpsc::channel(QUEUED_BATCHES);
        let follower = Follower {
            service: self.clone(),
            caller: caller.clone(),
            resumes: positions.is_some(),
            positions: positions.clone().unwrap_or_default(),
            sender,
        };
        let drain = self.context.drain.clone();
        let following = tokio::spawn(async move {
            drain.run_until_cancelled_owned(follower.follow_all()).await;
        });
        let events = EventSource {
            receiver,
            positions: positions.unwrap_or_default(),
            pending: Vec::new(),
            _following: AbortOnDropHandle::new(following),
            _permit: permit,
        };
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("");
        Ok(Sse::new(events.into_stream())
            .keep_alive(keep_alive)
            .into_response())
    }
}

/// The positions from which a stream resumes; `None` for a new stream.
fn last_event_id(headers: &HeaderMap) -> Result<Option<Positions>, ApiError> {
    let Some(id) = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let positions = id.to_str().ok().and_then(Positions::parse);
    let malformed = || ApiError::bad_request("`Last-Event-ID` is not the id of an event");
    positions.map(Some).ok_or_else(malformed)
}

/// Asks all nodes for their events.
#[derive(Clone)]
struct Follower {
    service: AdminService,
    caller: AdminCaller,
    resumes: bool,
    positions: Positions,
    sender: mpsc::Sender<EventBatch>,
}

impl Follower {
    async fn follow_all(self) {
        let mut tasks: BTreeMap<String, AbortOnDropHandle<()>> = BTreeMap::new();
        let mut is_first = true;
        loop {
            let nodes = self.service.context.host.nodes();
            tasks.retain(|id, _| nodes.iter().any(|node| node.id == *id && node.alive));
            for node in nodes.into_iter().filter(|node| node.alive) {
                tasks.entry(node.id.clone()).or_insert_with(|| {
                    let mut follower = self.clone();
                    // All events of a node that has joined meanwhile are new.
                    follower.resumes |= !is_first;
                    AbortOnDropHandle::new(tokio::spawn(follower.follow(node)))
                });
            }
            is_first = false;
            tokio::select! {
                () = sleep(RETRY) => {}
                () = self.sender.closed() => return,
            }
        }
    }

    /// Follows one node until the stream ends.
    async fn follow(mut self, node: NodeInfo) {
        let mut has_failed = false;
        loop {
            let action = NodeAction::Events {
                positions: self.positions.clone(),
                resumes: self.resumes,
                wait_ms: EVENTS_WAIT_MS_MAX,
            };
            let asked = self.ask(&node, &action).await;
            let batch = match asked {
                Ok(batch) => {
                    has_failed = false;
                    self.positions = Positions([(batch.process.clone(), batch.last)].into());
                    self.resumes = true;
                    batch
                }
                Err(_) if has_failed => {
                    sleep(RETRY).await;
                    continue;
                }
                Err(error) => {
                    has_failed = true;
                    self.failure(&node, error)
                }
            };
            if self.sender.send(batch).await.is_err() {
                return;
            }
        }
    }

    async fn ask(&self, node: &NodeInfo, action: &NodeAction) -> Result<EventBatch, ApiError> {
        let service = &self.service;
        if node.id == service.context.host.this_node() {
            return service.here(&self.caller, action).await;
        }
        let answer = service.ask_node(node, &self.caller, action).await?;
        from_value(answer)
    }

    fn failure(&self, node: &NodeInfo, error: ApiError) -> EventBatch {
        let event = AdminEvent {
            time_ms: self.service.context.host.now_ms(),
            node: node.id.clone(),
            kind: EventKind::NodeFailed {
                error: error.message,
            },
        };
        EventBatch {
            events: vec![(0, event)],
            ..EventBatch::default()
        }
    }
}

/// The events of a stream, in the order in which the nodes send them.
struct EventSource {
    receiver: mpsc::Receiver<EventBatch>,
    positions: Positions,
    /// The events of the last batch, the next one last.
    pending: Vec<(String, u64, AdminEvent)>,
    _following: AbortOnDropHandle<()>,
    _permit: OwnedSemaphorePermit,
}

impl EventSource {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut source| async {
            let event = source.next().await?;
            Some((Ok(event), source))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((process, position, event)) = self.pending.pop() {
                if !process.is_empty() {
                    self.positions.0.insert(process, position);
                }
                return Some(self.encode(&event));
            }
            let batch = self.receiver.recv().await?;
            self.queue(batch);
        }
    }

    fn queue(&mut self, batch: EventBatch) {
        let process = batch.process;
        if batch.events.is_empty() && !process.is_empty() {
            self.positions.0.insert(process.clone(), batch.last);
        }
        let first = batch.events.first();
        let missed = first.filter(|_| batch.missed > 0).map(|(position, event)| {
            let event = AdminEvent {
                kind: EventKind::Missed {
                    count: batch.missed,
                },
                ..event.clone()
            };
            (process.clone(), position - 1, event)
        });
        let events = batch.events.into_iter();
        let events = events.map(|(position, event)| (process.clone(), position, event));
        self.pending = missed.into_iter().chain(events).collect();
        self.pending.reverse();
    }

    fn encode(&self, event: &AdminEvent) -> Event {
        let data = serde_json::to_string(event).unwrap_or_default();
        Event::default()
            .id(self.positions.to_string())
            .event(event.kind.name())
            .data(data)
    }
}
