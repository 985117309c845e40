//! Why something was not done, in words for people.

use std::{error::Error, fmt};

use hyper::StatusCode;

/// Of what a server says, so much is shown.
const WORDS_MAX: usize = 200;

/// Why something was not done.
#[derive(Debug)]
pub(in crate::voice) enum Failure {
    /// The server does not answer.
    Unreachable { base: String, why: String },
    /// TLS failed: the server may be another one.
    Insecure { base: String, why: String },
    /// It does not want to.
    Refused {
        address: String,
        status: StatusCode,
        words: String,
    },
    /// It answers what no server of this kind does.
    Strange { address: String, what: &'static str },
}

impl Failure {
    pub(in crate::voice) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable { .. } | Self::Insecure { .. } | Self::Strange { .. } => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { base, why } => {
                write!(
                    f,
                    "cannot reach {base}: {why}; is a server running there? Choose another with --url"
                )
            }
            Self::Insecure { base, why } => write!(f, "no secure connection to {base}: {why}"),
            Self::Strange { address, what } => {
                write!(
                    f,
                    "{address} answers with {what}; is there a Switchboard? Choose another with --url"
                )
            }
            Self::Refused {
                address,
                status,
                words,
            } => {
                write!(f, "{address} refuses ({}): ", status.as_u16())?;
                f.write_str(if words.is_empty() {
                    "it says nothing more"
                } else {
                    words
                })?;
                f.write_str(advice(*status, words))
            }
        }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.to_string()
    }
}

/// What may help.
fn advice(status: StatusCode, words: &str) -> &'static str {
    match status.as_u16() {
        401 => " Is the --token still good?",
        404 if words.contains("website") => " Say who you are with --token.",
        404 if words.is_empty() => {
            "; is it a Switchboard that has voice on? Choose another with --url"
        }
        409 if words.starts_with("replaced") => {
            " Another program with the same key? Use another with --key."
        }
        _ => "",
    }
}

/// What a person at a terminal may be shown of what a stranger sent.
pub(in crate::voice) fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(WORDS_MAX)
        .collect()
}

/// An error and what it came from.
pub(in crate::voice) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
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
    fn refusals_say_where_what_and_what_to_do() {
        let refused = |status, words: &str| {
            let failure = Failure::Refused {
                address: "http://host/joinRoom".to_owned(),
                status,
                words: words.to_owned(),
            };
            failure.to_string()
        };
        assert_eq!(
            refused(StatusCode::CONFLICT, "replaced: a newer connection."),
            "http://host/joinRoom refuses (409): replaced: a newer connection. \
             Another program with the same key? Use another with --key."
        );
        assert!(
            refused(StatusCode::NOT_FOUND, "").ends_with("has voice on? Choose another with --url")
        );
    }

    #[test]
    fn a_server_s_words_do_nothing_to_a_terminal() {
        assert_eq!(printable("a\x1b[31m\u{9b}b\r\nc"), "a[31mbc");
        assert_eq!(printable(&"x".repeat(5000)).len(), WORDS_MAX);
    }
}
