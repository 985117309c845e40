//! The authentication of clients by credentials in their frames.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::{Mutex, MutexGuard};
use switchboard_auth::{AuthError, Credentials, Principal};
use switchboard_core::{Peer, PeerId};
use switchboard_dialects::CloseReason;
use switchboard_session::{AccessRefusal, AuthenticatedClient};
use switchboard_transport::{
    ConnectionLimit, Permit, PermitPool, RefusalReason, SessionAuthentication,
    SessionAuthenticator, log_text,
};
use tokio::time::timeout;

use super::{
    Admission, ConnectRequest, HOOK_TIMEOUT,
    context::ContextGuard,
    control::{AccessError, sentence},
    proven_name,
};
use crate::app_state::AppState;

/// Authenticates clients by credentials in their frames: the first frame of a connection that was accepted without a
/// credential, and frames by which clients renew their access.
#[derive(Debug)]
pub(crate) struct FrameAuthenticator {
    /// The state of the server, from the end of its construction.
    app: OnceLock<Weak<AppState>>,
    /// Limits the connections that wait for a credential.
    permits: Arc<PermitPool>,
    clients: Mutex<HashMap<PeerId, FrameClient>>,
}

/// A connection whose first frame may carry a credential, until it ends.
#[derive(Debug)]
enum FrameClient {
    /// The first frame has not come yet. The permit is that of a connection without any powers.
    Waiting(Box<Credentials>, Option<Permit>),
    /// The first frame has come. Keeps the value that the host program has attached to the connection.
    Done { _context: Option<ContextGuard> },
}

impl FrameAuthenticator {
    /// The authenticator of a server. `permits` are those of connections that wait for a credential.
    pub(crate) fn new(permits: Arc<PermitPool>) -> Arc<Self> {
        Arc::new(Self {
            app: OnceLock::new(),
            permits,
            clients: Mutex::default(),
        })
    }

    /// Uses the state of this server. Called once.
    pub(crate) fn attach(&self, app: &Arc<AppState>) {
        drop(self.app.set(Arc::downgrade(app)));
    }

    /// Expects the credential of a connection in its first frame, until the returned guard is dropped. `credentials` are
    /// those of its request. A connection that must have one counts against the limit until then.
    ///
    /// # Errors
    /// If the limit is reached.
    pub(crate) fn expect(
        self: &Arc<Self>,
        peer: PeerId,
        credentials: Credentials,
        is_required: bool,
    ) -> Result<FrameClientGuard, ConnectionLimit> {
        let address = credentials.address;
        let permit = is_required.then(|| self.permits.try_acquire(address));
        let permit = permit.transpose()?;
        let client = FrameClient::Waiting(Box::new(credentials), permit);
        self.lock().insert(peer, client);
        let authenticator = self.clone();
        Ok(FrameClientGuard {
            authenticator,
            peer,
        })
    }

    /// The credentials of the client's request, if its first frame has just come. Its permit is released.
    fn take_request(&self, peer: PeerId) -> Option<Credentials> {
        let mut clients = self.lock();
        let client = clients.get_mut(&peer)?;
        if matches!(client, FrameClient::Done { .. }) {
            return None;
        }
        let waiting = std::mem::replace(client, FrameClient::Done { _context: None });
        drop(clients);
        match waiting {
            FrameClient::Waiting(credentials, _permit) => Some(*credentials),
            FrameClient::Done { .. } => None,
        }
    }

    /// Keeps the value of the host program until the connection ends.
    fn keep_context(&self, peer: PeerId, context: Option<ContextGuard>) {
        let mut clients = self.lock();
        let client = clients.get_mut(&peer);
        let _replaced = client.map(|client| {
            let done = FrameClient::Done { _context: context };
            std::mem::replace(client, done)
        });
        // A value of the host program is dropped after the lock is released.
        drop(clients);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, FrameClient>> {
        self.clients.lock()
    }
}

impl SessionAuthenticator for FrameAuthenticator {
    fn authenticate(
        &self,
        peer: &Peer,
        client: Option<IpAddr>,
        credential: &str,
    ) -> SessionAuthentication {
        let id = peer.id();
        let mut credentials = self.take_request(id).unwrap_or_default();
        credentials.address = client;
        let added = credentials.add_of_dialect(credential);
        let app = self.app.get().and_then(Weak::upgrade);
        Box::pin(async move {
            added.map_err(|error| refusal(&error.into()))?;
            let app = app.ok_or_else(|| refusal(&AuthError::Unavailable.into()))?;
            let principal = app.authenticate_frame(&credentials).await?;
            let admission = app.ask_host_about_frame(principal, &credentials).await?;
            Ok(app.admit_frame(id, &admission))
        })
    }
}

impl AppState {
    /// Asks the authenticators about the credential in a frame. The refusal of a wrong one is delayed.
    async fn authenticate_frame(
        &self,
        credentials: &Credentials,
    ) -> Result<Principal, AccessRefusal> {
        let access = self.access.get();
        let decided = timeout(HOOK_TIMEOUT, access.check(credentials)).await;
        let error = match decided {
            Ok(Ok(principal)) => return Ok(principal),
            Ok(Err(error)) => error,
            Err(_) => AuthError::Unavailable,
        };
        let address = credentials.address;
        self.refused.log(address, RefusalReason::Unauthenticated);
        if error.is_wrong_credential(credentials) {
            // With too many delayed refusals this one comes at once.
            drop(self.delay_failed_auth(address).await);
        }
        Err(refusal(&error.into()))
    }

    /// Asks the connect hook of the host program about a client that a credential in a frame has authenticated.
    async fn ask_host_about_frame(
        &self,
        principal: Principal,
        credentials: &Credentials,
    ) -> Result<Admission, AccessRefusal> {
        let request = |principal| ConnectRequest {
            uri: credentials.uri.clone(),
            headers: credentials.headers.clone(),
            address: credentials.address,
            principal,
        };
        let (reason, refusal) = match self.shards.access().admit(principal, request).await {
            Ok(Ok(admission)) => {
                let (identity, address) = (admission.identity.as_deref(), credentials.address);
                let Err(banned) = self.rules.check_connect(identity, address) else {
                    return Ok(admission);
                };
                let text = banned.to_string().into();
                let close = CloseReason::ACCESS_DENIED;
                (RefusalReason::Banned, AccessRefusal { text, close })
            }
            Ok(Err(denial)) => {
                let text = denial.to_string().into();
                let close = CloseReason::ACCESS_DENIED;
                (RefusalReason::Denied, AccessRefusal { text, close })
            }
            Err(_) => {
                let refusal = refusal(&AuthError::Unavailable.into());
                (RefusalReason::HookTimeout, refusal)
            }
        };
        self.refused.log(credentials.address, reason);
        Err(refusal)
    }

    /// Notes that a credential in a frame has authenticated the client of a session.
    fn admit_frame(&self, peer: PeerId, admission: &Admission) -> AuthenticatedClient {
        let identity = admission.identity();
        let user = proven_name(&identity);
        tracing::info!(%peer, user = user.as_deref().map(log_text), "authenticated");
        let context = self.shards.contexts().keep(peer, admission.context.clone());
        self.frames.keep_context(peer, context);
        AuthenticatedClient {
            identity,
            access: admission.session_access(),
        }
    }
}

/// The refusal of a credential in a frame.
fn refusal(error: &AccessError) -> AccessRefusal {
    let (text, close) = match error {
        AccessError::Authentication(AuthError::Denied(Some(text))) => {
            (text.clone(), CloseReason::ACCESS_DENIED)
        }
        AccessError::Authentication(AuthError::Denied(None)) => {
            (sentence(error).into(), CloseReason::ACCESS_DENIED)
        }
        AccessError::Authentication(AuthError::Expired) => {
            (sentence(error).into(), CloseReason::TOKEN_EXPIRED)
        }
        AccessError::Authentication(AuthError::Unavailable) => {
            (sentence(error).into(), CloseReason::UNAVAILABLE)
        }
        AccessError::Authentication(AuthError::Missing | AuthError::Invalid(_))
        | AccessError::Credential(_) => (sentence(error).into(), CloseReason::TOKEN_REQUIRED),
    };
    AccessRefusal { text, close }
}

/// Forgets a connection when it is dropped.
#[derive(Debug)]
pub(crate) struct FrameClientGuard {
    authenticator: Arc<FrameAuthenticator>,
    peer: PeerId,
}

impl Drop for FrameClientGuard {
    fn drop(&mut self) {
        // The value of the host program is dropped at the end of this function, when the lock is released.
        let _released = self.authenticator.lock().remove(&self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_wait_for_a_credential_are_limited_by_address() {
        let frames = FrameAuthenticator::new(PermitPool::new(0, 1, Vec::new()));
        let [first, second] = [1, 2].map(|byte| PeerId::from_random([byte; 16]));
        let credentials = || {
            let mut credentials = Credentials::default();
            credentials.address = Some([203, 0, 113, 7].into());
            credentials
        };
        let guard = frames.expect(first, credentials(), true);
        assert!(guard.is_ok());
        assert!(frames.expect(second, credentials(), true).is_err());
        assert!(frames.expect(second, credentials(), false).is_ok());
        assert!(frames.take_request(first).is_some(), "its first frame came");
        assert!(frames.take_request(first).is_none());
        assert!(frames.expect(second, credentials(), true).is_ok());
        drop(guard);
        assert!(frames.lock().is_empty());
    }
}
