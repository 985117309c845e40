//! `switchboard ice`: the STUN and TURN servers that clients are told.

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
    /// Ask the server at this address, instead of reading the settings
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Prints the servers as JSON in the shape of `RTCConfiguration`.
pub(crate) fn run(args: &IceArgs) -> ExitCode {
    let printed = match &args.url {
        Some(url) => {
            voice::ice_servers(url, &args.trust.trust()).map_err(|words| (words, ExitCode::FAILURE))
        }
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
