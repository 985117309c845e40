//! Replays the recorded transcripts. With `UPDATE_TRANSCRIPTS=1`, the current frames of the server are written into
//! them instead; review the difference before you commit it.

use std::{error::Error as _, fs, path::PathBuf};

use switchboard_testkit::transcript::{record, replay};

fn transcripts_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../switchboard-dialects/transcripts")
}

/// The transcripts of a dialect, sorted by name.
fn transcripts_of(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(transcripts_dir().join(name))
        .into_iter()
        .flatten();
    let paths = entries.map(|entry| entry.expect("a readable directory").path());
    let mut files: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    files
}

fn dialect_dirs() -> Vec<String> {
    let entries = fs::read_dir(transcripts_dir()).expect("the directory of the transcripts");
    let entries = entries.map(|entry| entry.expect("a readable directory"));
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a name in UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn every_transcript_matches() {
    let mut failures = Vec::new();
    for path in dialect_dirs().iter().flat_map(|name| transcripts_of(name)) {
        let text = fs::read_to_string(&path).expect("a readable file");
        let result = if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            record(&text).map(|text| fs::write(&path, text).expect("a writable file"))
        } else {
            replay(&text)
        };
        if let Err(error) = result {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            failures.push(format!("{}, {error}\n  {reason}", path.display()));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn every_dialect_has_transcripts() {
    for dialect in switchboard_dialects::ALL {
        let name = dialect.traits().name;
        assert!(!transcripts_of(name).is_empty(), "no transcript of {name}");
    }
}

#[test]
fn every_transcript_belongs_to_a_dialect() {
    for name in dialect_dirs() {
        let dialects = switchboard_dialects::ALL.iter();
        let is_dialect = dialects.map(|it| it.traits().name).any(|it| it == name);
        // The transcripts in `mixed` have clients of several dialects.
        assert!(is_dialect || name == "mixed", "no dialect is named {name}");
        let files = fs::read_dir(transcripts_dir().join(&name)).expect("a readable directory");
        assert_eq!(
            files.count(),
            transcripts_of(&name).len(),
            "files of {name} that are not .txt"
        );
    }
}
