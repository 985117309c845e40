//! Runs the engine contract over nodes that use Redis: the tests of the testkit that every engine, the part of the
//! server that shares rooms between nodes, must pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use switchboard_cluster::{Driver, DriverSettings, Engine};
use switchboard_core::{Limits, SharedRoomPolicies};
use switchboard_redis::RedisStore;
use switchboard_testkit::engine_contract;

use crate::server::RedisProcess;

/// Creates the nodes of clusters that are independent of each other.
struct TestClusters<'s> {
    server: &'s RedisProcess,
    created: AtomicU32,
}

impl TestClusters<'_> {
    fn of(server: &RedisProcess) -> TestClusters<'_> {
        let created = AtomicU32::new(0);
        TestClusters { server, created }
    }

    fn check_contract(&self) {
        engine_contract::check(|| {
            let [node] = self.next();
            node
        });
        engine_contract::check_cluster(|| self.next());
    }

    fn next<const N: usize>(&self) -> [Box<dyn Engine>; N] {
        let cluster = self.created.fetch_add(1, Ordering::Relaxed);
        std::array::from_fn(|_| {
            let store = RedisStore::new(self.server.address(), format!("contract{cluster}"));
            let settings = DriverSettings {
                lease: Duration::from_secs(5),
                limits: Arc::new(Limits {
                    room_members: 0,
                    ..Limits::default()
                }),
                policies: SharedRoomPolicies::default(),
                url: "http://127.0.0.1:1".to_owned(),
            };
            Box::new(Driver::new(store, settings)) as Box<dyn Engine>
        })
    }
}

#[test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
fn redis_engine_fulfils_the_contract() {
    let server = RedisProcess::start();
    let clusters = TestClusters::of(&server);
    clusters.check_contract();
    engine_contract::check_one_server(|| clusters.next());
}

#[test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
fn redis_cluster_engine_fulfils_the_contract() {
    TestClusters::of(&RedisProcess::start_cluster()).check_contract();
}

#[test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
fn redis_engine_reconnects_after_an_outage() {
    let server = RedisProcess::start();
    let nodes = TestClusters::of(&server).next();
    engine_contract::check_outage(nodes, |is_away| {
        server.signal(if is_away { "-STOP" } else { "-CONT" });
    });
}

#[test]
#[cfg_attr(
    not(has_redis),
    ignore = "needs redis-server and redis-cli (Debian: redis-server)"
)]
fn redis_engine_restores_the_data_that_redis_lost() {
    let server = RedisProcess::start();
    let nodes = TestClusters::of(&server).next();
    engine_contract::check_data_loss(nodes, || {
        server.cli(&["FLUSHALL"]);
    });
}
