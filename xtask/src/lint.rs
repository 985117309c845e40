//! `cargo xtask lint`: the static checks.

use std::path::PathBuf;
use std::process::Command;

use crate::Options;
use crate::failure::Result;
use crate::matchbox;
use crate::setup::find;
use crate::stage::{StageResult, Stages};
use crate::tidy;
use crate::workspace::{Workspace, cargo};

const CARGO_DENY_VERSION: &str = "0.20.2";

pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<bool> {
    let mut stages = Stages::default();
    let cargo = |arguments: &[&str]| {
        let mut command = cargo(&workspace.root);
        command.args(arguments);
        command
    };
    stages.run("format", &mut cargo(&["fmt", "--all", "--check"]), 5);
    stages.run_here("tidy", || match tidy::run(workspace) {
        Ok(true) => StageResult::Passed,
        Ok(false) => StageResult::Failed("see the errors above".to_owned()),
        Err(failure) => StageResult::Failed(failure.to_string()),
    });
    stages.run(
        "clippy",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
        25,
    );
    matchbox::lint(&mut stages, workspace);
    // The binary is excluded, because its documentation would overwrite that of the library of the same name.
    let mut doc = cargo(&[
        "doc",
        "--workspace",
        "--exclude",
        "switchboard-cli",
        "--no-deps",
    ]);
    stages.run("doc", doc.env("RUSTDOCFLAGS", "-D warnings"), 15);
    deny(&mut stages, workspace, options);
    stages.print_table();
    let passed = stages.all_passed();
    println!(
        "lint: {}",
        if passed {
            "all checks passed"
        } else {
            "checks failed, see above"
        }
    );
    Ok(passed)
}

/// Runs cargo-deny on licences, bans and sources. Advisories are not checked, because their database needs the network
/// and changes independently of this repository.
fn deny(stages: &mut Stages, workspace: &Workspace, options: Options) {
    let tools = workspace.target.join("tools");
    let installed = find("cargo-deny")
        .or_else(|| Some(tools.join("bin/cargo-deny")).filter(|path| path.is_file()));
    let program: Option<PathBuf> = match installed {
        Some(program) => Some(program),
        None if options.no_install => None,
        None => {
            // A debug build takes a third of the time, and the checks still take only a second or two.
            let mut install = cargo(&workspace.root);
            install.args([
                "install",
                "--locked",
                "--debug",
                "cargo-deny",
                "--version",
                CARGO_DENY_VERSION,
                "--root",
            ]);
            install.arg(&tools);
            // Otherwise cargo would build it in the target folder of this workspace.
            install.env_remove("CARGO_TARGET_DIR");
            stages
                .run("get cargo-deny", &mut install, 15)
                .then(|| tools.join("bin/cargo-deny"))
        }
    };
    match program {
        Some(program) => {
            let mut deny = |name, selection: &[&str]| {
                let mut command = Command::new(&program);
                command.current_dir(&workspace.root).args(selection);
                command.args(["check", "--hide-inclusion-graph"]);
                command.args(["licenses", "bans", "sources"]);
                stages.run(name, &mut command, 5);
            };
            deny("deny", &["--workspace"]);
            deny("deny (matchbox)", &["--manifest-path", matchbox::MANIFEST]);
        }
        None => stages.skip(
            "deny",
            "cargo-deny is not installed (cargo install --locked cargo-deny)",
        ),
    }
}
