//! Who may connect and who may join: hooks of the host program, which allow everything by default.

use std::{fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use axum::http::{HeaderMap, Uri};
use switchboard_core::{Identity, Peer, PeerId, RoomId, SpaceName};
use switchboard_transport::JoinCheck;

/// How long the host program may think. A connection that waits for a hook is not served.
pub(crate) const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to connect, for the host program to judge.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// The path and query of the request.
    pub uri: Uri,
    /// Its headers: cookies, tokens.
    pub headers: HeaderMap,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
}

/// The host program's answer to a [`ConnectRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Come in.
    Allow {
        /// The name under which the host program knows this client. Two connections of one name
        /// are the same person: the newer replaces the older at its usernames and addresses.
        identity: Option<String>,
        /// The namespace of its rooms and names; `None` for the default one.
        space: Option<SpaceName>,
    },
    /// Stay out: the request is answered with 403.
    Deny,
}

impl Admission {
    /// Come in, as nobody in particular.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::Allow {
            identity: None,
            space: None,
        }
    }

    /// Come in, as this person.
    #[must_use]
    pub fn as_identity(name: impl Into<String>) -> Self {
        Self::Allow {
            identity: Some(name.into()),
            space: None,
        }
    }
}

/// A request to enter a room, for the host program to judge.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JoinRequest {
    /// Who asks.
    pub peer: PeerId,
    /// The name it was admitted under, if any.
    pub identity: Option<Arc<str>>,
    /// The dialect it speaks.
    pub dialect: &'static str,
    /// The room.
    pub room: RoomId,
}

type HookFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type ConnectHook = dyn Fn(ConnectRequest) -> HookFuture<Admission> + Send + Sync;
type JoinHook = dyn Fn(JoinRequest) -> HookFuture<bool> + Send + Sync;

/// The hooks in force.
#[derive(Clone, Default)]
pub(crate) struct AccessHooks {
    connect: Option<Arc<ConnectHook>>,
    join: Option<Arc<JoinHook>>,
}

impl fmt::Debug for AccessHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("connect", &self.connect.is_some())
            .field("join", &self.join.is_some())
            .finish()
    }
}

impl AccessHooks {
    pub(crate) fn set_connect<F, A>(&mut self, hook: F)
    where
        F: Fn(ConnectRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Admission> + Send + 'static,
    {
        self.connect = Some(Arc::new(move |request| Box::pin(hook(request))));
    }

    pub(crate) fn set_join<F, A>(&mut self, hook: F)
    where
        F: Fn(JoinRequest) -> A + Send + Sync + 'static,
        A: Future<Output = bool> + Send + 'static,
    {
        self.join = Some(Arc::new(move |request| Box::pin(hook(request))));
    }

    pub(crate) async fn admit(&self, request: impl FnOnce() -> ConnectRequest) -> Admission {
        match &self.connect {
            Some(hook) => hook(request()).await,
            None => Admission::anonymous(),
        }
    }

    pub(crate) fn may_join(&self, peer: &Peer, room: &RoomId) -> Option<JoinCheck> {
        self.may_enter(|| JoinRequest {
            peer: peer.id(),
            identity: match peer.identity() {
                Identity::Claimed => None,
                Identity::Proven(name) => Some(name.clone()),
            },
            dialect: peer.dialect().name,
            room: room.clone(),
        })
    }

    /// Whether somebody may enter a room. `None`: yes, without asking.
    pub(crate) fn may_enter(&self, request: impl FnOnce() -> JoinRequest) -> Option<JoinCheck> {
        let answer = self.join.as_ref()?(request());
        Some(Box::pin(async move {
            tokio::time::timeout(HOOK_TIMEOUT, answer)
                .await
                .unwrap_or(false)
        }))
    }
}
