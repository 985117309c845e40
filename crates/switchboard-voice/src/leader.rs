//! The elected node of a cluster that serves all voice requests.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// The node that leads, as seen from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// The node of this process.
    ThisNode,
    /// The node with this URL.
    OtherNode(Arc<str>),
    /// Another node that advertises the URL of this one, and so cannot be reached.
    DuplicateAddress,
    /// No leader is known.
    None,
}

/// A leader and the number of its term: the time from its election until the next change of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Increases with each term. A leader that is elected again begins a new term.
    pub number: u64,
    /// The leader of the term.
    pub leader: Leader,
}

/// Waits for a term whose leader is `wanted`. Returns the current term after `wait_max`.
pub(crate) async fn wait_for_leader(
    mut terms: watch::Receiver<Term>,
    wanted: impl Fn(&Leader) -> bool,
    wait_max: Duration,
) -> Term {
    let matching = terms.wait_for(|term| wanted(&term.leader));
    if let Ok(Ok(term)) = timeout(wait_max, matching).await {
        return term.clone();
    }
    terms.borrow().clone()
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_leader_ends_with_a_leader_or_after_a_time() {
        let none = Term {
            number: 0,
            leader: Leader::None,
        };
        let elected = Term {
            number: 1,
            leader: Leader::OtherNode("http://node4:1/a".into()),
        };
        let (election, terms) = watch::channel(none.clone());
        let any_leader = |leader: &Leader| *leader != Leader::None;
        let wait_max = Duration::from_secs(10);
        let term = wait_for_leader(terms.clone(), any_leader, wait_max).await;
        assert_eq!(term, none);
        let electing = async {
            sleep(wait_max / 2).await;
            election.send_replace(elected.clone());
        };
        let waiting = wait_for_leader(terms, any_leader, wait_max);
        let (term, ()) = tokio::join!(waiting, electing);
        assert_eq!(term, elected);
    }
}
