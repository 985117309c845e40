//! The command-line arguments.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

use clap::{Args as Group, Command, Parser, Subcommand};

use crate::{
    admin::AdminArgs,
    bench::BenchCommand,
    ice::IceArgs,
    token::TokenCommand,
    voice::{Trust, VoiceCommand},
};

/// A self-hosted server for WebRTC signaling and voice, which speaks the signaling protocols of existing clients.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
    #[command(flatten)]
    pub(crate) options: Options,
}

const EXIT_CODES: &str = "Exit codes:
  0  The server was stopped by a signal; the command succeeded.
  1  The command failed: an address cannot be bound, the server does not answer, a node's lease has lapsed,
     a second signal ended the server at once.
  2  The command line or a setting is invalid; standard error lists each error.";

impl Args {
    /// Parses the arguments of this process. Ends the process if they are invalid.
    pub(crate) fn from_command_line() -> Self {
        Self::parse_from(with_two_dashes(std::env::args_os()))
    }
}

/// Adds the second dash to server flags that are given with one, like `-addr` and `-port` of servers in Go.
fn with_two_dashes(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let known = Options::augment_args(Command::new("serve"));
    let known: BTreeSet<_> = known
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .collect();
    let mut is_of_server = true;
    let add_dash = |arg: OsString| {
        let text = arg.to_str().unwrap_or_default();
        is_of_server &= !["voice", "health", "bench", "token", "admin", "--"].contains(&text);
        let flag = text.strip_prefix('-').map(|flag| flag.split('=').next());
        match flag {
            Some(Some(name)) if is_of_server && known.contains(name) => format!("-{text}").into(),
            _ => arg,
        }
    };
    args.map(add_dash).collect()
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Run the server (the default without a command)
    Serve(Options),
    /// Print the current settings, and every error in them
    Check(Options),
    /// Print the nodes of the cluster, read from the Redis that they share
    ///
    /// Exits with 0 if all nodes are alive; with 1 if a lease has lapsed or Redis cannot be reached; with 2
    /// if the command line or a setting is invalid.
    Cluster {
        #[command(flatten)]
        options: Options,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the STUN and TURN servers that are sent to clients, with new TURN credentials, as JSON for
    /// RTCPeerConnection
    ///
    /// Exits with 0; with 1 if the server of --url does not answer; with 2 if the command line or a setting
    /// in the section ice is invalid.
    Ice(IceArgs),
    /// Check that a running server answers; for health checks of containers
    Health {
        /// The server's address [default: this machine's, with the address and port of the
        /// environment variables, or http://127.0.0.1:8080/healthz]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        #[command(flatten)]
        trust: TrustArgs,
    },
    Voice(VoiceCommand),
    Bench(BenchCommand),
    Token(TokenCommand),
    Admin(AdminArgs),
}

/// The trust in the certificate of the server at `--url`.
#[derive(Debug, Group)]
pub(crate) struct TrustArgs {
    /// Trust the CA certificates in this PEM file, instead of those of the system
    #[arg(
        long,
        value_name = "FILE",
        requires = "url",
        conflicts_with = "insecure"
    )]
    ca: Option<PathBuf>,
    /// Accept every certificate over https, without verifying the server
    #[arg(long, requires = "url")]
    insecure: bool,
}

impl TrustArgs {
    pub(crate) fn trust(&self) -> Trust {
        Trust::from_flags(self.ca.as_deref(), self.insecure)
    }
}

/// Flags override environment variables (SWITCHBOARD_PORT, PORT, SWITCHBOARD_LIMITS_FRAME_BYTES, …), which override
/// the file.
#[derive(Clone, Debug, Group)]
pub(crate) struct Options {
    /// Address to listen on, with or without a port, or localhost; 0.0.0.0 for IPv4 only [default: ::,
    /// which is IPv6 and IPv4]
    #[arg(long, value_name = "ADDR")]
    pub(crate) addr: Option<String>,
    /// Port to listen on; 0 lets the system choose [default: 8080]
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// Additional address to listen on, as ADDR:PORT, :PORT or PORT; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<String>,
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Serve this folder at / in place of the call page
    #[arg(long, value_name = "DIR")]
    pub(crate) web_root: Option<String>,
    /// Serve HTTPS with a self-signed certificate, so that the page may use cameras and microphones on other
    /// devices; browsers warn about it once, and its fingerprint is printed
    #[arg(long)]
    pub(crate) tls_self_signed: bool,
    /// Form a cluster with all nodes that use this Redis, like redis://HOST:6379; a password is safer in
    /// SWITCHBOARD_ENGINE_URL, which is not visible in the process list
    #[arg(long, value_name = "URL")]
    pub(crate) engine: Option<String>,
    /// Format of log lines: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Least important level that is logged: off, error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        let args = line.split(' ').map(OsString::from);
        Args::try_parse_from(with_two_dashes(args))
    }

    #[test]
    fn server_flags_may_have_one_dash() {
        for line in [
            "switchboard -addr :5000 -port 5000",
            "switchboard -addr=:5000 -port=5000",
            "switchboard --addr :5000 --port=5000",
        ] {
            let options = parsed(line).expect(line).options;
            assert_eq!(options.addr.as_deref(), Some(":5000"), "{line}");
            assert_eq!(options.port.as_deref(), Some("5000"), "{line}");
        }
        let action = parsed("switchboard check -log-format json")
            .expect("flags")
            .action;
        let Some(Action::Check(options)) = action else {
            panic!("{action:?}");
        };
        assert_eq!(options.log_format.as_deref(), Some("json"));
        assert!(parsed("switchboard -addrs :5000").is_err());
    }

    #[test]
    fn flags_of_other_commands_are_not_changed() {
        let args = "switchboard voice talk room -port 1"
            .split(' ')
            .map(OsString::from);
        let args: Vec<_> = args.collect();
        assert_eq!(with_two_dashes(args.clone().into_iter()), args);
    }
}
