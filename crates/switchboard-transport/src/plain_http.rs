//! Requests without TLS to a server with TLS: they are redirected to HTTPS, or rejected.
//!
//! A redirect goes only to a host of the server. Otherwise a cache in front of the server could be made to store a
//! redirect to the host of an attacker.

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, Uri, header, uri::Authority},
    response::{IntoResponse as _, Response},
};

use crate::{HostFilter, Tls, upgrade};

/// The port of `https://` URLs without a port.
const HTTPS_PORT: u16 = 443;

/// The service for requests without TLS on a listener with TLS. Each connection is closed after one request.
pub(crate) fn plain_http_router(tls: Tls) -> Router {
    let answer = move |request: Request| {
        let target = HttpsTarget::of(&request, |host| tls.is_host(host), None);
        let mut response = redirect(&request, &target);
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        async { response }
    };
    Router::new().fallback(answer)
}

/// The service of a listener without TLS whose only task is to redirect to HTTPS, on `port`.
pub fn redirect_router(hosts: HostFilter, port: u16) -> Router {
    let answer = move |request: Request| {
        let target = HttpsTarget::of(&request, &*hosts, Some(port));
        let response = redirect(&request, &target);
        async { response }
    };
    Router::new().fallback(answer)
}

/// The HTTPS URL that stands for the target of a request without TLS.
#[derive(Debug, PartialEq, Eq)]
enum HttpsTarget {
    Url(String),
    /// The host is not one of the server.
    OtherHost,
    /// The request has no target with a path, or not exactly one `Host` header with a host and an optional port.
    Malformed,
}

impl HttpsTarget {
    /// The URL has the host of the request, and its port unless another one is given.
    fn of(request: &Request, is_host: impl Fn(&str) -> bool, port: Option<u16>) -> Self {
        let Some((host, path)) = requested(request) else {
            return Self::Malformed;
        };
        let name = host.host();
        // The brackets of an IPv6 address belong to the URL.
        if !is_host(name.trim_start_matches('[').trim_end_matches(']')) {
            return Self::OtherHost;
        }
        Self::Url(match port {
            None => format!("https://{host}{path}"),
            Some(HTTPS_PORT) => format!("https://{name}{path}"),
            Some(port) => format!("https://{name}:{port}{path}"),
        })
    }
}

/// Redirects GET and HEAD requests. Other requests and WebSocket handshakes get 400, because clients do not repeat them
/// after a redirect. The redirect is temporary: browsers keep a permanent one after HTTPS has been switched off.
fn redirect(request: &Request, target: &HttpsTarget) -> Response {
    let is_redirectable = matches!(*request.method(), Method::GET | Method::HEAD)
        && !upgrade::is_requested(request.headers());
    let text =
        |url: &str| format!("This port speaks HTTPS: use {url} (and wss:// for WebSocket).\n");
    match target {
        HttpsTarget::Url(url) => match HeaderValue::from_str(url) {
            Ok(location) if is_redirectable => {
                let location = [(header::LOCATION, location)];
                (StatusCode::TEMPORARY_REDIRECT, location, text(url)).into_response()
            }
            Ok(_) | Err(_) => (StatusCode::BAD_REQUEST, text(url)).into_response(),
        },
        HttpsTarget::OtherHost => {
            let text = "The host of this request is not a name in the certificate of this server. Use HTTPS with a name of the certificate.\n";
            (StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
        HttpsTarget::Malformed => (StatusCode::BAD_REQUEST, text("https://…")).into_response(),
    }
}

/// The host and the path that a request asks for.
fn requested(request: &Request) -> Option<(Authority, &str)> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?;
    let host: Authority = host.to_str().ok()?.parse().ok()?;
    let path = path_of(request.uri())?;
    is_host(&host).then_some((host, path))
}

/// The path and query of a target; `None` for the targets `*` and `HOST:PORT`, which have no path.
fn path_of(target: &Uri) -> Option<&str> {
    let path = target.path_and_query()?.as_str();
    path.starts_with('/').then_some(path)
}

/// Whether an authority is a host with an optional port, without user information.
fn is_host(authority: &Authority) -> bool {
    let host = authority.host();
    let rest = authority.as_str().strip_prefix(host);
    let has_port = authority.port_u16().is_some();
    !host.is_empty() && rest.is_some_and(|rest| rest.is_empty() || has_port)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(host: &str, target: &str) -> Request {
        let request = Request::builder().uri(target).header(header::HOST, host);
        request.body(Body::empty()).expect("a request")
    }

    fn url(host: &str, target: &str) -> Option<String> {
        match HttpsTarget::of(&request(host, target), |_| true, None) {
            HttpsTarget::Url(url) => Some(url),
            HttpsTarget::OtherHost | HttpsTarget::Malformed => None,
        }
    }

    #[test]
    fn the_https_url_has_the_requested_host_and_path() {
        for (host, target, expected) in [
            ("a.example:8080", "/", "https://a.example:8080/"),
            ("[::1]:80", "/voice?x=1#y", "https://[::1]:80/voice?x=1"),
            ("192.0.2.1", "http://other/p", "https://192.0.2.1/p"),
            ("a.example", "//other/p", "https://a.example//other/p"),
        ] {
            assert_eq!(url(host, target).as_deref(), Some(expected));
        }
        for host in [
            "",
            "a b",
            "user@host",
            "host/path",
            "host:",
            "host:x",
            "host:99999",
            ":80",
            "[::1]a",
        ] {
            assert_eq!(url(host, "/"), None, "{host}");
        }
        // `*` is not a path; appended to a host it would become a part of the host.
        for target in ["*", "other:443"] {
            assert_eq!(url("a.example", target), None, "{target}");
        }
    }

    #[test]
    fn a_plain_request_with_two_host_headers_has_no_https_url() {
        let request = Request::builder().header(header::HOST, "a.example");
        let request = request.header(header::HOST, "b.example");
        let request = request.body(Body::empty()).expect("a request");
        assert_eq!(
            HttpsTarget::of(&request, |_| true, None),
            HttpsTarget::Malformed
        );
    }

    #[test]
    fn only_hosts_of_the_server_have_a_redirect_target() {
        let is_host = |host: &str| ["a.example", "::1"].contains(&host);
        for (host, port, expected) in [
            ("a.example", 443, "https://a.example/p"),
            ("a.example:80", 443, "https://a.example/p"),
            ("a.example:80", 8443, "https://a.example:8443/p"),
            ("[::1]", 8443, "https://[::1]:8443/p"),
        ] {
            let target = HttpsTarget::of(&request(host, "/p"), is_host, Some(port));
            assert_eq!(target, HttpsTarget::Url(expected.to_owned()), "{host}");
        }
        for host in ["evil.example", "a.example.evil.example", "a.example@evil"] {
            let target = HttpsTarget::of(&request(host, "/p"), is_host, Some(443));
            assert!(!matches!(target, HttpsTarget::Url(_)), "{host}");
        }
    }
}
