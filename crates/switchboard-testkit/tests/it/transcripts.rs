//! The golden conversations, replayed. `UPDATE_TRANSCRIPTS=1` writes what the server says now into
//! them instead; read the difference before you believe it.

use std::{fs, path::PathBuf};

use switchboard_testkit::transcript::{record, replay};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../switchboard-dialects/transcripts")
}

/// The transcripts in the folder of this name, in order.
fn files(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join(name)).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    files
}

fn folders() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the folder of transcripts");
    let entries = entries.map(|entry| entry.expect("a readable folder"));
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name in UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_transcript_holds() {
    let mut failures = Vec::new();
    for path in folders().iter().flat_map(|name| files(name)) {
        let text = fs::read_to_string(&path).expect("a readable file");
        let result = if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            record(&text).map(|text| fs::write(&path, text).expect("a writable file"))
        } else {
            replay(&text)
        };
        if let Err(why) = result {
            failures.push(format!("{}, {why}", path.display()));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_dialect_has_transcripts() {
    for dialect in switchboard_dialects::ALL {
        let name = dialect.traits().name;
        assert!(!files(name).is_empty(), "no transcript of {name}");
    }
}
