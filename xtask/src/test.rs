//! `cargo xtask test`: installs the tools and runs all tests: Rust, the web type check, and real clients and browsers
//! with the release binary. All is built first: the limits of the test stages count no building.

use std::process::Command;

use crate::{
    Options, cargo, root,
    setup::{self, Tools},
    stage::Stages,
    target,
};

/// The version of the original matchbox server. The clients in `compat/matchbox/Cargo.toml` have the same version.
const MATCHBOX_VERSION: &str = "0.15.0";

/// Tests of the server that do not depend on the number of its nodes: those of one connection and one HTTP request, and
/// those that start their nodes themselves. Each is left out wherever it is part of a name.
const SAME_ON_TWO_NODES: &[&str] = &[
    "dialect_endpoints::",
    "http::",
    "rates::",
    "switched_off::",
    "tls::",
    "voice::away::",
    "websocket::",
];

pub(crate) fn run(options: Options) -> bool {
    let mut stages = Stages::default();
    // A missing tool is reported by the stages that need it.
    let tools = setup::run(options);
    let test = ["test", "--workspace"];
    stages.run("test build", cargo(&test).arg("--no-run"), 25);
    let release = ["build", "--release", "--package", "switchboard-cli"];
    let is_built = stages.run("release build", &mut cargo(&release), 25);
    let matchbox = matchbox_clients(&mut stages, options);
    rust_tests(&mut stages, options);
    match &tools.compat {
        Err(reason) => stages.skip_missing("web type check", reason),
        Ok(()) => {
            stages.run("web type check", &mut npm(&["run", "--silent", "check"]), 5);
        }
    }
    if options.no_browser {
        stages.skip("matchbox clients", "--no-browser");
        stages.skip("browser tests", "--no-browser");
    } else if is_built {
        if let Some(mut command) = matchbox {
            stages.run_tests("matchbox clients", &mut command, 5);
        }
        browser_tests(&mut stages, &tools, options);
    }
    stages.finish()
}

fn rust_tests(stages: &mut Stages, options: Options) {
    let mut all = cargo(&["test", "--workspace", "--no-fail-fast"]);
    stages.run_tests("cargo test", all.env("RUST_BACKTRACE", "1"), 12);
    let server = ["test", "--package", "switchboard", "--test", "it"];
    let mut second = cargo(&server);
    second.env("SWITCHBOARD_TEST_NODES", "2").arg("--");
    // Its tests mostly wait.
    second.arg("--test-threads=4");
    for module in SAME_ON_TWO_NODES {
        second.args(["--skip", module]);
    }
    stages.run_tests("second of two nodes", &mut second, 5);
    let mut large = cargo(&server);
    large.args(["large_rooms", "--", "--ignored"]);
    stages.run_tests("rooms of 1,000 members", &mut large, 5);
    if options.long {
        let chaos = ["test", "--package", "switchboard-cli", "--test", "cluster"];
        let mut chaos = cargo(&chaos);
        chaos.args(["--", "a_cluster"]);
        stages.run_tests(
            "long chaos",
            chaos.env("SWITCHBOARD_CHAOS_ROUNDS", "40"),
            60,
        );
        // The number of cases depends on the profile.
        let cases = ["test", "--release", "--package", "switchboard-testkit"];
        stages.run_tests("many cases", &mut cargo(&cases), 60);
    }
}

/// Builds the real matchbox clients and, with `--long`, their original server. A failure with both servers is an error of
/// the clients, not of Switchboard. Returns the command that runs the clients.
fn matchbox_clients(stages: &mut Stages, options: Options) -> Option<Command> {
    if options.no_browser {
        return None;
    }
    let folder = target().join("matchbox");
    let build = ["build", "--locked", "--manifest-path"];
    let mut build = cargo(&[&build[..], &["compat/matchbox/Cargo.toml"]].concat());
    build.arg("--target-dir").arg(&folder);
    if !stages.run("matchbox build", &mut build, 10) {
        return None;
    }
    let mut command = Command::new(folder.join("debug/matchbox-compat"));
    command.arg("--switchboard");
    command.arg(target().join("release/switchboard"));
    if !options.long {
        stages.skip("matchbox original", "only with --long");
        return Some(command);
    }
    let original = target().join(format!("tools/matchbox_server-{MATCHBOX_VERSION}"));
    let mut install = cargo(&["install", "--locked", "--debug", "matchbox_server"]);
    install.args(["--version", MATCHBOX_VERSION]);
    // The same profile as for the clients, so that common dependencies are built once.
    install.env("CARGO_PROFILE_DEV_DEBUG", "false");
    install
        .arg("--target-dir")
        .arg(folder)
        .arg("--root")
        .arg(&original);
    if options.no_install {
        stages.skip("matchbox original", "--no-install");
    } else if stages.run("matchbox original", &mut install, 15) {
        command
            .arg("--original")
            .arg(original.join("bin/matchbox_server"));
    }
    Some(command)
}

fn browser_tests(stages: &mut Stages, tools: &Tools, options: Options) {
    const NAME: &str = "browser tests";
    if let Err(reason) = &tools.compat {
        return stages.skip_missing(NAME, reason);
    }
    let mut command = npm(&["test", "--silent"]);
    command.env("SWITCHBOARD_BIN", target().join("release/switchboard"));
    if options.long {
        command.env("SWITCHBOARD_LONG", "1");
    }
    // With an empty path, the tests of this browser are skipped.
    for (variable, found) in [("CHROMIUM", &tools.chromium), ("FIREFOX", &tools.firefox)] {
        command.env(variable, found.as_deref().unwrap_or("".as_ref()));
    }
    let minutes = if options.long { 40 } else { 20 };
    stages.run_tests(NAME, &mut command, minutes);
}

fn npm(arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(root().join("compat")).args(arguments);
    command
}
