//! Leader election: one node does a task for all nodes of the cluster.
//!
//! The engine, which shares rooms between nodes, orders joins and leaves in logs: one log for each room, and one for
//! each election. The members of an election log are the candidates. The candidate that joined first leads. When it
//! leaves, or the lease of its node expires, the next candidate leads. [`Election::on_committed`] and
//! [`Election::on_rejected`] receive the results of the engine; [`Election::keep_candidacy`] keeps this node a
//! candidate.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::RngExt;
use switchboard_cluster::{Engine, ProposeOutcome};
use switchboard_core::{
    Address, Change, DialectTraits, ElectionId, Entry, Identity, LeaveCause, LeaveKind, LogId,
    Member, OfferPolicy, PeerId, Position, RejectReason,
};
use switchboard_voice::{Leader, Term};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

/// The dialect of the members of an election log. They send and receive no frames. The name is stored with the members
/// in the cluster, so nodes of other versions know it.
pub(crate) static ELECTION_TRAITS: DialectTraits = DialectTraits {
    name: "duty",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

/// The election log of the voice leader.
pub(crate) fn voice_log() -> LogId {
    // The limit 0 allows names of any length.
    LogId::Election(ElectionId::parse("voice", 0).expect("not empty"))
}

/// Separates the two parts of a candidate's address, its unique name in the log: the URL of the node, and a random
/// suffix, which distinguishes this process from an earlier one with the same URL.
const SUFFIX_SEPARATOR: char = '#';

/// Minimum delay between two attempts to become a candidate.
const RETRY: Duration = Duration::from_secs(1);

/// The candidates, the leader, and the state of this node's candidacy.
#[derive(Debug)]
pub(crate) struct Election {
    peer: PeerId,
    own_address: Address,
    candidates: Mutex<Candidates>,
    term: watch::Sender<Term>,
    state: watch::Sender<CandidateState>,
}

/// The candidates in the order of their joins, and the one that leads the current term.
#[derive(Debug, Default)]
struct Candidates {
    by_position: BTreeMap<Position, ElectionCandidate>,
    leader: Option<(Position, PeerId)>,
}

/// A node that can become the leader.
#[derive(Debug)]
struct ElectionCandidate {
    peer: PeerId,
    leader: Leader,
}

/// The state of this node's candidacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CandidateState {
    /// Not a candidate: at the start, after a rejection, and after a leave or the loss of the lease.
    Withdrawn,
    /// The join is proposed, and its result is not known yet.
    Joining,
    /// The join is committed.
    Member,
}

impl Election {
    /// An election in which this node is not a candidate yet. `own_address` is its URL, `#`, and a random suffix.
    pub(crate) fn new(own_address: Address) -> Self {
        Self {
            peer: PeerId::from_random(rand::rng().random()),
            own_address,
            candidates: Mutex::default(),
            term: watch::Sender::new(Term {
                number: 0,
                leader: Leader::None,
            }),
            state: watch::Sender::new(CandidateState::Withdrawn),
        }
    }

    /// An election for the node with this URL, with a random suffix in its address.
    pub(crate) fn for_url(url: &str) -> Self {
        let random: u64 = rand::rng().random();
        let address = format!("{url}{SUFFIX_SEPARATOR}{random:016x}");
        Self::new(Address::parse(&address, 0).expect("the address contains the separator"))
    }

    /// The current leader.
    #[cfg(test)]
    pub(crate) fn leader(&self) -> Leader {
        self.term.borrow().leader.clone()
    }

    /// Subscribes to the current term and all following ones.
    pub(crate) fn terms(&self) -> watch::Receiver<Term> {
        self.term.subscribe()
    }

    /// Applies entries that the engine has committed to the log. However many entries there are, at most one new term
    /// begins.
    pub(crate) fn on_committed(&self, entries: &[Entry]) {
        let mut locked = self.candidates.lock();
        let candidates = &mut locked.by_position;
        for entry in entries {
            match &entry.change {
                Change::Join(member) => {
                    candidates.retain(|_, candidate| candidate.peer != member.peer);
                    candidates.insert(entry.position, self.candidate(entry, member));
                }
                Change::Leave(peer, _) => candidates.retain(|_, candidate| candidate.peer != *peer),
            }
        }
        let is_member = candidates
            .values()
            .any(|candidate| candidate.peer == self.peer);
        self.state.send_if_modified(|state| {
            let before = *state;
            *state = match (is_member, before) {
                (true, _) => CandidateState::Member,
                (false, CandidateState::Joining) => CandidateState::Joining,
                (false, CandidateState::Member | CandidateState::Withdrawn) => {
                    CandidateState::Withdrawn
                }
            };
            *state != before
        });
        let first = candidates.first_key_value();
        let leader_key = first.map(|(position, candidate)| (*position, candidate.peer));
        let leader = first.map_or(Leader::None, |(_, candidate)| candidate.leader.clone());
        if locked.leader == leader_key {
            return;
        }
        locked.leader = leader_key;
        log_leader(&leader, url_of(&self.own_address));
        // The lock is still held: otherwise, two calls could publish their terms in the wrong order.
        self.term.send_modify(|term| {
            term.number += 1;
            term.leader = leader;
        });
    }

    fn candidate(&self, entry: &Entry, member: &Member) -> ElectionCandidate {
        let url = url_of(&member.address);
        let is_own = url.trim_end_matches('/') == url_of(&self.own_address).trim_end_matches('/');
        ElectionCandidate {
            peer: member.peer,
            leader: match entry.node {
                None => Leader::ThisNode,
                Some(_) if is_own => Leader::DuplicateAddress,
                Some(_) => Leader::OtherNode(url.into()),
            },
        }
    }

    /// Handles the engine's rejection of this node's join or leave.
    pub(crate) fn on_rejected(&self, reason: RejectReason) {
        tracing::debug!(?reason, "election candidacy rejected");
        self.state.send_if_modified(|state| {
            let was_joining = *state == CandidateState::Joining;
            if was_joining {
                *state = CandidateState::Withdrawn;
            }
            was_joining
        });
    }

    /// Keeps this node a candidate in `log` until `stop` is cancelled, and then withdraws it.
    pub(crate) async fn keep_candidacy(
        self: Arc<Self>,
        engine: Arc<dyn Engine>,
        log: LogId,
        stop: CancellationToken,
    ) {
        let mut state = self.state.subscribe();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = state.wait_for(|state| *state == CandidateState::Withdrawn) => {}
            }
            self.join(&*engine, &log);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(RETRY) => {}
            }
        }
        if *state.borrow() != CandidateState::Withdrawn {
            let leave = Change::Leave(self.peer, LeaveCause::Requested(LeaveKind::Announced));
            self.propose(&*engine, &log, leave);
        }
    }

    fn join(&self, engine: &dyn Engine, log: &LogId) {
        self.state.send_replace(CandidateState::Joining);
        let member = Member {
            peer: self.peer,
            address: self.own_address.clone(),
            name: None,
            dialect: &ELECTION_TRAITS,
            identity: Identity::Claimed,
            token: None,
            group: None,
            policy: None,
        };
        self.propose(engine, log, Change::Join(Arc::new(member)));
    }

    fn propose(&self, engine: &dyn Engine, log: &LogId, change: Change) {
        let last_position = || {
            let candidates = self.candidates.lock();
            candidates
                .by_position
                .keys()
                .next_back()
                .copied()
                .unwrap_or_default()
        };
        match engine.propose(log, last_position(), &change) {
            ProposeOutcome::Committed(position) => self.on_committed(&[Entry {
                position,
                node: None,
                change,
            }]),
            ProposeOutcome::Pending => {}
            ProposeOutcome::Rejected(reason) => self.on_rejected(reason),
        }
    }
}

fn url_of(address: &Address) -> &str {
    let address = address.as_str();
    address
        .rsplit_once(SUFFIX_SEPARATOR)
        .map_or(address, |(url, _)| url)
}

/// Logs a change of the leader. The texts name voice, because voice is the only task with an election.
fn log_leader(leader: &Leader, own_url: &str) {
    match leader {
        Leader::ThisNode => tracing::info!("elected voice leader: this node"),
        Leader::OtherNode(url) => tracing::info!(%url, "elected voice leader: another node"),
        Leader::DuplicateAddress => tracing::warn!(
            url = own_url,
            "elected voice leader advertises the URL of this node, so voice requests here get 503; set engine.advertise_url unless this node was just restarted"
        ),
        Leader::None => tracing::info!("voice leader lost"),
    }
}

#[cfg(test)]
mod tests {
    use switchboard_core::NodeId;

    use super::*;

    fn new_election() -> Election {
        Election::new(Address::parse("http://own:1#x", 0).unwrap())
    }

    fn peer(number: u8) -> PeerId {
        PeerId::from_random([number; 16])
    }

    /// An entry with which the node of this number becomes a candidate. Number 0 is this node.
    fn join(election: &Election, position: u64, number: u8) -> Entry {
        let address = format!("http://node{number}:1/a#r{position}");
        join_at(election, position, number, &address)
    }

    /// Like [`join`], with this address.
    fn join_at(election: &Election, position: u64, number: u8, address: &str) -> Entry {
        let (peer, node) = match number {
            0 => (election.peer, None),
            other => (peer(other), Some(NodeId::from(u64::from(other)))),
        };
        Entry {
            position: position.into(),
            node,
            change: Change::Join(Arc::new(Member {
                peer,
                address: Address::parse(address, 0).unwrap(),
                name: None,
                dialect: &ELECTION_TRAITS,
                identity: Identity::Claimed,
                token: None,
                group: None,
                policy: None,
            })),
        }
    }

    fn leave(peer: PeerId) -> Entry {
        Entry {
            // The election ignores the position of a leave.
            position: 99.into(),
            node: None,
            change: Change::Leave(peer, LeaveCause::NodeLost),
        }
    }

    fn other_node(number: u8) -> Leader {
        Leader::OtherNode(format!("http://node{number}:1/a").into())
    }

    #[test]
    fn candidate_with_the_lowest_position_leads_in_any_order_of_entries() {
        let election = new_election();
        assert_eq!(election.leader(), Leader::None);
        election.on_committed(&[join(&election, 7, 0)]);
        assert_eq!(election.leader(), Leader::ThisNode);
        election.on_committed(&[join(&election, 9, 2)]);
        assert_eq!(election.leader(), Leader::ThisNode);
        election.on_committed(&[join(&election, 3, 1)]);
        assert_eq!(election.leader(), other_node(1));
        election.on_committed(&[leave(peer(1)), leave(election.peer)]);
        assert_eq!(election.leader(), other_node(2));
        election.on_committed(&[leave(peer(2)), leave(peer(2)), leave(peer(5))]);
        assert_eq!(election.leader(), Leader::None);
    }

    #[test]
    fn a_term_ends_when_its_leader_leaves_the_log() {
        let election = new_election();
        let terms = election.terms();
        let number = || terms.borrow().number;
        election.on_committed(&[join(&election, 1, 0)]);
        let first = number();
        election.on_committed(&[join(&election, 2, 1)]);
        election.on_committed(&[join(&election, 1, 0)]);
        assert_eq!(number(), first, "the leader has not changed");
        // The lease of this node has expired, and it has joined again at another position.
        election.on_committed(&[leave(election.peer), leave(peer(1)), join(&election, 8, 0)]);
        assert_eq!((number(), election.leader()), (first + 1, Leader::ThisNode));
        election.on_committed(&[leave(election.peer)]);
        assert_eq!(election.leader(), Leader::None);
    }

    #[test]
    fn leader_that_advertises_the_url_of_this_node_is_a_duplicate_address() {
        let election = new_election();
        for (position, url) in [(1, "http://own:1#y"), (2, "http://own:1/#z")] {
            election.on_committed(&[join_at(&election, position, 3, url)]);
            assert_eq!(election.leader(), Leader::DuplicateAddress, "{url}");
        }
        election.on_committed(&[leave(peer(3)), join(&election, 4, 0)]);
        assert_eq!(election.leader(), Leader::ThisNode);
    }

    /// An engine that rejects the first proposals and commits the others. It records whether each proposal is a join.
    #[derive(Debug)]
    struct RejectingEngine {
        rejections_left: Mutex<u32>,
        proposed_joins: Mutex<Vec<bool>>,
    }

    impl Engine for RejectingEngine {
        fn attach(&self, _sink: Arc<dyn switchboard_cluster::EngineHandler>) {}

        fn propose(&self, _log: &LogId, at: Position, change: &Change) -> ProposeOutcome {
            self.proposed_joins
                .lock()
                .push(matches!(change, Change::Join(_)));
            let mut rejections_left = self.rejections_left.lock();
            if *rejections_left == 0 {
                return ProposeOutcome::Committed(at.next());
            }
            *rejections_left -= 1;
            ProposeOutcome::Rejected(RejectReason::Unavailable)
        }

        fn send(
            &self,
            _to: NodeId,
            message: switchboard_core::NodeMessage,
        ) -> Option<switchboard_core::NodeMessage> {
            Some(message)
        }

        fn status(&self) -> Option<switchboard_cluster::Status> {
            None
        }

        fn close(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn candidacy_is_proposed_until_it_is_committed_and_again_after_it_is_lost() {
        let election = Arc::new(new_election());
        let engine = Arc::new(RejectingEngine {
            rejections_left: Mutex::new(2),
            proposed_joins: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let log = voice_log();
        let keeper = tokio::spawn(election.clone().keep_candidacy(
            engine.clone(),
            log,
            stop.clone(),
        ));
        let mut terms = election.terms();
        let mut leads = async || {
            let here = terms.wait_for(|term| term.leader == Leader::ThisNode);
            let number = here.await.unwrap().number;
            terms.mark_unchanged();
            number
        };
        let first = leads().await;
        election.on_committed(&[leave(election.peer)]);
        assert!(leads().await > first);
        stop.cancel();
        keeper.await.unwrap();
        assert_eq!(election.leader(), Leader::None);
        let proposed_joins = engine.proposed_joins.lock().clone();
        assert_eq!(proposed_joins, [true, true, true, true, false]);
    }
}
