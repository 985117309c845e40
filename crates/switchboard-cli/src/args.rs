//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args as Group, Parser, Subcommand};

use crate::voice::Voice;

/// One self-hosted server through which people's calls find each other: WebRTC signaling in every
/// dialect that clients already speak.
#[derive(Debug, Parser)]
#[command(name = "switchboard", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
    #[command(flatten)]
    pub(crate) options: Options,
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
    /// Ask a running server whether it is well; for health checks of containers
    Health {
        /// The server's address [default: this machine's, with the address and port of the
        /// environment variables, or http://127.0.0.1:8080/healthz]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    Voice(Voice),
}

/// Flags win over environment variables (SWITCHBOARD_PORT, PORT, SWITCHBOARD_LIMITS_FRAME_BYTES, …),
/// and those over the file.
#[derive(Debug, Group)]
pub(crate) struct Options {
    /// Address to listen on; 0.0.0.0 for IPv4 alone [default: ::, which is IPv6 and IPv4]
    #[arg(long, value_name = "ADDR")]
    pub(crate) addr: Option<String>,
    /// Port to listen on; 0 lets the system choose [default: 8080]
    #[arg(long)]
    pub(crate) port: Option<String>,
    /// Listen here as well; may be repeated
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Serve this folder at / instead of the call page
    #[arg(long, value_name = "DIR")]
    pub(crate) web_root: Option<String>,
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
