//! Prints errors of a command to standard error, as text or as JSON in the format of log lines.

use std::fmt;

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
        LogFormat::Text => terminal::print_error(&format!("switchboard: {error:#}")),
        LogFormat::Json => print_json_error("failed", json!({ "error": format!("{error:#}") })),
    }
}

/// Prints an error in the settings.
pub(crate) fn config_error(format: LogFormat, error: &ConfigError) {
    match format {
        LogFormat::Text => terminal::print_error(&format!("switchboard: {error}")),
        LogFormat::Json => {
            let source = error.source.to_string();
            let fields = json!({ "source": source, "key": error.key, "error": error.message });
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
