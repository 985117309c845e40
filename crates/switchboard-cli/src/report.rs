//! Errors of a command on standard error, as text or as JSON in the shape of the log's lines.

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

/// Exit code: the command line or a setting is wrong. `clap` has the same for its own errors.
pub(crate) const USAGE: u8 = 2;

/// Prints why a command failed.
pub(crate) fn report_failure(format: LogFormat, words: &str) {
    match format {
        LogFormat::Text => terminal::print_error(&format!("switchboard: {words}")),
        LogFormat::Json => print_json_error("failed", json!({ "error": words })),
    }
}

/// Prints a mistake in the settings.
pub(crate) fn config_error(format: LogFormat, mistake: &ConfigError) {
    match format {
        LogFormat::Text => terminal::print_error(&format!("switchboard: {mistake}")),
        LogFormat::Json => {
            let source = mistake.source.to_string();
            let fields = json!({ "source": source, "key": mistake.key, "error": mistake.message });
            print_json_error("mistake in the settings", fields);
        }
    }
}

/// A line that looks like one of the log: the time, the level, the message, and the fields of an object.
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
