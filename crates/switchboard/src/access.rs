//! Access hooks of the host program, which decide about connects and joins. Without hooks both are allowed.

use std::{any::Any, fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use switchboard_auth::Principal;
use switchboard_core::{
    DialectName, Grants, Identity, Peer, PeerId, RoomId, RoomPolicy, SpaceName,
};
use switchboard_session::{CredentialFrames, SessionAccess};
use switchboard_transport::JoinCheck;
use tokio::time::{error::Elapsed, timeout};

use crate::{operator_rules::OperatorRules, webhooks::AccessWebhooks};

mod context;
pub(crate) mod control;
mod frames;
mod places;
mod verify;

pub(crate) use context::Contexts;
pub use context::HostContext;
pub(crate) use control::{AccessControl, AccessError};
pub(crate) use frames::{FrameAuthenticator, FrameClientGuard};
pub(crate) use places::OwnPlaces;
pub use verify::verify_token;

/// Time that a hook has to answer. Meanwhile the frames of the client wait, and the server still sends to it.
pub(crate) const HOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of the text of a [`Denial`]; a longer text is cut.
const DENIAL_BYTES_MAX: usize = 512;

/// A request to connect that the host program allows or denies.
///
/// With access control the hook is also asked when a client authenticates itself by its first frame, and when it renews
/// its access by a frame. A renewal has no headers, and the path `/`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// The path and query of the request.
    pub uri: Uri,
    /// The headers of the request, with cookies and tokens.
    pub headers: HeaderMap,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// The client as the configured authenticators know it.
    pub principal: Principal,
}

/// The host program's permission to connect.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    pub(crate) identity: Option<Arc<str>>,
    space: Option<SpaceName>,
    grants: Option<Arc<Grants>>,
    pub(crate) expires_at: Option<u64>,
    room_policy: Option<Arc<RoomPolicy>>,
    /// The frames in which credentials are read.
    pub(crate) frames: CredentialFrames,
    pub(crate) context: HostContext,
}

impl Admission {
    /// Admits the client with the identity, the namespace and the grants that the configured authenticators have
    /// found: without an authenticator, without an identity and in the default namespace.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Admits the client with the identity under which the host program knows it, in the default namespace. Two
    /// connections with one identity belong to the same user: the newer one takes over the names by which rooms know
    /// the older one.
    #[must_use]
    pub fn as_identity(name: impl Into<Arc<str>>) -> Self {
        Self {
            identity: Some(name.into()),
            ..Self::default()
        }
    }

    /// Puts the rooms and names of the client into this namespace. Rooms of different namespaces never meet.
    #[must_use]
    pub fn in_space(self, space: SpaceName) -> Self {
        let space = Some(space);
        Self { space, ..self }
    }

    /// Gives the client these grants, in place of those that the configured authenticators have found.
    #[must_use]
    pub fn with_grants(self, grants: Arc<Grants>) -> Self {
        let grants = Some(grants);
        Self { grants, ..self }
    }

    /// Ends the sessions of the client at this time, in seconds since 1970, in place of the time that the configured
    /// authenticators have found.
    #[must_use]
    pub fn expiring_at(self, unix_secs: u64) -> Self {
        let expires_at = Some(unix_secs);
        Self { expires_at, ..self }
    }

    /// Restricts all rooms that the client joins by this policy, in addition to the policies of the rooms. It replaces
    /// the one that the configured authenticators have found.
    #[must_use]
    pub fn with_room_policy(self, policy: RoomPolicy) -> Self {
        let room_policy = Some(Arc::new(policy));
        Self {
            room_policy,
            ..self
        }
    }

    /// Keeps a value of the host program's own type with the connection. [`JoinRequest`] and
    /// [`ServerEvent`](crate::ServerEvent) give it back.
    ///
    /// The value is dropped after the connection and the last event with it. The drop may run on any thread, and while
    /// the server sends another event, so it must not block and must not call functions of the server.
    #[must_use]
    pub fn with_context<C: Any + Send + Sync>(self, context: C) -> Self {
        Self {
            context: HostContext::new(context),
            ..self
        }
    }

    /// The admission of a client that the authenticators know as `principal`.
    fn of(self, principal: &Principal) -> Self {
        Self {
            identity: self.identity.or_else(|| principal.subject.clone()),
            space: self.space.or_else(|| Some(principal.space.clone())),
            grants: self.grants.or_else(|| Some(principal.grants.clone())),
            expires_at: self.expires_at.or(principal.expires_at),
            room_policy: self.room_policy.or_else(|| principal.room_policy.clone()),
            frames: self.frames,
            context: self.context,
        }
    }

    /// The admission of a client without any powers, whose first frame must have a credential.
    pub(crate) fn until_first_frame() -> Self {
        Self {
            grants: Some(Grants::none()),
            frames: CredentialFrames::RequiredFirstFrame,
            ..Self::default()
        }
    }

    /// Reads credentials in these frames of the client.
    pub(crate) fn reading(self, frames: CredentialFrames) -> Self {
        Self { frames, ..self }
    }

    /// The identity of the client.
    pub(crate) fn identity(&self) -> Identity {
        let name = self.identity.clone();
        name.map_or(Identity::Claimed, Identity::Proven)
    }

    /// The namespace of the client.
    pub(crate) fn space(&self) -> SpaceName {
        self.space.clone().unwrap_or_default()
    }

    /// The powers of the client.
    pub(crate) fn grants(&self) -> Arc<Grants> {
        self.grants.clone().unwrap_or_else(Grants::none)
    }

    /// The policy for all rooms that the client joins.
    pub(crate) fn room_policy(&self) -> Option<&RoomPolicy> {
        self.room_policy.as_deref()
    }

    /// The access of the client's session.
    pub(crate) fn session_access(&self) -> SessionAccess {
        SessionAccess {
            space: self.space(),
            grants: self.grants(),
            expires_at: self.expires_at,
            room_policy: self.room_policy.clone(),
            credential_frames: self.frames,
        }
    }
}

/// The host program's refusal of a connect or a join.
///
/// A client that may not connect gets the status and the text as the HTTP response. A client that may not join gets the
/// code `denied` and the text, where its dialect has error texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    status: StatusCode,
    text: Option<Arc<str>>,
}

impl Denial {
    /// A refusal with the status 403 and a text for the client, of at most 512 bytes.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let text = &text[..text.floor_char_boundary(DENIAL_BYTES_MAX)];
        Self {
            text: Some(text.into()).filter(|text: &Arc<str>| !text.is_empty()),
            ..Self::default()
        }
    }

    /// Sets the status of the response to a connect: an error of the client or the server (RFC 9110, section 15.5 and
    /// 15.6). Any other status is replaced by 403.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        let is_error = status.is_client_error() || status.is_server_error();
        let status = if is_error {
            status
        } else {
            StatusCode::FORBIDDEN
        };
        Self { status, ..self }
    }

    /// The status of the response to a connect.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The text for the client; `None` for the text of the server.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

impl Default for Denial {
    /// A refusal with the status 403 and the server's own text.
    fn default() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            text: None,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().unwrap_or("access denied by the host program"))
    }
}

impl std::error::Error for Denial {}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        let text = self.text();
        let text = text.unwrap_or("The server does not allow this client to connect.");
        (self.status, format!("{text}\n")).into_response()
    }
}

/// A request to join a room that the host program allows or denies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JoinRequest {
    /// The connection that wants to join.
    pub peer: PeerId,
    /// The identity from [`Admission::as_identity`], if it has one.
    pub identity: Option<Arc<str>>,
    /// The dialect of the client.
    pub dialect: DialectName,
    /// The room to join.
    pub room: RoomId,
    /// The address or name that the client wants to have in the room.
    pub address: Option<Arc<str>>,
    /// The value from [`Admission::with_context`].
    pub context: HostContext,
}

type HookFuture<T> = Pin<Box<dyn Future<Output = Result<T, Denial>> + Send>>;
type ConnectHook = dyn Fn(ConnectRequest) -> HookFuture<Admission> + Send + Sync;
type JoinHook = dyn Fn(JoinRequest) -> HookFuture<()> + Send + Sync;

/// The hooks that the host program has set.
#[derive(Clone, Default)]
pub(crate) struct AccessHooks {
    connect: Option<Arc<ConnectHook>>,
    join: Option<Arc<JoinHook>>,
    /// The webhook of the settings.
    webhook: Option<Arc<AccessWebhooks>>,
    /// The bans and locks of operators, which are checked before the join hook is asked.
    pub(crate) rules: Arc<OperatorRules>,
}

impl fmt::Debug for AccessHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessHooks")
            .field("connect", &self.connect.is_some())
            .field("join", &self.join.is_some())
            .field("webhook", &self.webhook)
            .finish()
    }
}

impl AccessHooks {
    pub(crate) fn set_connect<F, A>(&mut self, hook: F)
    where
        F: Fn(ConnectRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Admission, Denial>> + Send + 'static,
    {
        self.connect = Some(Arc::new(move |request| Box::pin(hook(request))));
    }

    pub(crate) fn set_join<F, A>(&mut self, hook: F)
    where
        F: Fn(JoinRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), Denial>> + Send + 'static,
    {
        self.join = Some(Arc::new(move |request| Box::pin(hook(request))));
    }

    /// Asks this webhook before every join, after the hook of the host program.
    #[must_use]
    pub(crate) fn with_webhook(self, webhook: Option<Arc<AccessWebhooks>>) -> Self {
        Self { webhook, ..self }
    }

    /// Asks the connect hook whether a client may connect, which the authenticators know as `principal`. Without a
    /// hook it may.
    ///
    /// # Errors
    /// If the hook does not answer within [`HOOK_TIMEOUT`].
    pub(crate) async fn admit(
        &self,
        principal: Principal,
        request: impl FnOnce(Principal) -> ConnectRequest,
    ) -> Result<Result<Admission, Denial>, Elapsed> {
        let Some(hook) = &self.connect else {
            return Ok(Ok(Admission::anonymous().of(&principal)));
        };
        let decision = timeout(HOOK_TIMEOUT, hook(request(principal.clone()))).await?;
        Ok(decision.map(|admission| admission.of(&principal)))
    }

    /// Asks the join hook whether a peer may join. `None` without a hook: the join is allowed.
    pub(crate) fn check_join(
        &self,
        peer: &Peer,
        (room, address): (&RoomId, Option<&str>),
        context: impl FnOnce() -> HostContext,
    ) -> Option<JoinCheck> {
        let identity = proven_name(peer.identity());
        let checked = self
            .rules
            .check_join(identity.as_deref(), Some(peer.id()), room);
        if let Err(reason) = checked {
            return Some(deny_join(&reason.0));
        }
        self.ask_join_hook(|| JoinRequest {
            peer: peer.id(),
            identity,
            dialect: peer.dialect().name,
            room: room.clone(),
            address: address.map(Arc::from),
            context: context(),
        })
    }

    /// Asks the join hook and the webhook whether a client without a session may join: a user of voice. `None`
    /// without both: the join is allowed.
    pub(crate) fn start_join_check(&self, request: JoinRequest) -> Option<JoinCheck> {
        let identity = request.identity.as_deref();
        if let Err(reason) = self.rules.check_join(identity, None, &request.room) {
            return Some(deny_join(&reason.0));
        }
        self.ask_join_hook(|| request)
    }

    /// Asks the join hook, and then the webhook. `None` without both: the join is allowed. A hook that does not answer
    /// within [`HOOK_TIMEOUT`] denies the join.
    fn ask_join_hook(&self, request: impl FnOnce() -> JoinRequest) -> Option<JoinCheck> {
        if self.join.is_none() && self.webhook.is_none() {
            return None;
        }
        let request = request();
        let webhook = self.webhook.as_ref();
        let asking = webhook.and_then(|webhook| webhook.check_join(&request));
        let Some(hook) = &self.join else {
            return asking;
        };
        let decision = hook(request);
        Some(Box::pin(async move {
            let decision = timeout(HOOK_TIMEOUT, decision).await;
            let denied = |denial: Denial| denial.text;
            decision.map_or(Err(None), |decision| decision.map_err(denied))?;
            match asking {
                Some(asking) => asking.await,
                None => Ok(()),
            }
        }))
    }
}

/// The answer to a join that an operator does not want.
fn deny_join(reason: &str) -> JoinCheck {
    let text: Arc<str> = reason.into();
    Box::pin(std::future::ready(Err(Some(text))))
}

/// The name under which the connect hook has authenticated a client; `None` if it has not.
pub(crate) fn proven_name(identity: &Identity) -> Option<Arc<str>> {
    match identity {
        Identity::Claimed => None,
        Identity::Proven(name) => Some(name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denial_has_an_error_status_and_a_bounded_text() {
        let denial = Denial::new("é".repeat(300));
        assert_eq!(denial.text().map(str::len), Some(DENIAL_BYTES_MAX));
        assert_eq!(denial.status(), StatusCode::FORBIDDEN);
        let teapot = denial.clone().with_status(StatusCode::IM_A_TEAPOT);
        assert_eq!(teapot.status(), StatusCode::IM_A_TEAPOT);
        let ok = denial.with_status(StatusCode::OK);
        assert_eq!(ok.status(), StatusCode::FORBIDDEN);
        assert_eq!(Denial::new(""), Denial::default());
    }
}
