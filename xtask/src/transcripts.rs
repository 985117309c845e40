//! Every dialect is held to recorded conversations, and every recording belongs to a dialect.

use std::collections::BTreeSet;

const SOURCES: &str = "crates/switchboard-dialect/src/";
const TRANSCRIPTS: &str = "crates/switchboard-dialect/transcripts/";

/// The dialects the project began with: their recordings must never get lost.
const FOUNDING: &[&str] = &["lightstream", "singo", "mesh", "p2p"];

/// Conversations between dialects.
const MIXED: &str = "mixed";

/// The complaints, from the files of the repository; `text` reads one of them.
pub(crate) fn check(files: &[String], text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut sources = BTreeSet::new();
    let mut needing: BTreeSet<String> = FOUNDING.iter().map(|name| (*name).to_owned()).collect();
    let mut recorded = BTreeSet::new();
    let mut complaints = Vec::new();
    for file in files {
        if let Some(name) = dialect_of(file) {
            if text(file).is_some_and(|text| text.contains("Dialect for ")) {
                needing.insert(name.clone());
            }
            sources.insert(name);
        } else if let Some(rest) = file.strip_prefix(TRANSCRIPTS) {
            match rest.split_once('/') {
                Some((name, scenario)) if scenario.ends_with(".txt") => {
                    recorded.insert(name);
                }
                None if rest == "README.md" => {}
                Some(_) | None => complaints.push(format!(
                    "{file}: a transcript is {TRANSCRIPTS}DIALECT/SCENARIO.txt"
                )),
            }
        }
    }
    let named = recorded.iter().filter(|name| **name != MIXED);
    for name in named.filter(|name| !sources.contains(**name)) {
        let module = name.replace('-', "_");
        complaints.push(format!(
            "{TRANSCRIPTS}{name}/: no dialect has this name; there is no {SOURCES}{module}.rs"
        ));
    }
    for name in needing
        .iter()
        .filter(|name| !recorded.contains(name.as_str()))
    {
        complaints.push(format!("dialect {name}: not one transcript; record a conversation as {TRANSCRIPTS}{name}/SCENARIO.txt"));
    }
    complaints
}

/// `src/NAME.rs` and `src/NAME/mod.rs` may hold a dialect called NAME. A module has no `-` in its
/// name, and a dialect no `_`.
fn dialect_of(file: &str) -> Option<String> {
    let name = file.strip_prefix(SOURCES)?.strip_suffix(".rs")?;
    let name = name.strip_suffix("/mod").unwrap_or(name);
    (name != "lib" && !name.contains('/')).then(|| name.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All founding dialects with a transcript each, and these files more.
    fn complaints_with(more: &[&str]) -> Vec<String> {
        let mut files: Vec<String> = more.iter().map(|&file| file.to_owned()).collect();
        for name in FOUNDING {
            files.push(format!("{SOURCES}{name}.rs"));
            files.push(format!("{TRANSCRIPTS}{name}/join.txt"));
        }
        check(&files, |file| {
            let text = if file.ends_with("reader.rs") {
                "struct Reader;"
            } else {
                "impl Dialect for Tongue {"
            };
            Some(text.to_owned())
        })
    }

    #[test]
    fn a_dialect_with_a_transcript_is_whole() {
        assert!(complaints_with(&[]).is_empty());
        let ayame = [
            format!("{SOURCES}ayame.rs"),
            format!("{TRANSCRIPTS}ayame/join.txt"),
        ];
        assert!(complaints_with(&[&ayame[0], &ayame[1]]).is_empty());
    }

    #[test]
    fn a_module_has_no_dash_where_its_dialect_has_one() {
        let whole = [
            format!("{SOURCES}y_webrtc.rs"),
            format!("{TRANSCRIPTS}y-webrtc/publish.txt"),
        ];
        assert!(complaints_with(&[&whole[0], &whole[1]]).is_empty());
        let complaints = complaints_with(&[&whole[1]]);
        assert!(complaints[0].ends_with("y_webrtc.rs"), "{complaints:?}");
    }

    #[test]
    fn a_dialect_without_one_is_named() {
        let complaints = complaints_with(&[&format!("{SOURCES}ayame/mod.rs")]);
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].starts_with("dialect ayame: "),
            "{complaints:?}"
        );
    }

    #[test]
    fn a_file_without_a_dialect_needs_none() {
        assert!(
            complaints_with(&[
                &format!("{SOURCES}reader.rs"),
                &format!("{SOURCES}ayame/frame.rs")
            ])
            .is_empty()
        );
    }

    #[test]
    fn transcripts_of_nobody_and_stray_files_are_named() {
        let complaints = complaints_with(&[
            &format!("{TRANSCRIPTS}mash/join.txt"),
            &format!("{TRANSCRIPTS}mesh/notes.md"),
            &format!("{TRANSCRIPTS}mixed/all.txt"),
            &format!("{TRANSCRIPTS}README.md"),
        ]);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
    }

    #[test]
    fn the_founding_dialects_are_asked_for_even_when_their_source_is_gone() {
        assert_eq!(check(&[], |_| None).len(), FOUNDING.len());
    }
}
