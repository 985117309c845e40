//! A running `switchboard serve`.
#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A running server, killed when dropped.
pub(crate) struct ServerProcess {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// The address of the internal listener, if it is set.
    pub(crate) internal: Option<SocketAddr>,
}

impl ServerProcess {
    /// Starts a server on a free port of this address and reads its banner.
    pub(crate) fn start_on(addr: &str, args: &[&str], stderr: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command
            .args(["--addr", addr, "--port", "0"])
            .args(args)
            .env_remove("PORT")
            .env("SWITCHBOARD_INTERNAL_LISTEN", "127.0.0.1:0")
            // The admin key of the user is not for tests.
            .env("XDG_STATE_HOME", state_folder())
            .env_remove("STATE_DIRECTORY")
            .stderr(stderr);
        Self::spawn_reading(&mut command, true)
    }

    /// Starts a command whose first line is a banner with its address.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::spawn_reading(command, false)
    }

    /// Starts a command whose first line is a banner with its address, and reads the banner up to the address of the
    /// internal listener, if there is one.
    fn spawn_reading(command: &mut Command, has_internal: bool) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = lines.next().expect("a line").expect("text");
        let address = match serde_json::from_str::<serde_json::Value>(&first) {
            Ok(banner) => banner["address"].as_str().map(str::to_owned),
            Err(_) => first
                .split_once(" listens on ")
                .map(|(_, address)| address.to_owned()),
        };
        let address = address.expect("the address").parse().expect("an address");
        let mut rest = lines.map_while(Result::ok);
        let internal = has_internal.then(|| rest.find_map(|line| internal_address(&line)));
        Self {
            child,
            address,
            internal: internal.flatten(),
        }
    }

    /// The processor time used so far, in clock ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).expect("it runs");
        let fields = stat.rsplit(')').next().expect("fields");
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = [fields[11], fields[12]].map(|ticks| ticks.parse::<u64>().expect("a number"));
        ticks.iter().sum()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The folder in which the servers of a test program keep their state.
pub(crate) fn state_folder() -> PathBuf {
    std::env::temp_dir().join(format!("switchboard-state-{}", std::process::id()))
}

/// The address of the internal listener, if this line of a banner names it.
fn internal_address(line: &str) -> Option<SocketAddr> {
    let address = match serde_json::from_str::<serde_json::Value>(line) {
        Ok(line) => line["internal_address"].as_str()?.to_owned(),
        Err(_) => {
            let rest = line.strip_prefix("  internal ")?.trim_start();
            rest.strip_prefix("http://")?.split(' ').next()?.to_owned()
        }
    };
    address.parse().ok()
}
