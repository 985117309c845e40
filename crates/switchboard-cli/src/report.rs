//! Prints errors of a command to standard error, as text or as JSON in the format of log lines.

use std::{error::Error, fmt};

use serde_json::{Value, json};
use switchboard::config::{ConfigError, LogFormat};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime as _, SystemTime},
};

use crate::terminal;

/// Exit code: the command failed.
pub(crate) const FAILED: u8 = 1;

/// Exit code: the command line or a setting is invalid. `clap` uses the same code.
pub(crate) const USAGE: u8 = 2;

/// Prints the error with which a command failed, and its sources.
pub(crate) fn report_failure(format: LogFormat, error: &anyhow::Error) {
    match format {
        LogFormat::Text => print_failure(error),
        LogFormat::Json => print_json_error("failed", json!({ "error": chain(error.as_ref()) })),
    }
}

/// Prints the error of a command, and its causes, as text.
pub(crate) fn print_failure(error: &anyhow::Error) {
    terminal::print_error(&format!("switchboard: {}", chain(error.as_ref())));
}

/// The text of an error and its causes, separated by colons. A cause whose text the error prints itself is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let texts = anyhow::Chain::new(error).map(ToString::to_string);
    let chain = texts.reduce(|chain, cause| match chain.ends_with(&cause) {
        true => chain,
        false => format!("{chain}: {cause}"),
    });
    chain.unwrap_or_default()
}

/// Prints an error in the settings.
pub(crate) fn config_error(format: LogFormat, error: &ConfigError) {
    match format {
        LogFormat::Text => terminal::print_error(&format!("switchboard: {}", chain(error))),
        LogFormat::Json => {
            let mut text = error.message();
            if let Some(cause) = error.source() {
                text = format!("{text}: {}", chain(cause));
            }
            let source = error.origin.to_string();
            let fields = json!({ "source": source, "key": error.key, "error": text });
            print_json_error("invalid setting", fields);
        }
    }
}

/// A line in the format of the JSON log: the time, the level, the message, and the entries of `fields`.
pub(crate) fn json_line(level: &str, message: &str, fields: Value) -> String {
    let mut timestamp = String::new();
    // The line is written without a timestamp if the clock cannot be formatted.
    let _: fmt::Result = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let mut line = json!({ "timestamp": timestamp, "level": level, "message": message });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    format!("{line}\n")
}

fn print_json_error(message: &str, fields: Value) {
    terminal::print_error(json_line("ERROR", message, fields).trim_end());
}
