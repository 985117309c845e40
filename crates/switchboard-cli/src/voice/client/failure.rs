//! Errors of requests, with advice for the user.

use std::{error::Error, fmt};

use hyper::StatusCode;

/// Maximum characters shown of a server's message.
const MESSAGE_MAX: usize = 200;

/// Why a request failed.
#[derive(Debug)]
pub(in crate::voice) enum Failure {
    /// The server could not be reached or did not respond.
    Unreachable { base: String, reason: String },
    /// TLS failed: the server is not authenticated.
    Insecure { base: String, reason: String },
    /// The server responded with an error status.
    Rejected {
        address: String,
        status: StatusCode,
        message: String,
    },
    /// The response is not one of a Switchboard server.
    Unexpected { address: String, what: &'static str },
}

impl Failure {
    pub(in crate::voice) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Rejected { status, .. } => Some(*status),
            Self::Unreachable { .. } | Self::Insecure { .. } | Self::Unexpected { .. } => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { base, reason } => {
                write!(
                    f,
                    "cannot reach {base}: {reason}; is a server running there? Choose another with --url"
                )
            }
            Self::Insecure { base, reason } => {
                write!(f, "no secure connection to {base}: {reason}")
            }
            Self::Unexpected { address, what } => {
                write!(
                    f,
                    "{address} answers with {what}; is there a Switchboard? Choose another with --url"
                )
            }
            Self::Rejected {
                address,
                status,
                message,
            } => {
                write!(f, "{address} refuses ({}): ", status.as_u16())?;
                f.write_str(if message.is_empty() {
                    "no message"
                } else {
                    message
                })?;
                f.write_str(advice(*status, message))
            }
        }
    }
}

impl Error for Failure {}

/// Advice for the user on how to fix an error response.
fn advice(status: StatusCode, message: &str) -> &'static str {
    match status.as_u16() {
        401 => " Has the --token expired?",
        404 if message.contains("website") => " Say who you are with --token.",
        404 if message.is_empty() => {
            "; is it a Switchboard that has voice on? Choose another with --url"
        }
        409 if message.starts_with("replaced") => {
            " Another program with the same key? Use another with --key."
        }
        _ => "",
    }
}

/// Makes text of a server safe for a terminal: removes control characters and limits the length.
pub(in crate::voice) fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(MESSAGE_MAX)
        .collect()
}

pub(in crate::voice) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_responses_show_url_status_message_and_advice() {
        let rejected = |status, message: &str| {
            let failure = Failure::Rejected {
                address: "http://host/joinRoom".to_owned(),
                status,
                message: message.to_owned(),
            };
            failure.to_string()
        };
        assert_eq!(
            rejected(StatusCode::CONFLICT, "replaced: a newer connection."),
            "http://host/joinRoom refuses (409): replaced: a newer connection. \
             Another program with the same key? Use another with --key."
        );
        assert!(
            rejected(StatusCode::NOT_FOUND, "")
                .ends_with("has voice on? Choose another with --url")
        );
    }

    #[test]
    fn control_characters_of_a_server_are_removed() {
        assert_eq!(printable("a\x1b[31m\u{9b}b\r\nc"), "a[31mbc");
        assert_eq!(printable(&"x".repeat(5000)).len(), MESSAGE_MAX);
    }
}
