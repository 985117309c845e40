//! Tickets: challenges that the server issues to keys. The signature of a key over its ticket authenticates a request.
//! A ticket is *proven* once it has been signed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use rand::distr::{Alphabetic, SampleString};

use super::{ParsedSignature, PublicKey};

/// Maximum tickets of one key: that many clients of a key can each have a ticket of their own. Also the maximum number
/// of verifications (about 0.2 ms each) that a signature can cost.
const TICKETS_PER_KEY: usize = 8;

/// Maximum tickets of all keys.
const TICKETS_MAX: usize = 65_536;

/// Maximum expired tickets that one operation removes. An operation adds at most one ticket, so expired tickets do not
/// accumulate.
const SWEEP: usize = 4;

/// The valid tickets, by key.
///
/// A ticket is requested without a signature, so any client may request one for any key, as often as the rate limit
/// of its address allows. The consequences:
///
/// * *Many requests for one key:* from the ninth on, no new ticket is issued; the key's least recently used
///   ticket is returned again. A ticket is not secret, and only the key's owner can sign it. So other clients
///   cannot evict the owner's tickets. They can make two of the owner's clients share a ticket: a `/newCall`
///   replaces the ticket that it signs, so the other client must then request a new one.
/// * *Requests for a million keys:* the store holds at most 65,536 tickets, about 30 MB. Then the oldest
///   unsigned ticket is evicted first, which does not affect clients that have proven their key. A client that
///   takes longer from its first ticket to its first signature than others take to request 65,536 tickets
///   has to request another one. Proven tickets are evicted only when all are proven, the least recently used
///   first: an attacker needs as many signatures, and the server as many verifications.
/// * *Wrong signatures:* a signature is verified against the key's tickets only, at most 8, and outside the
///   lock. Malformed signatures are rejected without verification.
///
/// Every operation takes time logarithmic in the number of tickets.
#[derive(Debug)]
pub(crate) struct ChallengeStore {
    ttl: Duration,
    capacity: usize,
    index: Mutex<ChallengeIndex>,
}

/// Proof that a request was signed: the key, and the ticket that it signed.
#[derive(Debug)]
pub(crate) struct Proof {
    key: PublicKey,
    ticket: Arc<str>,
}

#[derive(Debug, Default)]
struct ChallengeIndex {
    by_key: HashMap<PublicKey, Vec<Ticket>>,
    /// The key of every ticket, in the order in which tickets are evicted.
    order: BTreeMap<EvictionOrder, PublicKey>,
    last_sequence: u64,
}

#[derive(Debug)]
struct Ticket {
    text: Arc<str>,
    order: EvictionOrder,
    last_used: Instant,
}

/// Eviction order: unproven tickets first, then the least recently used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EvictionOrder {
    is_proven: bool,
    sequence: u64,
}

impl ChallengeStore {
    /// Length of a ticket in letters: 136 random bits, and less than the 32 bytes that a signature covers.
    pub(crate) const LETTERS: usize = 24;

    /// An empty store. Tickets expire when they are unused for `ttl`.
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            capacity: TICKETS_MAX,
            index: Mutex::default(),
        }
    }

    /// Issues a ticket for `key`. The request is not authenticated.
    pub(crate) fn issue(&self, key: &PublicKey, now: Instant) -> String {
        let mut index = self.lock(now);
        index.remove_expired_of(key, now, self.ttl);
        let tickets_of_key = index.of_key(key);
        let ticket = match tickets_of_key.iter().min_by_key(|ticket| ticket.order) {
            Some(oldest) if tickets_of_key.len() >= TICKETS_PER_KEY => {
                let oldest = oldest.text.clone();
                index.mark_used(key, &oldest, false, now);
                oldest
            }
            Some(_) | None => {
                index.evict_to_fit(self.capacity);
                index.add(key, false, now)
            }
        };
        (*ticket).to_owned()
    }

    /// Finds the ticket of `key` that `signature` signs, and marks it as used and proven.
    #[must_use]
    pub(crate) fn check(&self, key: &PublicKey, signature: &str, now: Instant) -> Option<Proof> {
        let candidates = self.candidates(key, now);
        if candidates.is_empty() {
            return None;
        }
        let signed = ParsedSignature::read(key, signature)?;
        let is_signed = |ticket: &Arc<str>| signed.signs(ticket.as_bytes());
        let ticket = candidates.into_iter().find(is_signed)?;
        // False if the ticket has been replaced during verification.
        let key = key.clone();
        self.lock(now)
            .mark_used(&key, &ticket, true, now)
            .then_some(Proof { key, ticket })
    }

    /// Marks the valid tickets of `key` as used. While a client has an event stream open, it may sign at any
    /// time the ticket that it got when it connected.
    pub(crate) fn refresh(&self, key: &PublicKey, now: Instant) {
        // Least recently used first, to keep their order.
        for ticket in self.candidates(key, now).into_iter().rev() {
            self.lock(now).mark_used(key, &ticket, false, now);
        }
    }

    /// Issues a proven ticket and invalidates the one that was signed. If the key still has the maximum number of
    /// tickets, because the signed one did not exist any more, its first ticket in eviction order is removed instead.
    pub(crate) fn replace(&self, proof: Proof, now: Instant) -> String {
        let Proof { key, ticket } = proof;
        let mut index = self.lock(now);
        index.remove(&key, |known| known.text == ticket);
        if index.of_key(&key).len() >= TICKETS_PER_KEY {
            let oldest = index.of_key(&key).iter().map(|ticket| ticket.order).min();
            index.remove(&key, |known| Some(known.order) == oldest);
        }
        index.evict_to_fit(self.capacity);
        (*index.add(&key, true, now)).to_owned()
    }

    /// The valid tickets of `key`, most recently used first.
    fn candidates(&self, key: &PublicKey, now: Instant) -> Vec<Arc<str>> {
        let index = self.lock(now);
        let tickets_of_key = index.of_key(key).iter();
        let mut valid: Vec<_> = tickets_of_key
            .filter(|ticket| ticket.is_valid(now, self.ttl))
            .collect();
        valid.sort_unstable_by_key(|ticket| std::cmp::Reverse(ticket.order.sequence));
        valid.iter().map(|ticket| ticket.text.clone()).collect()
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, ChallengeIndex> {
        let mut index = self.index.lock();
        index.sweep(now, self.ttl);
        index
    }
}

impl Ticket {
    fn is_valid(&self, now: Instant, ttl: Duration) -> bool {
        now.saturating_duration_since(self.last_used) < ttl
    }
}

impl ChallengeIndex {
    fn of_key(&self, key: &PublicKey) -> &[Ticket] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, key: &PublicKey, is_proven: bool, now: Instant) -> Arc<str> {
        let text: Arc<str> = Alphabetic
            .sample_string(&mut rand::rng(), ChallengeStore::LETTERS)
            .into();
        let order = self.next_order(is_proven);
        self.order.insert(order, key.clone());
        self.by_key.entry(key.clone()).or_default().push(Ticket {
            text: text.clone(),
            order,
            last_used: now,
        });
        text
    }

    /// Marks a ticket as used, and as proven if `proves`. Returns false if the ticket does not exist.
    fn mark_used(&mut self, key: &PublicKey, text: &str, proves: bool, now: Instant) -> bool {
        let next = self.next_order(proves);
        let tickets_of_key = self.by_key.get_mut(key).into_iter().flatten();
        let Some(ticket) = tickets_of_key
            .into_iter()
            .find(|ticket| &*ticket.text == text)
        else {
            return false;
        };
        let before = ticket.order;
        ticket.order = EvictionOrder {
            is_proven: before.is_proven || proves,
            sequence: next.sequence,
        };
        ticket.last_used = now;
        let after = ticket.order;
        self.order.remove(&before);
        self.order.insert(after, key.clone());
        true
    }

    fn next_order(&mut self, is_proven: bool) -> EvictionOrder {
        self.last_sequence += 1;
        EvictionOrder {
            is_proven,
            sequence: self.last_sequence,
        }
    }

    /// Removes the tickets of a key for which `matches` returns true.
    fn remove(&mut self, key: &PublicKey, matches: impl Fn(&Ticket) -> bool) {
        let Some(tickets_of_key) = self.by_key.get_mut(key) else {
            return;
        };
        for ticket in tickets_of_key.extract_if(.., |ticket| matches(ticket)) {
            self.order.remove(&ticket.order);
        }
        if tickets_of_key.is_empty() {
            self.by_key.remove(key);
        }
    }

    fn remove_expired_of(&mut self, key: &PublicKey, now: Instant, ttl: Duration) {
        self.remove(key, |ticket| !ticket.is_valid(now, ttl));
    }

    fn remove_at(&mut self, order: EvictionOrder) {
        if let Some(key) = self.order.get(&order).cloned() {
            self.remove(&key, |ticket| ticket.order == order);
        }
    }

    /// Evicts tickets until there is room for one more.
    fn evict_to_fit(&mut self, capacity: usize) {
        while self.order.len() >= capacity
            && let Some((&first, _)) = self.order.first_key_value()
        {
            self.remove_at(first);
        }
    }

    /// Removes up to [`SWEEP`] expired tickets. Proven and unproven tickets are each in the order of their last use, so
    /// the search ends at the first valid one.
    fn sweep(&mut self, now: Instant, ttl: Duration) {
        for is_proven in [false, true] {
            for _ in 0..SWEEP / 2 {
                let start = EvictionOrder {
                    is_proven,
                    sequence: 0,
                };
                let Some((&order, key)) = self.order.range(start..).next() else {
                    break;
                };
                let mut tickets_of_key = self.of_key(key).iter();
                if tickets_of_key.any(|ticket| ticket.order == order && ticket.is_valid(now, ttl)) {
                    break;
                }
                self.remove_at(order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::RngExt;

    use super::{super::SecretKey, *};
    use crate::clock;

    const TTL: Duration = Duration::from_mins(10);

    fn tickets(capacity: usize) -> ChallengeStore {
        ChallengeStore {
            capacity,
            ..ChallengeStore::new(TTL)
        }
    }

    /// An endless sequence of keys that never sign.
    fn keys() -> impl Iterator<Item = PublicKey> {
        (0_u64..).map(|number| {
            let mut point = [2; 33];
            point[25..].copy_from_slice(&number.to_be_bytes());
            PublicKey(point)
        })
    }

    /// The number of tickets. Checks that the two indexes agree and that no key has too many.
    fn checked_count(tickets: &ChallengeStore) -> usize {
        let index = tickets.index.lock();
        let mut listed = 0;
        for (key, tickets_of_key) in &index.by_key {
            listed += tickets_of_key.len();
            assert!((1..=TICKETS_PER_KEY).contains(&tickets_of_key.len()));
            assert!(
                tickets_of_key
                    .iter()
                    .all(|t| index.order.get(&t.order) == Some(key))
            );
        }
        assert_eq!(listed, index.order.len());
        listed
    }

    #[test]
    fn refreshed_tickets_do_not_expire_and_expired_ones_are_not_refreshed() {
        let (tickets, start) = (tickets(100), clock::now());
        let secret = SecretKey::generate();
        let ticket = tickets.issue(&secret.public(), start);
        let signature = secret.sign(&ticket).unwrap();
        for minutes in [9, 18, 27] {
            tickets.refresh(&secret.public(), start + Duration::from_mins(minutes));
        }
        let at = |minutes| start + Duration::from_mins(minutes);
        assert!(
            tickets
                .check(&secret.public(), &signature, at(36))
                .is_some()
        );
        tickets.refresh(&secret.public(), at(47));
        assert!(
            tickets
                .check(&secret.public(), &signature, at(47))
                .is_none()
        );
        assert_eq!(checked_count(&tickets), 0);
    }

    /// A client with a key of its own.
    struct TicketUser<'a> {
        secret: SecretKey,
        key: PublicKey,
        tickets: &'a ChallengeStore,
    }

    impl<'a> TicketUser<'a> {
        fn new(tickets: &'a ChallengeStore) -> Self {
            let secret = SecretKey::generate();
            let key = secret.public();
            Self {
                secret,
                key,
                tickets,
            }
        }

        fn proof(&self, ticket: &str, now: Instant) -> Option<Proof> {
            let signature = self.secret.sign(ticket);
            self.tickets.check(&self.key, &signature?, now)
        }

        fn proves(&self, ticket: &str, now: Instant) -> bool {
            self.proof(ticket, now).is_some()
        }
    }

    #[test]
    fn ticket_is_proven_by_its_owners_signature_until_replaced() {
        let (tickets, now) = (tickets(TICKETS_MAX), clock::now());
        let client = TicketUser::new(&tickets);
        let other = TicketUser::new(&tickets);
        let ticket = tickets.issue(&client.key, now);
        assert_eq!(ticket.len(), ChallengeStore::LETTERS);
        assert!(ticket.bytes().all(|byte| byte.is_ascii_alphabetic()));

        let theirs = other.secret.sign(&ticket).unwrap();
        assert!(tickets.check(&client.key, &theirs, now).is_none());
        assert!(tickets.check(&other.key, &theirs, now).is_none());
        assert!(!client.proves("ticket", now));
        for malformed in ["", "zz", "3006020101020101"] {
            assert!(tickets.check(&client.key, malformed, now).is_none());
        }

        assert!(client.proves(&ticket, now));
        let proof = client.proof(&ticket, now).unwrap();
        let next = tickets.replace(proof, now);
        assert_ne!(next, ticket);
        assert!(!client.proves(&ticket, now));
        assert!(client.proves(&next, now));
        assert_eq!(checked_count(&tickets), 1);
    }

    #[test]
    fn unused_ticket_expires() {
        let (tickets, start) = (tickets(TICKETS_MAX), clock::now());
        let client = TicketUser::new(&tickets);
        let ticket = tickets.issue(&client.key, start);
        let almost = TTL - Duration::from_secs(1);
        assert!(client.proves(&ticket, start + almost));
        assert!(client.proves(&ticket, start + 2 * almost));
        assert!(!client.proves(&ticket, start + 2 * almost + TTL));
        assert_eq!(checked_count(&tickets), 0);
    }

    #[test]
    fn clients_of_one_key_work_independently() {
        let (tickets, now) = (tickets(TICKETS_MAX), clock::now());
        let client = TicketUser::new(&tickets);
        let tickets_of_clients: Vec<_> = (0..TICKETS_PER_KEY)
            .map(|_| tickets.issue(&client.key, now))
            .collect();
        assert_eq!(
            tickets_of_clients.iter().collect::<HashSet<_>>().len(),
            TICKETS_PER_KEY
        );
        let proof = client.proof(&tickets_of_clients[3], now).unwrap();
        // Signed after `proof`; only the ticket of `proof` is replaced.
        assert!(client.proves(&tickets_of_clients[4], now));
        tickets.replace(proof, now);
        for (at, ticket) in tickets_of_clients.iter().enumerate() {
            assert_eq!(client.proves(ticket, now), at != 3, "{at}");
        }
        assert_eq!(checked_count(&tickets), TICKETS_PER_KEY);
    }

    #[test]
    fn requests_of_other_clients_do_not_evict_the_owners_tickets() {
        let (tickets, now) = (tickets(TICKETS_MAX), clock::now());
        let client = TicketUser::new(&tickets);
        let waiting = tickets.issue(&client.key, now);
        let in_use = tickets.issue(&client.key, now);
        assert!(client.proves(&in_use, now));
        let tickets_issued: HashSet<_> =
            (0..1000).map(|_| tickets.issue(&client.key, now)).collect();
        assert_eq!(tickets_issued.len(), TICKETS_PER_KEY - 1);
        assert!(!tickets_issued.contains(&in_use));
        assert!(client.proves(&waiting, now));
        assert!(client.proves(&in_use, now));
        let late = tickets.issue(&client.key, now);
        assert!(client.proves(&late, now));
        assert_eq!(checked_count(&tickets), TICKETS_PER_KEY);
    }

    #[test]
    fn proven_tickets_are_shared_when_the_key_has_the_maximum() {
        let (tickets, now) = (tickets(TICKETS_MAX), clock::now());
        let client = TicketUser::new(&tickets);
        let tickets_of_key: Vec<_> = (0..TICKETS_PER_KEY)
            .map(|_| tickets.issue(&client.key, now))
            .collect();
        assert!(
            tickets_of_key
                .iter()
                .all(|ticket| client.proves(ticket, now))
        );
        assert_eq!(tickets.issue(&client.key, now), tickets_of_key[0]);
        assert_eq!(tickets.issue(&client.key, now), tickets_of_key[1]);
        assert!(
            tickets_of_key
                .iter()
                .all(|ticket| client.proves(ticket, now))
        );
        assert_eq!(checked_count(&tickets), TICKETS_PER_KEY);
    }

    #[test]
    fn flood_of_keys_evicts_unsigned_tickets_only() {
        let (tickets, now) = (tickets(100), clock::now());
        let client = TicketUser::new(&tickets);
        let unsigned = tickets.issue(&client.key, now);
        let signed = tickets.issue(&client.key, now);
        let proof = client.proof(&signed, now).unwrap();
        let signed = tickets.replace(proof, now);
        for key in keys().take(1000) {
            tickets.issue(&key, now);
            assert!(checked_count(&tickets) <= 100);
        }
        assert!(!client.proves(&unsigned, now));
        assert!(client.proves(&signed, now));
    }

    #[test]
    fn least_recently_used_ticket_is_evicted_when_all_are_proven() {
        let (tickets, now) = (tickets(3), clock::now());
        let clients: Vec<_> = (0..4).map(|_| TicketUser::new(&tickets)).collect();
        let mut tickets_of_key = Vec::new();
        for client in &clients[..3] {
            tickets_of_key.push(tickets.issue(&client.key, now));
            assert!(client.proves(&tickets_of_key[tickets_of_key.len() - 1], now));
        }
        assert!(clients[0].proves(&tickets_of_key[0], now));
        tickets_of_key.push(tickets.issue(&clients[3].key, now));
        let proven = clients.iter().zip(&tickets_of_key);
        let proven: Vec<_> = proven.map(|(client, t)| client.proves(t, now)).collect();
        assert_eq!(proven, [true, false, true, true]);
        assert_eq!(checked_count(&tickets), 3);
    }

    #[test]
    fn proof_allows_a_replacement_when_the_key_has_the_maximum() {
        let (tickets, now) = (tickets(TICKETS_MAX), clock::now());
        let client = TicketUser::new(&tickets);
        let first = tickets.issue(&client.key, now);
        // Two requests with one signature, before the response to the first.
        let proofs = [client.proof(&first, now), client.proof(&first, now)];
        let mut replacements = Vec::new();
        for proof in proofs {
            for _ in 0..TICKETS_PER_KEY {
                tickets.issue(&client.key, now);
            }
            replacements.push(tickets.replace(proof.unwrap(), now));
            checked_count(&tickets);
        }
        assert!(!client.proves(&first, now));
        assert!(replacements.iter().all(|ticket| client.proves(ticket, now)));
    }

    #[test]
    fn expired_ticket_is_not_issued_again() {
        let (tickets, start) = (tickets(TICKETS_MAX), clock::now());
        for key in keys().take(100) {
            tickets.issue(&key, start);
        }
        let client = TicketUser::new(&tickets);
        let tickets_of_key: Vec<_> = (0..TICKETS_PER_KEY)
            .map(|_| tickets.issue(&client.key, start))
            .collect();
        let later = start + TTL;
        assert!(!tickets_of_key.contains(&tickets.issue(&client.key, later)));
        assert!(!client.proves(&tickets_of_key[0], later));
    }

    #[test]
    fn expired_tickets_are_removed_incrementally() {
        let (tickets, start) = (tickets(TICKETS_MAX), clock::now());
        for key in keys().take(100) {
            tickets.issue(&key, start);
        }
        let client = TicketUser::new(&tickets);
        let later = start + TTL;
        for _ in 0..60 {
            tickets.issue(&client.key, later);
        }
        assert_eq!(checked_count(&tickets), TICKETS_PER_KEY);
    }

    /// Random requests, signatures, replacements and time steps: the index stays consistent and bounded.
    #[test]
    fn index_stays_consistent_under_random_operations() {
        let (tickets, mut now) = (tickets(20), clock::now());
        let clients: Vec<_> = (0..6).map(|_| TicketUser::new(&tickets)).collect();
        let mut known = vec![Vec::new(); clients.len()];
        let mut rng = rand::rng();
        for _ in 0..300 {
            let at = rng.random_range(0..clients.len());
            let client = &clients[at];
            match rng.random_range(0..4) {
                0 | 1 => known[at].push(tickets.issue(&client.key, now)),
                2 => {
                    let last = known[at].pop();
                    let proof = last.and_then(|ticket| client.proof(&ticket, now));
                    known[at].extend(proof.map(|proof| tickets.replace(proof, now)));
                }
                _ => now += TTL / 50,
            }
            assert!(checked_count(&tickets) <= 20);
        }
    }
}
