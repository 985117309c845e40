//! Errors of transcripts: a line that cannot be parsed or applied, or output that does not match.

use serde_json::Value;
use switchboard_dialects::SettingError;
use thiserror::Error;

/// The first line of a transcript that does not match the output of the server. The source is the reason.
#[derive(Debug, Error)]
#[error("{}", place_text(*line, text))]
pub struct TranscriptError {
    /// The number of the line, counted from 1; `None` at the end of the transcript.
    line: Option<usize>,
    text: String,
    source: LineError,
}

fn place_text(line: Option<usize>, text: &str) -> String {
    line.map_or("at the end".to_owned(), |line| {
        format!("line {line}: {text}")
    })
}

impl TranscriptError {
    /// The error for a line with this index.
    pub(super) fn at(index: usize, text: &str, source: LineError) -> Self {
        Self {
            line: Some(index + 1),
            text: text.to_owned(),
            source,
        }
    }

    /// The error for output that no line has read.
    pub(super) fn at_end(source: LineError) -> Self {
        Self {
            line: None,
            text: String::new(),
            source,
        }
    }
}

/// The reason why a line does not match, or cannot be parsed or applied.
#[derive(Debug, Error)]
pub(super) enum LineError {
    #[error("{0:?} is not an action of a client")]
    UnknownAction(String),
    #[error("{0:?} is not key=value")]
    NoPair(String),
    #[error("the definition is not NAME = TEXT * TIMES")]
    Definition,
    #[error("{0:?} is not a duration: write 3s or 500ms")]
    Duration(String),
    #[error("the bytes are not hexadecimal: {0:?}")]
    Hex(String),
    #[error("the close code {0:?} is not a number")]
    CloseCode(String),
    #[error("the expected JSON is malformed")]
    ExpectedJson(#[from] serde_json::Error),
    #[error("there is no dialect {0:?}")]
    UnknownDialect(String),
    #[error("there is no limit or setting {0:?}")]
    UnknownSetting(String),
    #[error("{key}: {value:?} has the wrong type")]
    SettingType { key: String, value: String },
    #[error("{key} has an invalid value")]
    InvalidSetting { key: String, source: SettingError },
    #[error("there is no client {0}")]
    UnknownClient(String),
    #[error("a placeholder is not defined yet: {0}")]
    UndefinedPlaceholder(String),
    #[error("{0} has no pending webhook")]
    NoPendingWebhook(String),
    #[error("{client} was also sent {frame}")]
    UnreadFrame { client: String, frame: Value },
    #[error("{client} also got the error code {code} without an error frame")]
    UnreadErrorCode { client: String, code: &'static str },
    #[error("{client} also caused the webhook request {body}")]
    UnreadWebhook { client: String, body: Value },
    #[error("{client} was closed with {code}")]
    WasClosed { client: String, code: u16 },
    #[error("{0} was sent no further frame")]
    NoFrame(String),
    #[error("{client} was sent {frame}")]
    OtherFrame { client: String, frame: Value },
    #[error("{0} has caused no further webhook request")]
    NoWebhook(String),
    #[error("{client} has caused the webhook request {body}")]
    OtherWebhook { client: String, body: Value },
    #[error("{0} has no further error code without an error frame")]
    NoErrorCode(String),
    #[error("{client} got the error code {code}")]
    OtherErrorCode { client: String, code: &'static str },
    #[error("{0} is not closed")]
    NotClosed(String),
}
