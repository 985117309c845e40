//! What the connection promises: order, pushes, and an end that is told.

use std::time::{Duration, Instant};

use switchboard_core::{Address, ElectionId, LeaveCause, LeaveKind, LogId, NodeId, PeerId};
use switchboard_engine::{
    cluster::store::{
        ChangeOutcome, Lease, LogEvent, LogVersion, MemberSpec, Proposal, StoreRequest,
        StoreResponse, StoredChange, StoredMember,
    },
    redis::{self, StoreConnection, StoreError, StorePush},
};
use tokio::sync::mpsc;

use crate::server::{RedisProcess, is_installed};

const PREFIX: &str = "switchboard";

/// Longer than any timeout of the connection.
const LONG: Duration = Duration::from_secs(6);

fn lease(number: u64) -> Lease {
    Lease {
        node: NodeId::from(number),
        epoch: 1,
    }
}

fn log(number: usize) -> LogId {
    LogId::Election(ElectionId::parse(&format!("log {number}"), 0).expect("a name"))
}

fn peer(number: u32) -> PeerId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    PeerId::from_random(bytes)
}

fn join(of: &LogId, lease: Lease, number: u32) -> StoreRequest {
    let wanted = MemberSpec {
        peer: peer(number),
        address: Address::parse(&format!("a{number}"), 0).expect("an address"),
        since: None,
        metadata: "card".to_owned(),
    };
    StoreRequest::Change {
        log: of.clone(),
        lease,
        proposal: Proposal::Join(wanted),
        members_max: 0,
    }
}

fn leave(of: &LogId, lease: Lease, number: u32) -> StoreRequest {
    StoreRequest::Change {
        log: of.clone(),
        lease,
        proposal: Proposal::Leave(peer(number), LeaveCause::Requested(LeaveKind::Announced)),
        members_max: 0,
    }
}

async fn open(server: &RedisProcess, number: u64) -> (StoreConnection, mpsc::Receiver<StorePush>) {
    let node = NodeId::from(number);
    StoreConnection::open(&server.address(), PREFIX, node)
        .await
        .expect("connected")
}

async fn next(pushes: &mut mpsc::Receiver<StorePush>) -> StorePush {
    let push = tokio::time::timeout(LONG, pushes.recv()).await;
    push.expect("in time").expect("not ended")
}

async fn until_lost(pushes: &mut mpsc::Receiver<StorePush>) -> String {
    loop {
        if let StorePush::Lost(why) = next(pushes).await {
            assert_eq!(pushes.recv().await, None, "it is the last");
            return why;
        }
    }
}

fn silent(pushes: &mut mpsc::Receiver<StorePush>) {
    assert_eq!(pushes.try_recv(), Err(mpsc::error::TryRecvError::Empty));
}

fn who(push: StorePush) -> (LogId, PeerId) {
    let StorePush::LogEvent(log, LogEvent { change, .. }) = push else {
        panic!("{push:?}");
    };
    match change {
        StoredChange::Join(StoredMember { peer, .. }) | StoredChange::Leave(peer, _) => (log, peer),
    }
}

fn outcome(answer: &StoreResponse) -> ChangeOutcome {
    let StoreResponse::Changed { outcome } = answer else {
        panic!("{answer:?}");
    };
    *outcome
}

/// Batches are answered in order, news of opened logs come in order and no others, mail comes.
async fn carries(server: &RedisProcess) {
    let (one, mut to_one) = open(server, 1).await;
    let (two, mut to_two) = open(server, 2).await;
    let logs: Vec<_> = (0..20).map(log).collect();
    let opens: Vec<_> = logs
        .iter()
        .map(|log| StoreRequest::Subscribe(NodeId::from(2), log.clone()))
        .collect();
    assert_eq!(
        two.execute(&opens).await.expect("opened"),
        vec![StoreResponse::Done; 20]
    );
    assert_eq!(one.execute(&[]).await, Ok(Vec::new()));

    let mut batch = Vec::new();
    for number in 0..100 {
        batch.extend(logs.iter().map(|log| join(log, lease(1), number)));
    }
    let answers = one.execute(&batch).await.expect("answered");
    assert_eq!(answers.len(), batch.len());
    assert!(
        answers
            .iter()
            .all(|answer| matches!(outcome(answer), ChangeOutcome::Applied(_)))
    );
    let mut told = vec![0; logs.len()];
    for _ in 0..batch.len() {
        let (log, told_of) = who(next(&mut to_two).await);
        let at = logs.iter().position(|other| *other == log).expect("opened");
        assert_eq!(told_of, peer(told[at]), "in order");
        told[at] += 1;
    }
    silent(&mut to_one);

    // A subscription stands before what is sent after it, and ends where it is closed.
    let fresh = log(99);
    let open_fresh = StoreRequest::Subscribe(NodeId::from(1), fresh.clone());
    let close_fresh = StoreRequest::Unsubscribe(NodeId::from(1), fresh.clone());
    let batch = [
        open_fresh.clone(),
        join(&fresh, lease(1), 1),
        leave(&fresh, lease(1), 1),
    ];
    one.execute(&batch).await.expect("answered");
    assert_eq!(who(next(&mut to_one).await), (fresh.clone(), peer(1)));
    assert_eq!(who(next(&mut to_one).await), (fresh.clone(), peer(1)));
    one.execute(&[close_fresh.clone(), open_fresh, close_fresh])
        .await
        .expect("answered");
    two.execute(&[join(&fresh, lease(2), 2)])
        .await
        .expect("answered");
    let logs_of_one = one
        .execute(&[StoreRequest::SubscribedLogs(NodeId::from(1))])
        .await;
    assert_eq!(logs_of_one, Ok(vec![StoreResponse::Logs(Vec::new())]));
    silent(&mut to_one);

    let mail: Vec<_> = (0..=255)
        .map(|byte| StoreRequest::Post(NodeId::from(1), vec![byte; 3]))
        .collect();
    let answers = two.execute(&mail).await.expect("posted");
    assert_eq!(answers, vec![StoreResponse::Posted(1); 256]);
    for byte in 0..=255 {
        assert_eq!(next(&mut to_one).await, StorePush::Envelope(vec![byte; 3]));
    }
    let nobody = two
        .execute(&[StoreRequest::Post(NodeId::from(3), vec![1])])
        .await;
    assert_eq!(nobody, Ok(vec![StoreResponse::Posted(0)]));

    let beat = StoreRequest::Heartbeat {
        lease: lease(1),
        counter: 1,
        status: "{}".to_owned(),
    };
    one.execute(&[beat]).await.expect("answered");
    let nodes = redis::list_nodes(&server.address(), PREFIX)
        .await
        .expect("a list");
    assert_eq!(
        nodes.iter().map(|node| node.lease).collect::<Vec<_>>(),
        [lease(1)]
    );
    let elsewhere = redis::list_nodes(&server.address(), "other").await;
    assert_eq!(elsewhere, Ok(Vec::new()));
}

/// Scripts that are forgotten are told again, and nothing is out of order.
async fn learns_again(server: &RedisProcess) {
    let (one, mut pushes) = open(server, 11).await;
    let fresh = log(500);
    let node = NodeId::from(11);
    one.execute(&[StoreRequest::Subscribe(node, fresh.clone())])
        .await
        .expect("opened");
    for number in 0..3 {
        for server_number in 0..server.count() {
            server.cli_at(server_number, &["SCRIPT", "FLUSH"]);
        }
        let batch = [
            join(&fresh, lease(11), number),
            StoreRequest::Post(node, vec![7]),
            leave(&fresh, lease(11), number),
            StoreRequest::Read(fresh.clone()),
        ];
        let answers = one.execute(&batch).await.expect("answered");
        assert!(matches!(outcome(&answers[0]), ChangeOutcome::Applied(_)));
        assert!(matches!(outcome(&answers[2]), ChangeOutcome::Applied(_)));
        let StoreResponse::Read(Some(left)) = &answers[3] else {
            panic!("{answers:?}");
        };
        assert_eq!(left.members, []);
        for _ in 0..3 {
            assert!(!matches!(next(&mut pushes).await, StorePush::Lost(_)));
        }
    }
}

/// A broken connection is told, and every later request fails at once.
async fn tells_of_a_killed_connection(server: &RedisProcess) {
    let (one, mut pushes) = open(server, 21).await;
    for number in 0..server.count() {
        server.cli_at(number, &["CLIENT", "KILL", "TYPE", "pubsub"]);
        server.cli_at(
            number,
            &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
        );
    }
    let why = until_lost(&mut pushes).await;
    assert!(why.contains("closed"), "{why}");
    assert!(matches!(
        one.execute(&[]).await,
        Err(StoreError::Unreachable(_))
    ));
}

/// What nobody wrote is an error, which names the key, and no panic.
async fn survives_garbage(server: &RedisProcess) {
    let of = log(600);
    let key = "{switchboard:d:log%20600}:log";
    let spoil: &[&[&str]] = &[
        &["SET", key, "x"],
        &["HSET", key, "g", "x", "h", "1", "n", "1"],
        &["HSET", key, "g", "5", "n", "1"],
        &["HSET", key, "n", "1"],
        &["HSET", key, "g", "5", "h", "6", "n", "1", "s:x", "9:x"],
        &["HSET", key, "g", "5", "h", "6", "n", "1", "s:x", "no"],
        &["HSET", key, "g", "5", "h", "6", "n", "1", "s:x", "-3:"],
        &["HSET", key, "g", "5", "h", "1e400", "n", "1"],
        &[
            "HSET",
            key,
            "g",
            "5",
            "h",
            "6",
            "n",
            "1",
            "s:x",
            "1:a1:b1:c1:11:11:x",
        ],
    ];
    let sync = StoreRequest::Sync {
        log: of.clone(),
        lease: lease(31),
        known_version: LogVersion::default(),
        wanted: Vec::new(),
        members_max: 0,
    };
    for spoil in spoil {
        for request in [
            StoreRequest::Read(of.clone()),
            sync.clone(),
            StoreRequest::Evict(of.clone(), lease(31)),
        ] {
            for number in 0..server.count() {
                server.cli_at(number, &["DEL", key]);
                server.cli_at(number, spoil);
            }
            let (one, mut pushes) = open(server, 31).await;
            let done = one.execute(std::slice::from_ref(&request)).await;
            if let [StoreResponse::Failed(why)] = done.as_ref().expect("answered").as_slice() {
                assert!(why.contains(key), "{spoil:?} {why}");
            } else {
                // A seat of nobody known is in no one's way, until somebody wants to read it.
                assert!(
                    spoil.len() > 9 && !matches!(request, StoreRequest::Read(_)),
                    "{spoil:?}: {done:?}"
                );
            }
            silent(&mut pushes);
        }
    }
    for number in 0..server.count() {
        server.cli_at(number, &["DEL", key]);
    }

    let (one, mut pushes) = open(server, 31).await;
    one.execute(&[StoreRequest::Subscribe(NodeId::from(31), of.clone())])
        .await
        .expect("opened");
    let publish = if server.count() > 1 {
        "SPUBLISH"
    } else {
        "PUBLISH"
    };
    for number in 0..server.count() {
        server.cli_at(
            number,
            &[publish, "{switchboard:d:log%20600}:news", "1:2..."],
        );
    }
    until_lost(&mut pushes).await;
    for number in 0..server.count() {
        server.cli_at(
            number,
            &["SADD", "{switchboard}:logs:000000000000001f", "no log"],
        );
        server.cli_at(number, &["HSET", "{switchboard}:nodes", "who", "what"]);
    }
    let (one, _pushes) = open(server, 31).await;
    let logs = one
        .execute(&[StoreRequest::SubscribedLogs(NodeId::from(31))])
        .await;
    assert!(matches!(logs, Err(StoreError::Malformed(_))), "{logs:?}");
    let nodes = redis::list_nodes(&server.address(), PREFIX).await;
    assert!(matches!(nodes, Err(StoreError::Malformed(_))), "{nodes:?}");
}

/// What stands at the key of one log is nobody else's matter.
async fn fails_alone(server: &RedisProcess) {
    let (one, mut pushes) = open(server, 51).await;
    let (spoilt, sound) = (log(700), log(701));
    server.cli(&["-c", "SET", "{switchboard:d:log%20700}:log", "x"]);
    let batch = [
        join(&sound, lease(51), 1),
        join(&spoilt, lease(51), 1),
        join(&sound, lease(51), 2),
        leave(&spoilt, lease(51), 1),
    ];
    for _ in 0..2 {
        let answers = one.execute(&batch).await.expect("answered");
        for at in [1, 3] {
            assert!(
                matches!(&answers[at], StoreResponse::Failed(why) if why.contains("log%20700")),
                "{answers:?}"
            );
        }
        for at in [0, 2] {
            let outcome = outcome(&answers[at]);
            let is_in = matches!(
                outcome,
                ChangeOutcome::Applied(_) | ChangeOutcome::AlreadyMember(_)
            );
            assert!(is_in, "{outcome:?}");
        }
    }
    silent(&mut pushes);
    server.cli(&["-c", "DEL", "{switchboard:d:log%20700}:log"]);
    let answers = one.execute(&batch).await.expect("answered");
    assert!(matches!(outcome(&answers[1]), ChangeOutcome::Applied(_)));
}

/// Whoever does not read in time loses the connection, and no memory.
async fn bounds_what_waits(server: &RedisProcess) {
    let node = NodeId::from(41);
    let opened = StoreConnection::open_with_queue(&server.address(), PREFIX, node, 10).await;
    let (one, mut pushes) = opened.expect("connected");
    let mail: Vec<_> = (0..11)
        .map(|byte| StoreRequest::Post(node, vec![byte]))
        .collect();
    _ = one.execute(&mail).await;
    for byte in 0..10 {
        assert_eq!(next(&mut pushes).await, StorePush::Envelope(vec![byte]));
    }
    let why = until_lost(&mut pushes).await;
    assert!(why.contains("push queue is full"), "{why}");
    assert!(one.execute(&mail).await.is_err());

    // In bytes too; and what was received does not wait.
    let (one, mut pushes) = open(server, 42).await;
    let big = [StoreRequest::Post(NodeId::from(42), vec![0; 7 << 20])];
    for _ in 0..12 {
        one.execute(&big).await.expect("posted");
        assert!(matches!(next(&mut pushes).await, StorePush::Envelope(_)));
    }
    for _ in 0..10 {
        _ = one.execute(&big).await;
    }
    let why = until_lost(&mut pushes).await;
    assert!(why.contains("push queue is full"), "{why}");
}

async fn all(server: &RedisProcess) {
    carries(server).await;
    learns_again(server).await;
    tells_of_a_killed_connection(server).await;
    bounds_what_waits(server).await;
    fails_alone(server).await;
    survives_garbage(server).await;
}

#[tokio::test]
async fn one_server_carries() {
    if is_installed() {
        all(&RedisProcess::start()).await;
    }
}

#[tokio::test]
async fn a_redis_cluster_carries() {
    if is_installed() {
        all(&RedisProcess::start_cluster()).await;
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_of_in_time() {
    if !is_installed() {
        return;
    }
    let mut server = RedisProcess::start();
    let (one, mut pushes) = open(&server, 1).await;
    server.signal("-STOP");
    let since = Instant::now();
    let error = one.execute(&[join(&log(0), lease(1), 1)]).await;
    assert!(
        matches!(error, Err(StoreError::Unreachable(_))),
        "{error:?}"
    );
    let again = StoreConnection::open(&server.address(), PREFIX, NodeId::from(1)).await;
    assert!(
        matches!(again, Err(StoreError::Unreachable(_))),
        "{again:?}"
    );
    assert!(since.elapsed() < LONG, "{:?}", since.elapsed());
    until_lost(&mut pushes).await;
    server.signal("-CONT");

    let (one, mut pushes) = open(&server, 1).await;
    server.kill(0);
    let why = until_lost(&mut pushes).await;
    assert!(why.contains("closed"), "{why}");
    assert!(one.execute(&[join(&log(0), lease(1), 1)]).await.is_err());
    let again = StoreConnection::open(&server.address(), PREFIX, NodeId::from(1)).await;
    assert!(
        matches!(again, Err(StoreError::Unreachable(_))),
        "{again:?}"
    );
    server.restart();
    let (one, _pushes) = open(&server, 1).await;
    one.execute(&[join(&log(0), lease(1), 1)])
        .await
        .expect("answered");
}

#[tokio::test]
async fn a_master_that_is_gone_ends_the_connection() {
    if !is_installed() {
        return;
    }
    let mut server = RedisProcess::start_cluster();
    let (one, mut pushes) = open(&server, 1).await;
    server.kill(2);
    until_lost(&mut pushes).await;
    assert!(one.execute(&[]).await.is_err());
}

/// While slots are moved, the changes go on; when they have moved, the connection ends and the next
/// one knows where they are.
#[tokio::test]
async fn slots_may_move() {
    if !is_installed() {
        return;
    }
    let server = RedisProcess::start_cluster();
    let (one, mut pushes) = open(&server, 1).await;
    let of = log(0);
    let node = NodeId::from(1);
    one.execute(&[
        StoreRequest::Subscribe(node, of.clone()),
        join(&of, lease(1), 1),
    ])
    .await
    .expect("answered");
    let key = "{switchboard:d:log%200}:log";
    let slot = server.cli(&["CLUSTER", "KEYSLOT", key]);
    let ids: Vec<_> = (0..3)
        .map(|at| server.cli_at(at, &["CLUSTER", "MYID"]))
        .collect();
    let owner = (0..3)
        .find(|at| server.cli_at(*at, &["EXISTS", key]) == "1")
        .expect("somewhere");
    let other = (owner + 1) % 3;
    server.cli_at(
        other,
        &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[owner]],
    );
    server.cli_at(
        owner,
        &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[other]],
    );
    one.execute(&[join(&of, lease(1), 2)])
        .await
        .expect("it is still there");
    let port = server.port(other).to_string();
    assert_eq!(
        server.cli_at(owner, &["MIGRATE", "127.0.0.1", &port, key, "0", "2000"]),
        "OK"
    );
    let batch = [
        join(&of, lease(1), 3),
        join(&of, lease(1), 4),
        StoreRequest::Read(of.clone()),
    ];
    let answers = one.execute(&batch).await.expect("it is asked elsewhere");
    let StoreResponse::Read(Some(snapshot)) = &answers[2] else {
        panic!("{answers:?}");
    };
    assert_eq!(snapshot.members.len(), 4);
    for at in [other, owner, 3 - other - owner] {
        server.cli_at(at, &["CLUSTER", "SETSLOT", &slot, "NODE", &ids[other]]);
    }
    until_lost(&mut pushes).await;
    let (one, _pushes) = open(&server, 1).await;
    let answers = one
        .execute(&[leave(&of, lease(1), 4)])
        .await
        .expect("answered");
    assert!(matches!(outcome(&answers[0]), ChangeOutcome::Applied(_)));
}

#[tokio::test]
async fn a_password_is_asked_for_and_not_shown() {
    if !is_installed() {
        return;
    }
    let server = RedisProcess::start_with(&["--requirepass", "geheim#1"]);
    let with = |login: &str| server.url().replace("://", &format!("://{login}@"));
    let (one, _pushes) = {
        let address = with(":geheim%231").parse().expect("an address");
        StoreConnection::open(&address, PREFIX, NodeId::from(1))
            .await
            .expect("connected")
    };
    assert!(!format!("{one:?}").contains("geheim"), "{one:?}");
    let refusals = [
        ("", "requires a password"),
        (":wrong", "rejected the user or the password"),
    ];
    for (login, word) in refusals {
        let address = if login.is_empty() {
            server.address()
        } else {
            with(login).parse().expect("an address")
        };
        let refused = StoreConnection::open(&address, PREFIX, NodeId::from(1)).await;
        assert!(
            matches!(&refused, Err(StoreError::Refused(why)) if why.contains(word) && !why.contains("wrong")),
            "{refused:?}"
        );
    }
    let cluster = server
        .url()
        .replace("redis://", "redis-cluster://:geheim%231@");
    let refused = StoreConnection::open(
        &cluster.parse().expect("an address"),
        PREFIX,
        NodeId::from(1),
    )
    .await;
    assert!(
        matches!(&refused, Err(StoreError::Refused(why)) if why.contains("not a Redis Cluster")),
        "{refused:?}"
    );
}

/// Whom to trust is read from the environment, so it is another process that connects.
#[tokio::test]
async fn tls_is_spoken_with_who_is_vouched_for() {
    const URL: &str = "SWITCHBOARD_TEST_TLS_URL";
    if !is_installed() {
        return;
    }
    if let Ok(url) = std::env::var(URL) {
        let address = url.parse().expect("an address");
        let opened = StoreConnection::open(&address, PREFIX, NodeId::from(1)).await;
        let (one, _pushes) = opened.expect("connected");
        one.execute(&[join(&log(0), lease(1), 1)])
            .await
            .expect("answered");
        return;
    }
    let (server, authority) = RedisProcess::start_tls();
    for (trusted, expected) in [(true, true), (false, false)] {
        let mut again = std::process::Command::new(std::env::current_exe().expect("this test"));
        again.args(["--exact", "carrier::tls_is_spoken_with_who_is_vouched_for"]);
        again.env(URL, server.url());
        if trusted {
            again.env("SSL_CERT_FILE", &authority);
        }
        let output = again.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), expected, "{said}");
        assert!(trusted || said.contains("certificate"), "{said}");
    }
}
