//! The output of a session that waits for a decision: the result of the access check of a join or claim, or the
//! response to a webhook request. Free of I/O.

use std::sync::Arc;

use switchboard_core::{HubRequest, LeaveKind, RequestError};
use switchboard_dialects::SessionOutput;

use crate::{AccessRefusal, AuthenticatedClient};

/// Number of requests queued behind a decision at which events stay in the outbox, because events may cause further
/// requests.
const QUEUED_REQUESTS_MAX: usize = 64;

/// The decision that a connection waits for.
#[derive(Debug)]
pub enum Awaited {
    /// The access check of this request, and the error if it is denied.
    Access(HubRequest, RequestError),
    /// The response to a webhook request of the session.
    Webhook,
    /// The authentication of the client by a credential in one of its frames.
    Authentication,
}

/// The decision that a connection has waited for.
#[derive(Debug)]
pub enum Decision {
    /// The result of an access check: granted, or denied with an optional text for the client.
    Access(Result<(), Option<Arc<str>>>),
    /// The response to a webhook request, or `None` if it has failed.
    Webhook(Option<String>),
    /// The result of an authentication.
    Authentication(Result<AuthenticatedClient, AccessRefusal>),
}

/// A pending decision, and the output that waits behind it.
#[derive(Debug)]
pub(crate) struct Suspended {
    pub(crate) awaited: Awaited,
    /// The output that waits: requests, then a webhook request, then a close.
    pub(crate) queued: SessionOutput,
}

/// The actions for the driver after a decision.
#[derive(Debug, Default)]
pub struct Resumed {
    /// The requests to send: the awaited one if it is granted, or the leave that follows a denied join, or those of
    /// rooms that the client may not join any more.
    pub authorized: Vec<HubRequest>,
    /// The errors of requests that were denied.
    pub rejected: Vec<RequestError>,
    /// The output behind the decision.
    pub queued: SessionOutput,
}

impl Suspended {
    /// Whether events must wait in the outbox: a session that waits for a webhook response or an authentication handles
    /// no other input, and the queue of requests is bounded.
    pub(crate) fn defers_events(&self) -> bool {
        let queued = &self.queued;
        let is_exclusive = match self.awaited {
            Awaited::Access(..) => queued.webhook.is_some(),
            Awaited::Webhook | Awaited::Authentication => true,
        };
        is_exclusive || queued.close.is_some() || queued.requests.len() >= QUEUED_REQUESTS_MAX
    }

    /// Queues the requests and the webhook request of `output`. Signs of life and the end of the connection do not
    /// wait: they stay in `output`.
    pub(crate) fn queue(&mut self, output: &mut SessionOutput) {
        let is_queued = |request: &mut HubRequest| !matches!(request, HubRequest::Alive(_));
        let queued = output.requests.extract_if(.., is_queued);
        self.queued.requests.extend(queued);
        self.queued.webhook = output.webhook.take().or(self.queued.webhook.take());
    }

    /// Queues all of `output`.
    pub(crate) fn append(&mut self, output: SessionOutput) {
        self.queued.requests.extend(output.requests);
        self.queued.webhook = self.queued.webhook.take().or(output.webhook);
        self.queued.credential = self.queued.credential.take().or(output.credential);
        self.queued.close = self.queued.close.or(output.close);
    }
}

/// The request to send instead of a denied one. A denied join becomes a leave, because the peer may be in the room
/// since an earlier join that was granted.
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
