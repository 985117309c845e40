//! The checks of every request of a client on the public listeners, before its route: rates by address, `Host`, and the
//! origin of the page. One place for WebSockets of every path and dialect, voice, `/ice-servers`, the HTTP endpoints of
//! dialects, and the pages.
//!
//! Health probes are not checked: load balancers ask them by address. A request that another node forwards is checked on
//! the node that the client is connected to; a client that pretends to be a node does not know the node secret.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use ipnet::IpNet;
use parking_lot::RwLock;
use switchboard_dialects::CorsPolicy;
use switchboard_transport::{
    AddressRates, ConnectionLimit, ConnectionPermit, Counters, Delay, FailedAuth, RefusalReason,
    upgrade,
};
use switchboard_voice::is_from_node;

use crate::{
    access::control::UnauthenticatedRequest,
    app_state::{AppState, connection_limit_response, retry_after_seconds},
    config::Config,
    origins::{InvalidPattern, NotAllowed, OriginRules, RequestTarget},
    proxy,
};

/// The rules of requests, and the state of their limits.
#[derive(Debug)]
pub(crate) struct RequestGuard {
    rules: RwLock<Arc<OriginRules>>,
    /// The rate limit of HTTP requests.
    requests: AddressRates,
    /// The rate limit of new connections. The listeners charge it for connections, and this guard for WebSockets of
    /// clients behind a proxy, whose connections have the address of the proxy.
    pub(crate) connections: Arc<AddressRates>,
    /// The wrong credentials of each address.
    failed_auth: Arc<FailedAuth>,
    trusted_proxies: Vec<IpNet>,
    /// Whether the listeners have TLS.
    is_tls: bool,
    /// Whether tokens are read from a cookie.
    has_cookie: bool,
}

impl RequestGuard {
    /// The guard of these settings, which are valid. With an invalid pattern no page of another origin is allowed.
    pub(crate) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let exempt = || config.server.trusted_proxies.clone();
        Self {
            rules: RwLock::new(Arc::new(rules_of(config).unwrap_or_else(|invalid| {
                tracing::error!(
                    value = invalid.value,
                    "invalid pattern: all origins are refused"
                );
                OriginRules::closed()
            }))),
            requests: AddressRates::new(
                limits.http_requests_per_second,
                limits.http_requests_burst,
                exempt(),
            ),
            connections: Arc::new(AddressRates::new(
                limits.connections_per_second,
                limits.connections_burst,
                exempt(),
            )),
            failed_auth: FailedAuth::new(exempt()),
            trusted_proxies: exempt(),
            is_tls: config.tls.is_on(),
            has_cookie: !config.access.cookie.is_empty(),
        }
    }

    /// Replaces the rules and rates for later requests.
    ///
    /// # Errors
    /// The first invalid value. The rules stay as they are then.
    pub(crate) fn reload(&self, config: &Config) -> Result<(), InvalidPattern> {
        *self.rules.write() = Arc::new(rules_of(config)?);
        let limits = &config.limits;
        self.requests
            .set_rate(limits.http_requests_per_second, limits.http_requests_burst);
        self.connections
            .set_rate(limits.connections_per_second, limits.connections_burst);
        Ok(())
    }

    /// Whether every origin is allowed.
    pub(crate) fn allows_every_origin(&self) -> bool {
        self.rules.read().allows_every_origin()
    }

    fn target<'a>(&self, request: &'a Request) -> RequestTarget<'a> {
        let (uri, headers) = (request.uri(), request.headers());
        let peer = peer_of(request);
        let is_proxied = peer.is_some_and(|peer| proxy::is_trusted(peer, &self.trusted_proxies));
        let forwarded = is_proxied.then(|| forwarded_tls(headers)).flatten();
        RequestTarget {
            uri,
            headers,
            is_tls: forwarded.unwrap_or(self.is_tls),
            is_proxied,
        }
    }
}

/// The rules of the settings: `[access]`, the website of voice users, and the origins that settings of dialects list.
fn rules_of(config: &Config) -> Result<OriginRules, InvalidPattern> {
    let rules = OriginRules::new(&config.access.allowed_origins, &config.access.allowed_hosts)?;
    let site = config.voice.gostream.origin();
    let of_dialects = config.enabled_dialects().flat_map(|dialect| {
        let endpoints = dialect.endpoints(dialect.standalone_path()).into_iter();
        endpoints.filter_map(|endpoint| match endpoint.cors {
            CorsPolicy::Listed(setting) => {
                Some(config.dialects.text(dialect.traits().name, setting))
            }
            CorsPolicy::SameOrigin | CorsPolicy::AnyOrigin => None,
        })
    });
    let lists: Vec<_> = of_dialects.chain([site]).collect();
    let listed = lists.iter().flat_map(|list| list.split(','));
    Ok(rules.with_origins(listed.map(str::trim)))
}

fn peer_of(request: &Request) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip())
}

/// Whether a trusted proxy says that the client uses TLS; `None` if it does not say.
fn forwarded_tls(headers: &HeaderMap) -> Option<bool> {
    let forwarded = headers.get("x-forwarded-proto")?.to_str().ok()?;
    let last = forwarded.rsplit(',').next()?.trim();
    Some(last.eq_ignore_ascii_case("https") || last.eq_ignore_ascii_case("wss"))
}

/// Adds the guard to all routes of a router.
pub(crate) fn protect(router: Router<Arc<AppState>>, app: &Arc<AppState>) -> Router<Arc<AppState>> {
    router.layer(from_fn_with_state(app.clone(), check))
}

async fn check(State(app): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let guard = &app.guard;
    if is_from_node(request.headers(), || app.shards.status()?.secret) {
        return next.run(request).await;
    }
    if let Err(response) = app.charge_request(&request) {
        return *response;
    }
    let rules = guard.rules.read().clone();
    if rules.allows_everything() {
        return next.run(request).await;
    }
    let target = guard.target(&request);
    if let Err(reason) = rules.check(&target) {
        let client = app.address_of(&request);
        let add = || Some(rules.suggestion(reason, &target)?.to_string());
        let (logged, text) = refusal(reason);
        Counters::add(&app.counters().connections_refused_total, 1);
        app.refused.log_with(client, logged, add);
        return (StatusCode::FORBIDDEN, [(header::VARY, "origin")], text).into_response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    if !rules.allows_every_origin() {
        allow_reading(response.headers_mut(), origin, guard.has_cookie);
    }
    response
}

fn refusal(reason: NotAllowed) -> (RefusalReason, &'static str) {
    match reason {
        NotAllowed::Origin => (
            RefusalReason::Origin,
            "Pages of this origin may not use this server (access.allowed_origins).\n",
        ),
        NotAllowed::Host => (
            RefusalReason::Host,
            "This server may not be used under this host (access.allowed_hosts).\n",
        ),
    }
}

/// Lets the page of an allowed origin read a response that pages of other origins may read, and no other page.
fn allow_reading(headers: &mut HeaderMap, origin: Option<HeaderValue>, has_cookie: bool) {
    if headers
        .remove(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        .is_none()
    {
        return;
    }
    let varies = headers.get_all(header::VARY).iter();
    if !varies.into_iter().any(|vary| vary == "origin") {
        headers.append(header::VARY, HeaderValue::from(header::ORIGIN));
    }
    let Some(origin) = origin else { return };
    // `null` is the origin of many pages, also of hostile ones in a sandbox.
    if has_cookie && origin != "null" {
        let allowed = HeaderValue::from_static("true");
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

impl AppState {
    fn address_of(&self, request: &Request) -> Option<IpAddr> {
        let proxies = &self.guard.trusted_proxies;
        Some(proxy::client_address(
            peer_of(request)?,
            request.headers(),
            proxies,
        ))
    }

    /// Charges the client's address for a request: for a connection if it asks for a WebSocket, unless the listener has
    /// done so.
    fn charge_request(&self, request: &Request) -> Result<(), Box<Response>> {
        let (address, now) = (self.address_of(request), Instant::now());
        if !upgrade::is_requested(request.headers()) {
            let charged = self.guard.requests.try_charge(address, now);
            return charged.map_err(|wait| Box::new(self.refuse_rate(address, wait)));
        }
        let is_charged = request.extensions().get::<ConnectionPermit>().is_some()
            && address == peer_of(request).map(|peer| peer.to_canonical());
        if is_charged {
            return Ok(());
        }
        let charged = self.guard.connections.try_charge(address, now);
        charged.map_err(|_| {
            let limit = ConnectionLimit::Rate;
            Counters::add(&self.counters().connections_refused_total, 1);
            self.refused.log(address, RefusalReason::Limit(limit));
            Box::new(connection_limit_response(limit))
        })
    }

    fn refuse_rate(&self, address: Option<IpAddr>, wait: Duration) -> Response {
        Counters::add(&self.counters().connections_refused_total, 1);
        self.refused.log(address, RefusalReason::RequestRate);
        too_many(
            wait,
            "Your address has reached limits.http_requests_per_second.",
        )
    }

    /// The response to a client that is not authenticated. A wrong credential is answered with a delay.
    pub(crate) async fn refuse_unauthenticated(
        &self,
        address: Option<IpAddr>,
        refused: UnauthenticatedRequest,
    ) -> Response {
        self.refused.log(address, RefusalReason::Unauthenticated);
        if refused.is_wrong_credential
            && let Err(too_many) = self.delay_failed_auth(address).await
        {
            return *too_many;
        }
        refused.error.into_response()
    }

    /// Delays the answer to a wrong credential of this address.
    ///
    /// # Errors
    /// The response with status 429 that the client gets at once, if too many answers are delayed.
    pub(crate) async fn delay_failed_auth(
        &self,
        address: Option<IpAddr>,
    ) -> Result<(), Box<Response>> {
        let delay = self.guard.failed_auth.on_failure(address, Instant::now());
        let counters = self.counters();
        Counters::add(&counters.failed_auth_total, 1);
        match &delay {
            Delay::None => {}
            Delay::Held(_) | Delay::TooMany(_) => {
                Counters::add(&counters.failed_auth_delayed_total, 1);
                self.refused.log(address, RefusalReason::FailedAuth);
            }
        }
        delay.wait().await.map_err(|wait| {
            Box::new(too_many(
                wait,
                "Your address has sent too many wrong credentials.",
            ))
        })
    }
}

/// The 429 response to a client that may try again after `wait`.
fn too_many(wait: Duration, text: &str) -> Response {
    let seconds = retry_after_seconds(wait);
    let text = format!("{text} Try again in {seconds} s.\n");
    let retry_after = [(header::RETRY_AFTER, seconds.to_string())];
    (StatusCode::TOO_MANY_REQUESTS, retry_after, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_responses_for_other_origins_are_readable_and_only_for_the_checked_one() {
        let origin = || Some(HeaderValue::from_static("https://a.test"));
        let open = |value| {
            let value = HeaderValue::from_static(value);
            HeaderMap::from_iter([(header::ACCESS_CONTROL_ALLOW_ORIGIN, value)])
        };
        let mut own = HeaderMap::new();
        allow_reading(&mut own, origin(), true);
        assert!(own.is_empty(), "a response for pages of the same origin");
        let mut any = open("*");
        allow_reading(&mut any, origin(), false);
        assert_eq!(any["access-control-allow-origin"], "https://a.test");
        assert_eq!(any["vary"], "origin");
        assert!(!any.contains_key("access-control-allow-credentials"));
        let mut with_cookie = open("https://site.test");
        allow_reading(&mut with_cookie, origin(), true);
        assert_eq!(with_cookie["access-control-allow-origin"], "https://a.test");
        assert_eq!(with_cookie["access-control-allow-credentials"], "true");
        let mut null = open("*");
        allow_reading(&mut null, Some(HeaderValue::from_static("null")), true);
        assert!(!null.contains_key("access-control-allow-credentials"));
        let mut program = open("*");
        allow_reading(&mut program, None, true);
        assert!(!program.contains_key("access-control-allow-origin"));
    }
}
