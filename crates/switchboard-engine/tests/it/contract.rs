//! The contract of every engine, kept by nodes over Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use switchboard_core::Limits;
use switchboard_engine::{
    Engine, contract,
    redis::{Redis, RedisSettings},
};

use crate::server::{Server, is_installed};

/// Makes nodes of clusters that do not know each other.
struct Clusters<'s> {
    server: &'s Server,
    made: AtomicU32,
}

impl Clusters<'_> {
    fn of(server: &Server) -> Clusters<'_> {
        let made = AtomicU32::new(0);
        Clusters { server, made }
    }

    fn keep_the_contract(&self) {
        contract::check(|| {
            let [node] = self.next();
            node
        });
        contract::check_cluster(|| self.next());
    }

    fn next<const N: usize>(&self) -> [Box<dyn Engine>; N] {
        let cluster = self.made.fetch_add(1, Ordering::Relaxed);
        std::array::from_fn(|_| {
            let settings = RedisSettings {
                address: self.server.address(),
                prefix: format!("contract{cluster}"),
                lease: Duration::from_secs(5),
                limits: Arc::new(Limits {
                    room_members: 0,
                    ..Limits::default()
                }),
                url: "http://127.0.0.1:1".to_owned(),
            };
            Box::new(Redis::new(settings)) as Box<dyn Engine>
        })
    }
}

#[test]
fn redis_keeps_the_contract() {
    if is_installed() {
        let server = Server::start();
        let clusters = Clusters::of(&server);
        clusters.keep_the_contract();
        contract::check_one_server(|| clusters.next());
    }
}

#[test]
fn redis_cluster_keeps_the_contract() {
    if is_installed() {
        Clusters::of(&Server::start_cluster()).keep_the_contract();
    }
}
