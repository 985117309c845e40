//! The server's challenges to users who are keys: who signs one of his holds his key.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::distr::{Alphabetic, SampleString};

use super::{ParsedSignature, PublicKey};

/// Tickets of one key: as many of its clients do not disturb each other. Also how many
/// verifications (of about 0.2 ms) a signature can cost.
const TICKETS_PER_KEY: usize = 8;

/// Tickets of all keys.
const TICKETS: usize = 65_536;

/// How many expired tickets an operation clears away at most. None adds more than one.
const SWEEP: usize = 4;

/// The tickets that are valid, and whose they are.
///
/// A ticket is requested without proof, so any client may request one for any key, as often as the rate of
/// its address allows. The consequences:
///
/// * *Many for one key:* from the ninth on nobody gets a new ticket; the one of the key's own that
///   was not touched for longest is handed out again. A ticket is no secret, and only the key's
///   owner can use it. So strangers push none of his out, proven or not. What they can do is make
///   two of his clients share one, and the `/newCall` of one client then costs the other its ticket.
/// * *Some for a million keys:* there are 65,536 at most, some 30 MB. Then the oldest that nobody
///   has signed goes first, so a client that has once proven its key does not notice; one
///   that takes longer from its first ticket to its first signature than strangers take to ask for
///   65,536 has to ask again. Tickets with a proof only go when all have one, the least recently
///   used first: to get there costs as many signatures, and as many verifications here.
/// * *Wrong signatures:* one is held against the key's tickets only, 8 at most, and outside the
///   lock. What cannot be one is told by its form.
///
/// Every operation takes time logarithmic in the number of tickets.
#[derive(Debug)]
pub(crate) struct ChallengeStore {
    ttl: Duration,
    total_max: usize,
    index: Mutex<ChallengeIndex>,
}

/// Which ticket somebody has signed.
#[derive(Debug)]
pub(crate) struct Proof {
    key: PublicKey,
    ticket: Arc<str>,
}

#[derive(Debug, Default)]
struct ChallengeIndex {
    by_key: HashMap<PublicKey, Vec<Ticket>>,
    /// Every ticket's owner, in the order in which they go.
    order: BTreeMap<EvictionOrder, PublicKey>,
    last_touch: u64,
}

#[derive(Debug)]
struct Ticket {
    text: Arc<str>,
    order: EvictionOrder,
    last_used: Instant,
}

/// Those without a proof come first; among equals the one that was not touched for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct EvictionOrder {
    is_proven: bool,
    touch: u64,
}

impl ChallengeStore {
    /// How long a ticket is: 136 bits of chance, within the 32 bytes that a signature binds.
    pub(crate) const LETTERS: usize = 24;

    /// Tickets that expire when nobody has used them for `ttl`.
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            total_max: TICKETS,
            index: Mutex::default(),
        }
    }

    /// A ticket for whoever asks in the name of `key`.
    pub(crate) fn issue(&self, key: &PublicKey, now: Instant) -> String {
        let mut book = self.lock(now);
        book.forget_expired_of(key, now, self.ttl);
        let own = book.of(key);
        let ticket = match own.iter().min_by_key(|ticket| ticket.order) {
            Some(oldest) if own.len() >= TICKETS_PER_KEY => {
                let oldest = oldest.text.clone();
                book.mark_used(key, &oldest, false, now);
                oldest
            }
            Some(_) | None => {
                book.evict_to_fit(self.total_max);
                book.add(key, false, now)
            }
        };
        (*ticket).to_owned()
    }

    /// Finds the ticket of `key` that `signature` is over. It counts as used now, and as proven.
    #[must_use]
    pub(crate) fn check(&self, key: &PublicKey, signature: &str, now: Instant) -> Option<Proof> {
        let candidates = self.candidates(key, now);
        if candidates.is_empty() {
            return None;
        }
        let signed = ParsedSignature::read(key, signature)?;
        let is_signed = |ticket: &Arc<str>| signed.is_over(ticket.as_bytes());
        let ticket = candidates.into_iter().find(is_signed)?;
        // Meanwhile it may have been replaced.
        let key = key.clone();
        self.lock(now)
            .mark_used(&key, &ticket, true, now)
            .then_some(Proof { key, ticket })
    }

    /// Counts the valid tickets of `key` as used now: while a client hears its events, it may sign at
    /// any time what it was given when it came.
    pub(crate) fn keep(&self, key: &PublicKey, now: Instant) {
        for ticket in self.candidates(key, now).into_iter().rev() {
            self.lock(now).mark_used(key, &ticket, false, now);
        }
    }

    /// Another ticket for the one that was signed, which is no longer valid.
    pub(crate) fn replace(&self, proof: Proof, now: Instant) -> String {
        let Proof { key, ticket } = proof;
        let mut book = self.lock(now);
        book.forget(&key, |own| own.text == ticket);
        if book.of(&key).len() >= TICKETS_PER_KEY {
            let oldest = book.of(&key).iter().map(|ticket| ticket.order).min();
            book.forget(&key, |own| Some(own.order) == oldest);
        }
        book.evict_to_fit(self.total_max);
        (*book.add(&key, true, now)).to_owned()
    }

    /// The valid tickets of `key`, the last used first.
    fn candidates(&self, key: &PublicKey, now: Instant) -> Vec<Arc<str>> {
        let book = self.lock(now);
        let own = book.of(key).iter();
        let mut valid: Vec<_> = own
            .filter(|ticket| ticket.is_valid(now, self.ttl))
            .collect();
        valid.sort_unstable_by_key(|ticket| std::cmp::Reverse(ticket.order.touch));
        valid.iter().map(|ticket| ticket.text.clone()).collect()
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, ChallengeIndex> {
        let mut book = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        book.sweep(now, self.ttl);
        book
    }
}

impl Ticket {
    fn is_valid(&self, now: Instant, ttl: Duration) -> bool {
        now.saturating_duration_since(self.last_used) < ttl
    }
}

impl ChallengeIndex {
    fn of(&self, key: &PublicKey) -> &[Ticket] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, key: &PublicKey, is_proven: bool, now: Instant) -> Arc<str> {
        let text: Arc<str> = Alphabetic
            .sample_string(&mut rand::rng(), ChallengeStore::LETTERS)
            .into();
        let place = self.next_order(is_proven);
        self.order.insert(place, key.clone());
        self.by_key.entry(key.clone()).or_default().push(Ticket {
            text: text.clone(),
            order: place,
            last_used: now,
        });
        text
    }

    /// Notes that a ticket was used. What is proven stays so. False if there is no such ticket.
    fn mark_used(&mut self, key: &PublicKey, text: &str, proves: bool, now: Instant) -> bool {
        let next = self.next_order(proves);
        let own = self.by_key.get_mut(key).into_iter().flatten();
        let Some(ticket) = own.into_iter().find(|ticket| &*ticket.text == text) else {
            return false;
        };
        let before = ticket.order;
        ticket.order = EvictionOrder {
            is_proven: before.is_proven || proves,
            touch: next.touch,
        };
        ticket.last_used = now;
        let after = ticket.order;
        self.order.remove(&before);
        self.order.insert(after, key.clone());
        true
    }

    fn next_order(&mut self, is_proven: bool) -> EvictionOrder {
        self.last_touch += 1;
        EvictionOrder {
            is_proven,
            touch: self.last_touch,
        }
    }

    /// Forgets those of a key's tickets that `goes` names.
    fn forget(&mut self, key: &PublicKey, goes: impl Fn(&Ticket) -> bool) {
        let Some(own) = self.by_key.get_mut(key) else {
            return;
        };
        for ticket in own.extract_if(.., |ticket| goes(ticket)) {
            self.order.remove(&ticket.order);
        }
        if own.is_empty() {
            self.by_key.remove(key);
        }
    }

    fn forget_expired_of(&mut self, key: &PublicKey, now: Instant, ttl: Duration) {
        self.forget(key, |ticket| !ticket.is_valid(now, ttl));
    }

    fn forget_at(&mut self, place: EvictionOrder) {
        if let Some(key) = self.order.get(&place).cloned() {
            self.forget(&key, |ticket| ticket.order == place);
        }
    }

    /// Makes room for one more.
    fn evict_to_fit(&mut self, total_max: usize) {
        while self.order.len() >= total_max
            && let Some((&first, _)) = self.order.first_key_value()
        {
            self.forget_at(first);
        }
    }

    /// Clears away some of what has expired: of either kind the first is the oldest.
    fn sweep(&mut self, now: Instant, ttl: Duration) {
        for is_proven in [false, true] {
            for _ in 0..SWEEP / 2 {
                let start = EvictionOrder {
                    is_proven,
                    touch: 0,
                };
                let Some((&place, key)) = self.order.range(start..).next() else {
                    break;
                };
                let mut own = self.of(key).iter();
                if own.any(|ticket| ticket.order == place && ticket.is_valid(now, ttl)) {
                    break;
                }
                self.forget_at(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::RngExt;

    use super::{super::SecretKey, *};

    const TTL: Duration = Duration::from_mins(10);

    fn tickets(total_max: usize) -> ChallengeStore {
        ChallengeStore {
            total_max,
            ..ChallengeStore::new(TTL)
        }
    }

    /// As many keys as a test needs, of which none signs anything.
    fn keys() -> impl Iterator<Item = PublicKey> {
        (0_u64..).map(|number| {
            let mut point = [2; 33];
            point[25..].copy_from_slice(&number.to_be_bytes());
            PublicKey(point)
        })
    }

    fn count(tickets: &ChallengeStore) -> usize {
        let book = tickets.index.lock().unwrap();
        let listed: usize = book.by_key.values().map(Vec::len).sum();
        assert_eq!(listed, book.order.len());
        for (key, own) in &book.by_key {
            assert!((1..=TICKETS_PER_KEY).contains(&own.len()));
            assert!(own.iter().all(|t| book.order.get(&t.order) == Some(key)));
        }
        listed
    }

    #[test]
    fn what_is_kept_does_not_expire_and_what_has_expired_is_not_kept() {
        let (tickets, start) = (tickets(100), Instant::now());
        let secret = SecretKey::generate();
        let ticket = tickets.issue(&secret.public(), start);
        let signature = secret.sign(&ticket).unwrap();
        for minutes in [9, 18, 27] {
            tickets.keep(&secret.public(), start + Duration::from_mins(minutes));
        }
        let at = |minutes| start + Duration::from_mins(minutes);
        assert!(
            tickets
                .check(&secret.public(), &signature, at(36))
                .is_some()
        );
        tickets.keep(&secret.public(), at(47));
        assert!(
            tickets
                .check(&secret.public(), &signature, at(47))
                .is_none()
        );
        assert_eq!(count(&tickets), 0);
    }

    struct Client<'a> {
        secret: SecretKey,
        key: PublicKey,
        tickets: &'a ChallengeStore,
    }

    impl<'a> Client<'a> {
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
    fn a_ticket_is_proven_by_its_owners_signature_until_it_is_replaced() {
        let (tickets, now) = (tickets(TICKETS), Instant::now());
        let client = Client::new(&tickets);
        let other = Client::new(&tickets);
        let ticket = tickets.issue(&client.key, now);
        assert_eq!(ticket.len(), ChallengeStore::LETTERS);
        assert!(ticket.bytes().all(|byte| byte.is_ascii_alphabetic()));

        let theirs = other.secret.sign(&ticket).unwrap();
        assert!(tickets.check(&client.key, &theirs, now).is_none());
        assert!(tickets.check(&other.key, &theirs, now).is_none());
        assert!(!client.proves("ticket", now));
        for garbage in ["", "zz", "3006020101020101"] {
            assert!(tickets.check(&client.key, garbage, now).is_none());
        }

        assert!(client.proves(&ticket, now));
        let proof = client.proof(&ticket, now).unwrap();
        let next = tickets.replace(proof, now);
        assert_ne!(next, ticket);
        assert!(!client.proves(&ticket, now));
        assert!(client.proves(&next, now));
        assert_eq!(count(&tickets), 1);
    }

    #[test]
    fn a_ticket_expires_when_it_is_not_used() {
        let (tickets, start) = (tickets(TICKETS), Instant::now());
        let client = Client::new(&tickets);
        let ticket = tickets.issue(&client.key, start);
        let almost = TTL - Duration::from_secs(1);
        assert!(client.proves(&ticket, start + almost));
        assert!(client.proves(&ticket, start + 2 * almost));
        assert!(!client.proves(&ticket, start + 2 * almost + TTL));
        assert_eq!(count(&tickets), 0);
    }

    #[test]
    fn several_clients_of_one_key_do_not_disturb_each_other() {
        let (tickets, now) = (tickets(TICKETS), Instant::now());
        let client = Client::new(&tickets);
        let theirs: Vec<_> = (0..TICKETS_PER_KEY)
            .map(|_| tickets.issue(&client.key, now))
            .collect();
        assert_eq!(theirs.iter().collect::<HashSet<_>>().len(), TICKETS_PER_KEY);
        let proof = client.proof(&theirs[3], now).unwrap();
        // The replacement is of the ticket that was signed, whatever was signed since.
        assert!(client.proves(&theirs[4], now));
        tickets.replace(proof, now);
        for (at, ticket) in theirs.iter().enumerate() {
            assert_eq!(client.proves(ticket, now), at != 3, "{at}");
        }
        assert_eq!(count(&tickets), TICKETS_PER_KEY);
    }

    #[test]
    fn who_asks_in_somebodys_name_pushes_none_of_his_tickets_out() {
        let (tickets, now) = (tickets(TICKETS), Instant::now());
        let client = Client::new(&tickets);
        let waiting = tickets.issue(&client.key, now);
        let in_use = tickets.issue(&client.key, now);
        assert!(client.proves(&in_use, now));
        let asked: HashSet<_> = (0..1000).map(|_| tickets.issue(&client.key, now)).collect();
        assert_eq!(asked.len(), TICKETS_PER_KEY - 1);
        assert!(!asked.contains(&in_use));
        assert!(client.proves(&waiting, now));
        assert!(client.proves(&in_use, now));
        let late = tickets.issue(&client.key, now);
        assert!(client.proves(&late, now));
        assert_eq!(count(&tickets), TICKETS_PER_KEY);
    }

    #[test]
    fn when_all_of_a_keys_tickets_are_proven_they_are_shared() {
        let (tickets, now) = (tickets(TICKETS), Instant::now());
        let client = Client::new(&tickets);
        let own: Vec<_> = (0..TICKETS_PER_KEY)
            .map(|_| tickets.issue(&client.key, now))
            .collect();
        assert!(own.iter().all(|ticket| client.proves(ticket, now)));
        assert_eq!(tickets.issue(&client.key, now), own[0]);
        assert_eq!(tickets.issue(&client.key, now), own[1]);
        assert!(own.iter().all(|ticket| client.proves(ticket, now)));
        assert_eq!(count(&tickets), TICKETS_PER_KEY);
    }

    #[test]
    fn a_flood_of_keys_takes_what_nobody_has_signed() {
        let (tickets, now) = (tickets(100), Instant::now());
        let client = Client::new(&tickets);
        let unsigned = tickets.issue(&client.key, now);
        let signed = tickets.issue(&client.key, now);
        let proof = client.proof(&signed, now).unwrap();
        let signed = tickets.replace(proof, now);
        for key in keys().take(1000) {
            tickets.issue(&key, now);
            assert!(count(&tickets) <= 100);
        }
        assert!(!client.proves(&unsigned, now));
        assert!(client.proves(&signed, now));
    }

    #[test]
    fn when_all_have_a_proof_the_least_used_goes() {
        let (tickets, now) = (tickets(3), Instant::now());
        let clients: Vec<_> = (0..4).map(|_| Client::new(&tickets)).collect();
        let mut own = Vec::new();
        for client in &clients[..3] {
            own.push(tickets.issue(&client.key, now));
            assert!(client.proves(&own[own.len() - 1], now));
        }
        assert!(clients[0].proves(&own[0], now));
        own.push(tickets.issue(&clients[3].key, now));
        let proven = clients.iter().zip(&own);
        let proven: Vec<_> = proven.map(|(client, t)| client.proves(t, now)).collect();
        assert_eq!(proven, [true, false, true, true]);
        assert_eq!(count(&tickets), 3);
    }

    #[test]
    fn a_proof_is_good_for_one_replacement_beside_a_full_key() {
        let (tickets, now) = (tickets(TICKETS), Instant::now());
        let client = Client::new(&tickets);
        let first = tickets.issue(&client.key, now);
        // Two requests with one signature, before the first was answered.
        let proofs = [client.proof(&first, now), client.proof(&first, now)];
        let mut replacements = Vec::new();
        for proof in proofs {
            for _ in 0..TICKETS_PER_KEY {
                tickets.issue(&client.key, now);
            }
            replacements.push(tickets.replace(proof.unwrap(), now));
            count(&tickets);
        }
        assert!(!client.proves(&first, now));
        assert!(replacements.iter().all(|ticket| client.proves(ticket, now)));
    }

    #[test]
    fn an_expired_ticket_is_not_handed_out_again() {
        let (tickets, start) = (tickets(TICKETS), Instant::now());
        for key in keys().take(100) {
            tickets.issue(&key, start);
        }
        let client = Client::new(&tickets);
        let own: Vec<_> = (0..TICKETS_PER_KEY)
            .map(|_| tickets.issue(&client.key, start))
            .collect();
        let later = start + TTL;
        assert!(!own.contains(&tickets.issue(&client.key, later)));
        assert!(!client.proves(&own[0], later));
    }

    #[test]
    fn what_has_expired_is_cleared_away_little_by_little() {
        let (tickets, start) = (tickets(TICKETS), Instant::now());
        for key in keys().take(100) {
            tickets.issue(&key, start);
        }
        let client = Client::new(&tickets);
        let later = start + TTL;
        for _ in 0..60 {
            tickets.issue(&client.key, later);
        }
        assert_eq!(count(&tickets), TICKETS_PER_KEY);
    }

    /// Asks, signatures, replacements and time at random: nothing leaks, and no bound breaks.
    #[test]
    fn the_book_stays_sound() {
        let (tickets, mut now) = (tickets(20), Instant::now());
        let clients: Vec<_> = (0..6).map(|_| Client::new(&tickets)).collect();
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
            assert!(count(&tickets) <= 20);
        }
    }
}
