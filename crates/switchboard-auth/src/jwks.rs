//! The keys of an issuer at a URL: a JSON Web Key Set (RFC 7517) that is cached and fetched again in time.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use http::{HeaderMap, Method, StatusCode, Uri, header, uri::Authority};
use parking_lot::Mutex;
use switchboard_core::error_chain;

use crate::{
    AuthError, FetchError, FetchRequest, FetchResponse, HttpFetch, JwtAlgorithm, KeyError, KeySet,
    jwt::{UNKNOWN_KEY, VerificationKey},
};

/// The time of one fetch. A token whose key is not known waits for it, other tokens do not.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest key set, in bytes.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// Seconds in which two fetches may begin, at most. A key that is rotated just after a fetch is found by the second one.
const FETCH_WINDOW_SECS: u64 = 20;

/// Seconds for which fetched keys are fresh, if the server does not say how long.
const FRESH_SECS: u64 = 600;

/// The bounds of what a server may say.
const FRESH_SECS_RANGE: (u64, u64) = (60, 86_400);

/// Seconds for which keys are used beyond that while the server does not answer.
const STALE_SECS: u64 = 86_400;

/// Seconds for which a key ID that is not in a fetched set causes no other fetch.
const ABSENT_SECS: u64 = 60;

/// The remembered key IDs that are not in the set.
const ABSENT_MAX: usize = 64;

#[cfg(test)]
mod tests;

type VerificationKeys = Vec<Arc<VerificationKey>>;

/// The keys of an issuer at a URL.
pub(crate) struct RemoteKeys {
    url: Uri,
    /// The issuer, for log lines.
    issuer: String,
    fetch: Arc<dyn HttpFetch>,
    state: Mutex<State>,
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys")
            .field("host", &host_of(&self.url))
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// The host and port of a URL, for log lines. User name, path and query may be secret.
fn host_of(url: &Uri) -> &str {
    let authority = url.authority().map_or("", Authority::as_str);
    authority.rsplit('@').next().unwrap_or_default()
}

#[derive(Debug, Default)]
struct State {
    cache: KeyCache,
    /// The fetch that is under way. There is one at a time.
    fetching: Option<Shared<BoxFuture<'static, ()>>>,
}

impl RemoteKeys {
    pub(crate) fn new(url: Uri, issuer: String, fetch: Arc<dyn HttpFetch>) -> Arc<Self> {
        Arc::new(Self {
            url,
            issuer,
            fetch,
            state: Mutex::default(),
        })
    }

    /// Fetches the keys in the background.
    pub(crate) fn prepare(self: &Arc<Self>, now: u64) {
        let fetching = self.begin_fetch(&mut self.state.lock(), now);
        self.fetch.run_detached(fetching.boxed());
    }

    /// The keys that may have signed a token with this key ID and algorithm: at least one.
    ///
    /// # Errors
    /// `Invalid` if there is none; `Unavailable` if it is not known whether there is one.
    pub(crate) async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: JwtAlgorithm,
        now: u64,
    ) -> Result<VerificationKeys, AuthError> {
        let (lookup, begun, pending) = {
            let mut state = self.state.lock();
            let lookup = state.cache.find(id, algorithm, now);
            let pending = state.fetching.clone();
            let wants_fetch = pending.is_none() && lookup.wants_fetch(&state.cache, now);
            let begun = wants_fetch.then(|| self.begin_fetch(&mut state, now));
            (lookup, begun.clone(), begun.or(pending))
        };
        if let Some(fetching) = begun {
            self.fetch.run_detached(fetching.boxed());
        }
        match (lookup, pending) {
            (Lookup::Found { keys, .. }, None)
            | (
                Lookup::Found {
                    keys,
                    must_wait: false,
                    ..
                },
                _,
            ) => Ok(keys),
            (Lookup::Missing(error), None) => Err(error),
            (Lookup::Absent, _) => Err(UNKNOWN_KEY),
            (
                Lookup::Found {
                    must_wait: true, ..
                }
                | Lookup::Missing(_),
                Some(fetching),
            ) => {
                fetching.await;
                self.state.lock().cache.find_after_fetch(id, algorithm, now)
            }
        }
    }

    /// Begins a fetch. It goes on when the future is dropped, if another clone of it is polled.
    fn begin_fetch(
        self: &Arc<Self>,
        state: &mut State,
        now: u64,
    ) -> Shared<BoxFuture<'static, ()>> {
        let [_, last] = state.cache.last_fetches;
        state.cache.last_fetches = [last, Some(now)];
        let request = FetchRequest {
            method: Method::GET,
            url: self.url.to_string(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: FETCH_TIMEOUT,
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        let this = self.clone();
        let fetching = async move {
            let fetched = this
                .fetch
                .fetch(request)
                .await
                .map_err(JwksError::from)
                .and_then(|response| FetchedKeys::of(&response));
            this.finish_fetch(fetched, now);
        };
        let fetching = fetching.boxed().shared();
        state.fetching = Some(fetching.clone());
        fetching
    }

    fn finish_fetch(&self, fetched: Result<FetchedKeys, JwksError>, begun: u64) {
        let (host, issuer) = (host_of(&self.url), &*self.issuer);
        let mut state = self.state.lock();
        state.fetching = None;
        let was_failing = state.cache.is_failing;
        match (&fetched, was_failing) {
            (Ok(_), true) => tracing::info!(host, issuer, "keys of the token issuer fetched again"),
            (Ok(_), false) => tracing::debug!(host, issuer, "keys of the token issuer fetched"),
            (Err(error), true) => {
                let error = error_chain(error);
                tracing::debug!(
                    host,
                    issuer,
                    error,
                    "cannot fetch the keys of the token issuer"
                );
            }
            (Err(error), false) => {
                let error = error_chain(error);
                tracing::warn!(
                    host,
                    issuer,
                    error,
                    "cannot fetch the keys of the token issuer"
                );
            }
        }
        state.cache.update(fetched.ok(), begun);
    }
}

/// The reason why fetched keys cannot be used.
#[derive(Debug, thiserror::Error)]
enum JwksError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("status {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// The keys of a response, and the seconds for which they are fresh.
#[derive(Debug)]
struct FetchedKeys {
    keys: KeySet,
    fresh_secs: u64,
}

impl FetchedKeys {
    fn of(response: &FetchResponse) -> Result<Self, JwksError> {
        if response.status != StatusCode::OK {
            return Err(JwksError::Status(response.status));
        }
        let (least, most) = FRESH_SECS_RANGE;
        let fresh_secs = max_age(&response.headers).unwrap_or(FRESH_SECS);
        Ok(Self {
            keys: KeySet::of_jwks(&response.body)?,
            fresh_secs: fresh_secs.clamp(least, most),
        })
    }
}

/// The `max-age` of a response (RFC 9111, section 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CACHE_CONTROL)?.to_str().ok()?;
    let mut directives = value.split(',');
    directives.find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok())
}

/// The result of a search for keys.
#[derive(Debug)]
enum Lookup {
    /// There are keys. `must_wait`: they are no longer fresh, and the server has answered the last time, so a fetch that
    /// is possible comes first.
    Found {
        keys: VerificationKeys,
        is_due: bool,
        must_wait: bool,
    },
    /// There are none, which a fetch may change. The error if none is possible.
    Missing(AuthError),
    /// A fetch has shown shortly before that there are none.
    Absent,
}

impl Lookup {
    fn wants_fetch(&self, cache: &KeyCache, now: u64) -> bool {
        let is_wanted = match self {
            Self::Found { is_due, .. } => *is_due,
            Self::Missing(_) => true,
            Self::Absent => false,
        };
        is_wanted && cache.may_fetch(now)
    }
}

/// The fetched keys, and what is known about their age. All times are in seconds since 1970.
#[derive(Debug, Default)]
struct KeyCache {
    current: Option<CachedKeys>,
    /// The beginnings of the last two fetches, the older one first.
    last_fetches: [Option<u64>; 2],
    /// Whether the last fetch has failed.
    is_failing: bool,
    /// Key IDs that are not in the set, with the time until which that holds.
    absent: Vec<(String, u64)>,
}

#[derive(Debug)]
struct CachedKeys {
    keys: KeySet,
    /// The beginning of the fetch.
    fetched_at: u64,
    fresh_secs: u64,
}

impl CachedKeys {
    /// The age of the keys. A clock that was set back makes them old, because their age is not known.
    fn age(&self, now: u64) -> u64 {
        now.checked_sub(self.fetched_at).unwrap_or(self.fresh_secs)
    }
}

impl KeyCache {
    /// Whether a fetch may begin. A clock that was set back does not delay it.
    fn may_fetch(&self, now: u64) -> bool {
        let [earlier, _] = self.last_fetches;
        let since = earlier.and_then(|earlier| now.checked_sub(earlier));
        since.is_none_or(|since| since >= FETCH_WINDOW_SECS)
    }

    fn find(&self, id: Option<&str>, algorithm: JwtAlgorithm, now: u64) -> Lookup {
        let current = self.current.as_ref();
        let usable = current.filter(|keys| keys.age(now) < keys.fresh_secs + STALE_SECS);
        let Some(current) = usable else {
            return Lookup::Missing(AuthError::Unavailable);
        };
        let keys = current.keys.candidates(id, algorithm);
        let age = current.age(now);
        if !keys.is_empty() {
            return Lookup::Found {
                keys,
                is_due: age >= current.fresh_secs * 3 / 4,
                must_wait: age >= current.fresh_secs && !self.is_failing,
            };
        }
        match id.is_some_and(|id| self.is_absent(id, now)) {
            true => Lookup::Absent,
            false => Lookup::Missing(self.missing_error()),
        }
    }

    /// The error for a key that is not there. While the server does not answer, the key may be a new one.
    fn missing_error(&self) -> AuthError {
        match self.is_failing {
            true => AuthError::Unavailable,
            false => UNKNOWN_KEY,
        }
    }

    /// Searches after a fetch, and remembers a key ID that is not there.
    fn find_after_fetch(
        &mut self,
        id: Option<&str>,
        algorithm: JwtAlgorithm,
        now: u64,
    ) -> Result<VerificationKeys, AuthError> {
        match self.find(id, algorithm, now) {
            Lookup::Found { keys, .. } => Ok(keys),
            Lookup::Absent => Err(UNKNOWN_KEY),
            Lookup::Missing(error) => {
                if let (Some(id), false) = (id, self.is_failing) {
                    self.remember_absent(id, now);
                }
                Err(error)
            }
        }
    }

    fn is_absent(&self, id: &str, now: u64) -> bool {
        let mut absent = self.absent.iter();
        absent.any(|(absent, until)| absent == id && now < *until)
    }

    fn remember_absent(&mut self, id: &str, now: u64) {
        self.absent
            .retain(|(absent, until)| now < *until && absent != id);
        if self.absent.len() == ABSENT_MAX {
            self.absent.remove(0);
        }
        self.absent.push((id.to_owned(), now + ABSENT_SECS));
    }

    /// Stores the result of a fetch. Without keys the old ones stay.
    fn update(&mut self, fetched: Option<FetchedKeys>, begun: u64) {
        self.is_failing = fetched.is_none();
        if let Some(FetchedKeys { keys, fresh_secs }) = fetched {
            self.absent.clear();
            self.current = Some(CachedKeys {
                keys,
                fetched_at: begun,
                fresh_secs,
            });
        }
    }
}
