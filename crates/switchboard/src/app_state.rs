//! The state of a server that the handlers of requests share, and the checks that every request passes.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    extract::{ConnectInfo, OriginalUri},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::future::BoxFuture;
use prometheus::IntCounter;
use rand::RngExt;
use switchboard_core::{
    Identity, JoinRefusal, JoiningClient, Limits, PeerId, RoomId, RoomName, SpaceName,
};
use switchboard_dialects::{CorsPolicy, DialectSettings, Endpoint, Handshake, Query};
use switchboard_session::CredentialFrames;
use switchboard_transport::{
    AddressRates, ConnectionLimit, ConnectionPermit, Counters, JoinCheck, Live, Permit, PermitPool,
    RefusalReason, RefusedConnections, websocket,
};
use switchboard_voice::{AdmittedRequest, RequestAccess, User, UserBanned, VoiceHost};
use tokio_util::task::TaskTracker;

use crate::{
    access::{
        AccessControl, Admission, ConnectRequest, FrameAuthenticator, HOOK_TIMEOUT, HostContext,
        JoinRequest, OwnPlaces, control::Authenticated,
    },
    config::{Config, VOICE_DIALECT, VoiceIdentity},
    operator_rules::OperatorRules,
    proxy,
    reload::ReloadHook,
    request_guard::RequestGuard,
    route_table::Route,
    shards::Shards,
};

/// The parts of the router that the host program does not want.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) page: bool,
    pub(crate) probes: bool,
    pub(crate) metrics: bool,
}

/// The state that the handlers of requests share. The voice service has its own.
#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) config: Arc<Config>,
    pub(crate) context: Arc<websocket::ConnectionContext>,
    /// The settings of dialects for later connections.
    pub(crate) settings: Live<DialectSettings>,
    /// The settings that are in force, after the last reload. `config` has those of the start.
    pub(crate) effective: Live<Config>,
    /// Reads the settings again; empty in a host program that has not set it.
    pub(crate) reload: OnceLock<ReloadHook>,
    pub(crate) left_out: LeftOut,
    pub(crate) shards: Arc<Shards>,
    /// Authenticates clients.
    pub(crate) access: Live<AccessControl>,
    /// Authenticates clients by their frames.
    pub(crate) frames: Arc<FrameAuthenticator>,
    /// Limits the signaling connections.
    pub(crate) permits: Arc<PermitPool>,
    /// Limits the TCP connections that are not, or not yet, signaling connections.
    pub(crate) plain_permits: Arc<PermitPool>,
    /// Limits the TCP connections for health probes that are accepted when `plain_permits` are used up.
    pub(crate) reserve_permits: Arc<PermitPool>,
    /// Limits the expensive requests of each address.
    pub(crate) rates: Arc<AddressRates>,
    /// Checks each request before its route.
    pub(crate) guard: RequestGuard,
    /// Logs refused connections.
    pub(crate) refused: Arc<RefusedConnections>,
    pub(crate) tasks: TaskTracker,
    pub(crate) ready: AtomicBool,
    /// The bans and locks of operators.
    pub(crate) rules: Arc<OperatorRules>,
    /// Admin calls without a valid token.
    pub(crate) admin_refused: IntCounter,
    /// The time of the start.
    pub(crate) started: Instant,
    /// The URL at which other nodes reach this one; `None` outside a cluster.
    pub(crate) url: Option<String>,
}

impl AppState {
    /// Admits a connection within the limits, and asks the connect hook. The error is the response.
    pub(crate) async fn admit(&self, request: &Parts) -> Result<(Permit, Admission), Response> {
        self.admit_with(request, OwnPlaces::default()).await
    }

    /// Admits a connection, as [`Self::admit`] does, whose dialect has places of its own for a credential.
    pub(crate) async fn admit_with(
        &self,
        request: &Parts,
        places: OwnPlaces<'_>,
    ) -> Result<(Permit, Admission), Response> {
        let address = self.client_address(request);
        let permit = self.permits.try_acquire(address).map_err(|full| {
            self.log_refused(request, RefusalReason::Limit(full));
            connection_limit_response(full)
        })?;
        self.refuse_banned(request, None, address)
            .map_err(|refusal| *refusal)?;
        let access = self.access.get();
        let authenticated = match access.authenticate(request, address, places).await {
            Ok(authenticated) => authenticated,
            Err(refused) => {
                // The permit is free while the answer is delayed.
                drop(permit);
                return Err(self.refuse_unauthenticated(address, refused).await);
            }
        };
        let Authenticated { principal, frames } = authenticated;
        if frames == CredentialFrames::RequiredFirstFrame {
            return Ok((permit, Admission::until_first_frame()));
        }
        let connect_request = |principal| ConnectRequest {
            uri: request
                .extensions
                .get::<OriginalUri>()
                .map_or_else(|| request.uri.clone(), |uri| uri.0.clone()),
            headers: request.headers.clone(),
            address,
            principal,
        };
        let hooks = self.shards.access();
        let Ok(admission) = hooks.admit(principal, connect_request).await else {
            tracing::warn!(timeout_s = HOOK_TIMEOUT.as_secs(), "connect hook timed out");
            self.log_refused(request, RefusalReason::HookTimeout);
            let message = "The access check of the server timed out. Try again later.\n";
            return Err((StatusCode::SERVICE_UNAVAILABLE, message).into_response());
        };
        match admission {
            Ok(admission) => {
                let identity = admission.identity.as_deref();
                self.refuse_banned(request, identity, address)
                    .map_err(|refusal| *refusal)?;
                Ok((permit, admission.reading(frames)))
            }
            Err(denial) => {
                self.log_refused(request, RefusalReason::Denied);
                Err(denial.into_response())
            }
        }
    }

    /// Counts the connection of a node neither for its address nor for the rate of new connections.
    pub(crate) fn uncount_node(&self, request: &Parts) {
        // The connection comes from another node, whose address stands for many clients and so is not limited.
        if let Some(permit) = request.extensions.get::<ConnectionPermit>() {
            permit.uncount_address();
        }
        if let Some(ConnectInfo(node)) = request.extensions.get::<ConnectInfo<SocketAddr>>() {
            self.guard
                .connections
                .refund(Some(node.ip()), Instant::now());
        }
    }

    /// Refuses a client that an operator has banned. The error is the response.
    fn refuse_banned(
        &self,
        request: &Parts,
        identity: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<(), Box<Response>> {
        let checked = self.rules.check_connect(identity, address);
        checked.map_err(|reason| {
            self.log_refused(request, RefusalReason::Banned);
            Box::new((StatusCode::FORBIDDEN, format!("{reason}\n")).into_response())
        })
    }

    /// Charges the client's address for an expensive request.
    ///
    /// # Errors
    /// If the address has reached its rate limit: the response with status 429.
    pub(crate) fn charge(&self, request: &Parts) -> Result<(), Box<Response>> {
        let address = self.client_address(request);
        let charged = self.rates.try_charge(address, Instant::now());
        charged.map_err(|wait| {
            Counters::add(&self.counters().connections_refused_total, 1);
            self.log_refused(request, RefusalReason::Rate);
            Box::new(rate_limit_response(wait))
        })
    }

    /// Logs that the client of a request is refused.
    pub(crate) fn log_refused(&self, request: &Parts, reason: RefusalReason) {
        self.refused.log(self.client_address(request), reason);
    }

    /// Charges the client's address for the length of a requested list, in addition to the request.
    pub(crate) fn charge_for_length(&self, request: &Parts, bytes: usize) {
        let count = AddressRates::cost_of_list(bytes as u64);
        let address = self.client_address(request);
        self.rates.charge_more(address, count, Instant::now());
    }

    pub(crate) fn client_address(&self, request: &Parts) -> Option<IpAddr> {
        let ConnectInfo(peer) = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(proxy::client_address(
            peer.ip(),
            &request.headers,
            &self.config.server.trusted_proxies,
        ))
    }

    /// The handshake data of a client, except its identity and those from its URL.
    pub(crate) fn handshake(&self) -> Handshake {
        let mut rng = rand::rng();
        Handshake {
            peer: PeerId::from_random(rng.random()),
            identity: Identity::Claimed,
            endpoint: Endpoint::MAIN,
            params: Query::default(),
            query: Query::default(),
            random: rng.random(),
            unix_ms: unix_ms(),
            limits: self.limits(),
            settings: self.settings.get(),
        }
    }

    /// The origins whose pages may read the responses of this route, separated by commas. `None` if pages of other
    /// origins may not.
    pub(crate) fn cors_origins(&self, route: &Route) -> Option<String> {
        match route.cors {
            CorsPolicy::SameOrigin => None,
            CorsPolicy::AnyOrigin => Some("*".to_owned()),
            // The guard has checked the origin against this list and `access.allowed_origins`.
            CorsPolicy::Listed(_) if !self.guard.allows_every_origin() => Some("*".to_owned()),
            CorsPolicy::Listed(setting) => {
                let dialect = route.only()?.traits().name;
                Some(self.settings.get().text(dialect, setting))
            }
        }
    }

    pub(crate) fn context(&self) -> &Arc<websocket::ConnectionContext> {
        &self.context
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.context.limits.get()
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.shards.counters()
    }
}

impl AppState {
    /// The identity of a voice user in room policies. Everybody can make a key, so a key proves no identity there.
    fn voice_identity(&self, user: &User) -> Identity {
        match self.config.voice.gostream.identity {
            VoiceIdentity::Site => Identity::Proven(user.as_str().into()),
            VoiceIdentity::Keys | VoiceIdentity::Off => Identity::Claimed,
        }
    }
}

impl VoiceHost for AppState {
    fn admit<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<AdmittedRequest, Response>> {
        Box::pin(async {
            let (permit, admission) = Self::admit(self, request).await?;
            Ok(AdmittedRequest {
                permit,
                address: self.client_address(request),
                space: admission.space(),
                access: RequestAccess {
                    grants: admission.grants(),
                    expires_at: admission.expires_at,
                },
            })
        })
    }

    fn admit_forwarded(&self, request: &Parts) -> Result<Permit, Box<Response>> {
        self.uncount_node(request);
        let admitted = self.permits.try_acquire(None);
        admitted.map_err(|full| Box::new(connection_limit_response(full)))
    }

    fn check_room_policy(
        &self,
        user: &User,
        room: &RoomName,
        is_member: bool,
    ) -> Result<usize, Arc<str>> {
        let policies = self.shards.policies();
        let client = JoiningClient {
            dialect: VOICE_DIALECT,
            reveals_members: true,
            identity: &self.voice_identity(user),
            policy: None,
            is_grouped: false,
            is_returning: is_member,
        };
        let checked = policies.check_join(room, &client);
        checked.map_err(|refusal| refusal.text(room, VOICE_DIALECT))?;
        Ok(policies.load().members_max(room, &client))
    }

    fn count_full_room(&self) {
        self.shards.policies().count(JoinRefusal::MaxMembers);
    }

    fn check_user(&self, user: &User) -> Result<(), UserBanned> {
        let checked = self.rules.check_connect(Some(user.as_str()), None);
        checked.map_err(|refused| UserBanned(refused.0))
    }

    fn check_join(&self, user: &User, room: RoomName) -> Option<JoinCheck> {
        self.shards.access().start_join_check(JoinRequest {
            // A voice user has no signaling connection whose id could be used.
            peer: PeerId::from_random(rand::rng().random()),
            identity: Some(user.as_str().into()),
            dialect: VOICE_DIALECT,
            room: RoomId::shared(SpaceName::default(), room),
            address: Some(user.as_str().into()),
            context: HostContext::default(),
        })
    }

    fn client_address(&self, request: &Parts) -> Option<IpAddr> {
        Self::client_address(self, request)
    }

    fn rates(&self) -> &AddressRates {
        &self.rates
    }

    fn rate_limit_response(&self, wait: Duration) -> Response {
        rate_limit_response(wait)
    }

    fn counters(&self) -> &Counters {
        self.shards.counters()
    }
}

/// The seconds since 1970.
pub(crate) fn unix_secs() -> u64 {
    unix_ms() / 1000
}

/// The milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn connection_limit_response(full: ConnectionLimit) -> Response {
    match full {
        ConnectionLimit::Total => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The server has reached its limit of connections (limits.connections).\n",
        )
            .into_response(),
        ConnectionLimit::PerAddress => (
            StatusCode::TOO_MANY_REQUESTS,
            "Your address has reached its limit of connections (limits.connections_per_address).\n",
        )
            .into_response(),
        ConnectionLimit::Rate => (
            StatusCode::TOO_MANY_REQUESTS,
            [(header::RETRY_AFTER, "1")],
            "Your address has reached limits.connections_per_second. Try again in 1 s.\n",
        )
            .into_response(),
    }
}

/// The whole seconds of a `Retry-After` header.
pub(crate) fn retry_after_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The response to an expensive request over the rate limit. The client may try again after `wait`.
fn rate_limit_response(wait: Duration) -> Response {
    let seconds = retry_after_seconds(wait);
    let message = format!(
        "Your address has reached limits.expensive_requests_per_second. Try again in {seconds} s.\n"
    );
    let retry_after = [(header::RETRY_AFTER, seconds.to_string())];
    (StatusCode::TOO_MANY_REQUESTS, retry_after, message).into_response()
}
