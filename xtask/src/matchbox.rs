//! Real matchbox clients: the cargo project in `compat/matchbox/`, run with Switchboard and with the original matchbox
//! server.

use std::path::PathBuf;
use std::process::Command;

use crate::Options;
use crate::stage::Stages;
use crate::workspace::{Workspace, cargo};

pub(crate) const MANIFEST: &str = "compat/matchbox/Cargo.toml";

/// The version of the original server. The clients in `compat/matchbox/Cargo.toml` have the same version.
const ORIGINAL_VERSION: &str = "0.15.0";

/// The target folder of the project. Its dependencies have other versions or features, so that a common folder would
/// share no builds.
fn target(workspace: &Workspace) -> PathBuf {
    workspace.target.join("matchbox")
}

pub(crate) fn run(stages: &mut Stages, workspace: &Workspace, options: Options, is_built: bool) {
    const NAME: &str = "matchbox clients";
    if options.no_browser {
        return stages.skip(NAME, "--no-browser");
    }
    if !is_built {
        return stages.skip(NAME, "the release binary was not built");
    }
    if !build(stages, workspace) {
        return stages.skip(NAME, "the clients were not built");
    }
    let mut command = Command::new(target(workspace).join("debug/matchbox-compat"));
    let switchboard = workspace.target.join("release/switchboard");
    command.arg("--switchboard").arg(switchboard);
    if let Some(original) = original(stages, workspace, options) {
        command.arg("--original").arg(original);
    }
    stages.run_tests(NAME, &mut command, 10);
}

/// Checks format and lints of the project, which is not part of the workspace.
pub(crate) fn lint(stages: &mut Stages, workspace: &Workspace) {
    let mut format = cargo(&workspace.root);
    format.args(["fmt", "--manifest-path", MANIFEST, "--check"]);
    stages.run("format (matchbox)", &mut format, 5);
    let mut clippy = cargo(&workspace.root);
    clippy.args(["clippy", "--locked", "--manifest-path", MANIFEST]);
    clippy.arg("--target-dir").arg(target(workspace));
    clippy.args(["--", "-D", "warnings"]);
    stages.run("clippy (matchbox)", &mut clippy, 10);
}

fn build(stages: &mut Stages, workspace: &Workspace) -> bool {
    let mut command = cargo(&workspace.root);
    command.args(["build", "--locked", "--manifest-path", MANIFEST]);
    command.arg("--target-dir").arg(target(workspace));
    stages.run("matchbox build", &mut command, 10)
}

/// Installs the original matchbox server. A failure with both servers is an error of the clients, not of Switchboard.
fn original(stages: &mut Stages, workspace: &Workspace, options: Options) -> Option<PathBuf> {
    const NAME: &str = "matchbox original";
    if !options.long {
        stages.skip(NAME, "only with --long");
        return None;
    }
    let version = format!("matchbox_server-{ORIGINAL_VERSION}");
    let root = workspace.target.join("tools").join(version);
    let program = root.join("bin/matchbox_server");
    if program.is_file() {
        return Some(program);
    }
    if options.no_install {
        stages.skip(NAME, "--no-install");
        return None;
    }
    let mut install = cargo(&workspace.root);
    install.args(["install", "--locked", "--debug", "matchbox_server"]);
    install.args(["--version", ORIGINAL_VERSION]);
    // The same profile as for the clients, so that common dependencies are built once.
    install.env("CARGO_PROFILE_DEV_DEBUG", "false");
    install.arg("--target-dir").arg(target(workspace));
    install.arg("--root").arg(root);
    stages.run(NAME, &mut install, 10).then_some(program)
}
