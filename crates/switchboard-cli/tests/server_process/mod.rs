//! A running `switchboard serve`.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

/// A running server, killed when dropped.
pub(crate) struct ServerProcess {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl ServerProcess {
    /// Starts a server on a free port of this address and reads its banner.
    pub(crate) fn start_on(addr: &str, args: &[&str], stderr: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        command
            .args(["--addr", addr, "--port", "0"])
            .args(args)
            .env_remove("PORT")
            .stderr(stderr);
        Self::spawn(&mut command)
    }

    /// Starts a command whose first line is a banner with its address.
    pub(crate) fn spawn(command: &mut Command) -> Self {
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
        Self { child, address }
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
