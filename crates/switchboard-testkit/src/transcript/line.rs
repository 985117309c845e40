//! The parser of the lines of a transcript. Their format: `crates/switchboard-dialects/transcripts/README.md`.

use std::time::Duration;

use super::error::LineError;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum TranscriptLine<'a> {
    /// A comment or an empty line.
    Comment,
    /// Limits and settings, `key=value`.
    Set(Vec<(&'a str, &'a str)>),
    /// A placeholder for a long text: `let NAME = TEXT * TIMES`.
    Let(&'a str, String),
    Wait(Duration),
    Client(&'a str, TranscriptAction<'a>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum TranscriptAction<'a> {
    Open {
        dialect: &'a str,
        query: Vec<(&'a str, &'a str)>,
        identity: Option<&'a str>,
    },
    Sends(&'a str),
    SendsBytes(Vec<u8>),
    /// The connection breaks without a close frame.
    Gone,
    /// The client closes the connection with a close frame.
    Leaves,
    /// The connection stays open, but the client answers no ping.
    Freezes,
    /// The web service answers the pending webhook of the client's session; `None`: the request fails.
    IsAnswered(Option<&'a str>),
    /// The server sends a frame to the client.
    Receives(&'a str),
    /// A frame of the client has failed with this error code, and no frame tells the client.
    IsRefused(&'a str),
    /// The client's session sends this request to a web service.
    Posts(&'a str),
    /// The server closes the connection with this code.
    IsClosed(u16),
}

impl<'a> TranscriptLine<'a> {
    pub(super) fn parse(source: &'a str) -> Result<Self, LineError> {
        if source.trim().is_empty() || source.starts_with('#') {
            return Ok(Self::Comment);
        }
        let (first, rest) = split(source);
        match first {
            "set" => Ok(Self::Set(pairs(rest)?)),
            "let" => definition(rest).ok_or(LineError::Definition),
            "wait" => Ok(Self::Wait(duration(rest)?)),
            client => Ok(Self::Client(client, TranscriptAction::parse(rest)?)),
        }
    }
}

impl<'a> TranscriptAction<'a> {
    fn parse(source: &'a str) -> Result<Self, LineError> {
        let (verb, rest) = split(source);
        match verb {
            "open" => Self::open(rest),
            ">" => Ok(Self::Sends(rest)),
            ">x" => Ok(Self::SendsBytes(hex(rest)?)),
            "<" => Ok(Self::Receives(rest)),
            "close" => {
                let code = rest
                    .parse()
                    .map_err(|_| LineError::CloseCode(rest.into()))?;
                Ok(Self::IsClosed(code))
            }
            "refused" => Ok(Self::IsRefused(rest)),
            "post" => Ok(Self::Posts(rest)),
            "reply" => Ok(Self::IsAnswered(Some(rest).filter(|rest| *rest != "none"))),
            "gone" => Ok(Self::Gone),
            "leaves" => Ok(Self::Leaves),
            "freeze" => Ok(Self::Freezes),
            other => Err(LineError::UnknownAction(other.into())),
        }
    }

    fn open(source: &'a str) -> Result<Self, LineError> {
        let (rest, identity) = match source.split_once(" as ") {
            Some((rest, identity)) => (rest, Some(identity)),
            None => (source, None),
        };
        let (dialect, query) = split(rest);
        Ok(Self::Open {
            dialect,
            query: pairs(query)?,
            identity,
        })
    }
}

fn split(source: &str) -> (&str, &str) {
    source.split_once(' ').unwrap_or((source, ""))
}

fn pairs(source: &str) -> Result<Vec<(&str, &str)>, LineError> {
    let words = source.split_whitespace();
    words
        .map(|word| {
            word.split_once('=')
                .ok_or_else(|| LineError::NoPair(word.into()))
        })
        .collect()
}

fn definition(source: &str) -> Option<TranscriptLine<'_>> {
    let (name, value) = source.split_once(" = ")?;
    let (text, times) = value.rsplit_once(" * ")?;
    Some(TranscriptLine::Let(name, text.repeat(times.parse().ok()?)))
}

fn duration(source: &str) -> Result<Duration, LineError> {
    let millis = source.strip_suffix("ms").map(str::parse);
    let secs = source.strip_suffix('s').map(str::parse);
    match (millis, secs) {
        (Some(Ok(millis)), _) => Ok(Duration::from_millis(millis)),
        (None, Some(Ok(secs))) => Ok(Duration::from_secs(secs)),
        _ => Err(LineError::Duration(source.into())),
    }
}

fn hex(source: &str) -> Result<Vec<u8>, LineError> {
    let digits: String = source.split_whitespace().collect();
    base16ct::mixed::decode_vec(digits).map_err(|_| LineError::Hex(source.into()))
}
