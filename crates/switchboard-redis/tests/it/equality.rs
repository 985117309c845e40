//! Tests that Redis gives the same responses and events as the model: the in-memory store of the testkit.
//! Both execute the same random requests.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use switchboard_cluster::store::{
    ChangeOutcome, Lease, LogEvent, LogVersion, MemberSpec, Proposal, Snapshot, Store as _,
    StoreConnection as _, StorePush, StoreRequest, StoreResponse, StoredChange, StoredMember,
};
use switchboard_core::{
    Address, ElectionId, EvictionReason, LeaveCause, LeaveKind, LogId, NodeId, PeerId, Position,
    RoomId, RoomName, RoomScope, SpaceName,
};
use switchboard_redis::RedisConnection;
use switchboard_testkit::InMemoryStore;
use tokio::sync::mpsc;

use crate::server::RedisProcess;

const PREFIX: &str = "p{q}:";
const NODES: u64 = 3;
const PEERS: u8 = 9;

/// Maps the positions and generations of the model to those of Redis, for each log. Both have the same order but
/// different values, because each store takes the number of a new generation from its own clock.
#[derive(Debug, Default)]
struct GenerationMap(BTreeMap<(LogId, u64), u64>);

impl GenerationMap {
    /// Records that these positions are equivalent. Panics if that contradicts an earlier record.
    fn record_pair(&mut self, log: &LogId, model: u64, redis: u64) {
        let before = self.0.range(..=(log.clone(), model)).next_back();
        if let Some(((_, position), mapped)) = before.filter(|((other, _), _)| other == log) {
            assert_eq!(
                *position == model,
                *mapped == redis,
                "{log:?}: {model} in the model and {redis} in Redis: only one of them is a known position"
            );
            assert!(
                *position == model || *mapped < redis,
                "{log:?}: {redis} in Redis is not after the equivalent of {position}, although {model} is"
            );
        }
        let after = self.0.range((log.clone(), model + 1)..).next();
        if let Some((_, mapped)) = after.filter(|((other, _), _)| other == log) {
            assert!(
                redis < *mapped,
                "{log:?}: {redis} in Redis is not before {mapped}, the equivalent of a position after {model}"
            );
        }
        self.0.insert((log.clone(), model), redis);
    }

    /// The position in Redis of a position of the model; for an unknown one, extrapolated from the
    /// last known one.
    fn mapped_position(&self, log: &LogId, model: u64) -> u64 {
        let before = self.0.range(..=(log.clone(), model)).next_back();
        match before.filter(|((other, _), _)| other == log) {
            Some(((_, position), mapped)) => mapped + (model - position),
            None => model.min(1),
        }
    }

    fn check_version(&mut self, log: &LogId, model: LogVersion, redis: LogVersion) {
        self.record_pair(log, model.generation, redis.generation);
        self.record_pair(log, model.head.get(), redis.head.get());
    }

    fn check_members(&mut self, log: &LogId, model: &[StoredMember], redis: &[StoredMember]) {
        assert_eq!(model.len(), redis.len());
        for (model, redis) in model.iter().zip(redis) {
            self.check_member(log, model, redis);
        }
    }

    fn check_member(&mut self, log: &LogId, model: &StoredMember, redis: &StoredMember) {
        self.record_pair(log, model.since.get(), redis.since.get());
        let translated = StoredMember {
            since: model.since,
            ..redis.clone()
        };
        assert_eq!(*model, translated);
    }

    fn check_snapshots(&mut self, log: &LogId, model: Option<&Snapshot>, redis: Option<&Snapshot>) {
        assert_eq!(model.is_some(), redis.is_some());
        if let (Some(model), Some(redis)) = (model, redis) {
            self.check_version(log, model.version, redis.version);
            self.check_members(log, &model.members, &redis.members);
        }
    }

    fn check_event(&mut self, log: &LogId, model: &LogEvent, redis: &LogEvent) {
        self.check_version(log, model.version, redis.version);
        match (&model.change, &redis.change) {
            (StoredChange::Join(model), StoredChange::Join(redis)) => {
                self.check_member(log, model, redis)
            }
            (model, redis) => assert_eq!(model, redis),
        }
    }

    fn check_responses(
        &mut self,
        request: &StoreRequest,
        model: &StoreResponse,
        redis: &StoreResponse,
    ) {
        let (StoreRequest::Read(log)
        | StoreRequest::Change { log, .. }
        | StoreRequest::Sync { log, .. }) = request
        else {
            assert_eq!(model, redis);
            return;
        };
        match (model, redis) {
            (StoreResponse::Read(model), StoreResponse::Read(redis)) => {
                self.check_snapshots(log, model.as_ref(), redis.as_ref());
            }
            (
                StoreResponse::Changed { outcome: model },
                StoreResponse::Changed { outcome: redis },
            ) => match (model, redis) {
                (ChangeOutcome::Applied(model), ChangeOutcome::Applied(redis)) => {
                    self.check_version(log, *model, *redis)
                }
                (ChangeOutcome::AlreadyMember(model), ChangeOutcome::AlreadyMember(redis)) => {
                    self.record_pair(log, model.get(), redis.get());
                }
                (model, redis) => assert_eq!(model, redis),
            },
            (
                StoreResponse::Synced {
                    fenced,
                    rejected,
                    snapshot,
                },
                StoreResponse::Synced {
                    fenced: redis_fenced,
                    rejected: redis_rejected,
                    snapshot: redis_snapshot,
                },
            ) => {
                assert_eq!((fenced, rejected), (redis_fenced, redis_rejected));
                self.check_snapshots(log, snapshot.as_ref(), redis_snapshot.as_ref());
            }
            (model, redis) => panic!("the model responds {model:?}, Redis responds {redis:?}"),
        }
    }

    /// Translates a request to the model into one to Redis.
    fn translate(&self, request: &StoreRequest) -> StoreRequest {
        let mut request = request.clone();
        if let StoreRequest::Sync {
            log,
            known_version: version,
            wanted,
            ..
        } = &mut request
        {
            if version.generation != 0 {
                version.generation = self.mapped_position(log, version.generation);
            }
            if version.head != Position::default() {
                version.head = self.mapped_position(log, version.head.get()).into();
            }
            for wanted in wanted {
                wanted.since = wanted
                    .since
                    .map(|since| self.mapped_position(log, since.get()).into());
            }
        }
        request
    }
}

/// Draws random requests, partly from the contents of the model.
struct RandomRequests {
    random: StdRng,
    /// Earlier states of one log, from which `Sync` requests are made.
    backups: Vec<Snapshot>,
    /// The largest heartbeat counter so far.
    heartbeats: u64,
}

impl RandomRequests {
    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    fn node(&mut self) -> NodeId {
        node_id(self.random.random_range(0..NODES))
    }

    fn lease(&mut self) -> Lease {
        Lease {
            node: self.node(),
            epoch: self.random.random_range(1..4),
        }
    }

    fn log(&mut self) -> LogId {
        let logs = logs();
        logs.choose(&mut self.random)
            .expect("there are some")
            .clone()
    }

    fn peer(&mut self) -> PeerId {
        PeerId::from_random([self.random.random_range(0..PEERS); 16])
    }

    fn address(&mut self) -> Address {
        let addresses = ["a", "b{}\n\0", "ü:é", "4:four", "g", "n"];
        let address = addresses.choose(&mut self.random).expect("there are some");
        Address::parse(address, 0).expect("an address")
    }

    fn members_max(&mut self) -> usize {
        *[0, 0, 3, 5]
            .choose(&mut self.random)
            .expect("there are some")
    }

    fn wanted(&mut self, positions: &[Position]) -> MemberSpec {
        let since = positions.choose(&mut self.random).copied();
        MemberSpec {
            peer: self.peer(),
            address: self.address(),
            since: since.filter(|_| self.random.random_range(0..3) != 0),
            metadata: "{\"é\":1}"
                .repeat(self.random.random_range(0..3))
                .into_bytes(),
        }
    }

    fn proposal(&mut self) -> Proposal {
        if self.one_in(2) {
            return Proposal::Join(self.wanted(&[]));
        }
        let causes = [
            LeaveCause::Requested(LeaveKind::Announced),
            LeaveCause::Requested(LeaveKind::Silent),
            LeaveCause::Evicted(EvictionReason::Unresponsive),
            LeaveCause::Evicted(EvictionReason::Kicked),
            LeaveCause::Evicted(EvictionReason::Replaced),
            LeaveCause::NodeLost,
        ];
        let cause = causes.choose(&mut self.random).expect("there are some");
        Proposal::Leave(self.peer(), *cause)
    }

    fn sync(&mut self, log: LogId, model: &mut InMemoryStore) -> StoreRequest {
        let (snapshot, _) = model.clone().execute(&StoreRequest::Read(log.clone()), 0);
        if let StoreResponse::Read(Some(snapshot)) = snapshot {
            self.backups.push(snapshot);
        }
        let backup = self.backups.choose(&mut self.random).cloned();
        let mut version = backup
            .as_ref()
            .map_or(LogVersion::default(), |backup| backup.version);
        if self.one_in(8) {
            version.head = Position::from(version.head.get() + self.random.random_range(0..4));
        }
        let positions: Vec<_> = backup
            .iter()
            .flat_map(|backup| &backup.members)
            .map(|member| member.since)
            .collect();
        let count = self.random.random_range(0..5);
        let mut wanted: Vec<_> = (0..count).map(|_| self.wanted(&positions)).collect();
        if self.one_in(2) {
            wanted.extend(
                backup
                    .into_iter()
                    .flat_map(|backup| backup.members)
                    .map(|member| MemberSpec {
                        peer: member.peer,
                        address: member.address,
                        since: Some(member.since),
                        metadata: member.metadata,
                    }),
            );
        }
        // Sometimes the node does not know the generation, and the positions of its memberships are larger.
        if self.one_in(6) {
            version = LogVersion::default();
            for wanted in &mut wanted {
                let offset = self.random.random_range(0..500);
                wanted.since = wanted.since.map(|since| (since.get() + offset).into());
            }
        }
        StoreRequest::Sync {
            log,
            lease: self.lease(),
            known_version: version,
            wanted,
            members_max: self.members_max(),
        }
    }

    fn request(&mut self, model: &mut InMemoryStore) -> StoreRequest {
        let log = self.log();
        match self.random.random_range(0..40) {
            0..3 => {
                self.heartbeats += u64::from(self.one_in(2));
                StoreRequest::Heartbeat {
                    lease: self.lease(),
                    counter: self
                        .heartbeats
                        .saturating_sub(self.random.random_range(0..3)),
                    status: "{\"a\":\"ü:\"}".to_owned(),
                }
            }
            3 => {
                let last_heartbeat = self
                    .heartbeats
                    .saturating_sub(self.random.random_range(0..3));
                StoreRequest::Fence {
                    lease: self.lease(),
                    last_heartbeat,
                }
            }
            4 => StoreRequest::RemoveNode(self.lease()),
            5 => StoreRequest::SubscribedLogs(self.node()),
            6..9 => StoreRequest::Subscribe(self.node(), log),
            9 => StoreRequest::Unsubscribe(self.node(), log),
            10..12 => StoreRequest::Read(log),
            12..15 => {
                // The backup must be of this log: positions of one log are meaningless in another.
                self.backups.clear();
                self.sync(log, model)
            }
            15 => StoreRequest::Evict(log, self.lease()),
            _ => StoreRequest::Change {
                log,
                lease: self.lease(),
                proposal: self.proposal(),
                members_max: self.members_max(),
            },
        }
    }
}

fn node_id(number: u64) -> NodeId {
    NodeId::from(number * 0x1234_5678_9abc)
}

fn logs() -> Vec<LogId> {
    let space = SpaceName::default();
    let name = |name: &str| RoomName::parse(name, 0).expect("a name");
    vec![
        LogId::Room(RoomId::shared(space.clone(), name("lobby"))),
        LogId::Room(RoomId::shared(space.clone(), name("}:{\0\n%é"))),
        LogId::Room(RoomId {
            scope: RoomScope::only("mesh"),
            ..RoomId::shared(space, name("lobby"))
        }),
        LogId::Election(ElectionId::parse("voice", 0).expect("a name")),
    ]
}

fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    since
        .as_micros()
        .try_into()
        .expect("before the year 500000")
}

/// Receives the next event of the observer, which is subscribed to all logs.
async fn next_event(pushes: &mut mpsc::Receiver<StorePush>) -> (LogId, LogEvent) {
    match pushes.recv().await {
        Some(StorePush::LogEvent(log, event)) => (log, event),
        other => panic!("{other:?}"),
    }
}

async fn compare(server: &RedisProcess, seed: u64, steps: usize) {
    let store = server.store(PREFIX);
    let observer = NodeId::from(u64::MAX);
    let (observer_connection, mut pushes) = store.connect(observer).await.expect("connected");
    let subscriptions: Vec<_> = logs()
        .into_iter()
        .map(|log| StoreRequest::Subscribe(observer, log))
        .collect();
    observer_connection
        .execute(&subscriptions)
        .await
        .expect("subscribed");
    let (client, _pushes) = store.connect(NodeId::from(77)).await.expect("connected");

    let mut model = InMemoryStore::default();
    let mut positions = GenerationMap::default();
    let mut requests = RandomRequests {
        random: StdRng::seed_from_u64(seed),
        backups: Vec::new(),
        heartbeats: 0,
    };
    let mut older: Vec<Snapshot> = Vec::new();
    let mut kind_counts = [0_usize; 9];
    let mut backup = None;
    for _ in 0..steps {
        let mut request = requests.request(&mut model);
        maybe_use_older_state(&mut request, &mut older, &mut requests);
        maybe_lose_data(server, &mut model, &mut backup, &mut requests);
        let (expected, events) = model.execute(&request, now_us());
        let translated = positions.translate(&request);
        let responses = client
            .execute(std::slice::from_ref(&translated))
            .await
            .expect("answered");
        kind_counts[kind(&expected)] += 1;
        positions.check_responses(&request, &expected, &responses[0]);
        for (log, expected) in events {
            let (event_log, event_of_redis) = next_event(&mut pushes).await;
            assert_eq!(event_log, log);
            positions.check_event(&log, &expected, &event_of_redis);
        }
        if let StoreResponse::Synced {
            snapshot: Some(snapshot),
            ..
        }
        | StoreResponse::Read(Some(snapshot)) = expected
            && let StoreRequest::Sync { log, .. } | StoreRequest::Read(log) = &request
            && *log == logs()[0]
        {
            older.push(snapshot);
        }
    }
    assert!(
        kind_counts.iter().all(|count| *count > 0),
        "a kind of response has never occurred: {kind_counts:?}"
    );
    check_cleanup(&client, &observer_connection, observer, server).await;
}

/// Sometimes changes a `Sync` request into one of a node that knows an older state of the log. Applies only to the
/// first log, of which `older` has snapshots: the positions of one log are meaningless in another.
fn maybe_use_older_state(
    request: &mut StoreRequest,
    older: &mut Vec<Snapshot>,
    requests: &mut RandomRequests,
) {
    if older.len() > 20 {
        older.remove(0);
    }
    let StoreRequest::Sync {
        log,
        known_version: version,
        wanted,
        ..
    } = request
    else {
        return;
    };
    if *log != logs()[0] || !requests.one_in(2) {
        return;
    }
    let Some(backup) = older.choose(&mut requests.random) else {
        return;
    };
    *version = backup.version;
    wanted.clear();
    wanted.extend(backup.members.iter().map(|member| MemberSpec {
        peer: member.peer,
        address: member.address.clone(),
        since: Some(member.since),
        metadata: member.metadata.clone(),
    }));
}

/// Sometimes wipes the store or restores it from a backup.
fn maybe_lose_data(
    server: &RedisProcess,
    model: &mut InMemoryStore,
    backup: &mut Option<InMemoryStore>,
    requests: &mut RandomRequests,
) {
    if requests.one_in(300) {
        *backup = None;
        model.wipe();
        for node in 0..server.count() {
            server.cli_at(node, &["FLUSHALL"]);
        }
    }
    if requests.one_in(150) {
        *backup = Some(model.clone());
        copy(server, "", ":backup");
    }
    if let Some(older) = backup
        && requests.one_in(150)
    {
        model.restore(older);
        copy(server, ":backup", "");
    }
}

fn copy(server: &RedisProcess, from: &str, to: &str) {
    for key in keys() {
        let (from, to) = (format!("{key}{from}"), format!("{key}{to}"));
        server.cli(&["-c", "DEL", &to]);
        server.cli(&["-c", "COPY", &from, &to]);
    }
}

/// All keys of this test in Redis.
fn keys() -> Vec<String> {
    let prefix = "p%7Bq%7D%3A";
    let subscriptions = (0..NODES).map(|node| format!("{{{prefix}}}:logs:{}", node_id(node)));
    let nodes = format!("{{{prefix}}}:nodes");
    subscriptions.chain(log_keys()).chain([nodes]).collect()
}

/// The keys of [`logs`].
fn log_keys() -> [String; 4] {
    let logs = [
        "r:default:lobby",
        "r:default:%7D%3A%7B%00%0A%25%C3%A9",
        "c:mesh:default:lobby",
        "d:voice",
    ];
    logs.map(|log| format!("{{p%7Bq%7D%3A:{log}}}:log"))
}

/// A number for the kind of a response, to check that all kinds have occurred.
fn kind(response: &StoreResponse) -> usize {
    match response {
        StoreResponse::Heartbeat {
            was_listed: true, ..
        } => 0,
        StoreResponse::Heartbeat {
            was_listed: false, ..
        } => 8,
        StoreResponse::Fenced(_) => 1,
        StoreResponse::Logs(_) => 2,
        StoreResponse::Read(_) => 3,
        StoreResponse::Changed { .. } => 4,
        StoreResponse::Synced { fenced: false, .. } => 5,
        StoreResponse::Synced { fenced: true, .. } => 6,
        StoreResponse::Done | StoreResponse::Posted(_) => 7,
        StoreResponse::Failed(reason) => panic!("the model never fails: {reason}"),
    }
}

/// Checks that a log has an expiry time exactly when it has no members. Then removes all nodes, and checks that all
/// keys but the secret expire.
async fn check_cleanup(
    client: &RedisConnection,
    observer_connection: &RedisConnection,
    observer: NodeId,
    server: &RedisProcess,
) {
    let secret = client.secret().await.expect("a secret");
    assert_eq!(observer_connection.secret().await.as_ref(), Ok(&secret));
    for (log, key) in logs().into_iter().zip(log_keys()) {
        let read = client
            .execute(&[StoreRequest::Read(log)])
            .await
            .expect("read");
        let [StoreResponse::Read(snapshot)] = read.as_slice() else {
            panic!("{read:?}");
        };
        let has_members = snapshot
            .as_ref()
            .is_some_and(|snapshot| !snapshot.members.is_empty());
        let ttl: i64 = server.cli(&["-c", "TTL", &key]).parse().expect("seconds");
        assert_eq!(ttl == -1, has_members, "{key}: {ttl}");
    }
    let mut removals = Vec::new();
    for node in 0..NODES {
        for epoch in 1..4 {
            let lease = Lease {
                node: node_id(node),
                epoch,
            };
            removals.extend(
                logs()
                    .into_iter()
                    .map(|log| StoreRequest::Evict(log, lease)),
            );
            removals.extend(
                logs()
                    .into_iter()
                    .map(|log| StoreRequest::Unsubscribe(lease.node, log)),
            );
            removals.push(StoreRequest::RemoveNode(lease));
        }
    }
    client.execute(&removals).await.expect("cleared");
    let unsubscriptions: Vec<_> = logs()
        .into_iter()
        .map(|log| StoreRequest::Unsubscribe(observer, log))
        .collect();
    observer_connection
        .execute(&unsubscriptions)
        .await
        .expect("unsubscribed");
    for key in keys() {
        server.cli(&["-c", "DEL", &format!("{key}:backup")]);
    }
    for key in server.keys() {
        let is_secret = key.ends_with(":secret");
        let ttl: i64 = server.cli(&["-c", "TTL", &key]).parse().expect("seconds");
        assert!(
            is_secret || (1..=60).contains(&ttl),
            "{key} expires in {ttl} s"
        );
    }
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn one_server_responds_like_the_model() {
    for seed in 0..4 {
        compare(&RedisProcess::start(), seed, 2000).await;
    }
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn redis_cluster_responds_like_the_model() {
    let server = RedisProcess::start_cluster();
    compare(&server, 99, 2000).await;
}
