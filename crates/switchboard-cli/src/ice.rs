//! `switchboard ice`: prints the STUN and TURN servers that are sent to clients.

use std::process::ExitCode;

use clap::Args;

use crate::{
    args::{Options, TrustArgs},
    report, settings, terminal, voice,
};

/// The flags of `switchboard ice`.
#[derive(Debug, Args)]
pub(crate) struct IceArgs {
    #[command(flatten)]
    options: Options,
    /// Request the servers from a running server at this address, instead of reading the settings
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Prints the servers as JSON in the shape of `RTCConfiguration`.
pub(crate) fn run(args: &IceArgs) -> ExitCode {
    let result = match &args.url {
        Some(url) => {
            voice::ice_servers(url, &args.trust.trust()).map_err(|error| (error, ExitCode::FAILURE))
        }
        None => from_settings(&args.options).map_err(|error| (error, report::USAGE.into())),
    };
    match result {
        Ok(document) => {
            terminal::print(&document);
            ExitCode::SUCCESS
        }
        Err((error, code)) => {
            report::print_failure(&error);
            code
        }
    }
}

/// The ICE servers of the settings. Errors in other settings are ignored.
fn from_settings(options: &Options) -> anyhow::Result<String> {
    let (config, errors) = settings::read(options);
    let is_of_ice = |key: &str| key.is_empty() || key == "ice" || key.starts_with("ice.");
    match errors.into_iter().find(|error| is_of_ice(&error.key)) {
        Some(error) => Err(error.into()),
        None => Ok(config.ice_document()),
    }
}
