//! Checks of the language of the code: short doc comments, sentences without a noun as subject, doubled type names.

use std::collections::{BTreeMap, BTreeSet};

/// Minimum length of a doc comment, in characters.
const DOC_LENGTH_MIN: usize = 12;

/// A sentence of a comment must not begin with one of these words.
const VAGUE_SUBJECTS: &[&str] = &["Who", "Whoever", "Nobody", "Somebody", "What"];

/// Type names that are always written with their module.
const QUALIFIED_TYPES: &[&str] = &["Error", "Result"];

/// Consecutive comment lines of one kind, as one paragraph.
struct Comment {
    line: usize,
    is_doc: bool,
    text: String,
}

/// Checks the comments of all files and the type names of the crates.
pub(crate) fn check(files: &[String], text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut errors = Vec::new();
    let mut types: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_checked(file)) {
        let text = text(file).unwrap_or_default();
        for comment in comments(&text) {
            errors.extend(comment_error(&comment).map(|e| format!("{file}:{}: {e}", comment.line)));
        }
        if file.starts_with("crates/") && file.contains("/src/") {
            for name in text.lines().filter_map(type_name) {
                types.entry(name.to_owned()).or_default().insert(file);
            }
        }
    }
    types.retain(|name, files| files.len() > 1 && !QUALIFIED_TYPES.contains(&name.as_str()));
    errors.extend(types.iter().map(|(name, files)| {
        let files: Vec<&str> = files.iter().copied().collect();
        format!("type {name} is defined in {}", files.join(", "))
    }));
    errors
}

fn is_checked(file: &str) -> bool {
    let has_ending = |ending: &&str| file.ends_with(*ending);
    [".rs", ".js", ".mjs", ".css"].iter().any(has_ending) && !file.contains("/vendor")
}

/// The comments that stand on lines of their own. An empty comment line separates two paragraphs.
fn comments(text: &str) -> Vec<Comment> {
    let mut comments: Vec<Comment> = Vec::new();
    let (mut in_block, mut is_doc_block) = (false, false);
    let mut kind_before = None;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        let starts_block = !in_block && line.starts_with("/*");
        if starts_block {
            (in_block, is_doc_block) = (true, line.starts_with("/**"));
        }
        let kind = match in_block {
            true => Some(if is_doc_block { "/**" } else { "/*" }),
            false => ["///", "//!", "//"]
                .into_iter()
                .find(|mark| line.starts_with(mark)),
        };
        if in_block && line.ends_with("*/") {
            in_block = false;
        }
        let words = line
            .trim_start_matches(['/', '*', '!'])
            .trim_end_matches(['/', '*'])
            .trim();
        match (kind, comments.last_mut()) {
            (None, _) => {}
            (Some(_), _) if words.is_empty() => {
                kind_before = None;
                continue;
            }
            (Some(_), Some(last))
                if kind == kind_before && !starts_block && !words.starts_with('@') =>
            {
                last.text.push(' ');
                last.text.push_str(words);
            }
            // A paragraph after the first is not a doc comment of its own.
            (Some(kind), _) => comments.push(Comment {
                line: index + 1,
                is_doc: kind.len() == 3 && !words.starts_with('@') && !is_continued(text, index),
                text: words.to_owned(),
            }),
        }
        kind_before = kind;
    }
    comments
}

/// Returns true if the line before, or the paragraph after, belongs to the same doc comment.
fn is_continued(text: &str, index: usize) -> bool {
    let is_doc = |line: &str| {
        ["///", "//!", "*"]
            .iter()
            .any(|mark| line.trim().starts_with(mark))
    };
    let mut lines = text.lines().skip(index.saturating_sub(1));
    let before = index > 0 && lines.next().is_some_and(is_doc);
    before || lines.nth(1).is_some_and(is_doc)
}

fn comment_error(comment: &Comment) -> Option<String> {
    if comment.is_doc && comment.text.chars().count() < DOC_LENGTH_MIN {
        return Some(format!(
            "doc comment {:?} is shorter than {DOC_LENGTH_MIN} characters",
            comment.text
        ));
    }
    let sentence = sentences(&comment.text).find(|sentence| {
        let word = sentence.split(|c: char| !c.is_alphanumeric()).next();
        VAGUE_SUBJECTS.contains(&word.unwrap_or_default())
    })?;
    Some(format!(
        "{sentence:?}: begin the sentence with the thing that it is about"
    ))
}

fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(". ").map(str::trim)
}

/// The name of the type or trait that this line defines. An associated type has its trait beside it, and is indented.
fn type_name(line: &str) -> Option<&str> {
    let is_indented = line.starts_with(' ');
    let mut words = line
        .split_whitespace()
        .skip_while(|word| word.starts_with("pub") || *word == "unsafe")
        .peekable();
    while words.next_if(|word| word.ends_with(')')).is_some() {}
    let keyword = words.next()?;
    let defines =
        matches!(keyword, "struct" | "enum" | "trait") || (keyword == "type" && !is_indented);
    let name = words.next()?.split(|c: char| !c.is_alphanumeric()).next()?;
    (defines && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(files: &[(&str, &str)]) -> Vec<String> {
        let names: Vec<String> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        let text = |file: &str| {
            files
                .iter()
                .find(|(name, _)| *name == file)
                .map(|(_, text)| (*text).to_owned())
        };
        check(&names, text)
    }

    #[test]
    fn short_doc_comments_are_errors() {
        for bad in ["/// Room.\nx", "//! Room.\nx", "/** Closes. */\nx"] {
            assert_eq!(errors_of(&[("a.rs", bad)]).len(), 1, "{bad}");
        }
        for good in [
            "// Short.\nx",
            "/// Joins a room.\nx",
            "/// A b.\n///\n/// More.\nx",
            "/** @type {x} */\nx",
        ] {
            assert_eq!(errors_of(&[("a.rs", good)]), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn sentences_with_a_vague_subject_are_errors() {
        for bad in [
            "// Who leaves.",
            "//! A room is open. Nobody\n//! is in it.",
            "/*\n * What a client\n * sends. */",
        ] {
            assert_eq!(errors_of(&[("web/a.js", bad)]).len(), 1, "{bad}");
        }
        for good in [
            "// Members who leave.",
            "// Whole frames only.",
            "let a = \"Who\";",
        ] {
            assert_eq!(
                errors_of(&[("web/a.js", good)]),
                Vec::<String>::new(),
                "{good}"
            );
        }
    }

    #[test]
    fn type_names_in_two_modules_are_errors() {
        let errors = errors_of(&[
            ("crates/a/src/a.rs", "pub(crate) struct Room<T> {"),
            ("crates/b/src/b.rs", "  enum Room {"),
        ]);
        assert_eq!(
            errors,
            ["type Room is defined in crates/a/src/a.rs, crates/b/src/b.rs"]
        );
        let allowed = [
            ("crates/a/src/a.rs", "pub enum Error {\n    type Item = u8;"),
            (
                "crates/b/src/b.rs",
                "pub struct Error;\n    type Item = u8;",
            ),
        ];
        assert_eq!(errors_of(&allowed), Vec::<String>::new());
    }
}
