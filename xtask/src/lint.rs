//! `cargo xtask lint`: the static checks.

use std::{path::PathBuf, process::Command};

use crate::{Options, cargo, root, setup::find, stage::Stages, target, tidy};

const CARGO_DENY_VERSION: &str = "0.20.2";

/// The cargo project of the matchbox clients. Its dependencies have other versions or features than the workspace's.
const MATCHBOX: &str = "compat/matchbox/Cargo.toml";

pub(crate) fn run(options: Options) -> bool {
    let mut stages = Stages::default();
    stages.run("format", &mut cargo(&["fmt", "--all", "--check"]), 5);
    stages.run_here("tidy", tidy::run);
    let clippy = ["clippy", "--workspace", "--all-targets"];
    let strict = ["--", "-D", "warnings"];
    stages.run("clippy", cargo(&clippy).args(strict), 25);
    let format = ["fmt", "--manifest-path", MATCHBOX, "--check"];
    stages.run("format (matchbox)", &mut cargo(&format), 5);
    let mut clippy = cargo(&["clippy", "--locked", "--manifest-path", MATCHBOX]);
    clippy.arg("--target-dir").arg(target().join("matchbox"));
    stages.run("clippy (matchbox)", clippy.args(strict), 10);
    // The binary is excluded, because its documentation would overwrite that of the library of the same name.
    let doc = ["doc", "--workspace", "--exclude", "switchboard-cli"];
    let mut doc = cargo(&doc);
    doc.arg("--no-deps").env("RUSTDOCFLAGS", "-D warnings");
    stages.run("doc", &mut doc, 15);
    deny(&mut stages, options);
    stages.finish()
}

/// Runs cargo-deny on licences, bans and sources. Advisories are not checked, because their database needs the network
/// and changes independently of this repository.
fn deny(stages: &mut Stages, options: Options) {
    let Some(program) = cargo_deny(stages, options) else {
        let reason = "cargo-deny is not installed (cargo install --locked cargo-deny)";
        return stages.skip_missing("deny", reason);
    };
    for (name, selection) in [
        ("deny", &["--workspace"][..]),
        ("deny (matchbox)", &["--manifest-path", MATCHBOX]),
    ] {
        let mut command = Command::new(&program);
        command.current_dir(root()).args(selection);
        command.args(["check", "--hide-inclusion-graph"]);
        stages.run(name, command.args(["licenses", "bans", "sources"]), 5);
    }
}

/// Finds or installs cargo-deny.
fn cargo_deny(stages: &mut Stages, options: Options) -> Option<PathBuf> {
    let tools = target().join("tools");
    let installed = tools.join("bin/cargo-deny");
    if let Some(program) = find("cargo-deny") {
        return Some(program);
    }
    if installed.is_file() || options.no_install {
        return installed.is_file().then_some(installed);
    }
    // A debug build takes a third of the time, and the checks still take only a second or two.
    let mut install = cargo(&["install", "--locked", "--debug", "cargo-deny"]);
    install.args(["--version", CARGO_DENY_VERSION, "--root"]);
    // Without the variable, cargo builds it outside the target folder of this workspace.
    install.arg(tools).env_remove("CARGO_TARGET_DIR");
    stages
        .run("get cargo-deny", &mut install, 15)
        .then_some(installed)
}
