//! What goes wrong in a round.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    dialects::ClientDialect,
    network::Link,
    oracle::Violation,
    record::{Name, ObservedEvent},
    redis::Redis,
    rounds::RoundStage,
};

/// Seconds of a node's lease: after so long without a sign of life its members are gone.
pub(crate) const LEASE_SECS: u64 = 5;
/// A node is stopped for so long, which is longer than its lease.
const STOP: Duration = Duration::from_secs(LEASE_SECS + 3);
/// Redis is away for so long.
const AWAY: Duration = Duration::from_secs(9);
/// A join that needs Redis is refused within two seconds; the holder of a name may be asked before.
const ANSWER_MAX: Duration = Duration::from_millis(4500);
const CUT: Duration = Duration::from_secs(LEASE_SECS + 3);
/// Until kernels have brought what they could not while a cable was cut: twice that, and the rest.
const RESUME_MAX: Duration = Duration::from_secs(2 * (LEASE_SECS + 3));

/// What goes wrong in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessFault {
    /// Clients fall silent, and their connections stay.
    Silence,
    /// A node is killed, and another started in its place.
    Kill,
    /// A node is asked to end, and another started in its place.
    Quit,
    /// A node is stopped for longer than its lease, and continued.
    Stop,
    /// Redis is killed, and started again with what it knew.
    RedisBack,
    /// Redis is killed, and started again with nothing.
    RedisEmpty,
    /// A node cannot reach Redis for longer than its lease; its clients can reach it.
    CutFromRedis,
    /// A node can reach nobody for longer than its lease.
    CutFromAll,
}

impl ProcessFault {
    /// Those of a cluster that need no network of its own.
    pub(crate) const WITHOUT_NETWORK: [Self; 5] = [
        Self::Kill,
        Self::Stop,
        Self::RedisBack,
        Self::RedisEmpty,
        Self::Quit,
    ];

    /// Those of a cluster that cut a node off.
    pub(crate) const OF_NETWORK: [Self; 2] = [Self::CutFromRedis, Self::CutFromAll];

    /// As many rounds as asked for, each kind as often as the others, in an order by the seed.
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

impl RoundStage {
    pub(crate) async fn disturb(&mut self, disturbance: ProcessFault) -> Result<(), String> {
        match disturbance {
            ProcessFault::Silence => self
                .house
                .hush((0..self.house.record().players).filter(|client| client % 5 == 0)),
            ProcessFault::Kill => self.kill().await?,
            ProcessFault::Quit => self.quit().await,
            ProcessFault::Stop => {
                let node = self.rng.random_range(0..self.nodes.len());
                self.nodes[node].stop();
                tokio::time::sleep(STOP).await;
                self.nodes[node].go_on();
            }
            ProcessFault::RedisBack => self.lose_redis(Redis::start_again).await?,
            ProcessFault::RedisEmpty => self.lose_redis(Redis::start_empty).await?,
            ProcessFault::CutFromRedis => self.cut(&[Link::Redis]).await?,
            ProcessFault::CutFromAll => self.cut(&[Link::Redis, Link::Clients]).await?,
        }
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), String> {
        let node = self.rng.random_range(0..self.nodes.len());
        let address = self.nodes[node].address().to_owned();
        let (lost, knowing) = self.acquaintances(&address);
        self.house.closed_at(&address);
        let at = Instant::now();
        self.nodes[node].kill();
        self.nodes[node].replace();
        self.house.open_at(self.nodes[node].address().to_owned());
        self.must_be_ready(true).await?;
        self.must_settle().await?;
        self.departures.extend(self.departed(&lost, &knowing, at));
        Ok(())
    }

    /// The members by this node, and those who were told of them.
    fn acquaintances(&self, node: &str) -> (HashSet<Name>, Vec<usize>) {
        let record = self.house.record();
        let stays = record
            .stays
            .iter()
            .enumerate()
            .filter(|(_, stay)| stay.is_in());
        let (lost, knowing): (Vec<_>, Vec<_>) = stays.partition(|(_, stay)| stay.node == node);
        let lost = lost.into_iter().filter_map(|(_, stay)| stay.me.clone());
        (
            lost.collect(),
            knowing.into_iter().map(|(index, _)| index).collect(),
        )
    }

    fn departed(&self, lost: &HashSet<Name>, knowing: &[usize], at: Instant) -> Vec<Duration> {
        let record = self.house.record();
        let mut seen = HashSet::new();
        let noted = knowing.iter().flat_map(|index| {
            record.stays[*index]
                .noted
                .iter()
                .map(move |noted| (index, noted))
        });
        let departed = noted.filter_map(|(index, noted)| match &noted.what {
            ObservedEvent::Left(name) if noted.at > at && lost.contains(name) => {
                Some((index, name, noted.at - at))
            }
            ObservedEvent::Left(_)
            | ObservedEvent::Call(_)
            | ObservedEvent::Came(_)
            | ObservedEvent::List(_)
            | ObservedEvent::Heard { .. }
            | ObservedEvent::Error(_) => None,
        });
        departed
            .filter(|(index, name, _)| seen.insert((*index, (*name).clone())))
            .map(|(_, _, after)| after)
            .collect()
    }

    async fn quit(&mut self) {
        let node = self.rng.random_range(0..self.nodes.len());
        let address = self.nodes[node].address().to_owned();
        self.house.closed_at(&address);
        self.nodes[node].terminate().await;
        self.nodes[node].replace();
        self.house.open_at(self.nodes[node].address().to_owned());
    }

    async fn lose_redis(&mut self, start: fn(&mut Redis)) -> Result<(), String> {
        let at = Instant::now();
        self.redis.as_mut().ok_or("there is a Redis")?.kill();
        self.must_be_ready(false).await?;
        tokio::time::sleep_until((at + AWAY).into()).await;
        self.must_have_answered(at)?;
        start(self.redis.as_mut().ok_or("there is a Redis")?);
        Ok(())
    }

    /// Whoever has asked for a place since then was told yes or no in time.
    fn must_have_answered(&self, since: Instant) -> Result<(), String> {
        let now = Instant::now();
        let record = self.house.record();
        let asked = record.stays.iter().enumerate().filter(|(_, stay)| {
            stay.asked > since
                && now > stay.asked + ANSWER_MAX
                && stay.tongue != ClientDialect::Mesh
        });
        let faults = asked.filter_map(|(index, stay)| {
            let answered = stay.entered.or(stay.ended).unwrap_or(now);
            let took = answered - stay.asked;
            (took > ANSWER_MAX).then(|| {
                let words = format!("client {} waits {took:?} for its place", stay.client);
                Violation::new([index], words)
            })
        });
        self.must_be_none(&faults.collect::<Vec<_>>(), &record)
    }

    async fn cut(&self, cables: &[Link]) -> Result<(), String> {
        let network = self.network.as_ref().ok_or("there is a namespace")?;
        cables.iter().for_each(|cable| network.cut(*cable));
        tokio::time::sleep(CUT).await;
        cables.iter().try_for_each(|cable| network.join(*cable))?;
        // Kernels go on trying ever more rarely. What is said meanwhile waits behind what was said then.
        let start = Instant::now();
        while network.holds_back()? {
            if start.elapsed() > RESUME_MAX {
                return Err("what was sent over the cable is still not taken".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
