//! Tests of the key cache against a web server that answers, fails and hangs.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    task::{Context, Poll, Waker},
};

use http::HeaderValue;

use super::*;
use crate::FetchResult;

const NOW: u64 = 1_700_000_000;

/// A web server whose responses the test sets. Without one, a request hangs.
#[derive(Default)]
struct WebServer {
    responses: Arc<Mutex<VecDeque<FetchResult>>>,
    requests: Mutex<usize>,
    detached: Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl fmt::Debug for WebServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebServer")
    }
}

impl HttpFetch for WebServer {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, FetchResult> {
        assert_eq!(request.timeout, FETCH_TIMEOUT);
        assert_eq!(request.response_bytes_max, RESPONSE_BYTES_MAX);
        *self.requests.lock() += 1;
        let responses = self.responses.clone();
        poll_fn(move |_| {
            responses
                .lock()
                .pop_front()
                .map_or(Poll::Pending, Poll::Ready)
        })
        .boxed()
    }

    fn run_detached(&self, future: BoxFuture<'static, ()>) {
        self.detached.lock().push(future);
        self.poll();
    }
}

impl WebServer {
    /// Answers the pending request, or the next one.
    fn answer(&self, response: FetchResult) {
        self.responses.lock().push_back(response);
        self.poll();
    }

    fn poll(&self) {
        let mut context = Context::from_waker(Waker::noop());
        let is_pending =
            |future: &mut BoxFuture<'static, ()>| future.poll_unpin(&mut context).is_pending();
        self.detached.lock().retain_mut(is_pending);
    }

    fn requests(&self) -> usize {
        *self.requests.lock()
    }
}

/// The response with keys of these IDs.
fn keys_of(ids: &[&str]) -> FetchResult {
    let keys = ids.iter().map(|id| {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","kid":"{id}"}}"#)
    });
    let keys = keys.collect::<Vec<_>>().join(",");
    response(StatusCode::OK, &format!(r#"{{"keys":[{keys}]}}"#))
}

fn response(status: StatusCode, body: &str) -> FetchResult {
    Ok(FetchResponse {
        status,
        headers: HeaderMap::new(),
        body: body.to_owned().into(),
    })
}

fn cached_for(secs: &str, response: FetchResult) -> FetchResponse {
    let mut response = response.expect("a response");
    let value = HeaderValue::from_str(&format!("public, max-age={secs}")).expect("a value");
    response.headers.insert(header::CACHE_CONTROL, value);
    response
}

fn server() -> (Arc<WebServer>, Arc<RemoteKeys>) {
    let server = Arc::new(WebServer::default());
    let url = Uri::from_static("https://issuer.example/keys");
    let keys = RemoteKeys::new(url, "issuer".to_owned(), server.clone());
    (server, keys)
}

/// A server whose keys of these IDs are fetched at `NOW`.
fn server_with(ids: &[&str]) -> (Arc<WebServer>, Arc<RemoteKeys>) {
    let (server, keys) = server();
    keys.prepare(NOW);
    server.answer(keys_of(ids));
    (server, keys)
}

/// The search for a key: `None` while it waits for the server.
fn find(keys: &Arc<RemoteKeys>, id: &str, now: u64) -> Option<Result<usize, AuthError>> {
    let found = keys.find(Some(id), JwtAlgorithm::EdDsa, now);
    let found = found.now_or_never()?;
    Some(found.map(|keys| keys.len()))
}

const FOUND: Option<Result<usize, AuthError>> = Some(Ok(1));
const UNKNOWN: Option<Result<usize, AuthError>> = Some(Err(UNKNOWN_KEY));
const UNAVAILABLE: Option<Result<usize, AuthError>> = Some(Err(AuthError::Unavailable));
const WAITS: Option<Result<usize, AuthError>> = None;

#[test]
fn keys_are_fetched_at_the_start_and_used() {
    let (server, keys) = server();
    keys.prepare(NOW);
    assert_eq!(find(&keys, "a", NOW), WAITS);
    server.answer(keys_of(&["a", "b"]));
    assert_eq!(find(&keys, "a", NOW), FOUND);
    assert_eq!(find(&keys, "b", NOW + FRESH_SECS / 2), FOUND);
    assert_eq!(server.requests(), 1);
    let any = keys.find(None, JwtAlgorithm::EdDsa, NOW).now_or_never();
    assert_eq!(any.expect("nothing to wait for").expect("keys").len(), 2);
}

#[test]
fn rotated_key_is_fetched_when_a_token_has_it() {
    let (server, keys) = server_with(&["old"]);
    let now = NOW + 10;
    let mut waiting = keys.find(Some("new"), JwtAlgorithm::EdDsa, now).boxed();
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.poll_unpin(&mut context).is_pending());
    assert_eq!(find(&keys, "old", now), FOUND, "others do not wait");
    server.answer(keys_of(&["new"]));
    let found = waiting.now_or_never().expect("answered");
    assert_eq!(found.expect("the new key").len(), 1);
    assert_eq!(find(&keys, "old", now), UNKNOWN, "the old key is withdrawn");
    assert_eq!(server.requests(), 2);
}

#[test]
fn fetch_goes_on_without_the_client_that_began_it() {
    let (server, keys) = server_with(&["old"]);
    let now = NOW + 10;
    assert_eq!(find(&keys, "new", now), WAITS, "and the client goes away");
    server.answer(keys_of(&["new"]));
    assert_eq!(find(&keys, "new", now), FOUND);
}

#[test]
fn flood_of_unknown_keys_makes_two_requests_in_twenty_seconds() {
    let (server, keys) = server_with(&["a"]);
    let now = NOW + 10;
    for id in 0..1000 {
        assert_eq!(find(&keys, &id.to_string(), now), WAITS);
        assert_eq!(find(&keys, "a", now), FOUND);
    }
    server.answer(keys_of(&["a"]));
    for id in 0..1000 {
        assert_eq!(find(&keys, &id.to_string(), now + 9), UNKNOWN);
    }
    assert_eq!(server.requests(), 2);
    assert_eq!(find(&keys, "x", now + 10), WAITS);
    assert_eq!(server.requests(), 3);
}

#[test]
fn absent_key_is_remembered() {
    let (server, keys) = server_with(&["a"]);
    let now = NOW + 10;
    let mut waiting = keys.find(Some("x"), JwtAlgorithm::EdDsa, now).boxed();
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.poll_unpin(&mut context).is_pending());
    server.answer(keys_of(&["a"]));
    let refused = waiting.now_or_never().expect("answered").map(drop);
    assert_eq!(refused, Err(UNKNOWN_KEY));
    assert_eq!(find(&keys, "x", now + ABSENT_SECS - 1), UNKNOWN);
    assert_eq!(server.requests(), 2);
    assert_eq!(find(&keys, "x", now + ABSENT_SECS), WAITS);
    assert_eq!(server.requests(), 3);
    let cache = &mut keys.state.lock().cache;
    for id in 0..1000 {
        cache.remember_absent(&id.to_string(), now);
    }
    assert_eq!(cache.absent.len(), ABSENT_MAX);
}

#[test]
fn keys_are_fetched_in_the_background_before_they_are_old() {
    let (server, keys) = server_with(&["a"]);
    let due = NOW + FRESH_SECS * 3 / 4;
    assert_eq!(find(&keys, "a", due - 1), FOUND);
    assert_eq!(server.requests(), 1);
    assert_eq!(find(&keys, "a", due), FOUND);
    assert_eq!(server.requests(), 2);
    server.answer(keys_of(&["b"]));
    assert_eq!(find(&keys, "b", due + FRESH_SECS / 2), FOUND);
    assert_eq!(server.requests(), 2);
}

#[test]
fn old_keys_are_fetched_again_before_they_are_used() {
    let (server, keys) = server_with(&["a"]);
    let now = NOW + FRESH_SECS;
    assert_eq!(find(&keys, "a", now), WAITS);
    server.answer(keys_of(&["b"]));
    assert_eq!(find(&keys, "b", now), FOUND);
    assert_eq!(find(&keys, "a", now), WAITS, "the second request");
    server.answer(keys_of(&["b"]));
    assert_eq!(find(&keys, "a", now), UNKNOWN);
}

#[test]
fn server_that_hangs_or_fails_delays_no_client_with_a_known_key() {
    let (server, keys) = server_with(&["a"]);
    let now = NOW + FRESH_SECS;
    assert_eq!(find(&keys, "a", now), WAITS, "once, until the timeout");
    server.answer(Err(FetchError::TimedOut(FETCH_TIMEOUT)));
    for later in [0, 9, 10, 11, STALE_SECS - 1] {
        assert_eq!(find(&keys, "a", now + later), FOUND, "{later}");
    }
    assert_eq!(server.requests(), 3, "one of them is under way");
    assert_eq!(find(&keys, "x", now + 11), WAITS);
    server.answer(Err(FetchError::TooLong(RESPONSE_BYTES_MAX)));
    assert_eq!(
        find(&keys, "x", now + 11),
        UNAVAILABLE,
        "the key may be new"
    );
    let end = now + STALE_SECS;
    assert_eq!(find(&keys, "a", end), WAITS, "the keys are too old");
    server.answer(keys_of(&["a"]));
    assert_eq!(find(&keys, "a", end), FOUND);
}

#[test]
fn response_without_usable_keys_is_a_failure() {
    let failures = [
        response(StatusCode::INTERNAL_SERVER_ERROR, r#"{"keys":[]}"#),
        response(StatusCode::FOUND, ""),
        response(StatusCode::OK, ""),
        response(StatusCode::OK, "<html>"),
        response(StatusCode::OK, r#"{"keys":{}}"#),
        response(StatusCode::OK, r#"{"keys":[]}"#),
        response(
            StatusCode::OK,
            r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"},7]}"#,
        ),
        Err(FetchError::Failed("connection refused".into())),
    ];
    for failure in failures {
        let (server, keys) = server_with(&["a"]);
        let due = NOW + FRESH_SECS - 1;
        let shown = format!("{failure:?}");
        assert_eq!(find(&keys, "a", due), FOUND);
        server.answer(failure);
        assert_eq!(find(&keys, "a", due + 1), FOUND, "{shown}");
        assert_eq!(server.requests(), 3, "{shown}");
    }
}

#[test]
fn without_keys_the_answer_is_to_try_later() {
    let (server, keys) = server();
    keys.prepare(NOW);
    let failure = || Err(FetchError::Failed("connection refused".into()));
    server.answer(failure());
    assert_eq!(find(&keys, "a", NOW), WAITS, "the second request");
    server.answer(failure());
    assert_eq!(find(&keys, "a", NOW + 19), UNAVAILABLE);
    assert_eq!(server.requests(), 2);
    assert_eq!(find(&keys, "a", NOW + 20), WAITS);
    server.answer(keys_of(&["a"]));
    assert_eq!(find(&keys, "a", NOW + 20), FOUND);
}

#[test]
fn server_says_how_long_keys_are_fresh_within_bounds() {
    for (max_age, fresh_secs) in [
        ("3600", 3600),
        ("0", 60),
        ("99999999", 86_400),
        ("x", FRESH_SECS),
    ] {
        let fetched = FetchedKeys::of(&cached_for(max_age, keys_of(&["a"])));
        assert_eq!(fetched.expect("keys").fresh_secs, fresh_secs);
    }
}

#[test]
fn clock_that_is_set_back_neither_keeps_old_keys_nor_delays_a_fetch() {
    let (server, keys) = server_with(&["a"]);
    assert_eq!(find(&keys, "a", NOW - 100), WAITS);
    server.answer(keys_of(&["b"]));
    assert_eq!(find(&keys, "b", NOW - 100), FOUND);
    assert_eq!(find(&keys, "b", NOW), FOUND);
}

#[test]
fn only_the_host_of_the_url_is_shown() {
    let url = Uri::from_static("https://ada:key@issuer.example:8443/keys?secret=1");
    assert_eq!(host_of(&url), "issuer.example:8443");
    let keys = RemoteKeys::new(url, "issuer".to_owned(), Arc::<WebServer>::default());
    let shown = format!("{keys:?}");
    assert!(shown.contains("issuer.example:8443"), "{shown}");
    assert!(
        !shown.contains("secret") && !shown.contains("key@"),
        "{shown}"
    );
}
