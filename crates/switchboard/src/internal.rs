//! The internal listener: metrics, probes with details, the admin API, the console, and the check that protects it from pages of other sites.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header, uri::Authority},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{admin::Admin, app_state::AppState, probes, web};

/// TCP connections of the internal listener.
pub(crate) const CONNECTIONS: usize = 256;

/// The router of the internal listener. Every request passes [`check_host`].
pub(crate) fn router(app: &Arc<AppState>, admin: &Admin) -> Router {
    let left_out = app.left_out;
    let mut router = Router::new();
    if !left_out.probes {
        router = router
            .route("/healthz", get(probes::live))
            .route("/readyz", get(probes::detailed_readiness));
    }
    if !left_out.metrics {
        router = router.route("/metrics", get(probes::metrics));
    }
    let check = from_fn_with_state(app.clone(), check_host);
    let router = router.fallback(async || StatusCode::NOT_FOUND);
    let router = web::serve_console(admin.add_routes(router.with_state(app.clone())));
    router.layer(check)
}

/// The router of a connection beyond [`CONNECTIONS`]: it answers the probes of a full listener.
pub(crate) fn reserve_router(app: &Arc<AppState>) -> Router {
    let is_served = !app.left_out.probes;
    let router = probes::routes(Router::new(), |_| is_served);
    let full = "The internal listener has reached its limit of connections.\n";
    let router = router.fallback(async move || (StatusCode::SERVICE_UNAVAILABLE, full));
    router.with_state(app.clone())
}

/// Rejects a request for a host name that is not allowed, or from a page of another origin. A page of another site can
/// reach a loopback address through a name that it resolves to it (DNS rebinding), but not with an allowed name.
async fn check_host(State(app): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let allowed = &app.config.internal.allowed_hosts;
    match verify(request.uri(), request.headers(), allowed) {
        Ok(()) => next.run(request).await,
        Err(error) => (StatusCode::FORBIDDEN, error.message()).into_response(),
    }
}

/// The reason why the internal listener rejects a request.
#[derive(Debug, PartialEq, Eq)]
enum ForbiddenRequest {
    NoHost,
    Host(String),
    Origin,
}

impl ForbiddenRequest {
    fn message(&self) -> String {
        match self {
            Self::NoHost => "The request has no valid Host header.\n".to_owned(),
            Self::Host(host) => {
                let host: String = host.chars().take(253).collect();
                format!("The host {host:?} is not in internal.allowed_hosts.\n")
            }
            Self::Origin => "The internal listener answers no pages of other origins.\n".to_owned(),
        }
    }
}

/// Checks the host and the origin of a request.
fn verify(uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> Result<(), ForbiddenRequest> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), ..) => Some(authority.clone()),
        (None, Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
        (None, Some(_) | None, Some(_) | None) => None,
    };
    let host = host.ok_or(ForbiddenRequest::NoHost)?;
    if !is_allowed_host(host.host(), allowed) {
        return Err(ForbiddenRequest::Host(host.host().to_owned()));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let is_own = |origin: &header::HeaderValue| {
        origin
            .to_str()
            .is_ok_and(|origin| is_own_origin(origin, &host))
    };
    origins
        .all(is_own)
        .then_some(())
        .ok_or(ForbiddenRequest::Origin)
}

/// Whether a host is a loopback name, an IP address or in the list. A name that a site can resolve to an address of
/// its choice is none of these.
fn is_allowed_host(host: &str, allowed: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let without_brackets = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host == "localhost"
        || host.ends_with(".localhost")
        || without_brackets.parse::<IpAddr>().is_ok()
        || allowed.iter().any(|name| name == host)
}

/// Whether an `Origin` header names the host of the request. The scheme may differ: a reverse proxy may add TLS.
fn is_own_origin(origin: &str, host: &Authority) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(origin) = authority.parse::<Authority>() else {
        return false;
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host)
}

/// The URL of the internal listener for a person on this machine.
#[must_use]
pub fn url(address: SocketAddr) -> String {
    let ip = address.ip();
    match ip.is_unspecified() {
        true => format!("http://localhost:{}", address.port()),
        false => format!("http://{address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(host: &[&str], origin: Option<&str>) -> Result<(), ForbiddenRequest> {
        verify(
            &Uri::from_static("/metrics"),
            &headers(host, origin),
            &["ops.example.org".to_owned()],
        )
    }

    fn headers(host: &[&str], origin: Option<&str>) -> HeaderMap {
        let hosts = host.iter().map(|host| (header::HOST, *host));
        let origins = origin.iter().map(|origin| (header::ORIGIN, *origin));
        let all = hosts.chain(origins);
        all.map(|(name, value)| (name, value.parse().expect("a header")))
            .collect()
    }

    #[test]
    fn loopback_names_ip_addresses_and_listed_names_are_allowed() {
        for host in [
            "localhost",
            "LOCALHOST:9091",
            "a.localhost:1",
            "localhost.",
            "127.0.0.1:9091",
            "10.0.0.1",
            "[::1]:9091",
            "Ops.Example.org:9091",
        ] {
            assert_eq!(verified(&[host], None), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_and_missing_or_repeated_hosts_are_forbidden() {
        for host in [
            "evil.example",
            "localhost.evil.example:9091",
            "notlocalhost",
            "ops.example.org.evil.example",
            "127.0.0.1.evil.example",
        ] {
            let error = verified(&[host], None).expect_err(host);
            assert!(matches!(error, ForbiddenRequest::Host(_)), "{error:?}");
        }
        assert_eq!(verified(&[], None), Err(ForbiddenRequest::NoHost));
        let two = ["localhost", "evil.example"];
        assert_eq!(verified(&two, None), Err(ForbiddenRequest::NoHost));
        let absolute = Uri::from_static("http://evil.example/metrics");
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, header::HeaderValue::from_static("localhost"));
        assert!(verify(&absolute, &headers, &[]).is_err());
    }

    #[test]
    fn only_the_own_origin_is_answered() {
        for (host, origin) in [
            ("localhost:9091", "http://localhost:9091"),
            ("ops.example.org", "https://ops.example.org"),
            ("ops.example.org:443", "https://OPS.example.org"),
            ("127.0.0.1", "http://127.0.0.1:80"),
        ] {
            assert_eq!(verified(&[host], Some(origin)), Ok(()), "{origin}");
        }
        for (host, origin) in [
            ("localhost:9091", "null"),
            ("localhost:9091", "http://localhost:8080"),
            ("localhost:9091", "http://localhost"),
            ("localhost:9091", "https://evil.example"),
            ("localhost:9091", "file://localhost:9091"),
        ] {
            let error = verified(&[host], Some(origin));
            assert_eq!(error, Err(ForbiddenRequest::Origin), "{origin}");
        }
    }
}
