//! The build script of the crates whose tests need more than Rust. For each requirement that this machine meets it sets
//! a flag, and a test that needs it is ignored without:
//! `#[cfg_attr(not(has_redis), ignore = "needs redis-server and redis-cli (Debian: redis-server)")]`.
//!
//! With `CI=true` every flag is set: a test whose tool is missing runs there, and fails.
#![expect(
    clippy::print_stdout,
    reason = "a build script prints its instructions for cargo"
)]

use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The flags, each with the programs that it stands for.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("has_redis", &["redis-server", "redis-cli"]),
    ("has_coturn", &["turnserver", "turnutils_uclient"]),
    ("has_pebble", &["pebble", "pebble-challtestsrv"]),
    ("has_promtool", &["promtool"]),
    ("has_nginx", &["nginx"]),
    ("has_caddy", &["caddy"]),
    ("has_systemd_analyze", &["systemd-analyze"]),
    ("has_cargo_deb", &["cargo-deb", "dpkg-deb", "strip"]),
];

/// Folders of installed programs. The script runs again when one of them changes.
const FOLDERS: &[&str] = &["/usr/bin", "/usr/sbin", "/usr/local/bin"];

fn main() {
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-env-changed=CI");
    println!("cargo::rerun-if-changed=../test_tools.rs");
    let is_ci = env::var_os("CI").is_some_and(|value| value == "true");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let has = |program: &&str| folders.iter().any(|folder| folder.join(program).is_file());
    for (flag, programs) in PROGRAMS {
        set(flag, is_ci || programs.iter().all(has));
    }
    let python = Path::new("../../target/pyjwt/bin/python");
    set("has_pyjwt", is_ci || python.is_file());
    let schemathesis = Path::new("../../target/schemathesis/bin/schemathesis");
    set("has_schemathesis", is_ci || schemathesis.is_file());
    set("has_ipv6", is_ci || TcpListener::bind("[::1]:0").is_ok());
    set("has_network_namespaces", is_ci || has_network_namespaces());
}

/// Declares the flag, and sets it if the requirement is met. Otherwise the script runs again when a program is installed.
fn set(flag: &str, is_met: bool) {
    println!("cargo::rustc-check-cfg=cfg({flag})");
    if is_met {
        println!("cargo::rustc-cfg={flag}");
        return;
    }
    for folder in FOLDERS.iter().filter(|folder| Path::new(folder).is_dir()) {
        println!("cargo::rerun-if-changed={folder}");
    }
}

/// Whether this user may make a network namespace with a virtual cable into it.
fn has_network_namespaces() -> bool {
    let name = format!("sb{}", std::process::id());
    let made = ip(&["netns", "add", &name])
        && ip(&["link", "add", &name, "type", "veth", "peer", "netns", &name]);
    // The cable is deleted with the namespace at its other end.
    ip(&["netns", "delete", &name]);
    made
}

fn ip(arguments: &[&str]) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments).stdin(Stdio::null());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
