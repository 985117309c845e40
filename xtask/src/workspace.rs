//! The packages of this workspace, read from `cargo metadata`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::{Failure, Result};

#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Workspace {
    /// Runs `cargo metadata` at the root of the workspace.
    pub(crate) fn load() -> Result<Self> {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let manifest_dir = PathBuf::from(manifest_dir);
        let root = manifest_dir.parent().unwrap_or(&manifest_dir).to_owned();
        let mut command = cargo(&root);
        command.args(["metadata", "--format-version", "1", "--no-deps"]);
        let metadata = output(&mut command)?;
        parse(root, &metadata)
            .ok_or_else(|| Failure::new("the output of `cargo metadata` has an unknown format"))
    }
}

fn parse(root: PathBuf, metadata: &str) -> Option<Workspace> {
    let metadata: Value = serde_json::from_str(metadata).ok()?;
    let packages = metadata["packages"]
        .as_array()?
        .iter()
        .map(package)
        .collect::<Option<_>>()?;
    let target = PathBuf::from(metadata["target_directory"].as_str()?);
    Some(Workspace {
        root,
        target,
        packages,
    })
}

fn package(package: &Value) -> Option<Package> {
    let dependencies = package["dependencies"]
        .as_array()?
        .iter()
        .map(dependency)
        .collect::<Option<_>>()?;
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        dependencies,
    })
}

fn dependency(dependency: &Value) -> Option<Dependency> {
    let kind = match dependency["kind"].as_str() {
        None => Kind::Normal,
        Some("build") => Kind::Build,
        Some("dev") => Kind::Dev,
        Some(_) => return None,
    };
    Some(Dependency {
        name: dependency["name"].as_str()?.to_owned(),
        kind,
    })
}

/// A command for the cargo that runs this task, with the workspace's root as its folder.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).stdin(Stdio::null());
    // `cargo run` sets these variables for xtask. Build scripts that depend on them would run again needlessly.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command that must succeed, and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("`{line}` could not be started: {error}")))?;
    if !output.status.success() {
        return Err(Failure::new(format!("`{line}` failed ({})", output.status)));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::new(format!("`{line}` printed something that is not UTF-8")))
}

/// The command line of a command, with the program's file name.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let arguments = std::iter::once(program).chain(command.get_args());
    arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_dependencies_are_parsed() {
        let metadata = r#"{"target_directory":"t","packages":[{"name":"a","dependencies":[
            {"name":"b","kind":null},{"name":"c","kind":"dev"},{"name":"d","kind":"build"}]}]}"#;
        let workspace = parse(PathBuf::from("."), metadata).unwrap();
        assert_eq!(workspace.target, Path::new("t"));
        assert_eq!(workspace.packages[0].name, "a");
        let dependencies: Vec<_> = workspace.packages[0]
            .dependencies
            .iter()
            .map(|d| (d.name.as_str(), d.kind))
            .collect();
        assert_eq!(
            dependencies,
            [("b", Kind::Normal), ("c", Kind::Dev), ("d", Kind::Build)]
        );
    }

    #[test]
    fn metadata_of_another_format_is_rejected() {
        assert!(parse(PathBuf::from("."), r#"{"packages":[]}"#).is_none());
        assert!(parse(PathBuf::from("."), "no JSON").is_none());
    }

    #[test]
    fn command_line_has_the_file_name_of_the_program() {
        let mut command = Command::new("folder/cargo");
        command.args(["test", "--workspace"]);
        assert_eq!(command_line(&command), "cargo test --workspace");
    }
}
