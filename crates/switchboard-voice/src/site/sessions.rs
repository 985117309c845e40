//! Cache of the website's answers about session tokens.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// Maximum number of cached sessions.
const SESSIONS: usize = 10_000;

/// Maps session tokens to the users that the website has confirmed recently.
pub(super) struct SessionCache {
    ttl: Duration,
    by_token: HashMap<Arc<str>, CachedSession>,
    /// The tokens of all sessions, in the order in which they were cached.
    order: VecDeque<Arc<str>>,
}

struct CachedSession {
    user: u64,
    requested_at: Instant,
}

impl SessionCache {
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            by_token: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn user(&self, token: &str, now: Instant) -> Option<u64> {
        let session = self.by_token.get(token)?;
        session.is_fresh(now, self.ttl).then_some(session.user)
    }

    /// Caches a session that was requested at `requested_at`. Evicts expired sessions, and the oldest one if
    /// full.
    pub(super) fn insert(&mut self, token: &str, user: u64, requested_at: Instant) {
        while let Some(oldest) = self.order.front()
            && (self.order.len() >= SESSIONS || self.user(oldest, requested_at).is_none())
        {
            let oldest = self.order.pop_front().unwrap_or_default();
            self.by_token.remove(&oldest);
        }
        // Concurrent requests for one token get the same answer; the first entry keeps its expiry.
        if self.ttl.is_zero() || self.by_token.contains_key(token) {
            return;
        }
        let token: Arc<str> = token.into();
        self.by_token
            .insert(token.clone(), CachedSession { user, requested_at });
        self.order.push_back(token);
    }
}

impl CachedSession {
    fn is_fresh(&self, now: Instant, ttl: Duration) -> bool {
        now.saturating_duration_since(self.requested_at) < ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn sessions_expire_and_their_number_is_bounded() {
        let ttl = Duration::from_secs(10);
        let (mut sessions, start) = (SessionCache::new(ttl), clock::now());
        sessions.insert("a", 1, start);
        let later = start + Duration::from_secs(5);
        sessions.insert("a", 2, later);
        assert_eq!(sessions.user("a", later), Some(1));
        assert_eq!(sessions.user("b", later), None);
        assert_eq!(sessions.user("a", start + ttl), None);
        sessions.insert("a", 2, start + ttl);
        assert_eq!(sessions.user("a", start + ttl), Some(2));

        let start = start + 2 * ttl;
        for n in 0..2 * SESSIONS {
            sessions.insert(&n.to_string(), 3, start);
            assert!(sessions.by_token.len() <= SESSIONS);
        }
        assert_eq!(sessions.user("0", start), None);
        assert_eq!(sessions.user(&SESSIONS.to_string(), start), Some(3));
        assert_eq!(sessions.order.len(), SESSIONS);
        sessions.insert("last", 4, start + ttl);
        assert_eq!((sessions.order.len(), sessions.by_token.len()), (1, 1));
    }
}
