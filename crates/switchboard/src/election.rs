//! Something that one node does for all of them: who does it now, and this node's seat in the
//! queue for it.
//!
//! The queue is a log of the engine's. Who sits there longest does it; when its seat becomes free,
//! because it stops or its lease lapses, the next one does. What comes from the log goes into
//! [`Election::committed`] and [`Election::declined`]; [`Election::keep`] sees to it that this node has a seat.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::RngExt;
use switchboard_core::{
    Address, Change, DialectTraits, Entry, Identity, LeaveCause, LeaveKind, LogId, Member,
    OfferPolicy, PeerId, Position, RejectReason,
};
use switchboard_engine::{Engine, ProposeOutcome};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// What members of such a log speak: nothing.
pub(crate) static TONGUE: DialectTraits = DialectTraits {
    name: "duty",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

/// Ends the URL in a node's address. What follows tells a node from the one that had its URL before.
const NODE_SEPARATOR: char = '#';

/// A seat that was not given is not asked for again before this.
const RETRY: Duration = Duration::from_secs(1);

/// Who does it, and this node's place in the queue.
#[derive(Debug)]
pub(crate) struct Election {
    peer: PeerId,
    own: Address,
    candidates: Mutex<BTreeMap<Position, Candidate>>,
    term: watch::Sender<Term>,
    standing: watch::Sender<CandidateState>,
}

/// A node in the queue.
#[derive(Debug)]
struct Candidate {
    peer: PeerId,
    leader: Leader,
}

/// Who does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    /// This node.
    ThisNode,
    /// The node with this URL.
    OtherNode(Arc<str>),
    /// Another node, whose URL is this one's: it cannot be reached there.
    DuplicateAddress,
    /// No node that is known.
    None,
}

/// One leader's time, from when it is known until something else is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// Counts up: a node that leads, loses its seat and gets another begins another term.
    pub(crate) number: u64,
    pub(crate) leader: Leader,
    leader_key: Option<(Position, PeerId)>,
}

/// How this node and its seat are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CandidateState {
    Withdrawn,
    Joining,
    Member,
}

impl Election {
    /// A node that is not in the queue yet. `own` is its URL, `#`, and something random.
    pub(crate) fn new(own: Address) -> Self {
        Self {
            peer: PeerId::from_random(rand::rng().random()),
            own,
            candidates: Mutex::default(),
            term: watch::Sender::new(Term {
                number: 0,
                leader: Leader::None,
                leader_key: None,
            }),
            standing: watch::Sender::new(CandidateState::Withdrawn),
        }
    }

    /// The same, of the node with this URL.
    pub(crate) fn at(url: &str) -> Self {
        let random: u64 = rand::rng().random();
        let own = format!("{url}{NODE_SEPARATOR}{random:016x}");
        Self::new(Address::parse(&own, 0).expect("it has a mark at least"))
    }

    /// Who does it.
    #[cfg(test)]
    pub(crate) fn leader(&self) -> Leader {
        self.term.borrow().leader.clone()
    }

    /// The term that runs, and those that follow.
    pub(crate) fn terms(&self) -> watch::Receiver<Term> {
        self.term.subscribe()
    }

    /// The first term whose leader is `wanted`, if one comes in time; else the one that runs then.
    pub(crate) async fn wait_for(
        &self,
        wanted: impl Fn(&Leader) -> bool,
        patience: Duration,
    ) -> Term {
        let mut terms = self.terms();
        let comes = terms.wait_for(|term| wanted(&term.leader));
        match timeout(patience, comes).await {
            Ok(Ok(term)) => term.clone(),
            Ok(Err(_)) | Err(_) => self.term.borrow().clone(),
        }
    }

    /// What the engine has ordered in the log, in one step.
    pub(crate) fn committed(&self, entries: &[Entry]) {
        let mut seats = self
            .candidates
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            match &entry.change {
                Change::Join(member) => {
                    seats.retain(|_, seat| seat.peer != member.peer);
                    seats.insert(entry.position, self.seat(entry, member));
                }
                Change::Leave(peer, _) => seats.retain(|_, seat| seat.peer != *peer),
            }
        }
        let is_seated = seats.values().any(|seat| seat.peer == self.peer);
        self.standing.send_if_modified(|standing| {
            let before = *standing;
            *standing = match (is_seated, before) {
                (true, _) => CandidateState::Member,
                (false, CandidateState::Joining) => CandidateState::Joining,
                (false, CandidateState::Member | CandidateState::Withdrawn) => {
                    CandidateState::Withdrawn
                }
            };
            *standing != before
        });
        let first = seats.first_key_value();
        let seat = first.map(|(position, seat)| (*position, seat.peer));
        let leader = first.map_or(Leader::None, |(_, seat)| seat.leader.clone());
        // Under the lock: terms follow each other as the entries do.
        self.term.send_if_modified(|term| {
            if term.leader_key == seat {
                return false;
            }
            tell(&leader, url_of(&self.own));
            *term = Term {
                number: term.number + 1,
                leader,
                leader_key: seat,
            };
            true
        });
    }

    fn seat(&self, entry: &Entry, member: &Member) -> Candidate {
        let url = url_of(&member.address);
        let is_own = url.trim_end_matches('/') == url_of(&self.own).trim_end_matches('/');
        Candidate {
            peer: member.peer,
            leader: match entry.node {
                None => Leader::ThisNode,
                Some(_) if is_own => Leader::DuplicateAddress,
                Some(_) => Leader::OtherNode(url.into()),
            },
        }
    }

    /// The engine gives this node no seat now.
    pub(crate) fn declined(&self, why: RejectReason) {
        tracing::debug!(?why, "no seat in the queue");
        self.standing.send_if_modified(|standing| {
            let was_asked = *standing == CandidateState::Joining;
            if was_asked {
                *standing = CandidateState::Withdrawn;
            }
            was_asked
        });
    }

    /// Keeps a seat in `log` until the server stops, and then gives it up.
    pub(crate) async fn keep(
        self: Arc<Self>,
        engine: Arc<dyn Engine>,
        log: LogId,
        stop: CancellationToken,
    ) {
        let mut standing = self.standing.subscribe();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = standing.wait_for(|standing| *standing == CandidateState::Withdrawn) => {}
            }
            self.ask(&*engine, &log);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(RETRY) => {}
            }
        }
        if *standing.borrow() != CandidateState::Withdrawn {
            let leave = Change::Leave(self.peer, LeaveCause::Requested(LeaveKind::Announced));
            self.propose(&*engine, &log, leave);
        }
    }

    fn ask(&self, engine: &dyn Engine, log: &LogId) {
        self.standing.send_replace(CandidateState::Joining);
        let member = Member {
            peer: self.peer,
            address: self.own.clone(),
            name: None,
            dialect: &TONGUE,
            identity: Identity::Claimed,
            token: None,
            group: None,
        };
        self.propose(engine, log, Change::Join(Arc::new(member)));
    }

    fn propose(&self, engine: &dyn Engine, log: &LogId, change: Change) {
        let last = || {
            let seats = self
                .candidates
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            seats.keys().next_back().copied().unwrap_or_default()
        };
        match engine.propose(log, last(), &change) {
            ProposeOutcome::Committed(position) => self.committed(&[Entry {
                position,
                node: None,
                change,
            }]),
            ProposeOutcome::Pending => {}
            ProposeOutcome::Rejected(why) => self.declined(why),
        }
    }
}

fn url_of(address: &Address) -> &str {
    let address = address.as_str();
    address
        .rsplit_once(NODE_SEPARATOR)
        .map_or(address, |(url, _)| url)
}

/// Says who leads, for people; voice is all that is done in this way.
fn tell(leader: &Leader, own: &str) {
    match leader {
        Leader::ThisNode => tracing::info!("this node does voice now"),
        Leader::OtherNode(url) => tracing::info!(%url, "voice is done by another node now"),
        Leader::DuplicateAddress => tracing::warn!(
            url = own,
            "voice is done by a node that advertises the same URL as this one, so clients here get 503; set engine.advertise_url unless this node was just restarted"
        ),
        Leader::None => tracing::info!("no node does voice now"),
    }
}

#[cfg(test)]
mod tests {
    use switchboard_core::NodeId;

    use super::*;

    fn duty() -> Election {
        Election::new(Address::parse("http://own:1#x", 0).unwrap())
    }

    fn peer(number: u8) -> PeerId {
        PeerId::from_random([number; 16])
    }

    /// The node of this number comes; 0 is this one.
    fn join(duty: &Election, position: u64, number: u8) -> Entry {
        let address = format!("http://node{number}:1/a#r{position}");
        join_at(duty, position, number, &address)
    }

    /// The same, at this address.
    fn join_at(duty: &Election, position: u64, number: u8, address: &str) -> Entry {
        let (peer, node) = match number {
            0 => (duty.peer, None),
            other => (peer(other), Some(NodeId::from(u64::from(other)))),
        };
        Entry {
            position: position.into(),
            node,
            change: Change::Join(Arc::new(Member {
                peer,
                address: Address::parse(address, 0).unwrap(),
                name: None,
                dialect: &TONGUE,
                identity: Identity::Claimed,
                token: None,
                group: None,
            })),
        }
    }

    fn leave(peer: PeerId) -> Entry {
        Entry {
            position: 99.into(),
            node: None,
            change: Change::Leave(peer, LeaveCause::NodeLost),
        }
    }

    fn there(number: u8) -> Leader {
        Leader::OtherNode(format!("http://node{number}:1/a").into())
    }

    #[test]
    fn who_sits_longest_leads_however_it_is_told() {
        let duty = duty();
        assert_eq!(duty.leader(), Leader::None);
        duty.committed(&[join(&duty, 7, 0)]);
        assert_eq!(duty.leader(), Leader::ThisNode);
        duty.committed(&[join(&duty, 9, 2)]);
        assert_eq!(duty.leader(), Leader::ThisNode);
        duty.committed(&[join(&duty, 3, 1)]);
        assert_eq!(duty.leader(), there(1));
        duty.committed(&[leave(peer(1)), leave(duty.peer)]);
        assert_eq!(duty.leader(), there(2));
        duty.committed(&[leave(peer(2)), leave(peer(2)), leave(peer(5))]);
        assert_eq!(duty.leader(), Leader::None);
    }

    #[test]
    fn a_term_ends_with_its_leaders_seat() {
        let duty = duty();
        let terms = duty.terms();
        let number = || terms.borrow().number;
        duty.committed(&[join(&duty, 1, 0)]);
        let first = number();
        duty.committed(&[join(&duty, 2, 1)]);
        duty.committed(&[join(&duty, 1, 0)]);
        assert_eq!(number(), first, "nothing has changed for who leads");
        // The lease lapsed, and the seat is another.
        duty.committed(&[leave(duty.peer), leave(peer(1)), join(&duty, 8, 0)]);
        assert_eq!((number(), duty.leader()), (first + 1, Leader::ThisNode));
        duty.committed(&[leave(duty.peer)]);
        assert_eq!(duty.leader(), Leader::None);
    }

    #[test]
    fn another_node_with_the_same_url_is_not_this_one() {
        let duty = duty();
        for (position, url) in [(1, "http://own:1#y"), (2, "http://own:1/#z")] {
            duty.committed(&[join_at(&duty, position, 3, url)]);
            assert_eq!(duty.leader(), Leader::DuplicateAddress, "{url}");
        }
        duty.committed(&[leave(peer(3)), join(&duty, 4, 0)]);
        assert_eq!(duty.leader(), Leader::ThisNode);
    }

    #[tokio::test]
    async fn who_asks_waits_for_somebody_and_not_for_ever() {
        let duty = duty();
        let somebody = |leader: &Leader| *leader != Leader::None;
        let term = duty.wait_for(somebody, Duration::from_millis(20)).await;
        assert_eq!(term.leader, Leader::None);
        let patience = Duration::from_secs(10);
        let coming = async {
            sleep(Duration::from_millis(20)).await;
            duty.committed(&[join(&duty, 1, 4)]);
        };
        let (term, ()) = tokio::join!(duty.wait_for(somebody, patience), coming);
        assert_eq!(term.leader, there(4));
    }

    /// Declines so many joins, and notes what it is asked.
    #[derive(Debug)]
    struct Stubborn {
        declines: Mutex<u32>,
        asked: Mutex<Vec<bool>>,
    }

    impl Engine for Stubborn {
        fn attach(&self, _sink: Arc<dyn switchboard_engine::EngineHandler>) {}

        fn propose(&self, _log: &LogId, at: Position, change: &Change) -> ProposeOutcome {
            self.asked
                .lock()
                .unwrap()
                .push(matches!(change, Change::Join(_)));
            let mut declines = self.declines.lock().unwrap();
            if *declines == 0 {
                return ProposeOutcome::Committed(at.next());
            }
            *declines -= 1;
            ProposeOutcome::Rejected(RejectReason::Unavailable)
        }

        fn send(
            &self,
            _to: NodeId,
            letter: switchboard_core::NodeMessage,
        ) -> Option<switchboard_core::NodeMessage> {
            Some(letter)
        }

        fn status(&self) -> Option<switchboard_engine::Status> {
            None
        }

        fn close(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn a_seat_is_asked_for_until_it_is_given_and_again_when_it_is_lost() {
        let duty = Arc::new(duty());
        let engine = Arc::new(Stubborn {
            declines: Mutex::new(2),
            asked: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let log = LogId::Election(switchboard_core::ElectionId::parse("voice", 0).unwrap());
        let keeping = tokio::spawn(duty.clone().keep(engine.clone(), log, stop.clone()));
        let mut terms = duty.terms();
        let mut leads = async || {
            let here = terms.wait_for(|term| term.leader == Leader::ThisNode);
            let number = here.await.unwrap().number;
            terms.mark_unchanged();
            number
        };
        let first = leads().await;
        duty.committed(&[leave(duty.peer)]);
        assert!(leads().await > first);
        stop.cancel();
        keeping.await.unwrap();
        assert_eq!(duty.leader(), Leader::None);
        let asked = engine.asked.lock().unwrap().clone();
        assert_eq!(asked, [true, true, true, true, false]);
    }
}
