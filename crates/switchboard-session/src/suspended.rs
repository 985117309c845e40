//! The steps of a connection that wait for a decision: the access check of a join or claim, or the response to a
//! webhook. Free of I/O.

use std::{collections::VecDeque, sync::Arc};

use switchboard_core::{HubRequest, LeaveKind, RequestError};
use switchboard_dialects::{CloseReason, WebhookRequest};

use crate::machine::SessionActions;

/// Requests behind a decision; with more, events of other rooms wait in the outbox.
const QUEUED_REQUESTS_MAX: usize = 64;

/// The last actions of one call of a session, in the order of their execution.
#[derive(Debug, Default)]
pub struct Steps {
    /// Requests to the hubs.
    pub requests: VecDeque<HubRequest>,
    /// A webhook request, after the requests to the hubs.
    pub webhook: Option<WebhookRequest>,
    /// Close the connection, at the end.
    pub close: Option<CloseReason>,
}

/// The decision that a connection waits for.
#[derive(Debug)]
pub enum Awaited {
    /// The access check of this request, and the error if it is denied.
    Access(HubRequest, RequestError),
    /// The response to a webhook request of the session.
    Webhook,
}

/// The decision that a connection has waited for.
#[derive(Debug)]
pub enum Decision {
    /// Whether access is granted, or the text for the client.
    Access(Result<(), Option<Arc<str>>>),
    /// The response to a webhook request, or `None` if it has failed.
    Webhook(Option<String>),
}

/// A pending decision, and the steps behind it.
#[derive(Debug)]
pub(crate) struct Suspended {
    pub(crate) awaited: Awaited,
    pub(crate) steps: Steps,
}

/// The steps that follow a decision.
#[derive(Debug, Default)]
pub struct Resumed {
    /// A request that needs no check, or has passed it.
    pub authorized: Option<HubRequest>,
    /// The error of a request that was denied.
    pub rejected: Option<RequestError>,
    /// The actions of the session that has got its response.
    pub output: Option<SessionActions>,
    /// The steps behind the decision.
    pub steps: Steps,
}

impl Suspended {
    /// Whether events must wait: a session that waits for a response handles no other input, and the queue of
    /// requests is bounded.
    pub(crate) fn defers_events(&self) -> bool {
        let is_webhook = match self.awaited {
            Awaited::Access(..) => self.steps.webhook.is_some(),
            Awaited::Webhook => true,
        };
        is_webhook || self.steps.close.is_some() || self.steps.requests.len() >= QUEUED_REQUESTS_MAX
    }

    /// Queues further steps. Returns those that do not wait: signs of life, and the end of the connection.
    pub(crate) fn queue(&mut self, steps: Steps) -> Option<Steps> {
        let Steps {
            requests,
            webhook,
            close,
        } = steps;
        let is_alive = |request: &HubRequest| matches!(request, HubRequest::Alive(_));
        let (alive, queued): (VecDeque<_>, VecDeque<_>) = requests.into_iter().partition(is_alive);
        self.steps.requests.extend(queued);
        self.steps.webhook = webhook.or(self.steps.webhook.take());
        let has_urgent = !alive.is_empty() || close.is_some();
        has_urgent.then_some(Steps {
            requests: alive,
            webhook: None,
            close,
        })
    }
}

impl Steps {
    /// Adds steps that follow these.
    pub(crate) fn append(&mut self, later: Self) {
        self.requests.extend(later.requests);
        self.webhook = self.webhook.take().or(later.webhook);
        self.close = self.close.or(later.close);
    }
}

/// The request that follows a denied one. The peer may be in the room after an earlier check.
pub(crate) fn after_denial(denied: HubRequest) -> Option<HubRequest> {
    match denied {
        HubRequest::Join(room, ..) => Some(HubRequest::Leave(room, LeaveKind::Announced)),
        HubRequest::Claim(..)
        | HubRequest::Release(_)
        | HubRequest::Leave(..)
        | HubRequest::Send(..)
        | HubRequest::List(_)
        | HubRequest::Alive(_) => None,
    }
}
