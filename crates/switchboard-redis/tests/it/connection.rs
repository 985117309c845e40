//! Tests of the connection to Redis: the order of requests, the pushes (events of membership logs and envelopes with
//! messages of other nodes), and the report of a lost connection.

use std::time::{Duration, Instant};

use switchboard_cluster::store::{
    ChangeOutcome, ConnectResult, Lease, LogEvent, LogVersion, MemberSpec, Proposal, Store as _,
    StoreConnection as _, StorePush, StoreRequest, StoreResponse, StoredChange, StoredMember,
};
use switchboard_core::{
    Address, ElectionId, LeaveCause, LeaveKind, LogId, NodeId, PeerId, error_chain,
};
use switchboard_redis::{RedisAddress, RedisConnection, RedisStore, StoreError};
use tokio::sync::mpsc;

use crate::server::RedisProcess;

const PREFIX: &str = "switchboard";

/// A timeout longer than every timeout of the connection.
const TIMEOUT: Duration = Duration::from_secs(6);

/// The first lease of the node with this number.
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

fn join(log_id: &LogId, lease: Lease, number: u32) -> StoreRequest {
    let spec = MemberSpec {
        peer: peer(number),
        address: Address::parse(&format!("a{number}"), 0).expect("an address"),
        since: None,
        metadata: b"card".to_vec(),
    };
    StoreRequest::Change {
        log: log_id.clone(),
        lease,
        proposal: Proposal::Join(spec),
        members_max: 0,
    }
}

fn leave(log_id: &LogId, lease: Lease, number: u32) -> StoreRequest {
    StoreRequest::Change {
        log: log_id.clone(),
        lease,
        proposal: Proposal::Leave(peer(number), LeaveCause::Requested(LeaveKind::Announced)),
        members_max: 0,
    }
}

async fn connect(
    server: &RedisProcess,
    number: u64,
) -> (RedisConnection, mpsc::Receiver<StorePush>) {
    let node = NodeId::from(number);
    server.store(PREFIX).connect(node).await.expect("connected")
}

async fn connect_to(address: RedisAddress) -> ConnectResult<RedisConnection> {
    let store = RedisStore::new(address, PREFIX);
    store.connect(NodeId::from(1)).await
}

/// The next push, within the timeout.
async fn next(pushes: &mut mpsc::Receiver<StorePush>) -> StorePush {
    let push = tokio::time::timeout(TIMEOUT, pushes.recv()).await;
    push.expect("in time").expect("the queue is open")
}

/// Skips pushes until [`StorePush::Lost`]. Returns its reason.
async fn until_lost(pushes: &mut mpsc::Receiver<StorePush>) -> String {
    loop {
        if let StorePush::Lost(reason) = next(pushes).await {
            assert_eq!(pushes.recv().await, None, "no push follows StorePush::Lost");
            return reason;
        }
    }
}

fn assert_no_push(pushes: &mut mpsc::Receiver<StorePush>) {
    assert_eq!(pushes.try_recv(), Err(mpsc::error::TryRecvError::Empty));
}

fn log_and_peer(push: StorePush) -> (LogId, PeerId) {
    let StorePush::LogEvent(log, LogEvent { change, .. }) = push else {
        panic!("expected an event of a log, received {push:?}");
    };
    match change {
        StoredChange::Join(StoredMember { peer, .. }) | StoredChange::Leave(peer, _) => (log, peer),
    }
}

fn outcome(response: &StoreResponse) -> ChangeOutcome {
    let StoreResponse::Changed { outcome } = response else {
        panic!("expected the outcome of a change, received {response:?}");
    };
    *outcome
}

/// Batches are answered in order. Envelopes and the events of subscribed logs arrive in order; events of other logs do
/// not arrive.
async fn check_order_and_pushes(server: &RedisProcess) {
    let (first, mut first_pushes) = connect(server, 1).await;
    let (second, mut second_pushes) = connect(server, 2).await;
    let logs: Vec<_> = (0..20).map(log).collect();
    let subscriptions: Vec<_> = logs
        .iter()
        .map(|log| StoreRequest::Subscribe(NodeId::from(2), log.clone()))
        .collect();
    assert_eq!(
        second.execute(&subscriptions).await.expect("subscribed"),
        vec![StoreResponse::Done; 20]
    );
    assert_eq!(first.execute(&[]).await, Ok(Vec::new()));

    let mut batch = Vec::new();
    for number in 0..100 {
        batch.extend(logs.iter().map(|log| join(log, lease(1), number)));
    }
    let responses = first.execute(&batch).await.expect("answered");
    assert_eq!(responses.len(), batch.len());
    assert!(
        responses
            .iter()
            .all(|response| matches!(outcome(response), ChangeOutcome::Applied(_)))
    );
    let mut event_counts = vec![0; logs.len()];
    for _ in 0..batch.len() {
        let (log, event_peer) = log_and_peer(next(&mut second_pushes).await);
        let index = logs
            .iter()
            .position(|other| *other == log)
            .expect("subscribed");
        assert_eq!(
            event_peer,
            peer(event_counts[index]),
            "events must arrive in order"
        );
        event_counts[index] += 1;
    }
    assert_no_push(&mut first_pushes);

    // A subscription covers the requests after it, and ends with the unsubscription.
    let new_log = log(99);
    let subscribe = StoreRequest::Subscribe(NodeId::from(1), new_log.clone());
    let unsubscribe = StoreRequest::Unsubscribe(NodeId::from(1), new_log.clone());
    let batch = [
        subscribe.clone(),
        join(&new_log, lease(1), 1),
        leave(&new_log, lease(1), 1),
    ];
    first.execute(&batch).await.expect("answered");
    assert_eq!(
        log_and_peer(next(&mut first_pushes).await),
        (new_log.clone(), peer(1))
    );
    assert_eq!(
        log_and_peer(next(&mut first_pushes).await),
        (new_log.clone(), peer(1))
    );
    first
        .execute(&[unsubscribe.clone(), subscribe, unsubscribe])
        .await
        .expect("answered");
    second
        .execute(&[join(&new_log, lease(2), 2)])
        .await
        .expect("answered");
    let subscribed_logs = first
        .execute(&[StoreRequest::SubscribedLogs(NodeId::from(1))])
        .await;
    assert_eq!(subscribed_logs, Ok(vec![StoreResponse::Logs(Vec::new())]));
    assert_no_push(&mut first_pushes);

    let posts: Vec<_> = (0..=255)
        .map(|byte| StoreRequest::Post(NodeId::from(1), vec![byte; 3]))
        .collect();
    let responses = second.execute(&posts).await.expect("posted");
    assert_eq!(responses, vec![StoreResponse::Posted(1); 256]);
    for byte in 0..=255 {
        assert_eq!(
            next(&mut first_pushes).await,
            StorePush::Envelope(vec![byte; 3])
        );
    }
    let unsubscribed = second
        .execute(&[StoreRequest::Post(NodeId::from(3), vec![1])])
        .await;
    assert_eq!(unsubscribed, Ok(vec![StoreResponse::Posted(0)]));

    let heartbeat = StoreRequest::Heartbeat {
        lease: lease(1),
        counter: 1,
        status: "{}".to_owned(),
    };
    first.execute(&[heartbeat]).await.expect("answered");
    let nodes = server.store(PREFIX).list_nodes().await.expect("a list");
    assert_eq!(
        nodes.iter().map(|node| node.lease).collect::<Vec<_>>(),
        [lease(1)]
    );
    let other_prefix = server.store("other").list_nodes().await;
    assert_eq!(other_prefix, Ok(Vec::new()));
}

/// Scripts that the server has lost are loaded again, and the order of requests is kept.
async fn check_lost_scripts(server: &RedisProcess) {
    let (connection, mut pushes) = connect(server, 11).await;
    let new_log = log(500);
    let node = NodeId::from(11);
    connection
        .execute(&[StoreRequest::Subscribe(node, new_log.clone())])
        .await
        .expect("subscribed");
    for number in 0..3 {
        for server_number in 0..server.count() {
            server.cli_at(server_number, &["SCRIPT", "FLUSH"]);
        }
        let batch = [
            join(&new_log, lease(11), number),
            StoreRequest::Post(node, vec![7]),
            leave(&new_log, lease(11), number),
            StoreRequest::Read(new_log.clone()),
        ];
        let responses = connection.execute(&batch).await.expect("answered");
        assert!(matches!(outcome(&responses[0]), ChangeOutcome::Applied(_)));
        assert!(matches!(outcome(&responses[2]), ChangeOutcome::Applied(_)));
        let StoreResponse::Read(Some(snapshot)) = &responses[3] else {
            panic!("expected a snapshot as the fourth response: {responses:?}");
        };
        assert_eq!(snapshot.members, []);
        for _ in 0..3 {
            assert!(!matches!(next(&mut pushes).await, StorePush::Lost(_)));
        }
    }
}

/// A lost connection is reported, and every later request fails at once.
async fn check_killed_connection(server: &RedisProcess) {
    let (connection, mut pushes) = connect(server, 21).await;
    for number in 0..server.count() {
        server.cli_at(number, &["CLIENT", "KILL", "TYPE", "pubsub"]);
        server.cli_at(
            number,
            &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
        );
    }
    let reason = until_lost(&mut pushes).await;
    assert!(reason.contains("closed"), "{reason}");
    let ended = connection.execute(&[]).await;
    assert!(ended.is_err_and(|error| error.is_unreachable()));
}

/// Corrupt data causes an error that names the key, not a panic.
async fn check_corrupt_data(server: &RedisProcess) {
    let log_id = log(600);
    let key = "{switchboard:d:log%20600}:log";
    let corruption: &[&[&str]] = &[
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
        log: log_id.clone(),
        lease: lease(31),
        known_version: LogVersion::default(),
        wanted: Vec::new(),
        members_max: 0,
    };
    for corruption in corruption {
        for request in [
            StoreRequest::Read(log_id.clone()),
            sync.clone(),
            StoreRequest::Evict(log_id.clone(), lease(31)),
        ] {
            for number in 0..server.count() {
                server.cli_at(number, &["DEL", key]);
                server.cli_at(number, corruption);
            }
            let (connection, mut pushes) = connect(server, 31).await;
            let result = connection.execute(std::slice::from_ref(&request)).await;
            if let [StoreResponse::Failed(reason)] = result.as_ref().expect("answered").as_slice() {
                assert!(reason.contains(key), "{corruption:?} {reason}");
            } else {
                // Only the rows of `corruption` with a corrupt member field (`s:x`) may get here: a request that does
                // not decode this field succeeds.
                assert!(
                    corruption.len() > 9 && !matches!(request, StoreRequest::Read(_)),
                    "{corruption:?}: {result:?}"
                );
            }
            assert_no_push(&mut pushes);
        }
    }
    for number in 0..server.count() {
        server.cli_at(number, &["DEL", key]);
    }

    let (connection, mut pushes) = connect(server, 31).await;
    connection
        .execute(&[StoreRequest::Subscribe(NodeId::from(31), log_id.clone())])
        .await
        .expect("subscribed");
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
    let (connection, _pushes) = connect(server, 31).await;
    let logs = connection
        .execute(&[StoreRequest::SubscribedLogs(NodeId::from(31))])
        .await;
    let error = logs.expect_err("no log");
    assert!(error.is_malformed(), "{error:?}");
    let nodes = server.store(PREFIX).list_nodes().await;
    let error = error_chain(&nodes.expect_err("no node"));
    let expected =
        "cannot read `{switchboard}:nodes`: unexpected reply from Redis: expected a node";
    assert_eq!(error, expected);
}

/// Corrupt data of one log does not affect other logs.
async fn check_isolation_of_corrupt_logs(server: &RedisProcess) {
    let (connection, mut pushes) = connect(server, 51).await;
    let (corrupt_log, valid_log) = (log(700), log(701));
    server.cli(&["-c", "SET", "{switchboard:d:log%20700}:log", "x"]);
    let batch = [
        join(&valid_log, lease(51), 1),
        join(&corrupt_log, lease(51), 1),
        join(&valid_log, lease(51), 2),
        leave(&corrupt_log, lease(51), 1),
    ];
    for _ in 0..2 {
        let responses = connection.execute(&batch).await.expect("answered");
        for index in [1, 3] {
            assert!(
                matches!(&responses[index], StoreResponse::Failed(reason) if reason.contains("log%20700")),
                "{responses:?}"
            );
        }
        for index in [0, 2] {
            let outcome = outcome(&responses[index]);
            let is_member = matches!(
                outcome,
                ChangeOutcome::Applied(_) | ChangeOutcome::AlreadyMember(_)
            );
            assert!(is_member, "the join to the valid log failed: {outcome:?}");
        }
    }
    assert_no_push(&mut pushes);
    server.cli(&["-c", "DEL", "{switchboard:d:log%20700}:log"]);
    let responses = connection.execute(&batch).await.expect("answered");
    assert!(matches!(outcome(&responses[1]), ChangeOutcome::Applied(_)));
}

/// The connection of a node that does not read its pushes is lost as soon as the queue is full.
async fn check_queue_limits(server: &RedisProcess) {
    let node = NodeId::from(41);
    let connected = server.store(PREFIX).connect_with_queue(node, 10).await;
    let (connection, mut pushes) = connected.expect("connected");
    let posts: Vec<_> = (0..11)
        .map(|byte| StoreRequest::Post(node, vec![byte]))
        .collect();
    _ = connection.execute(&posts).await;
    for byte in 0..10 {
        assert_eq!(next(&mut pushes).await, StorePush::Envelope(vec![byte]));
    }
    let reason = until_lost(&mut pushes).await;
    assert!(reason.contains("push queue is full"), "{reason}");
    assert!(connection.execute(&posts).await.is_err());

    // The queue is also bounded in bytes. A push that was taken from the queue frees its bytes.
    let (connection, mut pushes) = connect(server, 42).await;
    let large_post = [StoreRequest::Post(NodeId::from(42), vec![0; 7 << 20])];
    for _ in 0..12 {
        connection.execute(&large_post).await.expect("posted");
        assert!(matches!(next(&mut pushes).await, StorePush::Envelope(_)));
    }
    for _ in 0..10 {
        _ = connection.execute(&large_post).await;
    }
    let reason = until_lost(&mut pushes).await;
    assert!(reason.contains("push queue is full"), "{reason}");
}

async fn check_all(server: &RedisProcess) {
    check_order_and_pushes(server).await;
    check_lost_scripts(server).await;
    check_killed_connection(server).await;
    check_queue_limits(server).await;
    check_isolation_of_corrupt_logs(server).await;
    check_corrupt_data(server).await;
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn one_server_fulfils_the_connection_contract() {
    check_all(&RedisProcess::start()).await;
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn redis_cluster_fulfils_the_connection_contract() {
    check_all(&RedisProcess::start_cluster()).await;
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn a_lost_server_is_reported_within_the_timeout() {
    let mut server = RedisProcess::start();
    let (connection, mut pushes) = connect(&server, 1).await;
    server.signal("-STOP");
    let started = Instant::now();
    let error = connection.execute(&[join(&log(0), lease(1), 1)]).await;
    assert!(
        matches!(&error, Err(error) if error.is_unreachable()),
        "{error:?}"
    );
    let retried = server.store(PREFIX).connect(NodeId::from(1)).await;
    assert!(
        matches!(&retried, Err(error) if error.is_unreachable()),
        "{retried:?}"
    );
    assert!(started.elapsed() < TIMEOUT, "{:?}", started.elapsed());
    until_lost(&mut pushes).await;
    server.signal("-CONT");

    let (connection, mut pushes) = connect(&server, 1).await;
    server.kill(0);
    let reason = until_lost(&mut pushes).await;
    assert!(reason.contains("closed"), "{reason}");
    assert!(
        connection
            .execute(&[join(&log(0), lease(1), 1)])
            .await
            .is_err()
    );
    let retried = server.store(PREFIX).connect(NodeId::from(1)).await;
    assert!(
        matches!(&retried, Err(error) if error.is_unreachable()),
        "{retried:?}"
    );
    server.restart();
    let (connection, _pushes) = connect(&server, 1).await;
    connection
        .execute(&[join(&log(0), lease(1), 1)])
        .await
        .expect("answered");
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn a_lost_master_ends_the_connection() {
    let mut server = RedisProcess::start_cluster();
    let (connection, mut pushes) = connect(&server, 1).await;
    server.kill(2);
    until_lost(&mut pushes).await;
    assert!(connection.execute(&[]).await.is_err());
}

/// Changes succeed while a slot is moved to another server. When it has moved, the connection ends, and the next
/// connection uses the new server.
#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn changes_continue_while_a_slot_moves() {
    let server = RedisProcess::start_cluster();
    let (connection, mut pushes) = connect(&server, 1).await;
    let log_id = log(0);
    let node = NodeId::from(1);
    connection
        .execute(&[
            StoreRequest::Subscribe(node, log_id.clone()),
            join(&log_id, lease(1), 1),
        ])
        .await
        .expect("answered");
    let key = "{switchboard:d:log%200}:log";
    let slot = server.cli(&["CLUSTER", "KEYSLOT", key]);
    let ids: Vec<_> = (0..3)
        .map(|index| server.cli_at(index, &["CLUSTER", "MYID"]))
        .collect();
    let owner = (0..3)
        .find(|index| server.cli_at(*index, &["EXISTS", key]) == "1")
        .expect("the key exists");
    let other = (owner + 1) % 3;
    server.cli_at(
        other,
        &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[owner]],
    );
    server.cli_at(
        owner,
        &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[other]],
    );
    connection
        .execute(&[join(&log_id, lease(1), 2)])
        .await
        .expect("the old server still has the key");
    let port = server.port(other).to_string();
    assert_eq!(
        server.cli_at(owner, &["MIGRATE", "127.0.0.1", &port, key, "0", "2000"]),
        "OK"
    );
    let batch = [
        join(&log_id, lease(1), 3),
        join(&log_id, lease(1), 4),
        StoreRequest::Read(log_id.clone()),
    ];
    let responses = connection
        .execute(&batch)
        .await
        .expect("the command is redirected");
    let StoreResponse::Read(Some(snapshot)) = &responses[2] else {
        panic!("expected a snapshot as the third response: {responses:?}");
    };
    assert_eq!(snapshot.members.len(), 4);
    for index in [other, owner, 3 - other - owner] {
        server.cli_at(index, &["CLUSTER", "SETSLOT", &slot, "NODE", &ids[other]]);
    }
    until_lost(&mut pushes).await;
    let (connection, _pushes) = connect(&server, 1).await;
    let responses = connection
        .execute(&[leave(&log_id, lease(1), 4)])
        .await
        .expect("answered");
    assert!(matches!(outcome(&responses[0]), ChangeOutcome::Applied(_)));
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn a_wrong_password_is_reported_and_a_password_is_never_shown() {
    let server = RedisProcess::start_with(&["--requirepass", "geheim#1"]);
    let with_login = |login: &str| server.url().replace("://", &format!("://{login}@"));
    let (connection, _pushes) = {
        let address = with_login(":geheim%231").parse().expect("an address");
        connect_to(address).await.expect("connected")
    };
    assert!(
        !format!("{connection:?}").contains("geheim"),
        "{connection:?}"
    );
    let cases = [
        ("", StoreError::NoPassword),
        (":wrong", StoreError::WrongLogin),
    ];
    for (login, expected) in cases {
        let address = if login.is_empty() {
            server.address()
        } else {
            with_login(login).parse().expect("an address")
        };
        let refused = connect_to(address).await;
        assert_eq!(
            refused.expect_err("the login is missing or wrong"),
            expected
        );
    }
    let cluster = server
        .url()
        .replace("redis://", "redis-cluster://:geheim%231@");
    let refused = connect_to(cluster.parse().expect("an address")).await;
    assert!(
        matches!(&refused, Err(StoreError::NotACluster { .. })),
        "{refused:?}"
    );
}

/// The trusted certificates are read from the environment variable `SSL_CERT_FILE` of the process, which a test cannot
/// change for itself. It therefore starts its own program as another process, which connects.
#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn tls_requires_a_trusted_certificate() {
    // Set only in the process that connects.
    const URL: &str = "SWITCHBOARD_TEST_TLS_URL";
    if let Ok(url) = std::env::var(URL) {
        let address = url.parse().expect("an address");
        let connected = connect_to(address).await;
        let (connection, _pushes) = connected.expect("connected");
        connection
            .execute(&[join(&log(0), lease(1), 1)])
            .await
            .expect("answered");
        return;
    }
    let (server, authority) = RedisProcess::start_tls();
    for is_trusted in [true, false] {
        let mut command = std::process::Command::new(std::env::current_exe().expect("this test"));
        command.args(["--exact", "connection::tls_requires_a_trusted_certificate"]);
        command.env(URL, server.url());
        if is_trusted {
            command.env("SSL_CERT_FILE", &authority);
        }
        let result = command.output().expect("it runs");
        let output = String::from_utf8_lossy(&result.stdout);
        assert_eq!(result.status.success(), is_trusted, "{output}");
        assert!(is_trusted || output.contains("certificate"), "{output}");
    }
}

/// A node of another release is told apart before it reads or writes any data, and a running node at its next heartbeat.
async fn check_data_format(server: &RedisProcess) {
    let format = format!("{{{PREFIX}}}:format");
    let heartbeat = |counter| StoreRequest::Heartbeat {
        lease: lease(1),
        counter,
        status: String::new(),
    };
    let (connection, mut pushes) = connect(server, 1).await;
    connection.execute(&[heartbeat(1)]).await.expect("answered");
    assert_eq!(server.cli(&["-c", "GET", &format]), "1");

    server.cli(&["-c", "SET", &format, "2\x1b[m"]);
    let error = connection
        .execute(&[heartbeat(2)])
        .await
        .expect_err("refused");
    let expected = "the nodes of this `engine.prefix` use format 2\\u{1b}[m of the data in Redis, and this release uses \
                    format 1: stop them and wait 60 s, or set another `engine.prefix`";
    assert_eq!(error.to_string(), expected);
    assert_eq!(until_lost(&mut pushes).await, expected);
    let refused = server.store(PREFIX).connect(NodeId::from(2)).await;
    assert_eq!(refused.expect_err("refused"), error);

    // The other nodes have stopped, and their format has expired.
    server.cli(&["-c", "DEL", &format]);
    connect(server, 1).await;
}

#[tokio::test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
async fn nodes_with_another_data_format_are_refused() {
    check_data_format(&RedisProcess::start()).await;
    check_data_format(&RedisProcess::start_cluster()).await;
}
