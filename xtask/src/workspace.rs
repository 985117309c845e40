//! What cargo knows about this workspace.

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

/// A member of the workspace.
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
    /// Asks `cargo metadata`, at the root of the workspace that this crate is in.
    pub(crate) fn load() -> Result<Self> {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let manifest_dir = PathBuf::from(manifest_dir);
        let root = manifest_dir.parent().unwrap_or(&manifest_dir).to_owned();
        let mut command = cargo(&root);
        command.args(["metadata", "--format-version", "1", "--no-deps"]);
        let metadata = output(&mut command)?;
        parse(root, &metadata).ok_or_else(|| {
            Failure::new("`cargo metadata` answered in a form that xtask does not know")
        })
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

/// The cargo that runs this task, as a person would call it at the root.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).stdin(Stdio::null());
    // `cargo run` describes xtask in these; build scripts that watch them would run again for nothing.
    for (name, _) in std::env::vars_os() {
        let described = name.to_string_lossy();
        if described.starts_with("CARGO_PKG_") || described.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// The standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = words(command);
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

/// The command as one would type it.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_becomes_names_and_kinds() {
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
    fn metadata_of_another_form_is_refused() {
        assert!(parse(PathBuf::from("."), r#"{"packages":[]}"#).is_none());
        assert!(parse(PathBuf::from("."), "no JSON").is_none());
    }

    #[test]
    fn a_command_reads_as_typed() {
        let mut command = Command::new("folder/cargo");
        command.args(["test", "--workspace"]);
        assert_eq!(words(&command), "cargo test --workspace");
    }
}
