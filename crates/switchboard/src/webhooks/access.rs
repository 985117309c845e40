//! The webhook of the section `access.webhook`, which decides about clients.

use std::{net::IpAddr, sync::Arc};

use switchboard_auth::{
    AuthDecision, AuthError, AuthFuture, Authenticator, Credentials,
    webhook::{
        AccessEvent, AccessWebhook, ConnectDecision, JoinDecision, JoinQuestion, connect_question,
    },
};
use switchboard_transport::JoinCheck;

use super::client::{SignedWebhook, WebhookMetrics, WebhookTarget, random_id};
use crate::{access::JoinRequest, http_fetch::HttpFetcher};

/// The dialect's name in a question before the dialect is known.
const UNDETECTED: &str = "undetected";

/// The text for a client whose join cannot be checked.
const JOIN_UNAVAILABLE: &str = "The join cannot be checked at the moment. Try again later.";

/// Asks the webhook about connects and joins. Without a decision a client is refused.
#[derive(Debug)]
pub(crate) struct AccessWebhooks {
    client: SignedWebhook,
    asks_joins: bool,
}

impl AccessWebhooks {
    /// The webhook of the settings; `None` without a URL.
    pub(crate) fn new(
        settings: &AccessWebhook,
        http: Arc<HttpFetcher>,
        metrics: WebhookMetrics,
    ) -> Option<Arc<Self>> {
        let target = WebhookTarget {
            name: "access",
            url: &settings.url,
            secret: &settings.secret,
            timeout: settings.timeout,
            concurrency: settings.concurrency,
        };
        (!settings.url.is_empty()).then(|| {
            Arc::new(Self {
                client: SignedWebhook::new(&target, http, metrics),
                asks_joins: settings.has(AccessEvent::Join),
            })
        })
    }

    async fn ask_connect(&self, credentials: &Credentials, unix_secs: u64) -> AuthDecision {
        let id = random_id();
        let body = connect_question(&id, &dialect_of(credentials), credentials);
        let key = credentials.address.map(network_of).unwrap_or_default();
        let read = |body: &[u8]| ConnectDecision::parse(body, unix_secs);
        match self.client.ask(&key, (&id, body), read).await {
            Ok(ConnectDecision::Admit(principal)) => AuthDecision::Admit(principal),
            Ok(ConnectDecision::Deny(error)) => AuthDecision::Deny(error),
            Err(_) => AuthDecision::Deny(AuthError::Unavailable),
        }
    }

    /// Asks whether a client may join. `None` if the webhook is not asked about joins.
    pub(crate) fn check_join(self: &Arc<Self>, request: &JoinRequest) -> Option<JoinCheck> {
        if !self.asks_joins {
            return None;
        }
        let (this, id) = (self.clone(), random_id());
        let question = JoinQuestion {
            id: &id,
            room: request.room.name.as_str(),
            space: request.room.space.as_str(),
            client: request.address.as_deref(),
            connection: &request.peer.to_string(),
            subject: request.identity.as_deref(),
            dialect: request.dialect,
            metadata: None,
        };
        let body = question.to_json();
        let key = format!("{}/{}", question.space, question.room);
        Some(Box::pin(async move {
            match this
                .client
                .ask(&key, (&id, body), JoinDecision::parse)
                .await
            {
                Ok(JoinDecision::Allow) => Ok(()),
                Ok(JoinDecision::Deny(text)) => Err(text),
                Err(_) => Err(Some(JOIN_UNAVAILABLE.into())),
            }
        }))
    }
}

impl Authenticator for AccessWebhooks {
    fn authenticate<'a>(&'a self, credentials: &'a Credentials, unix_secs: u64) -> AuthFuture<'a> {
        Box::pin(self.ask_connect(credentials, unix_secs))
    }
}

/// The dialect of the client as far as the request shows it: that of voice, or the one of `?dialect=`.
fn dialect_of(credentials: &Credentials) -> String {
    if credentials.is_voice {
        return "gostream".to_owned();
    }
    let query = credentials.uri.query().unwrap_or_default();
    let mut query = form_urlencoded::parse(query.as_bytes());
    let named = query.find(|(key, _)| key == "dialect");
    named.map_or_else(|| UNDETECTED.to_owned(), |(_, name)| name.into_owned())
}

/// The network of a client that shares one part of the concurrent requests: an IPv4 address or an IPv6 /64.
fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
    }
}
