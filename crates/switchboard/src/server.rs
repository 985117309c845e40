//! The server: combines hubs, access hooks and settings into one router.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::Router;
use switchboard_auth::AuthServices;
use switchboard_cluster::{Driver, DriverSettings, Engine, Memory};
use switchboard_core::SharedRoomPolicies;
use switchboard_dialects::Dialect;
use switchboard_redis::RedisStore;
use switchboard_transport::{
    AddressRates, Listener, Live, PermitPool, ProbeReserve, QueueMemory, RefusedConnections,
    RequestTimeouts, ServeConfig, SessionRegistry, canonical_net, websocket,
};
use switchboard_voice::{ClusterContext, VoiceBackend, VoiceContext, VoiceMetrics};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{
        AccessControl, AccessHooks, Admission, ConnectRequest, Denial, FrameAuthenticator,
        JoinRequest,
    },
    admin::{Admin, AdminKey},
    app_state::{AppState, LeftOut},
    build_error::BuildError,
    config::{Config, VoiceIdentity},
    election::{self, Election},
    events::{Events, ServerEvent},
    http_fetch::HttpFetcher,
    internal,
    operator_rules::OperatorRules,
    request_guard::RequestGuard,
    rooms::Rooms,
    router::{dialect_router, main_router, reserve_router},
    sessions::Sessions,
    shards::Shards,
    webhooks::{AccessWebhooks, WebhookMetrics},
};

/// TCP connections for pages and probes, in addition to those that the limits allow for signaling.
const PLAIN_CONNECTIONS: usize = 256;

/// TCP connections for health probes only, in addition to all others.
const RESERVE_CONNECTIONS: usize = 64;

/// TCP connections for health probes only from one address.
const RESERVE_CONNECTIONS_PER_ADDRESS: usize = 8;

/// Builds a [`Server`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    config: Config,
    access: AccessHooks,
    engine: Option<(Arc<dyn Engine>, Option<String>)>,
    dialects: Vec<&'static dyn Dialect>,
    left_out: LeftOut,
    admin_key: Option<AdminKey>,
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

    /// Lets this engine order the joins and leaves, in place of the one in the settings. If it connects several nodes,
    /// `url` is where the other nodes reach this one for voice; without a URL each node has voice of its own.
    #[must_use]
    pub fn engine(mut self, engine: Arc<dyn Engine>, url: Option<String>) -> Self {
        self.engine = Some((engine, url));
        self
    }

    /// Serves one more dialect, on its paths and in the rooms of all dialects. Its settings have their defaults, and
    /// [`Config::paths`] may change its paths. Call it once for each dialect.
    #[must_use]
    pub fn dialect(mut self, dialect: &'static dyn Dialect) -> Self {
        self.dialects.push(dialect);
        self
    }

    /// Lets callers with this token do everything in the admin API. Without a key, only tokens of the configured
    /// authenticators with the grant `admin` or `moderate` are accepted there.
    #[must_use]
    pub fn admin_key(mut self, key: AdminKey) -> Self {
        self.admin_key = Some(key);
        self
    }

    /// Leaves out the call page and the voice page, so that the app may have its own `/`.
    #[must_use]
    pub fn without_page(mut self) -> Self {
        self.left_out.page = true;
        self
    }

    /// Leaves out `/healthz` and `/readyz`, from all routers.
    #[must_use]
    pub fn without_probes(mut self) -> Self {
        self.left_out.probes = true;
        self
    }

    /// Leaves out `/metrics` from [`Server::internal_router`].
    #[must_use]
    pub fn without_metrics(mut self) -> Self {
        self.left_out.metrics = true;
        self
    }

    /// Builds the server.
    ///
    /// # Errors
    /// If the settings contradict each other or serve no client, if the paths or the name of a dialect of the host
    /// program conflict with others, or if a node of a cluster is built outside a Tokio runtime.
    pub fn build(self) -> Result<Server, BuildError> {
        let mut config = self.config;
        config.dialects.add_dialects(&self.dialects)?;
        let errors = config.validate();
        if !errors.is_empty() {
            return Err(BuildError::Config(errors));
        }
        for net in &mut config.server.trusted_proxies {
            *net = canonical_net(*net);
        }
        let config = Arc::new(config);
        let limits = Arc::new(config.limits.clone());
        let policies = SharedRoomPolicies::new(config.room_policies());
        let nodes = self.engine.or_else(|| redis(&config, &policies));
        let (engine, url) = nodes.unwrap_or_else(|| (Arc::new(Memory), None));
        if url.is_some() && tokio::runtime::Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        let election = url.as_ref().map(|url| Arc::new(Election::for_url(url)));
        let http = Arc::<HttpFetcher>::default();
        let (drain, tasks) = (CancellationToken::new(), TaskTracker::new());
        let webhook_metrics = WebhookMetrics::default();
        let webhook = AccessWebhooks::new(
            &config.access.webhook,
            http.clone(),
            webhook_metrics.clone(),
        );
        let services = AuthServices {
            http: http.clone(),
            webhook: webhook.clone().map(|webhook| webhook as _),
        };
        let sessions = Arc::new(SessionRegistry::default());
        let rules = Arc::new(OperatorRules::new(sessions.clone()));
        let mut hooks = self.access.with_webhook(webhook);
        hooks.rules = rules.clone();
        let shards = Shards::new(
            (&limits, policies),
            engine.clone(),
            hooks,
            config.dialects.table(),
            election.clone(),
            http,
            &tasks,
        );
        let proxies = config.server.trusted_proxies.clone();
        webhook_metrics.register(shards.registry());
        let events = shards.events().clone();
        let rates = Arc::new(AddressRates::new(
            limits.expensive_requests_per_second,
            limits.expensive_requests_burst,
            proxies.clone(),
        ));
        let refused = RefusedConnections::observed_by(move |address, reason, count| {
            events.send(|| {
                Some(ServerEvent::Refused {
                    address,
                    reason,
                    count,
                })
            });
        });
        let refusals_total = shards.counters().refusals_total.clone();
        let frames = FrameAuthenticator::new(PermitPool::new(
            0,
            config.access.unauthenticated_per_address,
            proxies.clone(),
        ));
        let admin_refused = shards.registry().counter(
            "admin_refused_total",
            "Calls of the admin API refused because they had no valid token.",
        );
        let state = Arc::new(AppState {
            permits: PermitPool::new(
                limits.connections,
                limits.connections_per_address,
                proxies.clone(),
            ),
            plain_permits: PermitPool::new(
                with_plain_connections(limits.connections),
                with_plain_connections(limits.connections_per_address),
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
                authenticator: frames.clone(),
                webhooks: shards.clone(),
                counters: shards.counters().clone(),
                sessions,
                queue_memory: Arc::new(QueueMemory::new(limits.memory_max)),
                limits: Live::new(limits),
                heartbeat: config.heartbeat,
                drain,
            }),
            rates,
            guard: RequestGuard::new(&config),
            refused: Arc::new(refused.counted_in(refusals_total)),
            access: Live::new(Arc::new(AccessControl::new(&config.access, &services))),
            frames,
            settings: Live::new(Arc::new(config.shared_settings())),
            effective: Live::new(config.clone()),
            reload: OnceLock::new(),
            left_out: self.left_out,
            shards,
            config,
            tasks,
            ready: AtomicBool::new(true),
            rules,
            admin_refused,
            started: Instant::now(),
            url,
        });
        state.frames.attach(&state);
        let voice = voice(&state, engine, election);
        let admin = Admin::new(&state, voice.clone(), self.admin_key);
        admin.start_sync();
        Ok(Server {
            state,
            voice,
            admin,
        })
    }
}

/// A limit of connections with those for pages and probes; 0 is no limit.
pub(crate) fn with_plain_connections(limit: usize) -> usize {
    match limit {
        0 => 0,
        limit => limit + PLAIN_CONNECTIONS,
    }
}

/// The voice service; `None` if voice is off. With an election, the elected node of the cluster serves voice, and this
/// node becomes a candidate.
fn voice(
    app: &Arc<AppState>,
    engine: Arc<dyn Engine>,
    election: Option<Arc<Election>>,
) -> Option<VoiceBackend> {
    if app.config.voice.gostream.identity == VoiceIdentity::Off {
        return None;
    }
    let websocket::ConnectionContext {
        heartbeat, drain, ..
    } = &**app.context();
    let context = VoiceContext {
        host: app.clone(),
        config: Arc::new(app.config.voice.clone()),
        limits: app.limits(),
        heartbeat: *heartbeat,
        metrics: VoiceMetrics::new(app.shards.registry()),
        drain: drain.clone(),
        tasks: app.tasks.clone(),
    };
    let cluster = election.as_ref().map(|election| {
        let (terms, engine) = (election.terms(), engine.clone());
        let secret = Arc::new(move || engine.status()?.secret);
        ClusterContext { terms, secret }
    });
    let voice = VoiceBackend::new(context, cluster)?;
    if let Some(election) = election {
        let candidacy = election.keep_candidacy(engine, election::voice_log(), drain.clone());
        app.tasks.spawn(candidacy);
    }
    Some(voice)
}

/// The Redis engine of the settings and the advertised URL of this node; `None` if no engine is set.
fn redis(
    config: &Config,
    policies: &SharedRoomPolicies,
) -> Option<(Arc<dyn Engine>, Option<String>)> {
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
        policies: policies.clone(),
        url: url.clone(),
    };
    Some((Arc::new(Driver::new(store, settings)), Some(url)))
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
    pub(crate) state: Arc<AppState>,
    voice: Option<VoiceBackend>,
    admin: Admin,
}

impl Server {
    /// Returns a builder with the default settings and no hooks.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The router of the server, to be served or nested: the dialects on their paths, the voice endpoints, the pages,
    /// `/ice-servers`, `/healthz` and `/readyz`, except those that the builder leaves out.
    ///
    /// A client that does not read its voice stream or event stream loses the stream. On the listeners of
    /// [`Server::serve`], its connection is closed at once; on other listeners, the connection gets no more data, and
    /// lasts until TCP ends it.
    ///
    /// Per-address limits need [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo), as
    /// `into_make_service_with_connect_info` gives it. Without it only the total is limited.
    pub fn router(&self) -> Router {
        main_router(&self.state, self.voice.as_ref(), &self.admin)
    }

    /// The router of the internal listener, for operators and monitoring: the admin API below `/admin/v1`, `/metrics`,
    /// `/healthz`, and `/readyz` with details, except those that the builder leaves out. It answers requests for loopback names, IP addresses and the
    /// names in [`InternalConfig::allowed_hosts`](crate::config::InternalConfig::allowed_hosts) only, and no page of
    /// another origin. Do not nest it in a router that clients reach.
    pub fn internal_router(&self) -> Router {
        internal::router(&self.state, &self.admin)
    }

    /// The router of a listener for one dialect: the dialect on the paths of its original server, and `/ice-servers`,
    /// `/healthz` and `/readyz` where the dialect does not use these paths. `None` if the dialect is unknown or
    /// disabled.
    pub fn router_of(&self, dialect: &str) -> Option<Router> {
        let dialect = self.served_dialect(dialect)?;
        Some(dialect_router(&self.state, dialect))
    }

    /// The dialect of this name; `None` if it is unknown or disabled.
    fn served_dialect(&self, name: &str) -> Option<&'static dyn Dialect> {
        let dialects = self.state.config.dialects.table();
        let dialect = dialects.find(name);
        dialect.filter(|dialect| self.state.config.is_enabled(*dialect))
    }

    /// The API for the rooms, for the host program.
    #[must_use]
    pub fn rooms(&self) -> Rooms {
        let sessions = self.state.context.sessions.clone();
        Rooms::new(self.state.shards.clone(), sessions)
    }

    /// The API for the sessions on this node, for the host program.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        let registry = self.state.context.sessions.clone();
        Sessions::new(registry, self.state.shards.clone())
    }

    /// Subscribes to the events of this node from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        self.state.shards.events().subscribe()
    }

    /// The settings of this server.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.state.config
    }

    /// The room policies in force, of the settings `rooms` and `access.duplicate_identity`. The host program may replace
    /// them while the server runs.
    #[must_use]
    pub fn room_policies(&self) -> &SharedRoomPolicies {
        self.state.shards.policies()
    }

    /// The URL at which other nodes reach this one; `None` outside a cluster.
    #[must_use]
    pub fn advertised_url(&self) -> Option<&str> {
        self.state.url.as_deref()
    }

    /// Serves on `listener` until [`Server::shutdown`].
    pub fn serve(&self, listener: Listener) {
        let reserve = reserve_router(&self.state, None);
        self.serve_router(listener, self.router(), reserve);
    }

    /// Serves one dialect, with the router of [`Server::router_of`], on `listener` until [`Server::shutdown`]. Returns
    /// false if the dialect is unknown or disabled.
    pub fn serve_dialect(&self, listener: Listener, dialect: &str) -> bool {
        let Some(dialect) = self.served_dialect(dialect) else {
            return false;
        };
        let reserve = reserve_router(&self.state, Some(dialect));
        self.serve_router(listener, dialect_router(&self.state, dialect), reserve);
        true
    }

    /// Serves the router of [`Server::internal_router`] on `listener` until [`Server::shutdown`]. Its connections do not
    /// count for the limits of clients.
    pub fn serve_internal(&self, listener: Listener) {
        let permits = PermitPool::new(internal::CONNECTIONS, 0, Vec::new());
        let unlimited = Arc::new(AddressRates::new(0, 0, Vec::new()));
        let limits = (permits, unlimited);
        let reserve = internal::reserve_router(&self.state);
        self.serve_within(limits, listener, self.internal_router(), reserve);
    }

    /// Serves `router` within the connection limits, and `reserve` on a few connections beyond them.
    pub(crate) fn serve_router(&self, listener: Listener, router: Router, reserve: Router) {
        let permits = self.state.plain_permits.clone();
        let rates = self.state.guard.connections.clone();
        self.serve_within((permits, rates), listener, router, reserve);
    }

    /// Serves `router` on connections with a permit and within the rate, and `reserve` on a few connections beyond them.
    fn serve_within(
        &self,
        (permits, rates): (Arc<PermitPool>, Arc<AddressRates>),
        listener: Listener,
        router: Router,
        reserve: Router,
    ) {
        let limits = self.state.limits();
        let reserve = ProbeReserve {
            permits: self.state.reserve_permits.clone(),
            router: reserve,
        };
        let serve_config = ServeConfig {
            timeouts: RequestTimeouts {
                head: Duration::from_secs(limits.handshake_secs),
                idle: Duration::from_secs(limits.keep_alive_secs),
            },
            dead_after: self.state.context.heartbeat.timeout,
            permits,
            rates,
            counters: self.state.context.counters.clone(),
            refused: self.state.refused.clone(),
            drain: self.state.context.drain.clone(),
            tasks: self.state.tasks.clone(),
            reserve,
        };
        self.state.tasks.spawn(listener.serve(router, serve_config));
    }

    /// Answers `/readyz` with 503 from now on, so that load balancers send no new clients. Everything else is served
    /// as before.
    pub fn begin_drain(&self) {
        self.state.ready.store(false, Ordering::Relaxed);
    }

    /// Ends the drain that [`Server::begin_drain`] began.
    pub fn end_drain(&self) {
        self.state.ready.store(true, Ordering::Relaxed);
    }

    /// Closes every connection with 1012 and waits up to `grace` until all have ended. Returns whether all have.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        self.begin_drain();
        self.state.context.shut_down();
        if let Some(voice) = &self.voice {
            voice.end();
        }
        self.state.tasks.close();
        let all_ended = timeout(grace, self.state.tasks.wait()).await.is_ok();
        self.state.shards.close().await;
        all_ended
    }
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
            let (derived, reported) =
                advertised_url_of("http", bound.parse().expect("an address"), local);
            assert_eq!(derived, url, "{bound} {local:?}");
            let reported = reported.unwrap_or_default();
            assert_eq!(
                reported.is_empty(),
                problem.is_empty(),
                "{bound}: {reported}"
            );
            assert!(reported.contains(problem), "{bound}: {reported}");
        }
    }
}
