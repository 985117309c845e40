//! Everything that can be said about the code without running it.

use std::path::PathBuf;
use std::process::Command;

use crate::Options;
use crate::failure::Result;
use crate::matchbox;
use crate::setup::find;
use crate::stage::{Stages, Verdict};
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
        Ok(true) => Verdict::Held,
        Ok(false) => Verdict::Failed("its lines say what to change".to_owned()),
        Err(failure) => Verdict::Failed(failure.to_string()),
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
    // The binary's documentation would be written over the library's: they have one name.
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
    let held = stages.all_held();
    println!(
        "lint: {}",
        if held {
            "everything holds"
        } else {
            "something does not hold, see above"
        }
    );
    Ok(held)
}

/// Advisories are not asked for: their database needs the network, and changes without a change here.
fn deny(stages: &mut Stages, workspace: &Workspace, options: Options) {
    let ours = workspace.target.join("tools");
    let installed = find("cargo-deny")
        .or_else(|| Some(ours.join("bin/cargo-deny")).filter(|path| path.is_file()));
    let program: Option<PathBuf> = match installed {
        Some(program) => Some(program),
        None if options.no_install => None,
        None => {
            // Unoptimised: it is built in a third of the time and still done in a second or two.
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
            install.arg(&ours);
            // Cargo would build it for the target directory of this workspace, next to our own crates.
            install.env_remove("CARGO_TARGET_DIR");
            stages
                .run("get cargo-deny", &mut install, 15)
                .then(|| ours.join("bin/cargo-deny"))
        }
    };
    match program {
        Some(program) => {
            let mut deny = |name, of: &[&str]| {
                let mut command = Command::new(&program);
                command.current_dir(&workspace.root).args(of);
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
