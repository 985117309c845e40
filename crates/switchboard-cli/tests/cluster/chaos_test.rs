//! A chaos test: nodes, a Redis and clients. It runs rounds with one fault each, and checks the invariants after each.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{
    client::ChaosClient,
    corruption::CorruptingRecorder,
    faults::{LEASE_SECS, ProcessFault},
    history::permanent_violations,
    network::{Link, Network},
    node::{Node, NodeConfig},
    oracle::{Violation, lost_signals, temporary_violations},
    record::{QuiescentPeriod, Record},
    redis::Redis,
    report::{log_of, print_progress},
    temp_dir::TempDir,
    test_cluster::{Mode, TestCluster},
};

/// The time for which the views must stay consistent.
const STEADY: Duration = Duration::from_secs(1);
/// The time limit for the delivery of signals.
const ARRIVE_MAX: Duration = Duration::from_secs(5);
/// The time limit for a node to report that it has lost or regained Redis.
const READY_MAX: Duration = Duration::from_secs(15);
/// The times for which the clients act in a round before the check: first they only send signals, then they also leave,
/// disconnect and join again (churn).
const TALK_TIME: Duration = Duration::from_millis(1000);
const CHURN_TIME: Duration = Duration::from_millis(2500);

/// The parameters of a test.
pub(crate) struct TestPlan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) clients: usize,
    pub(crate) has_redis: bool,
    pub(crate) network: Option<Network>,
    pub(crate) recorder: CorruptingRecorder,
    /// The time limit for consistent views.
    pub(crate) consistency_max: Duration,
    /// Additional settings of the nodes, as TOML.
    pub(crate) settings: &'static str,
}

/// A running test. The order of the fields is the order of dropping.
pub(crate) struct ChaosTest {
    seed: u64,
    pub(crate) rng: StdRng,
    round: String,
    start: Instant,
    consistency_max: Duration,
    pub(crate) cluster: Arc<TestCluster>,
    _clients: JoinSet<()>,
    quiescent: Vec<QuiescentPeriod>,
    /// The times from the kill of a node until each member on another node was told that a member of the killed node
    /// has left.
    pub(crate) leave_delays: Vec<Duration>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) redis: Option<Redis>,
    pub(crate) network: Option<Network>,
    dir: TempDir,
}

impl ChaosTest {
    /// Starts Redis, the nodes and the clients.
    pub(crate) fn start(plan: TestPlan) -> Self {
        let dir = TempDir::create();
        let network = plan.network;
        let redis_host = network.as_ref().map(|_| Network::host_address(Link::Redis));
        let redis = plan
            .has_redis
            .then(|| Redis::start(dir.path().join("redis"), redis_host));
        let cluster = TestCluster::new(plan.recorder);
        let configs = (0..plan.nodes).map(|number| {
            let namespace = network.as_ref().filter(|_| number + 1 == plan.nodes);
            config(
                number,
                dir.path().to_owned(),
                redis.as_ref(),
                namespace,
                plan.settings,
            )
        });
        let nodes: Vec<_> = configs.map(Node::start).collect();
        for node in &nodes {
            cluster.add_node(node.address().to_owned());
        }
        let mut clients = JoinSet::new();
        for client in 0..plan.clients {
            clients.spawn(ChaosClient::new(client, plan.seed, &cluster).run());
        }
        Self {
            seed: plan.seed,
            rng: StdRng::seed_from_u64(plan.seed),
            round: "before the first round".to_owned(),
            start: Instant::now(),
            consistency_max: plan.consistency_max,
            cluster,
            _clients: clients,
            quiescent: Vec::new(),
            leave_delays: Vec::new(),
            nodes,
            redis,
            network,
            dir,
        }
    }

    /// Runs all rounds. The error lists the violations with the logs of the clients.
    pub(crate) async fn run(&mut self, rounds: &[ProcessFault]) -> Result<(), String> {
        self.await_consistent_views().await?;
        for (number, process_fault) in rounds.iter().enumerate() {
            self.round = format!("round {}, {process_fault:?}", number + 1);
            self.run_without_faults().await?;
            let start = Instant::now();
            self.cluster.set(Mode {
                talk: true,
                churn: true,
            });
            self.inject_fault(*process_fault).await?;
            self.await_readiness(true).await?;
            let end = Instant::now();
            self.await_consistent_views().await?;
            let (fault_time, settle_time) = (end - start, end.elapsed().saturating_sub(STEADY));
            print_progress(&format!(
                "{}: took {fault_time:.1?}, settled {settle_time:.1?} later",
                self.round
            ));
        }
        self.run_without_faults().await
    }

    pub(crate) fn report(&mut self) {
        let record = self.cluster.record();
        print_progress(&format!(
            "{} memberships, {} signals",
            record.memberships.len(),
            record.signals.len()
        ));
        self.leave_delays.sort();
        if let Some(max) = self.leave_delays.last() {
            let median = self.leave_delays[self.leave_delays.len() / 2];
            let count = self.leave_delays.len();
            print_progress(&format!(
                "from the kill of a node until the leaves of its members: p50 {median:.2?}, max {max:.2?} of {count}"
            ));
        }
    }

    /// Runs the clients without a fault and checks the invariants.
    async fn run_without_faults(&mut self) -> Result<(), String> {
        // Earlier periods have been checked.
        self.quiescent = vec![QuiescentPeriod {
            from: Instant::now(),
            until: None,
        }];
        self.cluster.set(Mode {
            talk: true,
            churn: false,
        });
        tokio::time::sleep(TALK_TIME).await;
        self.cluster.set(Mode {
            talk: true,
            churn: true,
        });
        tokio::time::sleep(CHURN_TIME).await;
        self.await_consistent_views().await?;
        self.await_no_violations(ARRIVE_MAX, Duration::ZERO, |test| {
            lost_signals(&test.cluster.record(), &test.quiescent)
        })
        .await?;
        let mut record = self.cluster.record();
        let violations = permanent_violations(&record, &self.quiescent);
        let result = self.check_no_violations(&violations, &record);
        record.discard_checked_events();
        drop(record);
        if let Some(quiescent) = self.quiescent.last_mut() {
            quiescent.until = Some(Instant::now());
        }
        result
    }

    /// Waits until every client knows exactly the other members of its room, and one of each two members was told to
    /// send the offer.
    pub(crate) async fn await_consistent_views(&self) -> Result<(), String> {
        self.cluster.set(Mode::default());
        self.await_no_violations(self.consistency_max, STEADY, |test| {
            temporary_violations(&test.cluster.record(), &test.quiescent)
        })
        .await
    }

    /// Waits until `find` has returned no violation for the time `steady`.
    async fn await_no_violations(
        &self,
        max: Duration,
        steady: Duration,
        find: impl Fn(&Self) -> Vec<Violation>,
    ) -> Result<(), String> {
        let start = Instant::now();
        let mut steady_since = None;
        loop {
            let violations = find(self);
            if !violations.is_empty() {
                steady_since = None;
            } else if steady_since.get_or_insert_with(Instant::now).elapsed() >= steady {
                return Ok(());
            }
            if start.elapsed() > max + steady {
                let record = self.cluster.record();
                // A permanent violation may be the cause of the others.
                let mut all = permanent_violations(&record, &self.quiescent);
                all.extend(violations);
                return self.check_no_violations(&all, &record);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn check_no_violations(
        &self,
        violations: &[Violation],
        record: &Record,
    ) -> Result<(), String> {
        if violations.is_empty() {
            return Ok(());
        }
        let memberships: HashSet<_> = violations
            .iter()
            .take(3)
            .flat_map(|violation| &violation.memberships)
            .collect();
        let shown = violations
            .iter()
            .take(20)
            .map(|violation| format!("  {violation}\n"));
        let mut text = format!(
            "seed {}, {}: {} violations\n{}",
            self.seed,
            self.round,
            violations.len(),
            shown.collect::<String>()
        );
        for membership in memberships {
            text += &log_of(record, *membership, self.start);
        }
        Err(text)
    }

    /// Waits until all nodes report this readiness.
    pub(crate) async fn await_readiness(&self, is_ready: bool) -> Result<(), String> {
        let start = Instant::now();
        for node in &self.nodes {
            loop {
                let readiness = node.readiness().await;
                if readiness
                    .as_ref()
                    .is_some_and(|(status, _)| (*status == 200) == is_ready)
                {
                    break;
                }
                if start.elapsed() > READY_MAX {
                    return Err(format!(
                        "seed {}, {}: {} reports the readiness {readiness:?}",
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

    /// Keeps the logs of the servers. Returns a message with their directory.
    pub(crate) fn keep_logs(&mut self) -> String {
        format!("the servers' logs are in {}", self.dir.keep().display())
    }
}

/// The configuration of a node, in the namespace if `network` is given.
fn config(
    number: usize,
    dir: PathBuf,
    redis: Option<&Redis>,
    network: Option<&Network>,
    settings: &str,
) -> NodeConfig {
    let localhost = std::net::Ipv4Addr::LOCALHOST.into();
    let host = network.map_or(localhost, |_| Network::namespace_address(Link::Clients));
    let redis_host = network.map_or(localhost, |_| Network::host_address(Link::Redis));
    let lease = redis.map(|_| format!("[engine]\nlease = {LEASE_SECS}\n"));
    NodeConfig {
        name: format!("node-{}", number + 1),
        dir,
        host: host.to_string(),
        namespace: network.map(|network| network.name().to_owned()),
        engine: redis.map(|redis| redis.url(redis_host)),
        settings: format!("{settings}{}", lease.unwrap_or_default()),
    }
}
