//! A network of one's own.
//!
//! The client's library binds a port on every interface of the machine but loopback, offers these addresses to its
//! peers, and listens for mDNS; nothing can tell it otherwise. So the whole program runs again in a network namespace
//! that has no interface but loopback, which has a second address there: one that the library takes.

use std::env;
use std::process::{Command, ExitCode, Stdio};

/// Set in the namespace.
const INSIDE: &str = "MATCHBOX_COMPAT_INSIDE";

/// The address is of a range that is kept for documentation, so it is no machine's. Without a way for multicast, the
/// library cannot listen for mDNS, and panics.
const FURNISH: &str = "ip link set lo up && ip address add 192.0.2.1/32 dev lo && \
    ip route add 224.0.0.0/4 dev lo && exec \"$0\" \"$@\"";

/// How to get a namespace: as root, and as somebody who is root only in it.
const WAYS: &[&[&str]] = &[&["--net"], &["--net", "--map-root-user"]];

pub(crate) fn is_own() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Runs this program again in a network of its own, or says why it cannot.
pub(crate) fn run_in_own() -> Result<ExitCode, String> {
    let program = env::current_exe().map_err(|error| format!("which program is this? {error}"))?;
    let way = WAYS
        .iter()
        .find(|way| works(way))
        .ok_or("`unshare` cannot make a network namespace here, or there is no `ip`")?;
    let mut again = unshare(way);
    again.args(["sh", "-c", FURNISH]).arg(program);
    again.args(env::args_os().skip(1)).env(INSIDE, "1");
    // The library panics where it could fail: its words are enough.
    again.env("RUST_BACKTRACE", "0");
    let status = again
        .status()
        .map_err(|error| format!("unshare: {error}"))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn works(way: &[&str]) -> bool {
    let mut probe = unshare(way);
    probe.args(["sh", "-c", FURNISH, "true"]);
    probe.stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn unshare(way: &[&str]) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(way).stdin(Stdio::null());
    unshare
}
