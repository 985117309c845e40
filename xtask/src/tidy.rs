//! `cargo xtask tidy`: the rules of this repository that no other tool checks.

use std::process::Command;

use crate::{Result, dependencies, language, output, root, transcripts};

/// Maximum lines of a source file.
const LINES_MAX: usize = 800;

/// Extended regular expressions that no line of these files may match, and the advice.
const FORBIDDEN_LINES: &[(&str, &str, &str)] = &[
    (
        r"(^|[^[:alnum:]._*~})>-])/((work|root)|(home|Users)/[[:alnum:]._-]+)/",
        ".",
        "a folder of one machine; use a relative path",
    ),
    (
        r"(^|[^[:alnum:]-])((index|static)\.crates\.io|registry\.(npmjs\.org|yarnpkg\.com)|pypi\.org|files\.pythonhosted\.org|(deb|security|snapshot)\.debian\.org|proxy\.golang\.org|repo1\.maven\.org)",
        ".",
        "the host of a package registry; name only the package",
    ),
    (
        r#""resolved": *"[a-z]+:"#,
        "*package-lock.json",
        "a download address; put omit-lockfile-registry-resolved=true into the .npmrc beside it, delete the lock and run npm install",
    ),
];

/// Prints all errors. Returns true if there are none.
pub(crate) fn run() -> Result<bool> {
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
    errors.extend(files.iter().filter_map(|file| too_long(file, &text(file)?)));
    errors.extend(forbidden_lines()?);
    errors.extend(transcripts::check(&files, text));
    errors.extend(clippy_tables(&files, text));
    errors.extend(language::check(&files, text));
    for error in &errors {
        println!("tidy: {error}");
    }
    println!(
        "tidy: {} files checked, {} errors",
        files.len(),
        errors.len()
    );
    Ok(errors.is_empty())
}

/// The text of a file; `None` for a binary file, and for a file that is deleted but still in the index.
fn text(file: &str) -> Option<String> {
    String::from_utf8(std::fs::read(root().join(file)).ok()?).ok()
}

fn too_long(file: &str, text: &str) -> Option<String> {
    let mut endings = [".rs", ".js", ".mjs"].iter();
    let is_source = endings.any(|ending| file.ends_with(ending)) && !file.contains("/vendor");
    let lines = text.lines().count();
    (is_source && lines > LINES_MAX)
        .then(|| format!("{file}: {lines} lines; split it, the maximum is {LINES_MAX}"))
}

fn forbidden_lines() -> Result<Vec<String>> {
    let mut errors = Vec::new();
    for (pattern, files, advice) in FORBIDDEN_LINES {
        let mut grep = Command::new("git");
        grep.current_dir(root())
            .args(["grep", "--untracked", "-nIE"]);
        let grep = grep.args(["-e", pattern, "--", files]).output();
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

/// Checks that the clippy.toml of a crate repeats the lines of the root's. Clippy reads only one file per crate.
fn clippy_tables(files: &[String], text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let root = text("clippy.toml").unwrap_or_default();
    let rules = root.lines().map(str::trim);
    let rules: Vec<_> = rules
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let tables = files.iter().filter(|file| file.ends_with("/clippy.toml"));
    let errors = tables.flat_map(|file| {
        let own = text(file).unwrap_or_default();
        let repeats = |rule: &str| own.lines().any(|line| line.trim() == rule);
        let missing = rules.iter().filter(|rule| !repeats(rule));
        let error =
            |rule| format!("{file}: does not repeat this line of the root's clippy.toml: {rule}");
        missing.map(error).collect::<Vec<_>>()
    });
    errors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sources_are_errors_unless_they_are_vendored() {
        let long = "x\n".repeat(LINES_MAX + 1);
        assert!(too_long("web/js/call.js", &long).is_some());
        assert!(too_long("web/js/call.js", &long[2..]).is_none());
        assert!(too_long("web/vendor/qr.js", &long).is_none());
    }

    #[test]
    fn patterns_match_machine_paths_registries_and_download_addresses() {
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
    }

    #[test]
    fn clippy_table_of_a_crate_must_repeat_the_lines_of_the_root() {
        let files = ["clippy.toml", "a/clippy.toml", "b/clippy.toml"].map(str::to_owned);
        let errors = clippy_tables(&files, |file| {
            let lines = [
                "# Why.\na = true\n  b = 1,\n",
                "c = 0\nb = 1,\na = true\n",
                "a = true\n",
            ];
            let index = files.iter().position(|name| name == file)?;
            Some(lines[index].to_owned())
        });
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("b/") && errors[0].ends_with("b = 1,"));
    }
}
