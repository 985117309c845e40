//! The server: combines hubs, access hooks and settings into one router.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, OriginalUri, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use rand::RngExt;
use switchboard_cluster::{Driver, DriverSettings, Engine, Memory};
use switchboard_core::{Identity, Limits, PeerId};
use switchboard_dialects::{CorsPolicy, Dialect, Endpoint, Handshake, Query, find};
use switchboard_redis::RedisStore;
use switchboard_transport::{
    AddressRates, ConnectionLimit, ConnectionPermit, Counters, Listener, Permit, PermitPool,
    ProbeReserve, QueueMemory, RefusalReason, RefusedConnections, RequestTimeouts, ServeConfig,
    canonical_net, websocket,
};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{AccessHooks, Admission, ConnectRequest, Denial, HOOK_TIMEOUT, JoinRequest},
    build_error::BuildError,
    config::Config,
    election::Election,
    handlers, ice, probes, proxy,
    rooms::Rooms,
    route_table::{Route, RouteTable},
    sessions::Sessions,
    shards::Shards,
    voice::{self, VoiceBackend},
    web,
};

/// TCP connections for pages and probes, in addition to those that the limits allow for signaling.
const PLAIN_CONNECTIONS: usize = 256;

/// TCP connections for health probes only, in addition to all others.
const RESERVE_CONNECTIONS: usize = 64;

/// TCP connections for health probes only from one address.
const RESERVE_CONNECTIONS_PER_ADDRESS: usize = 8;

/// Each full multiple of this size in a list of members counts as one more expensive request.
pub(crate) const LIST_BYTES_PER_REQUEST: u64 = 64 * 1024;

/// Builds a [`Server`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    config: Config,
    access: AccessHooks,
    engine: Option<(Arc<dyn Engine>, String)>,
}

impl Builder {
    /// Uses these settings instead of the defaults.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Asks `hook` before a client may connect. Without a hook every client may.
    #[must_use]
    pub fn on_connect<F, A>(mut self, hook: F) -> Self
    where
        F: Fn(ConnectRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Admission, Denial>> + Send + 'static,
    {
        self.access.set_connect(hook);
        self
    }

    /// Asks `hook` before a client may join a room. Without a hook every client may. A client that claims a name in a
    /// room needs the same permission, so one join may call the hook more than once.
    #[must_use]
    pub fn on_join<F, A>(mut self, hook: F) -> Self
    where
        F: Fn(JoinRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), Denial>> + Send + 'static,
    {
        self.access.set_join(hook);
        self
    }

    /// Makes the server a node of a cluster with this engine, in place of the one in the settings. Other nodes reach
    /// it at `url`.
    #[doc(hidden)]
    #[must_use]
    pub fn engine(mut self, engine: Arc<dyn Engine>, url: String) -> Self {
        self.engine = Some((engine, url));
        self
    }

    /// Builds the server.
    ///
    /// # Errors
    /// If the settings contradict each other or serve no client, or a node of a cluster is built outside a Tokio runtime.
    pub fn build(self) -> Result<Server, BuildError> {
        let mut config = self.config;
        let errors = config.validate();
        if !errors.is_empty() {
            return Err(BuildError::Config(errors));
        }
        for net in &mut config.server.trusted_proxies {
            *net = canonical_net(*net);
        }
        let config = Arc::new(config);
        let limits = Arc::new(config.limits.clone());
        let nodes = self.engine.or_else(|| redis(&config));
        let (engine, url) = match nodes {
            Some((engine, url)) => (engine, Some(url)),
            None => (Arc::new(Memory) as Arc<dyn Engine>, None),
        };
        if url.is_some() && tokio::runtime::Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        let election = url.as_ref().map(|url| Arc::new(Election::at(url)));
        let (drain, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shards = Shards::new(
            &limits,
            engine.clone(),
            self.access,
            election.clone(),
            &tasks,
        );
        let proxies = config.server.trusted_proxies.clone();
        let with_plain = |limit: usize| {
            if limit == 0 {
                0
            } else {
                limit + PLAIN_CONNECTIONS
            }
        };
        let nodes = election.clone().map(|election| {
            let engine = engine.clone();
            let secret = Arc::new(move || engine.status()?.secret);
            voice::ClusterContext { election, secret }
        });
        let rates = Arc::new(AddressRates::new(
            limits.expensive_requests_per_second,
            limits.expensive_requests_burst,
            proxies.clone(),
        ));
        let voice = VoiceBackend::new(&config, &limits, &shards, &rates, &drain, &tasks, nodes);
        if let (Some(election), Some(_)) = (election, &voice) {
            tasks.spawn(election.keep(engine, voice::election_log(), drain.clone()));
        }
        let inner = ServerInner {
            voice,
            permits: PermitPool::new(
                limits.connections,
                limits.connections_per_address,
                proxies.clone(),
            ),
            plain_permits: PermitPool::new(
                with_plain(limits.connections),
                with_plain(limits.connections_per_address),
                proxies.clone(),
            ),
            reserve_permits: PermitPool::new(
                RESERVE_CONNECTIONS,
                RESERVE_CONNECTIONS_PER_ADDRESS,
                proxies,
            ),
            context: Arc::new(websocket::ConnectionContext {
                hubs: shards.clone(),
                joins: shards.clone(),
                webhooks: shards.clone(),
                counters: shards.counters().clone(),
                sessions: Arc::default(),
                queue_memory: Arc::new(QueueMemory::new(limits.queued_bytes)),
                limits,
                heartbeat: config.heartbeat,
                drain,
            }),
            rates,
            refused: Arc::default(),
            settings: Arc::new(config.shared_settings()),
            shards,
            config,
            tasks,
            ready: AtomicBool::new(true),
            url,
        };
        Ok(Server {
            inner: Arc::new(inner),
        })
    }
}

/// The Redis engine of the settings and the advertised URL of this node; `None` if no engine is set.
fn redis(config: &Config) -> Option<(Arc<dyn Engine>, String)> {
    let address = config.engine.url.address()?.clone();
    let mut url = config.engine.advertise_url.clone();
    if url.is_empty() {
        let bound = SocketAddr::new(config.server.addr, config.server.port);
        let scheme = config.tls.scheme();
        let (derived, problem) = advertised_url_of(scheme, bound, address.local_ip());
        if let Some(problem) = problem {
            tracing::warn!(
                url = derived,
                "{problem}: other nodes cannot forward voice requests to this node; set engine.advertise_url"
            );
        }
        url = derived;
    }
    let store = RedisStore::new(address, &config.engine.prefix);
    let settings = DriverSettings {
        lease: config.engine.lease,
        limits: Arc::new(config.limits.clone()),
        url: url.clone(),
    };
    Some((Arc::new(Driver::new(store, settings)), url))
}

/// The URL at which other nodes reach a node that listens on `bound` and whose connection to the engine has the
/// address `local`. Also returns the problem, if the node is known to be unreachable there.
fn advertised_url_of(
    scheme: &str,
    bound: SocketAddr,
    local: Option<IpAddr>,
) -> (String, Option<&'static str>) {
    let canonical = |ip: IpAddr| ip.to_canonical();
    let bound_ip = Some(bound.ip()).filter(|ip| !ip.is_unspecified());
    let found = bound_ip.or(local).map(canonical);
    let ip = found.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let url = format!("{scheme}://{}", SocketAddr::new(ip, bound.port()));
    let is_engine_remote = local.is_some_and(|local| !local.is_loopback());
    let problem = match (bound.port(), found) {
        (0, _) => Some("engine.advertise_url cannot be derived from port 0"),
        (_, None) => Some(
            "engine.advertise_url cannot be derived, because this machine has no address for connections to the engine",
        ),
        (_, Some(ip)) if ip.is_loopback() && is_engine_remote => {
            Some("server.addr is a loopback address, and the engine is on another machine")
        }
        (_, Some(ip)) if ip.is_ipv6() && bound.is_ipv4() => {
            Some("server.addr is an IPv4 address, and the engine is reached over IPv6")
        }
        (_, Some(_)) => None,
    };
    (url, problem)
}

/// A signaling and voice server. Cheap to clone; all clones are the same server.
///
/// ```
/// # async fn example() -> Result<(), switchboard::BuildError> {
/// let switchboard = switchboard::Server::builder().build()?;
/// let app: axum::Router = axum::Router::new()
///     .route("/hello", axum::routing::get(|| async { "my own app" }))
///     .nest("/signaling", switchboard.router());
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) inner: Arc<ServerInner>,
}

#[derive(Debug)]
pub(crate) struct ServerInner {
    pub(crate) config: Arc<Config>,
    context: Arc<websocket::ConnectionContext>,
    settings: Arc<switchboard_dialects::DialectSettings>,
    pub(crate) shards: Arc<Shards>,
    voice: Option<VoiceBackend>,
    /// Limits the signaling connections.
    permits: Arc<PermitPool>,
    /// Limits the TCP connections that are not, or not yet, signaling connections.
    plain_permits: Arc<PermitPool>,
    /// Limits the TCP connections for health probes that are accepted when `plain_permits` are used up.
    reserve_permits: Arc<PermitPool>,
    /// Limits the expensive requests of each address.
    rates: Arc<AddressRates>,
    /// Logs refused connections.
    refused: Arc<RefusedConnections>,
    tasks: TaskTracker,
    pub(crate) ready: AtomicBool,
    /// The URL at which other nodes reach this one; `None` outside a cluster.
    url: Option<String>,
}

impl Server {
    /// Returns a builder with the default settings and no hooks.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The router of the server, to be served or nested: the dialects on their paths, the voice endpoints, the pages,
    /// `/ice-servers`, `/healthz`, `/readyz` and `/metrics`.
    ///
    /// On the listeners of [`Server::serve`], the connection of a voice listener or event stream that does not read
    /// is closed at once. On other listeners it gets no more data, and lasts until its TCP connection ends.
    ///
    /// Per-address limits need [`ConnectInfo<SocketAddr>`], as
    /// `into_make_service_with_connect_info` gives it. Without it only the total is limited.
    pub fn router(&self) -> Router {
        let mut router = probes::routes(Router::new(), |_| true);
        router = router.route("/metrics", get(probes::metrics));
        router = router.route(ice::PATH, any(ice::answer));
        router = handlers::routes(router, &self.inner.config.routes(), None);
        if let Some(voice) = &self.inner.voice {
            router = voice::routes(router, voice);
        }
        let router = match &self.inner.config.server.web_root {
            Some(root) => web::serve_folder(router, root),
            None => web::serve_page(router),
        };
        router.with_state(self.clone())
    }

    /// The router of a listener for one dialect: the dialect on the paths of its original server, and `/ice-servers`,
    /// `/healthz` and `/readyz` where the dialect does not use these paths. `None` if the dialect is unknown or
    /// disabled.
    pub fn router_of(&self, dialect: &str) -> Option<Router> {
        let dialect = self.served_dialect(dialect)?;
        let routes = standalone_routes(dialect);
        let router = handlers::routes(Router::new(), &routes, Some(dialect.traits().name));
        let is_free = |path: &str| routes.at(path).is_none();
        let mut router = probes::routes(router, is_free);
        if is_free(ice::PATH) {
            router = router.route(ice::PATH, any(ice::answer));
        }
        Some(router.with_state(self.clone()))
    }

    /// The dialect of this name; `None` if it is unknown or disabled.
    fn served_dialect(&self, name: &str) -> Option<&'static dyn Dialect> {
        find(name).filter(|dialect| self.inner.config.is_enabled(*dialect))
    }

    /// The API for the rooms, for the host program.
    #[must_use]
    pub fn rooms(&self) -> Rooms {
        Rooms::new(self.inner.shards.clone())
    }

    /// The API for the sessions on this node, for the host program.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        let registry = self.inner.context.sessions.clone();
        Sessions::new(registry, self.inner.shards.clone())
    }

    /// The settings of this server.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The URL at which other nodes reach this one; `None` outside a cluster.
    #[must_use]
    pub fn advertised_url(&self) -> Option<&str> {
        self.inner.url.as_deref()
    }

    /// Serves on `listener` until [`Server::shutdown`].
    pub fn serve(&self, listener: Listener) {
        let probes = probes::routes(Router::new(), |_| true);
        self.serve_router(listener, self.router(), probes);
    }

    /// Serves [`Server::router_of`] a dialect on `listener` until [`Server::shutdown`]. Returns false if the dialect
    /// is unknown or disabled.
    pub fn serve_dialect(&self, listener: Listener, dialect: &str) -> bool {
        let Some(routes) = self.served_dialect(dialect).map(standalone_routes) else {
            return false;
        };
        let probes = probes::routes(Router::new(), |path| routes.at(path).is_none());
        let router = self.router_of(dialect);
        router
            .map(|router| self.serve_router(listener, router, probes))
            .is_some()
    }

    /// Serves `router` within the connection limits, and only `probes` on a few connections beyond them.
    fn serve_router(&self, listener: Listener, router: Router, probes: Router<Self>) {
        let limits = &self.inner.context.limits;
        let reserve = ProbeReserve {
            permits: self.inner.reserve_permits.clone(),
            router: probes.fallback(over_limit).with_state(self.clone()),
        };
        let serve_config = ServeConfig {
            timeouts: RequestTimeouts {
                head: Duration::from_secs(limits.handshake_secs),
                idle: Duration::from_secs(limits.keep_alive_secs),
            },
            dead_after: self.inner.context.heartbeat.gone,
            permits: self.inner.plain_permits.clone(),
            counters: self.inner.context.counters.clone(),
            refused: self.inner.refused.clone(),
            drain: self.inner.context.drain.clone(),
            tasks: self.inner.tasks.clone(),
            reserve,
        };
        self.inner.tasks.spawn(listener.serve(router, serve_config));
    }

    /// Answers `/readyz` with 503 from now on, so that load balancers send no new clients. Everything else is served
    /// as before.
    pub fn begin_drain(&self) {
        self.inner.ready.store(false, Ordering::Relaxed);
    }

    /// Closes every connection with 1012 and waits up to `grace` until all have ended. Returns whether all have.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.begin_drain();
        self.inner.context.drain.cancel();
        if let Some(voice) = &self.inner.voice {
            voice.end();
        }
        self.inner.tasks.close();
        let all_ended = timeout(grace, self.inner.tasks.wait()).await.is_ok();
        self.inner.shards.close().await;
        all_ended
    }

    /// Admits a connection within the limits, and asks the connect hook. The error is the response.
    pub(crate) async fn admit(&self, request: &Parts) -> Result<(Permit, Admission), Response> {
        let address = self.client_address(request);
        let permit = self.inner.permits.try_acquire(address).map_err(|full| {
            self.log_refused(request, RefusalReason::Limit(full));
            connection_limit_response(full).into_response()
        })?;
        let connect_request = || ConnectRequest {
            uri: request
                .extensions
                .get::<OriginalUri>()
                .map_or_else(|| request.uri.clone(), |uri| uri.0.clone()),
            headers: request.headers.clone(),
            address,
        };
        let decision = self.inner.shards.access().admit(connect_request);
        let Ok(admission) = timeout(HOOK_TIMEOUT, decision).await else {
            tracing::warn!(timeout_s = HOOK_TIMEOUT.as_secs(), "connect hook timed out");
            self.log_refused(request, RefusalReason::HookTimeout);
            let message = "The access check of the server timed out. Try again later.\n";
            return Err((StatusCode::SERVICE_UNAVAILABLE, message).into_response());
        };
        match admission {
            Ok(admission) => Ok((permit, admission)),
            Err(denial) => {
                self.log_refused(request, RefusalReason::Denied);
                Err(denial.into_response())
            }
        }
    }

    /// Admits a request that another node has admitted and forwarded. It counts to the total, but to no address.
    pub(crate) fn admit_from_node(&self, request: &Parts) -> Result<Permit, Box<Response>> {
        if let Some(permit) = request.extensions.get::<ConnectionPermit>() {
            permit.uncount_address();
        }
        let admitted = self.inner.permits.try_acquire(None);
        admitted.map_err(|full| Box::new(connection_limit_response(full).into_response()))
    }

    /// Charges the client's address for an expensive request.
    ///
    /// # Errors
    /// If the address has reached its rate limit: the response with status 429.
    pub(crate) fn charge(&self, request: &Parts) -> Result<(), Box<Response>> {
        let address = self.client_address(request);
        let charged = self.inner.rates.try_charge(address, Instant::now());
        charged.map_err(|wait| {
            Counters::add(&self.counters().connections_refused_total, 1);
            self.log_refused(request, RefusalReason::Rate);
            Box::new(rate_limit_response(wait))
        })
    }

    /// Logs that the client of a request is refused.
    pub(crate) fn log_refused(&self, request: &Parts, reason: RefusalReason) {
        self.inner.refused.log(self.client_address(request), reason);
    }

    /// Charges the client's address for the length of a requested list.
    pub(crate) fn charge_for_length(&self, request: &Parts, bytes: usize) {
        let count = bytes as u64 / LIST_BYTES_PER_REQUEST;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let address = self.client_address(request);
        self.inner.rates.charge_more(address, count, Instant::now());
    }

    pub(crate) fn client_address(&self, request: &Parts) -> Option<IpAddr> {
        let ConnectInfo(peer) = request.extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(proxy::client_address(
            peer.ip(),
            &request.headers,
            &self.inner.config.server.trusted_proxies,
        ))
    }

    /// The handshake data of a client without those of its URL.
    pub(crate) fn handshake(&self, identity: Option<Arc<str>>) -> Handshake {
        let mut rng = rand::rng();
        Handshake {
            peer: PeerId::from_random(rng.random()),
            identity: identity.map_or(Identity::Claimed, Identity::Proven),
            endpoint: Endpoint::MAIN,
            params: Query::default(),
            query: Query::default(),
            random: rng.random(),
            unix_ms: unix_ms(),
            limits: self.inner.context.limits.clone(),
            settings: self.inner.settings.clone(),
        }
    }

    /// The origins whose pages may read the responses of this route, separated by commas. `None` if pages of other
    /// origins may not.
    pub(crate) fn cors_origins(&self, route: &Route) -> Option<String> {
        match route.cors {
            CorsPolicy::SameOrigin => None,
            CorsPolicy::AnyOrigin => Some("*".to_owned()),
            CorsPolicy::Listed(setting) => {
                let dialect = route.only()?.traits().name;
                Some(self.inner.settings.text(dialect, setting))
            }
        }
    }

    pub(crate) fn context(&self) -> &Arc<websocket::ConnectionContext> {
        &self.inner.context
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.context.limits
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    pub(crate) fn counters(&self) -> &Counters {
        self.inner.shards.counters()
    }
}

/// The routes of a listener for this dialect only.
fn standalone_routes(dialect: &'static dyn Dialect) -> RouteTable {
    let home = [(dialect, vec![dialect.standalone_path().to_owned()])];
    RouteTable::new(&home, |_| false)
}

/// Answers a request that is not a health probe, on a connection beyond the limits.
async fn over_limit(
    State(server): State<Server>,
    Extension(full): Extension<ConnectionLimit>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
) -> Response {
    Counters::add(&server.counters().connections_refused_total, 1);
    let reason = RefusalReason::Limit(full);
    server.inner.refused.log(Some(client.ip()), reason);
    connection_limit_response(full).into_response()
}

/// The milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn connection_limit_response(full: ConnectionLimit) -> (StatusCode, &'static str) {
    match full {
        ConnectionLimit::Total => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The server has reached its limit of connections (limits.connections).\n",
        ),
        ConnectionLimit::PerAddress => (
            StatusCode::TOO_MANY_REQUESTS,
            "Your address has reached its limit of connections (limits.connections_per_address).\n",
        ),
    }
}

/// The response to an expensive request over the rate limit. The client may try again after `wait`.
pub(crate) fn rate_limit_response(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let message = format!(
        "Your address has reached limits.expensive_requests_per_second. Try again in {seconds} s.\n"
    );
    let retry_after = [(header::RETRY_AFTER, seconds.to_string())];
    (StatusCode::TOO_MANY_REQUESTS, retry_after, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_url_is_derived_and_its_problems_are_reported() {
        for (bound, local, url, problem) in [
            ("0.0.0.0:80", "10.0.0.1", "http://10.0.0.1:80", ""),
            ("[::]:80", "fd00::1", "http://[fd00::1]:80", ""),
            ("[::]:80", "10.0.0.1", "http://10.0.0.1:80", ""),
            ("[::]:80", "::ffff:10.0.0.1", "http://10.0.0.1:80", ""),
            ("[::ffff:10.0.0.9]:80", "10.0.0.1", "http://10.0.0.9:80", ""),
            ("0.0.0.0:80", "fd00::1", "http://[fd00::1]:80", "over IPv6"),
            ("0.0.0.0:80", "127.0.0.1", "http://127.0.0.1:80", ""),
            ("127.0.0.1:80", "127.0.0.1", "http://127.0.0.1:80", ""),
            ("10.0.0.9:80", "127.0.0.1", "http://10.0.0.9:80", ""),
            ("10.0.0.9:80", "", "http://10.0.0.9:80", ""),
            ("127.0.0.1:80", "10.0.0.1", "http://127.0.0.1:80", "another"),
            ("0.0.0.0:80", "", "http://127.0.0.1:80", "no address"),
            ("0.0.0.0:0", "10.0.0.1", "http://10.0.0.1:0", "port 0"),
        ] {
            let local = local.parse().ok();
            let (derived, found) =
                advertised_url_of("http", bound.parse().expect("an address"), local);
            assert_eq!(derived, url, "{bound} {local:?}");
            let found = found.unwrap_or_default();
            assert_eq!(found.is_empty(), problem.is_empty(), "{bound}: {found}");
            assert!(found.contains(problem), "{bound}: {found}");
        }
    }
}
