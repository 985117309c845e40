//! Checks that every dialect has transcripts, and that every transcript belongs to a dialect.

use std::collections::BTreeSet;

const SOURCES: &str = "crates/switchboard-dialects/src/";
const TRANSCRIPTS: &str = "crates/switchboard-dialects/transcripts/";

/// Dialects that must always have transcripts, even if their source is missing.
const REQUIRED: &[&str] = &["lightstream", "singo", "mesh", "p2p"];

/// The folder of transcripts with clients of several dialects.
const MIXED: &str = "mixed";

/// Checks the files of the repository and returns the errors. `text` reads a file.
pub(crate) fn check(files: &[String], text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut sources = BTreeSet::new();
    let mut needing: BTreeSet<String> = REQUIRED.iter().map(|name| (*name).to_owned()).collect();
    let mut recorded = BTreeSet::new();
    let mut errors = Vec::new();
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
                Some(_) | None => errors.push(format!(
                    "{file}: a transcript is {TRANSCRIPTS}DIALECT/SCENARIO.txt"
                )),
            }
        }
    }
    let named = recorded.iter().filter(|name| **name != MIXED);
    for name in named.filter(|name| !sources.contains(**name)) {
        let module = name.replace('-', "_");
        errors.push(format!(
            "{TRANSCRIPTS}{name}/: no dialect has this name; there is no {SOURCES}{module}.rs"
        ));
    }
    for name in needing
        .iter()
        .filter(|name| !recorded.contains(name.as_str()))
    {
        errors.push(format!("dialect {name}: has no transcript; record a conversation as {TRANSCRIPTS}{name}/SCENARIO.txt"));
    }
    errors
}

/// The dialect that `src/NAME.rs` or `src/NAME/mod.rs` may contain. A `_` in the name of the module is a `-` in the
/// name of the dialect.
fn dialect_of(file: &str) -> Option<String> {
    let name = file.strip_prefix(SOURCES)?.strip_suffix(".rs")?;
    let name = name.strip_suffix("/mod").unwrap_or(name);
    (name != "lib" && !name.contains('/')).then(|| name.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The errors for all required dialects with a transcript each, and these additional files.
    fn errors_with(more: &[&str]) -> Vec<String> {
        let mut files: Vec<String> = more.iter().map(|&file| file.to_owned()).collect();
        for name in REQUIRED {
            files.push(format!("{SOURCES}{name}.rs"));
            files.push(format!("{TRANSCRIPTS}{name}/join.txt"));
        }
        check(&files, |file| {
            let text = if file.ends_with("reader.rs") {
                "struct Reader;"
            } else {
                "impl Dialect for Example {"
            };
            Some(text.to_owned())
        })
    }

    #[test]
    fn dialect_with_a_transcript_is_complete() {
        assert!(errors_with(&[]).is_empty());
        let ayame = [
            format!("{SOURCES}ayame.rs"),
            format!("{TRANSCRIPTS}ayame/join.txt"),
        ];
        assert!(errors_with(&[&ayame[0], &ayame[1]]).is_empty());
    }

    #[test]
    fn underscore_in_a_module_name_is_a_dash_in_the_dialect_name() {
        let whole = [
            format!("{SOURCES}y_webrtc.rs"),
            format!("{TRANSCRIPTS}y-webrtc/publish.txt"),
        ];
        assert!(errors_with(&[&whole[0], &whole[1]]).is_empty());
        let errors = errors_with(&[&whole[1]]);
        assert!(errors[0].ends_with("y_webrtc.rs"), "{errors:?}");
    }

    #[test]
    fn dialect_without_a_transcript_is_an_error() {
        let errors = errors_with(&[&format!("{SOURCES}ayame/mod.rs")]);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("dialect ayame: "), "{errors:?}");
    }

    #[test]
    fn source_file_without_a_dialect_needs_no_transcript() {
        assert!(
            errors_with(&[
                &format!("{SOURCES}reader.rs"),
                &format!("{SOURCES}ayame/frame.rs")
            ])
            .is_empty()
        );
    }

    #[test]
    fn transcripts_of_unknown_dialects_and_other_files_are_errors() {
        let errors = errors_with(&[
            &format!("{TRANSCRIPTS}mash/join.txt"),
            &format!("{TRANSCRIPTS}mesh/notes.md"),
            &format!("{TRANSCRIPTS}mixed/all.txt"),
            &format!("{TRANSCRIPTS}README.md"),
        ]);
        assert_eq!(errors.len(), 2, "{errors:?}");
    }

    #[test]
    fn required_dialects_need_transcripts_even_without_their_source() {
        assert_eq!(check(&[], |_| None).len(), REQUIRED.len());
    }
}
