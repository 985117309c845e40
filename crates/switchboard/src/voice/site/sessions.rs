//! What the site said lately about who a token is.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// Tokens that are remembered.
const SESSIONS: usize = 10_000;

/// Whose sessions the site has named lately.
pub(super) struct SessionCache {
    ttl: Duration,
    by_token: HashMap<Arc<str>, CachedSession>,
    /// Every session once, in the order in which they expire.
    order: VecDeque<Arc<str>>,
}

struct CachedSession {
    user: u64,
    asked: Instant,
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

    /// Remembers what was asked at this time, and forgets what is too old or too much.
    pub(super) fn remember(&mut self, token: &str, user: u64, asked: Instant) {
        while let Some(oldest) = self.order.front()
            && (self.order.len() >= SESSIONS || self.user(oldest, asked).is_none())
        {
            let oldest = self.order.pop_front().unwrap_or_default();
            self.by_token.remove(&oldest);
        }
        // Two who asked at once got the same answer; the first keeps its place in the order.
        if self.ttl.is_zero() || self.by_token.contains_key(token) {
            return;
        }
        let token: Arc<str> = token.into();
        self.by_token
            .insert(token.clone(), CachedSession { user, asked });
        self.order.push_back(token);
    }
}

impl CachedSession {
    fn is_fresh(&self, now: Instant, ttl: Duration) -> bool {
        now.saturating_duration_since(self.asked) < ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_forgotten_in_time_and_so_are_too_many() {
        let ttl = Duration::from_secs(10);
        let (mut sessions, start) = (SessionCache::new(ttl), Instant::now());
        sessions.remember("a", 1, start);
        let later = start + Duration::from_secs(5);
        sessions.remember("a", 2, later);
        assert_eq!(sessions.user("a", later), Some(1));
        assert_eq!(sessions.user("b", later), None);
        assert_eq!(sessions.user("a", start + ttl), None);
        sessions.remember("a", 2, start + ttl);
        assert_eq!(sessions.user("a", start + ttl), Some(2));

        let start = start + 2 * ttl;
        for n in 0..2 * SESSIONS {
            sessions.remember(&n.to_string(), 3, start);
            assert!(sessions.by_token.len() <= SESSIONS);
        }
        assert_eq!(sessions.user("0", start), None);
        assert_eq!(sessions.user(&SESSIONS.to_string(), start), Some(3));
        assert_eq!(sessions.order.len(), SESSIONS);
        sessions.remember("last", 4, start + ttl);
        assert_eq!((sessions.order.len(), sessions.by_token.len()), (1, 1));
    }
}
