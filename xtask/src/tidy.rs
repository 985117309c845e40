//! The rules of the house that no other tool knows.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::failure::Result;
use crate::workspace::{Workspace, output};
use crate::{arrows, places, transcripts};

/// Split a file while that is cheap.
const LINES_MAX: usize = 800;

/// Prints what is wrong; true when nothing is.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let files = files(&workspace.root)?;
    let mut complaints = arrows::check(workspace)?;
    for file in &files {
        let Some(text) = text(&workspace.root, file) else {
            continue;
        };
        complaints.extend(too_long(file, &text));
        complaints.extend(places::check(file, &text));
        complaints.extend(npm_lock(file, &text));
    }
    complaints.extend(transcripts::check(&files, |file| {
        text(&workspace.root, file)
    }));
    complaints.extend(clippy_tables(&files, |file| text(&workspace.root, file)));
    for complaint in &complaints {
        println!("tidy: {complaint}");
    }
    match complaints.len() {
        0 => println!(
            "tidy: {} crates and {} files keep the rules",
            workspace.packages.len(),
            files.len()
        ),
        1 => println!("tidy: 1 rule is broken"),
        many => println!("tidy: {many} rules are broken"),
    }
    Ok(complaints.is_empty())
}

/// Every file that is committed, or would be with the next commit.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ]);
    Ok(output(&mut git)?
        .split_terminator('\0')
        .map(ToOwned::to_owned)
        .collect())
}

/// A file's text; none for a binary, or for one that is deleted but not yet from the index.
fn text(root: &Path, file: &str) -> Option<String> {
    let bytes = std::fs::read(root.join(file)).ok()?;
    (!bytes.contains(&0)).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn too_long(file: &str, text: &str) -> Option<String> {
    let is_source = [".rs", ".js", ".mjs"]
        .iter()
        .any(|ending| file.ends_with(ending));
    let is_vendored = file
        .split('/')
        .any(|folder| matches!(folder, "vendor" | "vendored"));
    let lines = text.lines().count();
    (is_source && !is_vendored && lines > LINES_MAX)
        .then(|| format!("{file}: {lines} lines; split it, {LINES_MAX} is the most"))
}

/// A lock of npm's must not say where each package was downloaded from: it holds on other machines too.
fn npm_lock(file: &str, text: &str) -> Option<String> {
    if file.rsplit('/').next() != Some("package-lock.json") {
        return None;
    }
    let Ok(lock) = serde_json::from_str::<Value>(text) else {
        return Some(format!("{file}: no valid JSON"));
    };
    let packages = lock["packages"].as_object()?;
    // A link within the repository has a relative `resolved`, and needs it.
    let resolved = packages
        .iter()
        .filter(|(_, entry)| entry["link"] != Value::Bool(true) && !entry["resolved"].is_null());
    let count = resolved.count();
    (count > 0).then(|| {
        format!(
            "{file}: {count} packages have a download address (`resolved`); put omit-lockfile-registry-resolved=true into \
             the .npmrc beside it, delete the lock and run npm install"
        )
    })
}

/// Clippy reads one clippy.toml per crate and merges none, so a crate's own must repeat the root's.
fn clippy_tables(files: &[String], text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let root = text("clippy.toml").unwrap_or_default();
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.ends_with("/clippy.toml")) {
        let own = text(file).unwrap_or_default();
        let own: Vec<&str> = own.lines().map(str::trim).collect();
        let is_rule = |line: &&str| !line.is_empty() && !line.starts_with('#');
        for rule in root
            .lines()
            .map(str::trim)
            .filter(is_rule)
            .filter(|rule| !own.contains(rule))
        {
            complaints.push(format!(
                "{file}: does not repeat this line of the root's clippy.toml: {rule}"
            ));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sources_are_named_and_vendored_ones_left_alone() {
        let long = "x\n".repeat(LINES_MAX + 1);
        for file in ["src/hub.rs", "web/js/call.js", "compat/run.mjs"] {
            assert!(too_long(file, &long).is_some(), "{file}");
            assert!(too_long(file, &long[2..]).is_none(), "{file}");
        }
        for file in ["web/vendor/qr.js", "Cargo.lock", "README.md"] {
            assert!(too_long(file, &long).is_none(), "{file}");
        }
    }

    #[test]
    fn a_lock_with_download_addresses_is_named() {
        let with =
            r#"{"packages":{"":{},"node_modules/a":{"resolved":"https://example.org/a.tgz"}}}"#;
        let without = r#"{"packages":{"":{},"node_modules/a":{"version":"1"},"b":{"link":true,"resolved":"../b"}}}"#;
        assert!(
            npm_lock("compat/package-lock.json", with)
                .unwrap()
                .contains("1 packages")
        );
        assert_eq!(npm_lock("compat/package-lock.json", without), None);
        assert_eq!(npm_lock("compat/package.json", with), None);
        assert!(npm_lock("package-lock.json", "{").is_some());
    }

    #[test]
    fn a_crates_own_clippy_table_repeats_the_roots() {
        let complaints_with = |own: &str| {
            clippy_tables(
                &["clippy.toml".to_owned(), "crates/a/clippy.toml".to_owned()],
                |file| {
                    let root = "# Why.\na = true\nbans = [\n  { path = \"x\" },\n]\n";
                    Some(if file == "clippy.toml" { root } else { own }.to_owned())
                },
            )
        };
        assert!(
            complaints_with("bans = [\n{ path = \"x\" },\n{ path = \"y\" },\n]\na = true\n")
                .is_empty()
        );
        let complaints = complaints_with("a = true\nbans = [\n]\n");
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].ends_with("{ path = \"x\" },"),
            "{complaints:?}"
        );
    }
}
