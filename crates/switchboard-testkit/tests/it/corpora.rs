//! What the fuzzers have found, and what their search begins with.

use std::{fs, path::Path};

use proptest::prelude::*;
use switchboard_dialects::ALL;
use switchboard_testkit::fuzz;

fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let entries = fs::read_dir(folder.join(target)).expect("a corpus");
    let mut files = 0;
    for entry in entries {
        body(&fs::read(entry.expect("an entry").path()).expect("a readable file"));
        files += 1;
    }
    assert!(files > 0, "the corpus of {target} is empty");
}

#[test]
fn every_corpus_is_survived() {
    for dialect in ALL {
        let name = dialect.traits().name;
        replay(name, |bytes| fuzz::frames(name, bytes));
    }
    replay("hub", fuzz::hub);
}

/// Every corpus speaks to every dialect.
#[test]
fn other_dialects_frames_are_survived() {
    for dialect in ALL {
        for other in ALL {
            replay(other.traits().name, |bytes| {
                fuzz::frames(dialect.traits().name, bytes)
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 50_000,
        ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 2000 } else { 50_000 })
    })]

    #[test]
    fn a_hub_survives_any_order_of_things(things in prop::collection::vec(any::<[u8; 3]>(), 0..100)) {
        fuzz::hub(&things.concat());
    }
}
