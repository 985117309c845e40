//! The systemd service.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{output, repository, server_process::ServerProcess, test_dir::TestDir};

/// The exposure, in tenths, that `systemd-analyze security` may find: 0 is a service that may do nothing, 100 one that may do
/// anything. The rest is the network, which the server needs.
const EXPOSURE_MAX: &str = "13";

/// The arguments of `ExecStart=`, the program first.
pub(crate) fn start_command() -> Vec<String> {
    let unit = fs::read_to_string(repository("deploy/switchboard.service")).expect("readable");
    let lines: Vec<_> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart="))
        .collect();
    let [line] = lines[..] else {
        panic!("one ExecStart: {lines:?}");
    };
    line.split_whitespace().map(str::to_owned).collect()
}

/// A copy of the unit whose program is the binary of this test: `verify` requires that it exists.
fn unit_with_binary(dir: &TestDir) -> PathBuf {
    let unit = fs::read_to_string(repository("deploy/switchboard.service")).expect("readable");
    let start = format!("ExecStart={}", env!("CARGO_BIN_EXE_switchboard"));
    dir.write(
        "switchboard.service",
        &unit.replace("ExecStart=switchboard", &start),
    )
}

#[test]
#[cfg_attr(
    not(has_systemd_analyze),
    ignore = "needs systemd-analyze (Debian: systemd)"
)]
fn systemd_accepts_the_unit_without_a_warning() {
    let dir = TestDir::new("verify");
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg(unit_with_binary(&dir));
    let result = verify.stdin(Stdio::null()).output().expect("it runs");
    let errors = String::from_utf8_lossy(&result.stderr).into_owned();
    assert!(result.status.success() && errors.is_empty(), "{errors}");
}

#[test]
#[cfg_attr(
    not(has_systemd_analyze),
    ignore = "needs systemd-analyze (Debian: systemd)"
)]
fn the_service_may_do_little_but_use_the_network() {
    let dir = TestDir::new("security");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager", &threshold]);
    output(security.arg(unit_with_binary(&dir)));
}

#[test]
fn the_service_starts_and_answers_its_health_check() {
    let dir = TestDir::new("start");
    let settings = dir.write("etc/switchboard/switchboard.toml", "");
    let command = start_command();
    assert_eq!(command[0], "switchboard");
    let mut arguments = command[1..].to_vec();
    let file = arguments.last_mut().expect("arguments");
    assert_eq!(file, "/etc/switchboard/switchboard.toml");
    settings.to_str().expect("text").clone_into(file);
    start_and_check(env!("CARGO_BIN_EXE_switchboard"), &arguments, &dir);
}

/// Starts the program with these arguments and the environment of the service, on a free port, and checks its health.
pub(crate) fn start_and_check(program: impl AsRef<OsStr>, arguments: &[String], dir: &TestDir) {
    let program = program.as_ref();
    let mut service = Command::new(program);
    service
        .args(arguments)
        .env_clear()
        .env("STATE_DIRECTORY", dir.path())
        .env("SWITCHBOARD_ADDR", "127.0.0.1")
        .env("SWITCHBOARD_PORT", "0")
        .env("SWITCHBOARD_INTERNAL_LISTEN", "")
        .stderr(Stdio::null());
    let service = ServerProcess::spawn(&mut service);
    let url = format!("http://{}/healthz", service.address);
    output(Command::new(program).args(["health", "--url", &url]));
}
