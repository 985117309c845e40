//! `cargo xtask tidy`: the rules of this repository that no other tool checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use crate::{Result, dependencies, output, root};

/// Maximum lines of a source file.
const LINES_MAX: usize = 800;

/// Type names that may be defined more than once, because they are always written with their module.
const QUALIFIED_TYPES: &[&str] = &["Error", "Result"];

/// The sources of this repository, without vendored ones.
const SOURCES: &[&str] = &["*.rs", "*.js", "*.mjs", "*.css", ":!*/vendor*"];

/// Rules: an extended regular expression, the files (as `git` names them) of which no line may match it, and the advice.
const FORBIDDEN_LINES: &[(&str, &[&str], &str)] = &[
    (
        r"(^|[^[:alnum:]._*~})>-])/((work|root)|(home|Users)/[[:alnum:]._-]+)/",
        &["."],
        "a folder of one machine; use a relative path",
    ),
    (
        r"(^|[^[:alnum:]-])((index|static)\.crates\.io|registry\.(npmjs\.org|yarnpkg\.com)|pypi\.org|files\.pythonhosted\.org|(deb|security|snapshot)\.debian\.org|proxy\.golang\.org|repo1\.maven\.org)",
        &["."],
        "the host of a package registry; name only the package",
    ),
    (
        r#""resolved": *"[a-z]+:"#,
        &["*package-lock.json"],
        "a download address; put omit-lockfile-registry-resolved=true into the .npmrc beside it, delete the lock and run npm install",
    ),
    (
        r"^ *(//[/!]?|/?[*]+) *(.*[.] )?(Who|Whoever|Nobody|Somebody|What)([^[:alnum:]]|$)",
        SOURCES,
        "begin the sentence with the thing that it is about",
    ),
    (
        r"Result<([^<>]|<([^<>]|<[^<>]*>)*>)*, String>",
        &["crates/*/src/*.rs"],
        "an error without a type; define one with thiserror",
    ),
    (
        r"^ *(//[/!] [A-Z].{0,8}[.]|/[*]{2} [^@].{0,9} ?[*]/)$",
        SOURCES,
        "a doc comment has at least 12 characters",
    ),
    (
        r"(^|[^[:alnum:]_])(clock|tokio|axum|hyper|switchboard_(audio|transport))([^[:alnum:]_]|$)",
        PURE_VOICE,
        "the state machines and the wire format of voice are pure; pass the time as an argument",
    ),
];

/// The modules of the voice crate that use neither a clock nor a runtime. `clippy.toml` cannot say so of a module.
const PURE_VOICE: &[&str] = &[
    "crates/switchboard-voice/src/signaling*",
    "crates/switchboard-voice/src/gostream.rs",
    "crates/switchboard-voice/src/id.rs",
];

/// Prints all errors.
pub(crate) fn run() -> Result<()> {
    // All files that are committed, or would be committed next.
    let list = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ];
    let files = output(Command::new("git").current_dir(root()).args(list))?;
    let files: Vec<String> = files.lines().map(str::to_owned).collect();
    let mut errors = dependencies::check()?;
    for file in files.iter().filter(|file| is_source(file)) {
        let text = text(file).unwrap_or_default();
        errors.extend(too_long(file, &text));
    }
    errors.extend(forbidden_lines()?);
    errors.extend(doubled_types(&files, text));
    for error in &errors {
        println!("tidy: {error}");
    }
    let summary = format!("{} files checked, {} errors", files.len(), errors.len());
    println!("tidy: {summary}");
    if errors.is_empty() {
        Ok(())
    } else {
        Err(summary)
    }
}

fn is_source(file: &str) -> bool {
    let ends = |ending: &&str| file.ends_with(*ending);
    [".rs", ".js", ".mjs", ".css"].iter().any(ends) && !file.contains("/vendor")
}

/// The text of a file; `None` for a binary file, and for a file that is deleted but still in the index.
fn text(file: &str) -> Option<String> {
    String::from_utf8(std::fs::read(root().join(file)).ok()?).ok()
}

fn too_long(file: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX && !file.ends_with(".css"))
        .then(|| format!("{file}: {lines} lines; split it, the maximum is {LINES_MAX}"))
}

fn forbidden_lines() -> Result<Vec<String>> {
    let mut errors = Vec::new();
    for (pattern, files, advice) in FORBIDDEN_LINES {
        let mut grep = Command::new("git");
        grep.current_dir(root())
            .args(["grep", "--untracked", "-nIE", "-e", pattern, "--"]);
        let grep = grep.args(*files).output();
        let grep = grep.map_err(|error| format!("`git grep` could not be started: {error}"))?;
        // Status 1 says that no line matches.
        if !matches!(grep.status.code(), Some(0 | 1)) {
            return Err(String::from_utf8_lossy(&grep.stderr).into_owned());
        }
        let lines = String::from_utf8_lossy(&grep.stdout);
        errors.extend(lines.lines().map(|line| format!("{line:.200}: {advice}")));
    }
    Ok(errors)
}

/// The errors for type names that are defined in two files of the crates.
fn doubled_types(files: &[String], text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut types: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let is_library = |file: &&String| file.starts_with("crates/") && file.contains("/src/");
    for file in files
        .iter()
        .filter(is_library)
        .filter(|file| file.ends_with(".rs"))
    {
        for name in text(file).unwrap_or_default().lines().filter_map(type_name) {
            types.entry(name.to_owned()).or_default().insert(file);
        }
    }
    types.retain(|name, files| files.len() > 1 && !QUALIFIED_TYPES.contains(&name.as_str()));
    let error = |(name, files): (&String, &BTreeSet<&str>)| {
        let files: Vec<&str> = files.iter().copied().collect();
        format!("type {name} is defined in {}", files.join(", "))
    };
    types.iter().map(error).collect()
}

/// The name of the type or trait that this line defines. An associated type has its trait beside it, and is indented.
fn type_name(line: &str) -> Option<&str> {
    let is_indented = line.starts_with(' ');
    let is_prefix =
        |word: &&str| word.starts_with("pub") || *word == "unsafe" || word.ends_with(')');
    let mut words = line.split_whitespace().skip_while(is_prefix);
    let keyword = words.next()?;
    let defines =
        matches!(keyword, "struct" | "enum" | "trait") || (keyword == "type" && !is_indented);
    let name = words.next()?.split(|c: char| !c.is_alphanumeric()).next()?;
    (defines && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sources_are_errors_unless_they_are_vendored() {
        let long = "x\n".repeat(LINES_MAX + 1);
        assert!(too_long("web/js/call.js", &long).is_some());
        assert!(too_long("web/js/call.js", &long[2..]).is_none());
        assert!(is_source("web/js/call.js") && !is_source("web/vendor/qr.js"));
    }

    #[test]
    fn patterns_match_machine_paths_registries_download_addresses_and_poor_comments() {
        // With placeholders, so that this file passes its own check.
        let matches = |rule: usize, line: &str| {
            let line = line.replace('|', "/").replace('@', ".");
            let mut grep = Command::new("sh");
            grep.args(["-c", "echo \"$0\" | grep -qE -e \"$1\"", &line]);
            grep.arg(FORBIDDEN_LINES[rule].0)
                .status()
                .unwrap()
                .success()
        };
        for path in ["|work|main", "\"|root|.cargo\"", "file:|||home|ann|x"] {
            assert!(matches(0, path), "{path}");
        }
        for path in [
            "src|work|mod.rs",
            "$HOME|work|x",
            "|home|<name>|x",
            "|network|x",
        ] {
            assert!(!matches(0, path), "{path}");
        }
        assert!(matches(1, "https:||registry@npmjs@org|x"));
        assert!(!matches(1, "https:||github.com|rust-lang|crates.io-index"));
        assert!(matches(2, r#"  "resolved": "https:||example.org|a.tgz","#));
        assert!(!matches(2, r#"  "resolved": "..|b","#));
        for sentence in [
            "|| @Who leaves.",
            "||! It is open. @Nobody is in it.",
            " * @What a client",
        ] {
            assert!(matches(3, &sentence.replace('@', "")), "{sentence}");
        }
        for sentence in [
            "|| Members who leave.",
            "|| Whole frames.",
            "let a = 'Who';",
        ] {
            assert!(!matches(3, sentence), "{sentence}");
        }
        let of_purity = FORBIDDEN_LINES.len() - 1;
        assert!(matches(of_purity, "use crate::{clock, id::User};"));
        assert!(matches(of_purity, "    tokio::spawn(task);"));
        assert!(!matches(of_purity, "use switchboard_core::exceeds;"));
    }

    #[test]
    fn type_names_in_two_modules_are_errors() {
        let files = ["crates/a/src/a.rs", "crates/b/src/b.rs"].map(str::to_owned);
        let texts = [
            "pub(crate) struct Room<T> {\n  type Item = u8;\npub enum Error {",
            "  enum Room {\n  type Item = u8;\npub struct Error;",
        ];
        let text = |file: &str| Some(texts[usize::from(file == files[1])].to_owned());
        let expected = ["type Room is defined in crates/a/src/a.rs, crates/b/src/b.rs"];
        assert_eq!(doubled_types(&files, text), expected);
    }
}
