//! The faults of a round.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    chaos_test::ChaosTest,
    dialects::ClientDialect,
    network::Link,
    oracle::Violation,
    record::{Name, RecordedEvent},
    redis::Redis,
};

/// The lease of a node in seconds. After its end, the members of a node that does not respond are removed.
pub(crate) const LEASE_SECS: u64 = 5;
/// The time for which a node is paused, longer than its lease.
const PAUSE: Duration = Duration::from_secs(LEASE_SECS + 3);
/// The time for which Redis is down.
const REDIS_DOWN: Duration = Duration::from_secs(9);
/// The time limit for the answer to a join. The server may first ask the holder of the address whether it is alive (a
/// challenge of two seconds), and then waits two seconds for Redis.
const ANSWER_MAX: Duration = Duration::from_millis(4500);
/// The time for which a node is disconnected, longer than its lease.
const CUT_TIME: Duration = Duration::from_secs(LEASE_SECS + 3);
/// The time limit for TCP to retransmit the data of a disconnected link.
const RESUME_MAX: Duration = Duration::from_secs(2 * (LEASE_SECS + 3));

/// A fault of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessFault {
    /// Clients freeze; their connections stay open.
    FreezeClients,
    /// A node is killed and replaced.
    Kill,
    /// A node is terminated with SIGTERM and replaced.
    Terminate,
    /// A node is paused for longer than its lease, and resumed.
    Pause,
    /// Redis is killed and restarted with its data.
    RestartRedis,
    /// Redis is killed and restarted without data.
    RestartRedisEmpty,
    /// A node cannot reach Redis for longer than its lease; its clients can reach it.
    CutFromRedis,
    /// A node can reach neither Redis nor its clients for longer than its lease.
    CutFromAll,
}

impl ProcessFault {
    /// The faults that need no network namespace.
    pub(crate) const WITHOUT_NETWORK: [Self; 5] = [
        Self::Kill,
        Self::Pause,
        Self::RestartRedis,
        Self::RestartRedisEmpty,
        Self::Terminate,
    ];

    /// The faults that disconnect a node.
    pub(crate) const OF_NETWORK: [Self; 2] = [Self::CutFromRedis, Self::CutFromAll];

    /// Draws the faults of a number of rounds. Each kind is drawn equally often, in an order that the seed determines.
    pub(crate) fn draw(kinds: &[Self], rounds: usize, seed: u64) -> Vec<Self> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut drawn = Vec::new();
        while drawn.len() < rounds {
            let mut kinds = kinds.to_vec();
            kinds.shuffle(&mut rng);
            drawn.extend(kinds);
        }
        drawn.truncate(rounds);
        drawn
    }
}

impl ChaosTest {
    pub(crate) async fn inject_fault(&mut self, process_fault: ProcessFault) -> Result<(), String> {
        match process_fault {
            ProcessFault::FreezeClients => self
                .cluster
                .freeze((0..self.cluster.record().clients).filter(|client| client % 5 == 0)),
            ProcessFault::Kill => self.kill().await?,
            ProcessFault::Terminate => self.terminate().await,
            ProcessFault::Pause => {
                let node = self.rng.random_range(0..self.nodes.len());
                self.nodes[node].pause();
                tokio::time::sleep(PAUSE).await;
                self.nodes[node].resume();
            }
            ProcessFault::RestartRedis => self.restart_redis(Redis::restart).await?,
            ProcessFault::RestartRedisEmpty => self.restart_redis(Redis::start_empty).await?,
            ProcessFault::CutFromRedis => self.cut(&[Link::Redis]).await?,
            ProcessFault::CutFromAll => self.cut(&[Link::Redis, Link::Clients]).await?,
        }
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), String> {
        let node = self.rng.random_range(0..self.nodes.len());
        let address = self.nodes[node].address().to_owned();
        let (lost, observers) = self.members_and_observers(&address);
        self.cluster.remove_node(&address);
        let at = Instant::now();
        self.nodes[node].kill();
        self.nodes[node].replace();
        self.cluster.add_node(self.nodes[node].address().to_owned());
        self.await_readiness(true).await?;
        self.await_consistent_views().await?;
        self.leave_delays
            .extend(self.leave_delays(&lost, &observers, at));
        Ok(())
    }

    /// The members of a node, and the memberships of the other nodes.
    fn members_and_observers(&self, node: &str) -> (HashSet<Name>, Vec<usize>) {
        let record = self.cluster.record();
        let memberships = record
            .memberships
            .iter()
            .enumerate()
            .filter(|(_, membership)| membership.is_member());
        let (lost, observers): (Vec<_>, Vec<_>) =
            memberships.partition(|(_, membership)| membership.node == node);
        let lost = lost
            .into_iter()
            .filter_map(|(_, membership)| membership.own_name.clone());
        (
            lost.collect(),
            observers.into_iter().map(|(index, _)| index).collect(),
        )
    }

    /// The times from `at` until each observer was told that each of the `lost` members has left.
    fn leave_delays(
        &self,
        lost: &HashSet<Name>,
        observers: &[usize],
        at: Instant,
    ) -> Vec<Duration> {
        let record = self.cluster.record();
        let mut seen = HashSet::new();
        let events = observers.iter().flat_map(|index| {
            record.memberships[*index]
                .events
                .iter()
                .map(move |entry| (index, entry))
        });
        let leave_delays = events.filter_map(|(index, entry)| match &entry.event {
            RecordedEvent::Left(name) if entry.at > at && lost.contains(name) => {
                Some((index, name, entry.at - at))
            }
            RecordedEvent::Left(_)
            | RecordedEvent::MustOffer(_)
            | RecordedEvent::Joined(_)
            | RecordedEvent::MemberList(_)
            | RecordedEvent::Signal { .. }
            | RecordedEvent::Error(_) => None,
        });
        leave_delays
            .filter(|(index, name, _)| seen.insert((*index, (*name).clone())))
            .map(|(_, _, after)| after)
            .collect()
    }

    async fn terminate(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        let address = self.nodes[node].address().to_owned();
        self.cluster.remove_node(&address);
        self.nodes[node].terminate().await;
        self.nodes[node].replace();
        self.cluster.add_node(self.nodes[node].address().to_owned());
    }

    async fn restart_redis(&mut self, start: fn(&mut Redis)) -> Result<(), String> {
        let at = Instant::now();
        self.redis.as_mut().ok_or("this test has no Redis")?.kill();
        self.await_readiness(false).await?;
        tokio::time::sleep_until((at + REDIS_DOWN).into()).await;
        self.check_join_answers(at)?;
        start(self.redis.as_mut().ok_or("this test has no Redis")?);
        Ok(())
    }

    /// Checks that all joins since then were answered in time.
    fn check_join_answers(&self, since: Instant) -> Result<(), String> {
        let now = Instant::now();
        let record = self.cluster.record();
        let must_be_answered = record
            .memberships
            .iter()
            .enumerate()
            .filter(|(_, membership)| {
                membership.requested_at > since
                    && now > membership.requested_at + ANSWER_MAX
                    && membership.dialect != ClientDialect::Mesh
            });
        let violations = must_be_answered.filter_map(|(index, membership)| {
            let answered = membership.joined_at.or(membership.ended_at).unwrap_or(now);
            let took = answered - membership.requested_at;
            (took > ANSWER_MAX).then(|| {
                let text = format!(
                    "client {} had no answer to its join for {took:?}",
                    membership.client
                );
                Violation::new([index], text)
            })
        });
        self.check_no_violations(&violations.collect::<Vec<_>>(), &record)
    }

    async fn cut(&self, links: &[Link]) -> Result<(), String> {
        let network = self
            .network
            .as_ref()
            .ok_or("this test has no network namespace")?;
        links.iter().for_each(|link| network.cut(*link));
        tokio::time::sleep(CUT_TIME).await;
        links.iter().try_for_each(|link| network.restore(*link))?;
        // TCP retransmits at growing intervals; new data waits behind the old data.
        let start = Instant::now();
        while network.has_unacknowledged_data()? {
            if start.elapsed() > RESUME_MAX {
                return Err("data on the link is still not acknowledged".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
