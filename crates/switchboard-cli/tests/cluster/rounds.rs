//! A stage with nodes, a Redis and clients; rounds in which one thing goes wrong, and what must hold
//! after each.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{
    client::Player,
    corruption::CorruptedRecorder,
    faults::{LEASE_SECS, ProcessFault},
    folder::Folder,
    history::wrongs,
    network::{Link, Network},
    node::{Launch, Node},
    oracle::{Violation, undelivered, unsettled},
    record::{QuiescentPeriod, Record},
    redis::Redis,
    report::{log_of, say},
    test_cluster::{Mode, TestCluster},
};

/// What must be right is right for so long.
const STEADY: Duration = Duration::from_secs(1);
/// Until signals that are under way have arrived.
const ARRIVE_MAX: Duration = Duration::from_secs(5);
/// Until a node says that it misses its Redis, or has it again.
const READY_MAX: Duration = Duration::from_secs(15);
/// How long the clients play in a round before they are judged.
const TALK: Duration = Duration::from_millis(1000);
const PLAY: Duration = Duration::from_millis(2500);

/// What a stage is made of.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    pub(crate) has_redis: bool,
    pub(crate) network: Option<Network>,
    pub(crate) liar: CorruptedRecorder,
    /// How long the views may take to be right.
    pub(crate) settle_max: Duration,
    /// Settings of the nodes besides, as TOML.
    pub(crate) settings: &'static str,
}

/// The fields go in this order when it is dropped.
pub(crate) struct RoundStage {
    seed: u64,
    pub(crate) rng: StdRng,
    round: String,
    start: Instant,
    settle_max: Duration,
    pub(crate) house: Arc<TestCluster>,
    _players: JoinSet<()>,
    calm: Vec<QuiescentPeriod>,
    /// How long after a node was killed each of those who knew its members saw each of them leave.
    pub(crate) departures: Vec<Duration>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) redis: Option<Redis>,
    pub(crate) network: Option<Network>,
    folder: Folder,
}

impl RoundStage {
    pub(crate) fn set(plan: Plan) -> Self {
        let folder = Folder::make();
        let network = plan.network;
        let apart = network.as_ref().map(|_| Network::outside(Link::Redis));
        let redis = plan
            .has_redis
            .then(|| Redis::start(folder.path().join("redis"), apart));
        let house = TestCluster::new(plan.liar);
        let launches = (0..plan.nodes).map(|number| {
            let inside = network.as_ref().filter(|_| number + 1 == plan.nodes);
            launch(
                number,
                folder.path().to_owned(),
                redis.as_ref(),
                inside,
                plan.settings,
            )
        });
        let nodes: Vec<_> = launches.map(Node::start).collect();
        for node in &nodes {
            house.open_at(node.address().to_owned());
        }
        let mut players = JoinSet::new();
        for client in 0..plan.clients {
            players.spawn(Player::new(client, plan.seed, &house).play());
        }
        Self {
            seed: plan.seed,
            rng: StdRng::seed_from_u64(plan.seed),
            round: "before the first round".to_owned(),
            start: Instant::now(),
            settle_max: plan.settle_max,
            house,
            _players: players,
            calm: Vec::new(),
            departures: Vec::new(),
            nodes,
            redis,
            network,
            folder,
        }
    }

    /// Plays all rounds. What does not hold is the error, with everything that is known of it.
    pub(crate) async fn play(&mut self, rounds: &[ProcessFault]) -> Result<(), String> {
        self.must_settle().await?;
        for (number, disturbance) in rounds.iter().enumerate() {
            self.round = format!("round {}, {disturbance:?}", number + 1);
            self.calm_play().await?;
            let start = Instant::now();
            self.house.set(Mode {
                talk: true,
                churn: true,
            });
            self.disturb(*disturbance).await?;
            self.must_be_ready(true).await?;
            let end = Instant::now();
            self.must_settle().await?;
            let (disturbed, settled) = (end - start, end.elapsed().saturating_sub(STEADY));
            say(&format!(
                "{}: took {disturbed:.1?}, settled {settled:.1?} later",
                self.round
            ));
        }
        self.calm_play().await
    }

    pub(crate) fn report(&mut self) {
        let record = self.house.record();
        say(&format!(
            "{} stays, {} signals",
            record.stays.len(),
            record.signals.len()
        ));
        self.departures.sort();
        if let Some(max) = self.departures.last() {
            let half = self.departures[self.departures.len() / 2];
            let count = self.departures.len();
            say(&format!(
                "from a node's kill until its members are seen to leave: p50 {half:.2?}, max {max:.2?} of {count}"
            ));
        }
    }

    /// Nothing is disturbed: the clients talk, come and go, and everything must hold at the end.
    async fn calm_play(&mut self) -> Result<(), String> {
        // The calm times before have been judged.
        self.calm = vec![QuiescentPeriod {
            from: Instant::now(),
            until: None,
        }];
        self.house.set(Mode {
            talk: true,
            churn: false,
        });
        tokio::time::sleep(TALK).await;
        self.house.set(Mode {
            talk: true,
            churn: true,
        });
        tokio::time::sleep(PLAY).await;
        self.must_settle().await?;
        self.until(ARRIVE_MAX, Duration::ZERO, |stage| {
            undelivered(&stage.house.record(), &stage.calm)
        })
        .await?;
        let mut record = self.house.record();
        let faults = wrongs(&record, &self.calm);
        let verdict = self.must_be_none(&faults, &record);
        record.forget();
        drop(record);
        if let Some(calm) = self.calm.last_mut() {
            calm.until = Some(Instant::now());
        }
        verdict
    }

    /// Promises 1 and 3: soon everybody's view is the truth, and one of two is told to call.
    pub(crate) async fn must_settle(&self) -> Result<(), String> {
        self.house.set(Mode::default());
        self.until(self.settle_max, STEADY, |stage| {
            unsettled(&stage.house.record(), &stage.calm)
        })
        .await
    }

    /// Waits until there has been no fault for a while.
    async fn until(
        &self,
        max: Duration,
        steady: Duration,
        look: impl Fn(&Self) -> Vec<Violation>,
    ) -> Result<(), String> {
        let start = Instant::now();
        let mut right_since = None;
        loop {
            let faults = look(self);
            if !faults.is_empty() {
                right_since = None;
            } else if right_since.get_or_insert_with(Instant::now).elapsed() >= steady {
                return Ok(());
            }
            if start.elapsed() > max + steady {
                let record = self.house.record();
                // What stays wrong may be why the rest does not come right.
                let mut all = wrongs(&record, &self.calm);
                all.extend(faults);
                return self.must_be_none(&all, &record);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn must_be_none(&self, faults: &[Violation], record: &Record) -> Result<(), String> {
        if faults.is_empty() {
            return Ok(());
        }
        let stays: HashSet<_> = faults
            .iter()
            .take(3)
            .flat_map(|fault| &fault.stays)
            .collect();
        let shown = faults.iter().take(20).map(|fault| format!("  {fault}\n"));
        let mut text = format!(
            "seed {}, {}: {} faults\n{}",
            self.seed,
            self.round,
            faults.len(),
            shown.collect::<String>()
        );
        for stay in stays {
            text += &log_of(record, *stay, self.start);
        }
        Err(text)
    }

    /// That nodes say whether they have their Redis.
    pub(crate) async fn must_be_ready(&self, is_ready: bool) -> Result<(), String> {
        let start = Instant::now();
        for node in &self.nodes {
            loop {
                let said = node.readiness().await;
                if said
                    .as_ref()
                    .is_some_and(|(status, _)| (*status == 200) == is_ready)
                {
                    break;
                }
                if start.elapsed() > READY_MAX {
                    return Err(format!(
                        "seed {}, {}: {} says {said:?} of its readiness",
                        self.seed,
                        self.round,
                        node.address()
                    ));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Says where the servers' logs are, and keeps them.
    pub(crate) fn keep_logs(&mut self) -> String {
        format!("the servers' logs are in {}", self.folder.keep().display())
    }
}

/// How to start a node: in the namespace if there is one for it.
fn launch(
    number: usize,
    folder: PathBuf,
    redis: Option<&Redis>,
    network: Option<&Network>,
    settings: &str,
) -> Launch {
    let localhost = std::net::Ipv4Addr::LOCALHOST.into();
    let host = network.map_or(localhost, |_| Network::inside(Link::Clients));
    let redis_host = network.map_or(localhost, |_| Network::outside(Link::Redis));
    let lease = redis.map(|_| format!("[engine]\nlease = {LEASE_SECS}\n"));
    Launch {
        name: format!("node-{}", number + 1),
        folder,
        host: host.to_string(),
        namespace: network.map(|network| network.name().to_owned()),
        engine: redis.map(|redis| redis.url(redis_host)),
        settings: format!("{settings}{}", lease.unwrap_or_default()),
    }
}
