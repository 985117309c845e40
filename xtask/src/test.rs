//! `cargo xtask test`: installs the tools and runs all tests: Rust, the web type check, and real clients and browsers
//! with the release binary.

use std::path::PathBuf;
use std::process::Command;

use crate::Options;
use crate::failure::Result;
use crate::matchbox;
use crate::setup::{self, Tools};
use crate::stage::{self, Stages};
use crate::workspace::{Workspace, cargo};

pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<bool> {
    let mut stages = Stages::default();
    // A missing tool is reported by the stages that need it.
    stage::heading("setup");
    let tools = setup::run(workspace, options);
    rust_tests(&mut stages, workspace);
    let is_built = release_build(&mut stages, workspace);
    type_check(&mut stages, workspace, &tools);
    matchbox::run(&mut stages, workspace, options, is_built);
    browser_tests(&mut stages, workspace, &tools, options, is_built);
    stages.print_table();
    println!("{}", stages.total());
    Ok(stages.all_passed())
}

fn rust_tests(stages: &mut Stages, workspace: &Workspace) {
    let mut command = cargo(&workspace.root);
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .env("RUST_BACKTRACE", "1");
    stages.run_tests("cargo test", &mut command, 25);
    let mut command = cargo(&workspace.root);
    command
        .args(["test", "--package", "switchboard", "--test", "it"])
        .env("SWITCHBOARD_TEST_NODES", "2");
    stages.run_tests(
        "the same server as the second of two nodes",
        &mut command,
        10,
    );
    let mut command = cargo(&workspace.root);
    command
        .args(["test", "--package", "switchboard", "--test", "it"])
        .args(["large_rooms", "--", "--ignored"]);
    stages.run_tests("rooms of 1,000 members", &mut command, 10);
}

fn release_build(stages: &mut Stages, workspace: &Workspace) -> bool {
    let mut command = cargo(&workspace.root);
    command.args(["build", "--release", "--package", "switchboard-cli"]);
    stages.run("release build", &mut command, 25)
}

fn type_check(stages: &mut Stages, workspace: &Workspace, tools: &Tools) {
    match &tools.compat {
        Err(reason) => stages.skip("web type check", reason),
        Ok(()) => {
            stages.run(
                "web type check",
                &mut npm(workspace, &["run", "--silent", "check"]),
                5,
            );
        }
    }
}

fn browser_tests(
    stages: &mut Stages,
    workspace: &Workspace,
    tools: &Tools,
    options: Options,
    is_built: bool,
) {
    const NAME: &str = "browser tests";
    if options.no_browser {
        return stages.skip(NAME, "--no-browser");
    }
    if !is_built {
        return stages.skip(NAME, "the release binary was not built");
    }
    if let Err(reason) = &tools.compat {
        return stages.skip(NAME, reason);
    }
    let mut command = npm(workspace, &["test", "--silent"]);
    // The tests find the binary in the default target folder by themselves.
    if workspace.target != workspace.root.join("target") {
        command.env(
            "SWITCHBOARD_BIN",
            workspace.target.join("release/switchboard"),
        );
    }
    if options.long {
        command.env("SWITCHBOARD_LONG", "1");
    }
    set_browser(&mut command, "CHROMIUM", &tools.chromium);
    set_browser(&mut command, "FIREFOX", &tools.firefox);
    stages.run_tests(NAME, &mut command, 30);
}

/// Sets the variable with the path of a browser. With an empty path, the tests of this browser are skipped.
fn set_browser(
    command: &mut Command,
    variable: &str,
    browser: &std::result::Result<PathBuf, String>,
) {
    match browser {
        Ok(path) => command.env(variable, path),
        Err(reason) => {
            println!("\n!!! {reason}: its tests are skipped");
            command.env(variable, "")
        }
    };
}

fn npm(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command
        .current_dir(workspace.root.join("compat"))
        .args(arguments);
    command
}
