//! Replays the corpora of the fuzz targets.

use std::{fs, path::Path};

use proptest::prelude::*;
use switchboard_dialects::ALL;
use switchboard_testkit::fuzz;

fn replay(target: &str, body: impl Fn(&[u8])) {
    let corpus_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let entries = fs::read_dir(corpus_dir.join(target)).expect("a corpus");
    let mut files = 0;
    for entry in entries {
        body(&fs::read(entry.expect("an entry").path()).expect("a readable file"));
        files += 1;
    }
    assert!(files > 0, "the corpus of {target} is empty");
}

#[test]
fn each_corpus_keeps_the_invariants_of_its_own_target() {
    for dialect in ALL {
        let name = dialect.traits().name;
        replay(name, |bytes| fuzz::frames(name, bytes));
    }
    replay("hub", fuzz::hub);
    replay("json", fuzz::json);
}

/// Reads each frame of the other corpora as JSON.
#[test]
fn frames_of_every_corpus_are_read_as_serde_json_reads_them() {
    for dialect in ALL {
        replay(dialect.traits().name, |bytes| {
            bytes.split(|byte| *byte == b'\n').for_each(fuzz::json);
        });
    }
}

/// Sends the corpus of every dialect as a client of every dialect.
#[test]
fn each_dialect_corpus_keeps_the_invariants_in_every_dialect() {
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
    fn random_inputs_break_no_invariant_of_a_hub(inputs in prop::collection::vec(any::<[u8; 3]>(), 0..100)) {
        fuzz::hub(&inputs.concat());
    }
}
