//! `cargo xtask tidy`: the rules of this repository that no other tool checks.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::failure::Result;
use crate::workspace::{Workspace, output};
use crate::{dependencies, machine_paths, transcripts};

/// Maximum lines of a source file.
const LINES_MAX: usize = 800;

/// Prints all errors. Returns true if there are none.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let files = files(&workspace.root)?;
    let mut errors = dependencies::check(workspace)?;
    for file in &files {
        let Some(text) = text(&workspace.root, file) else {
            continue;
        };
        errors.extend(too_long(file, &text));
        errors.extend(machine_paths::check(file, &text));
        errors.extend(npm_lock(file, &text));
    }
    errors.extend(transcripts::check(&files, |file| {
        text(&workspace.root, file)
    }));
    errors.extend(clippy_tables(&files, |file| text(&workspace.root, file)));
    for error in &errors {
        println!("tidy: {error}");
    }
    match errors.len() {
        0 => println!(
            "tidy: {} crates and {} files checked, no errors",
            workspace.packages.len(),
            files.len()
        ),
        1 => println!("tidy: 1 error"),
        many => println!("tidy: {many} errors"),
    }
    Ok(errors.is_empty())
}

/// All files that are committed, or would be committed next.
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

/// The text of a file; `None` for a binary file, and for a file that is deleted but still in the index.
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
        .then(|| format!("{file}: {lines} lines; split it, the maximum is {LINES_MAX}"))
}

/// Checks that an npm lock file contains no download addresses, because other machines use other registries.
fn npm_lock(file: &str, text: &str) -> Option<String> {
    if file.rsplit('/').next() != Some("package-lock.json") {
        return None;
    }
    let Ok(lock) = serde_json::from_str::<Value>(text) else {
        return Some(format!("{file}: is not valid JSON"));
    };
    let packages = lock["packages"].as_object()?;
    // A link within the repository needs its `resolved`, which is relative.
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

/// Checks that the clippy.toml of a crate repeats the lines of the root's. Clippy reads only one file per crate.
fn clippy_tables(files: &[String], text: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let root = text("clippy.toml").unwrap_or_default();
    let mut errors = Vec::new();
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
            errors.push(format!(
                "{file}: does not repeat this line of the root's clippy.toml: {rule}"
            ));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sources_are_errors_unless_they_are_vendored() {
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
    fn npm_lock_with_download_addresses_is_an_error() {
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
    fn clippy_table_of_a_crate_must_repeat_the_lines_of_the_root() {
        let errors_with = |own: &str| {
            clippy_tables(
                &["clippy.toml".to_owned(), "crates/a/clippy.toml".to_owned()],
                |file| {
                    let root = "# Why.\na = true\nbans = [\n  { path = \"x\" },\n]\n";
                    Some(if file == "clippy.toml" { root } else { own }.to_owned())
                },
            )
        };
        assert!(
            errors_with("bans = [\n{ path = \"x\" },\n{ path = \"y\" },\n]\na = true\n").is_empty()
        );
        let errors = errors_with("a = true\nbans = [\n]\n");
        assert_eq!(errors.len(), 1);
        assert!(errors[0].ends_with("{ path = \"x\" },"), "{errors:?}");
    }
}
