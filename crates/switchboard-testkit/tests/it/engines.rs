//! The engine contract, over the engines that need no external store. An engine is the part of the server that shares
//! rooms between nodes.

use std::{sync::Arc, time::Duration};

use switchboard_cluster::{Driver, DriverSettings, Engine, Memory};
use switchboard_core::{Limits, SharedRoomPolicies};
use switchboard_testkit::{SharedStore, engine_contract};

/// Creates the nodes of one cluster over a store in memory.
fn nodes<const N: usize>(store: &SharedStore) -> [Box<dyn Engine>; N] {
    std::array::from_fn(|_| {
        let settings = DriverSettings {
            lease: Duration::from_secs(5),
            limits: Arc::new(Limits {
                room_members: 0,
                ..Limits::default()
            }),
            policies: SharedRoomPolicies::default(),
            url: "http://127.0.0.1:1".to_owned(),
        };
        Box::new(Driver::new(store.clone(), settings)) as Box<dyn Engine>
    })
}

#[test]
fn memory_engine_fulfils_the_contract() {
    engine_contract::check(|| Box::new(Memory));
}

#[test]
fn driver_over_the_store_in_memory_fulfils_the_contract() {
    engine_contract::check(|| {
        let [node] = nodes(&SharedStore::default());
        node
    });
    engine_contract::check_cluster(|| nodes(&SharedStore::default()));
    engine_contract::check_one_server(|| nodes(&SharedStore::default()));
}

#[test]
fn driver_reconnects_and_keeps_its_members_after_an_outage() {
    let store = SharedStore::default();
    engine_contract::check_outage(nodes(&store), |is_away| store.set_away(is_away));
}

#[test]
fn driver_restores_its_members_and_reads_the_secret_after_the_store_lost_its_data() {
    let store = SharedStore::default();
    engine_contract::check_data_loss(nodes(&store), || store.wipe());
}
