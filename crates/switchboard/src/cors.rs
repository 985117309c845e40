//! CORS: responses that pages of other origins may read (Fetch standard, section 3.2).

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

/// The methods in the response to a preflight request. Each path answers each of them, some with 404 or 405.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST");

/// The response to an `OPTIONS` request; `None` for every other method.
pub(crate) fn preflight(method: &Method, request: &HeaderMap) -> Option<Response> {
    if method != Method::OPTIONS {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let requested = header::ACCESS_CONTROL_REQUEST_HEADERS;
    headers.append(header::VARY, HeaderValue::from(requested.clone()));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(names) = request.get(requested) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    Some(response)
}

/// Adds to the response `headers` the permission for the page that sent `request` to read the response, if its
/// origin is in `origins`, a list separated by commas (`*` for any origin).
pub(crate) fn allow(headers: &mut HeaderMap, request: &HeaderMap, origins: &str) {
    headers.append(header::VARY, HeaderValue::from(header::ORIGIN));
    let origin = request.get(header::ORIGIN);
    if let Some(origin) = origin.filter(|origin| is_listed(origin, origins)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

fn is_listed(origin: &HeaderValue, origins: &str) -> bool {
    let mut origins = origins.split(',').map(str::trim);
    origins.any(|listed| {
        let listed = listed.trim_end_matches('/');
        listed == "*" || listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_as_a_whole() {
        for (origins, origin, expected) in [
            ("*", "https://a.example", true),
            ("", "https://a.example", false),
            (
                "https://b.example, https://a.example",
                "https://a.example",
                true,
            ),
            ("HTTPS://A.example/", "https://a.example", true),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "null", false),
        ] {
            let origin = HeaderValue::from_static(origin);
            assert_eq!(
                is_listed(&origin, origins),
                expected,
                "{origins} {origin:?}"
            );
        }
    }
}
