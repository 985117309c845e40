//! The engine contract, over the engines that need no external store.

use switchboard_cluster::Memory;
use switchboard_testkit::engine_contract;

#[test]
fn memory_engine_fulfils_the_contract() {
    engine_contract::check(|| Box::new(Memory));
}
