//! The command line.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

use clap::{Args as Group, Command, Parser, Subcommand};

use crate::{
    ice::IceArgs,
    voice::{Trust, VoiceCommand},
};

/// One self-hosted server through which people's calls find each other: WebRTC signaling in every
/// dialect that clients already speak.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
    #[command(flatten)]
    pub(crate) options: Options,
}

const EXIT_CODES: &str = "Exit codes:
  0  The server was stopped by a signal; the command did what it says.
  1  The command failed: an address cannot be listened on, the server does not answer, a node is gone,
     a second signal ended the server at once.
  2  The command line or a setting is wrong; standard error names each mistake.";

impl Args {
    /// The arguments of this process. With wrong ones the process ends.
    pub(crate) fn from_command_line() -> Self {
        Self::parse_from(with_two_dashes(std::env::args_os()))
    }
}

/// Flags of a server with two dashes, which may have been given with one, as `-addr` and `-port` of
/// servers in Go.
fn with_two_dashes(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let known = Options::augment_args(Command::new("serve"));
    let known: BTreeSet<_> = known
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .collect();
    let mut is_of_server = true;
    let add_dash = |arg: OsString| {
        let text = arg.to_str().unwrap_or_default();
        is_of_server &= !["voice", "health", "--"].contains(&text);
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
    /// Serve (what happens without a command)
    Serve(Options),
    /// Print the settings in force, and every mistake in them
    Check(Options),
    /// Print the nodes that are one switchboard, read from the Redis that they share
    ///
    /// Exits with 0 if all nodes live; with 1 if a lease has lapsed or Redis cannot be reached; with 2
    /// if the command line or a setting is wrong.
    Cluster {
        #[command(flatten)]
        options: Options,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the STUN and TURN servers that clients are told, with new TURN credentials, as JSON for
    /// RTCPeerConnection
    ///
    /// Exits with 0; with 1 if the server of --url does not answer; with 2 if the command line or a setting
    /// in the section ice is wrong.
    Ice(IceArgs),
    /// Ask a running server whether it is well; for health checks of containers
    Health {
        /// The server's address [default: this machine's, with the address and port of the
        /// environment variables, or http://127.0.0.1:8080/healthz]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        #[command(flatten)]
        trust: TrustArgs,
    },
    Voice(VoiceCommand),
}

/// The certificates that are accepted of the server at `--url`.
#[derive(Debug, Group)]
pub(crate) struct TrustArgs {
    /// Trust the authorities whose certificates are in this PEM file, instead of the system's
    #[arg(
        long,
        value_name = "FILE",
        requires = "url",
        conflicts_with = "insecure"
    )]
    ca: Option<PathBuf>,
    /// Accept every certificate over https: the server may be an impostor
    #[arg(long, requires = "url")]
    insecure: bool,
}

impl TrustArgs {
    pub(crate) fn trust(&self) -> Trust {
        Trust::from_flags(self.ca.as_deref(), self.insecure)
    }
}

/// Flags win over environment variables (SWITCHBOARD_PORT, PORT, SWITCHBOARD_LIMITS_FRAME_BYTES, …),
/// and those over the file.
#[derive(Debug, Group)]
pub(crate) struct Options {
    /// Address to listen on, with a port or without, or localhost; 0.0.0.0 for IPv4 alone [default: ::,
    /// which is IPv6 and IPv4]
    #[arg(long, value_name = "ADDR")]
    pub(crate) addr: Option<String>,
    /// Port to listen on; 0 lets the system choose [default: 8080]
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// Listen here as well; may be repeated, and :PORT or PORT will do
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<String>,
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Serve this folder at / instead of the call page
    #[arg(long, value_name = "DIR")]
    pub(crate) web_root: Option<String>,
    /// Speak HTTPS with a self-signed certificate, so that cameras and microphones of other devices work;
    /// browsers warn of it once, and its fingerprint is printed
    #[arg(long)]
    pub(crate) tls_self_signed: bool,
    /// Be one switchboard with all that use this Redis, like redis://HOST:6379; a password is safer in
    /// SWITCHBOARD_ENGINE_URL, which no list of processes shows
    #[arg(long, value_name = "URL")]
    pub(crate) engine: Option<String>,
    /// How log lines look: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// What is logged: off, error, warn, info, debug or trace [default: info]
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
    fn flags_of_a_server_may_have_one_dash() {
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
    fn flags_of_other_commands_stay_as_they_are() {
        let args = "switchboard voice talk room -port 1"
            .split(' ')
            .map(OsString::from);
        let args: Vec<_> = args.collect();
        assert_eq!(with_two_dashes(args.clone().into_iter()), args);
    }
}
