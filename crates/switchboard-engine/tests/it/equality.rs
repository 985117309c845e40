//! Redis answers what the model answers, and tells the same news.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use switchboard_core::{
    Address, ElectionId, EvictionReason, LeaveCause, LeaveKind, LogId, NodeId, PeerId, Position,
    RoomId, RoomName, RoomScope, SpaceName,
};
use switchboard_engine::{
    cluster::{
        model::InMemoryStore,
        store::{
            ChangeOutcome, Lease, LogEvent, LogVersion, MemberSpec, Proposal, Snapshot,
            StoreRequest, StoreResponse, StoredChange, StoredMember,
        },
    },
    redis::{StoreConnection, StorePush},
};
use tokio::sync::mpsc;

use crate::server::{RedisProcess, is_installed};

const PREFIX: &str = "p{q}:";
const NODES: u64 = 3;
const PEERS: u8 = 9;

/// Positions of the model, and those of Redis: the same order, other numbers.
#[derive(Debug, Default)]
struct GenerationMap(BTreeMap<(LogId, u64), u64>);

impl GenerationMap {
    /// Notes that these mean the same, which must not contradict what was noted.
    fn meet(&mut self, log: &LogId, model: u64, redis: u64) {
        let before = self.0.range(..=(log.clone(), model)).next_back();
        if let Some(((_, position), twin)) = before.filter(|((other, _), _)| other == log) {
            assert_eq!(
                *position == model,
                *twin == redis,
                "{log:?}: {model}, {redis}"
            );
            assert!(
                *position == model || *twin < redis,
                "{log:?}: {model}, {redis}"
            );
        }
        let after = self.0.range((log.clone(), model + 1)..).next();
        if let Some((_, twin)) = after.filter(|((other, _), _)| other == log) {
            assert!(redis < *twin, "{log:?}: {model}, {redis}");
        }
        self.0.insert((log.clone(), model), redis);
    }

    /// What Redis calls this; of what was never there, as far from the last that was.
    fn of(&self, log: &LogId, model: u64) -> u64 {
        let before = self.0.range(..=(log.clone(), model)).next_back();
        match before.filter(|((other, _), _)| other == log) {
            Some(((_, position), twin)) => twin + (model - position),
            None => model.min(1),
        }
    }

    fn known(&mut self, log: &LogId, model: LogVersion, redis: LogVersion) {
        self.meet(log, model.generation, redis.generation);
        self.meet(log, model.head.get(), redis.head.get());
    }

    fn seats(&mut self, log: &LogId, model: &[StoredMember], redis: &[StoredMember]) {
        assert_eq!(model.len(), redis.len());
        for (model, redis) in model.iter().zip(redis) {
            self.seat(log, model, redis);
        }
    }

    fn seat(&mut self, log: &LogId, model: &StoredMember, redis: &StoredMember) {
        self.meet(log, model.since.get(), redis.since.get());
        let renamed = StoredMember {
            since: model.since,
            ..redis.clone()
        };
        assert_eq!(*model, renamed);
    }

    fn snapshots(&mut self, log: &LogId, model: Option<&Snapshot>, redis: Option<&Snapshot>) {
        assert_eq!(model.is_some(), redis.is_some());
        if let (Some(model), Some(redis)) = (model, redis) {
            self.known(log, model.version, redis.version);
            self.seats(log, &model.members, &redis.members);
        }
    }

    fn news(&mut self, log: &LogId, model: &LogEvent, redis: &LogEvent) {
        self.known(log, model.version, redis.version);
        match (&model.change, &redis.change) {
            (StoredChange::Join(model), StoredChange::Join(redis)) => self.seat(log, model, redis),
            (model, redis) => assert_eq!(model, redis),
        }
    }

    fn answers(&mut self, request: &StoreRequest, model: &StoreResponse, redis: &StoreResponse) {
        let (StoreRequest::Read(log)
        | StoreRequest::Change { log, .. }
        | StoreRequest::Sync { log, .. }) = request
        else {
            assert_eq!(model, redis);
            return;
        };
        match (model, redis) {
            (StoreResponse::Read(model), StoreResponse::Read(redis)) => {
                self.snapshots(log, model.as_ref(), redis.as_ref());
            }
            (
                StoreResponse::Changed { outcome: model },
                StoreResponse::Changed { outcome: redis },
            ) => match (model, redis) {
                (ChangeOutcome::Applied(model), ChangeOutcome::Applied(redis)) => {
                    self.known(log, *model, *redis)
                }
                (ChangeOutcome::AlreadyMember(model), ChangeOutcome::AlreadyMember(redis)) => {
                    self.meet(log, model.get(), redis.get());
                }
                (model, redis) => assert_eq!(model, redis),
            },
            (
                StoreResponse::Synced {
                    fenced,
                    rejected: declined,
                    snapshot,
                },
                StoreResponse::Synced {
                    fenced: f,
                    rejected: d,
                    snapshot: s,
                },
            ) => {
                assert_eq!((fenced, declined), (f, d));
                self.snapshots(log, snapshot.as_ref(), s.as_ref());
            }
            (model, redis) => panic!("{model:?} and {redis:?}"),
        }
    }

    /// A request to the model as Redis understands it.
    fn translate(&self, request: &StoreRequest) -> StoreRequest {
        let mut request = request.clone();
        if let StoreRequest::Sync {
            log,
            known_version: known,
            wanted,
            ..
        } = &mut request
        {
            if known.generation != 0 {
                known.generation = self.of(log, known.generation);
            }
            if known.head != Position::default() {
                known.head = self.of(log, known.head.get()).into();
            }
            for wanted in wanted {
                wanted.since = wanted.since.map(|since| self.of(log, since.get()).into());
            }
        }
        request
    }
}

/// Draws requests, with an eye on what the model holds.
struct RandomRequests {
    random: StdRng,
    backups: Vec<Snapshot>,
    beats: u64,
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

    fn seats(&mut self) -> usize {
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
            metadata: "{\"é\":1}".repeat(self.random.random_range(0..3)),
        }
    }

    fn proposal(&mut self) -> Proposal {
        if self.one_in(2) {
            return Proposal::Join(self.wanted(&[]));
        }
        let departures = [
            LeaveCause::Requested(LeaveKind::Announced),
            LeaveCause::Requested(LeaveKind::Silent),
            LeaveCause::Evicted(EvictionReason::Unresponsive),
            LeaveCause::Evicted(EvictionReason::Kicked),
            LeaveCause::Evicted(EvictionReason::Replaced),
            LeaveCause::NodeLost,
        ];
        let departure = departures.choose(&mut self.random).expect("there are some");
        Proposal::Leave(self.peer(), *departure)
    }

    fn sync(&mut self, log: LogId, model: &mut InMemoryStore) -> StoreRequest {
        let (now, _) = model.clone().execute(&StoreRequest::Read(log.clone()), 0);
        if let StoreResponse::Read(Some(now)) = now {
            self.backups.push(now);
        }
        let then = self.backups.choose(&mut self.random).cloned();
        let mut known = then
            .as_ref()
            .map_or(LogVersion::default(), |then| then.version);
        if self.one_in(8) {
            known.head = Position::from(known.head.get() + self.random.random_range(0..4));
        }
        let positions: Vec<_> = then
            .iter()
            .flat_map(|then| &then.members)
            .map(|seat| seat.since)
            .collect();
        let count = self.random.random_range(0..5);
        let mut wanted: Vec<_> = (0..count).map(|_| self.wanted(&positions)).collect();
        if self.one_in(2) {
            wanted.extend(
                then.into_iter()
                    .flat_map(|then| then.members)
                    .map(|seat| MemberSpec {
                        peer: seat.peer,
                        address: seat.address,
                        since: Some(seat.since),
                        metadata: seat.metadata,
                    }),
            );
        }
        // Seats of a life that nobody knows any more, some of them ahead of the log.
        if self.one_in(6) {
            known = LogVersion::default();
            for wanted in &mut wanted {
                let leap = self.random.random_range(0..500);
                wanted.since = wanted.since.map(|since| (since.get() + leap).into());
            }
        }
        StoreRequest::Sync {
            log,
            lease: self.lease(),
            known_version: known,
            wanted,
            members_max: self.seats(),
        }
    }

    fn request(&mut self, model: &mut InMemoryStore) -> StoreRequest {
        let log = self.log();
        match self.random.random_range(0..40) {
            0..3 => {
                self.beats += u64::from(self.one_in(2));
                StoreRequest::Heartbeat {
                    lease: self.lease(),
                    counter: self.beats.saturating_sub(self.random.random_range(0..3)),
                    status: "{\"a\":\"ü:\"}".to_owned(),
                }
            }
            3 => {
                let beat = self.beats.saturating_sub(self.random.random_range(0..3));
                StoreRequest::Fence {
                    lease: self.lease(),
                    last_heartbeat: beat,
                }
            }
            4 => StoreRequest::RemoveNode(self.lease()),
            5 => StoreRequest::SubscribedLogs(self.node()),
            6..9 => StoreRequest::Subscribe(self.node(), log),
            9 => StoreRequest::Unsubscribe(self.node(), log),
            10..12 => StoreRequest::Read(log),
            12..15 => {
                // Not of another log: its positions mean nothing here.
                self.backups.retain(|_| false);
                self.sync(log, model)
            }
            15 => StoreRequest::Evict(log, self.lease()),
            _ => StoreRequest::Change {
                log,
                lease: self.lease(),
                proposal: self.proposal(),
                members_max: self.seats(),
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

/// The next push of an observer who has opened all logs.
async fn next_news(pushes: &mut mpsc::Receiver<StorePush>) -> (LogId, LogEvent) {
    match pushes.recv().await {
        Some(StorePush::LogEvent(log, news)) => (log, news),
        other => panic!("{other:?}"),
    }
}

async fn compare(server: &RedisProcess, seed: u64, steps: usize) {
    let address = server.address();
    let observer = NodeId::from(u64::MAX);
    let (watch, mut pushes) = StoreConnection::open(&address, PREFIX, observer)
        .await
        .expect("connected");
    let opens: Vec<_> = logs()
        .into_iter()
        .map(|log| StoreRequest::Subscribe(observer, log))
        .collect();
    watch.execute(&opens).await.expect("opened");
    let (hand, _mail) = StoreConnection::open(&address, PREFIX, NodeId::from(77))
        .await
        .expect("connected");

    let mut model = InMemoryStore::default();
    let mut twins = GenerationMap::default();
    let mut chance = RandomRequests {
        random: StdRng::seed_from_u64(seed),
        backups: Vec::new(),
        beats: 0,
    };
    let mut older: Vec<Snapshot> = Vec::new();
    let mut kinds = [0_usize; 9];
    let mut backup = None;
    for _ in 0..steps {
        let mut request = chance.request(&mut model);
        age(&mut request, &mut older, &mut chance);
        mishap(server, &mut model, &mut backup, &mut chance);
        let (expected, news) = model.execute(&request, now_us());
        let asked = twins.translate(&request);
        let answers = hand
            .execute(std::slice::from_ref(&asked))
            .await
            .expect("answered");
        kinds[kind(&expected)] += 1;
        twins.answers(&request, &expected, &answers[0]);
        for (log, expected) in news {
            let (told_of, told) = next_news(&mut pushes).await;
            assert_eq!(told_of, log);
            twins.news(&log, &expected, &told);
        }
        if let StoreResponse::Synced {
            snapshot: Some(now),
            ..
        }
        | StoreResponse::Read(Some(now)) = expected
            && let StoreRequest::Sync { log, .. } | StoreRequest::Read(log) = &request
            && *log == logs()[0]
        {
            older.push(now);
        }
    }
    assert!(
        kinds.iter().all(|times| *times > 0),
        "not all was tried: {kinds:?}"
    );
    clear(&hand, &watch, observer, server).await;
}

/// Sometimes what a node knows is older than what was drawn: of the first log, for positions mean
/// nothing in another.
fn age(request: &mut StoreRequest, older: &mut Vec<Snapshot>, chance: &mut RandomRequests) {
    if older.len() > 20 {
        older.remove(0);
    }
    let StoreRequest::Sync {
        log,
        known_version: known,
        wanted,
        ..
    } = request
    else {
        return;
    };
    if *log != logs()[0] || !chance.one_in(2) {
        return;
    }
    let Some(then) = older.choose(&mut chance.random) else {
        return;
    };
    *known = then.version;
    wanted.clear();
    wanted.extend(then.members.iter().map(|seat| MemberSpec {
        peer: seat.peer,
        address: seat.address.clone(),
        since: Some(seat.since),
        metadata: seat.metadata.clone(),
    }));
}

/// The store forgets everything, or what has happened since a backup.
fn mishap(
    server: &RedisProcess,
    model: &mut InMemoryStore,
    backup: &mut Option<InMemoryStore>,
    chance: &mut RandomRequests,
) {
    if chance.one_in(300) {
        *backup = None;
        model.wipe();
        for node in 0..server.count() {
            server.cli_at(node, &["FLUSHALL"]);
        }
    }
    if chance.one_in(150) {
        *backup = Some(model.clone());
        copy(server, "", ":backup");
    }
    if let Some(older) = backup
        && chance.one_in(150)
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

/// Whatever this test has in Redis.
fn keys() -> Vec<String> {
    let prefix = "p%7Bq%7D%3A";
    let opened = (0..NODES).map(|node| format!("{{{prefix}}}:logs:{}", node_id(node)));
    let nodes = format!("{{{prefix}}}:nodes");
    opened.chain(log_keys()).chain([nodes]).collect()
}

/// Those of [`logs`].
fn log_keys() -> [String; 4] {
    let logs = [
        "r:default:lobby",
        "r:default:%7D%3A%7B%00%0A%25%C3%A9",
        "c:mesh:default:lobby",
        "d:voice",
    ];
    logs.map(|log| format!("{{p%7Bq%7D%3A:{log}}}:log"))
}

fn kind(answer: &StoreResponse) -> usize {
    match answer {
        StoreResponse::Heartbeat {
            is_listed: true, ..
        } => 0,
        StoreResponse::Heartbeat {
            is_listed: false, ..
        } => 8,
        StoreResponse::Fenced(_) => 1,
        StoreResponse::Logs(_) => 2,
        StoreResponse::Read(_) => 3,
        StoreResponse::Changed { .. } => 4,
        StoreResponse::Synced { fenced: false, .. } => 5,
        StoreResponse::Synced { fenced: true, .. } => 6,
        StoreResponse::Done | StoreResponse::Posted(_) => 7,
        StoreResponse::Failed(why) => panic!("the model never fails: {why}"),
    }
}

/// When nobody is left, nothing is left.
async fn clear(
    hand: &StoreConnection,
    watch: &StoreConnection,
    observer: NodeId,
    server: &RedisProcess,
) {
    let secret = hand.secret().await.expect("a secret");
    assert_eq!(watch.secret().await.as_ref(), Ok(&secret));
    for (log, key) in logs().into_iter().zip(log_keys()) {
        let read = hand
            .execute(&[StoreRequest::Read(log)])
            .await
            .expect("read");
        let [StoreResponse::Read(now)] = read.as_slice() else {
            panic!("{read:?}");
        };
        let stays = now.as_ref().is_some_and(|now| !now.members.is_empty());
        let left: i64 = server.cli(&["-c", "TTL", &key]).parse().expect("seconds");
        assert_eq!(left == -1, stays, "{key}: {left}");
    }
    let mut last = Vec::new();
    for node in 0..NODES {
        for epoch in 1..4 {
            let lease = Lease {
                node: node_id(node),
                epoch,
            };
            last.extend(
                logs()
                    .into_iter()
                    .map(|log| StoreRequest::Evict(log, lease)),
            );
            last.extend(
                logs()
                    .into_iter()
                    .map(|log| StoreRequest::Unsubscribe(lease.node, log)),
            );
            last.push(StoreRequest::RemoveNode(lease));
        }
    }
    hand.execute(&last).await.expect("cleared");
    let closes: Vec<_> = logs()
        .into_iter()
        .map(|log| StoreRequest::Unsubscribe(observer, log))
        .collect();
    watch.execute(&closes).await.expect("closed");
    for key in keys() {
        server.cli(&["-c", "DEL", &format!("{key}:backup")]);
    }
    for key in server.keys() {
        let is_secret = key.ends_with(":secret");
        let left: i64 = server.cli(&["-c", "TTL", &key]).parse().expect("seconds");
        assert!(
            is_secret || (1..=60).contains(&left),
            "{key} stays for {left} s"
        );
    }
}

#[tokio::test]
async fn one_server_answers_as_the_model_does() {
    if !is_installed() {
        return;
    }
    for seed in 0..4 {
        compare(&RedisProcess::start(), seed, 2000).await;
    }
}

#[tokio::test]
async fn a_redis_cluster_answers_as_the_model_does() {
    if !is_installed() {
        return;
    }
    let server = RedisProcess::start_cluster();
    compare(&server, 99, 2000).await;
}
