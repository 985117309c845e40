//! Access hooks of the host program, which decide about connects and joins. Without hooks both are allowed.

use std::{fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use axum::http::{HeaderMap, Uri};
use switchboard_core::{Identity, Peer, PeerId, RoomId, SpaceName};
use switchboard_transport::JoinCheck;

/// Time that a hook has to answer. Frames of the client wait meanwhile; its connection is served.
pub(crate) const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// A request to connect that the host program allows or denies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// The path and query of the request.
    pub uri: Uri,
    /// The headers of the request, with cookies and tokens.
    pub headers: HeaderMap,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
}

/// The host program's answer to a [`ConnectRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The client may connect.
    Allow {
        /// The identity under which the host program knows this client. Two connections with one identity belong
        /// to the same user: the newer one takes over the names by which rooms know the older one.
        identity: Option<String>,
        /// The namespace of the client's rooms and names; `None` for the default one.
        space: Option<SpaceName>,
    },
    /// The client may not connect; the request is answered with 403.
    Deny,
}

impl Admission {
    /// Allows the client without an identity, in the default namespace.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::Allow {
            identity: None,
            space: None,
        }
    }

    /// Allows the client with this identity, in the default namespace.
    #[must_use]
    pub fn as_identity(name: impl Into<String>) -> Self {
        Self::Allow {
            identity: Some(name.into()),
            space: None,
        }
    }
}

/// A request to join a room that the host program allows or denies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JoinRequest {
    /// The connection that wants to join.
    pub peer: PeerId,
    /// The identity from [`Admission::Allow`], if it has one.
    pub identity: Option<Arc<str>>,
    /// The dialect of the client.
    pub dialect: &'static str,
    /// The room to join.
    pub room: RoomId,
}

type HookFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type ConnectHook = dyn Fn(ConnectRequest) -> HookFuture<Admission> + Send + Sync;
type JoinHook = dyn Fn(JoinRequest) -> HookFuture<bool> + Send + Sync;

/// The hooks that the host program has set.
#[derive(Clone, Default)]
pub(crate) struct AccessHooks {
    connect: Option<Arc<ConnectHook>>,
    join: Option<Arc<JoinHook>>,
}

impl fmt::Debug for AccessHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessHooks")
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

    /// Asks the join hook. Without a hook it returns `None`: the join is allowed. A hook that does not answer
    /// within [`HOOK_TIMEOUT`] denies the join.
    pub(crate) fn may_enter(&self, request: impl FnOnce() -> JoinRequest) -> Option<JoinCheck> {
        let decision = self.join.as_ref()?(request());
        Some(Box::pin(async move {
            tokio::time::timeout(HOOK_TIMEOUT, decision)
                .await
                .unwrap_or(false)
        }))
    }
}
