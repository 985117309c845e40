//! `switchboard ice`: the STUN and TURN servers that clients are told.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{args::Options, report, settings, terminal, voice};

/// The flags of `switchboard ice`.
#[derive(Debug, Args)]
pub(crate) struct IceArgs {
    #[command(flatten)]
    options: Options,
    /// Ask the server at this address, instead of reading the settings
    #[arg(long, value_name = "URL")]
    url: Option<String>,
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

/// Prints the servers as JSON in the shape of `RTCConfiguration`.
pub(crate) fn run(args: &IceArgs) -> ExitCode {
    let printed = match &args.url {
        Some(url) => voice::ice_servers(url, args.ca.as_ref(), args.insecure)
            .map_err(|words| (words, ExitCode::FAILURE)),
        None => of_settings(&args.options).map_err(|words| (words, report::USAGE.into())),
    };
    match printed {
        Ok(document) => {
            terminal::print(&document);
            ExitCode::SUCCESS
        }
        Err((words, code)) => {
            terminal::print_error(&format!("switchboard: {words}"));
            code
        }
    }
}

/// The servers of the settings. Mistakes in other settings do no harm here.
fn of_settings(options: &Options) -> Result<String, String> {
    let (config, mistakes) = settings::read(options);
    let is_of_ice = |key: &str| key.is_empty() || key == "ice" || key.starts_with("ice.");
    match mistakes.iter().find(|mistake| is_of_ice(&mistake.key)) {
        Some(mistake) => Err(mistake.to_string()),
        None => Ok(config.ice_document()),
    }
}
