//! The versions of the servers.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::ComparisonOptions;
use crate::BenchError;

/// The packages of npm among the original servers.
const NPM: [&str; 2] = ["peer", "y-webrtc"];
const MATCHBOX: &str = "matchbox_server";

/// The versions of Switchboard, of the original servers that are installed, and of Node.js.
///
/// # Errors
/// If the program of Switchboard cannot be run.
pub(super) fn all(options: &ComparisonOptions) -> Result<Vec<String>, BenchError> {
    let switchboard = first_line(&options.switchboard);
    let switchboard =
        switchboard.map_err(|error| BenchError::option("--switchboard", error.to_string()))?;
    let npm = NPM.into_iter().filter_map(|name| {
        let package = options.node_modules.as_ref()?.join(name);
        let version = npm_version(&fs::read_to_string(package.join("package.json")).ok()?);
        Some(named("npm", name, version))
    });
    let node = first_line(Path::new("node"))
        .ok()
        .map(|version| format!("Node.js {version}"));
    let all = [switchboard].into_iter().chain(npm);
    Ok(all.chain(matchbox(options)).chain(node).collect())
}

fn matchbox(options: &ComparisonOptions) -> Option<String> {
    let program = options.matchbox_server.as_ref()?;
    if !program.exists() {
        return None;
    }
    // `cargo install` writes a list of its packages beside the folder of the programs.
    let list = program.parent()?.parent()?.join(".crates.toml");
    let list = fs::read_to_string(list).unwrap_or_default();
    Some(named("crate", MATCHBOX, crate_version(&list)))
}

fn named(registry: &str, name: &str, version: Option<String>) -> String {
    let version = version.unwrap_or_else(|| "of unknown version".to_owned());
    format!("{registry} {name} {version}")
}

/// The version in a `package.json`.
fn npm_version(package: &str) -> Option<String> {
    let package: Value = serde_json::from_str(package).ok()?;
    Some(package["version"].as_str()?.to_owned())
}

/// The version of matchbox in the list that `cargo install` keeps, as in `"NAME VERSION (SOURCE)" = […]`.
fn crate_version(list: &str) -> Option<String> {
    let mut keys = list.lines().filter_map(|line| line.strip_prefix('"'));
    keys.find_map(|key| {
        let rest = key.strip_prefix(MATCHBOX)?.strip_prefix(' ')?;
        rest.split(' ').next().map(str::to_owned)
    })
}

/// The first line that a program prints about its version.
fn first_line(program: &Path) -> io::Result<String> {
    let mut command = Command::new(program);
    let output = command.arg("--version").stdin(Stdio::null()).output()?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(output.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_installed_packages() {
        let package = r#"{ "name": "peer", "version": "1.0.2" }"#;
        assert_eq!(npm_version(package).as_deref(), Some("1.0.2"));
        let list = "[v1]\n\"matchbox_server 0.15.0 (registry+https://example.org)\" = [\"matchbox_server\"]\n";
        assert_eq!(crate_version(list).as_deref(), Some("0.15.0"));
        assert_eq!(crate_version("[v1]\n"), None);
        let unknown = named("crate", MATCHBOX, None);
        assert_eq!(unknown, "crate matchbox_server of unknown version");
    }
}
