//! Checks that every dialect has transcripts, and that every transcript belongs to a dialect.

use std::collections::BTreeSet;

const SOURCES: &str = "crates/switchboard-dialects/src/";
const TRANSCRIPTS: &str = "crates/switchboard-dialects/transcripts/";

/// Checks the files of the repository and returns the errors. `text` reads a file.
pub(crate) fn check(files: &[String], text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut errors = Vec::new();
    // The folder of transcripts with clients of several dialects.
    let mut dialects = BTreeSet::from(["mixed".to_owned()]);
    let mut recorded = BTreeSet::new();
    for file in files {
        if let Some(name) = module(file) {
            if text(file).is_some_and(|text| text.contains("Dialect for ")) {
                // A `_` in the name of the module is a `-` in the name of the dialect.
                dialects.insert(name.replace('_', "-"));
            }
        } else if let Some(rest) = file.strip_prefix(TRANSCRIPTS) {
            match rest.split_once('/') {
                Some((name, scenario)) if scenario.ends_with(".txt") => {
                    recorded.insert(name.to_owned());
                }
                None if rest == "README.md" => {}
                Some(_) | None => errors.push(format!(
                    "{file}: a transcript is {TRANSCRIPTS}DIALECT/SCENARIO.txt"
                )),
            }
        }
    }
    for name in recorded.difference(&dialects) {
        errors.push(format!("{TRANSCRIPTS}{name}/: no dialect has this name"));
    }
    for name in dialects.difference(&recorded) {
        errors.push(format!("dialect {name}: has no transcript; record a conversation as {TRANSCRIPTS}{name}/SCENARIO.txt"));
    }
    errors
}

/// The module that is `src/NAME.rs` or `src/NAME/mod.rs`.
fn module(file: &str) -> Option<&str> {
    let name = file.strip_prefix(SOURCES)?.strip_suffix(".rs")?;
    let name = name.strip_suffix("/mod").unwrap_or(name);
    (!name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transcripts_and_dialects_must_match() {
        let errors = |files: &[&str]| {
            let files: Vec<_> = files
                .iter()
                .map(|file| format!("crates/switchboard-dialects/{file}"))
                .collect();
            check(&files, |file| {
                Some(
                    if file.ends_with("reader.rs") {
                        ""
                    } else {
                        "impl Dialect for X"
                    }
                    .to_owned(),
                )
            })
            .len()
        };
        let both = [
            "src/y_webrtc.rs",
            "transcripts/mixed/all.txt",
            "transcripts/y-webrtc/publish.txt",
        ];
        let with = |more: &[&str]| errors(&[&both, more].concat());
        assert_eq!(
            with(&[
                "src/reader.rs",
                "src/y_webrtc/frame.rs",
                "transcripts/README.md"
            ]),
            0
        );
        assert_eq!(with(&["src/ayame/mod.rs"]), 1);
        assert_eq!(with(&["transcripts/mesh/join.txt"]), 1);
        assert_eq!(with(&["transcripts/y-webrtc/notes.md"]), 1);
    }
}
