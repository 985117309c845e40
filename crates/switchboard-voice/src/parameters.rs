//! Request parameters, from headers, form bodies and the query.

use std::{convert::Infallible, fmt, future::ready, str::FromStr, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use multer::Multipart;
use tokio::time::timeout;

use crate::answer::VoiceError;

/// Maximum length of a form body, in bytes. Signatures and keys are short.
const BODY_MAX: usize = 64 * 1024;

/// Maximum number of name-value pairs in query and body together.
const PAIRS_MAX: usize = 64;

/// Timeout for receiving a form body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The names of the parameter that carries the token of a website's user. Their case does not matter.
pub const TOKEN_PARAMETERS: [&str; 2] = ["token", "CSRFToken"];

const DESTINATION: &[&str] = &["Destination", "From", "otherID"];
const ROOM: &[&str] = &["RoomID"];
const CHALLENGE: &[&str] = &["challenge", "challenge1", "challenge2", "challenge3"];
const SIGNATURE: &[&str] = &[
    "signature",
    "serverChallengeSigned",
    "challenge1signed",
    "challenge2signed",
    "challenge3signed",
];
const KEY: &[&str] = &["PKey"];
const FORMAT: &[&str] = &["format"];

/// A parameter that clients often misspell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterName {
    Destination,
    Room,
    Format,
    Rate,
    Channels,
}

impl ParameterName {
    /// The accepted names. The first one is shown in error messages.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Destination => DESTINATION,
            Self::Room => &["roomID"],
            Self::Format => FORMAT,
            Self::Rate => &["rate"],
            Self::Channels => &["channels"],
        }
    }

    /// Names that other programs use for the parameter: in lower case, without `_` and `-`.
    fn misspellings(self) -> &'static [&'static str] {
        match self {
            Self::Destination => &["dest", "other", "otheruser", "callee", "userid"],
            Self::Room => &["room", "roomname"],
            Self::Format => &["fmt", "codec", "audioformat"],
            Self::Rate => &[
                "samplerate",
                "samplingrate",
                "samplefrequency",
                "audiorate",
                "frequency",
                "hz",
            ],
            Self::Channels => &[
                "channel",
                "channelcount",
                "numchannels",
                "nchannels",
                "audiochannels",
            ],
        }
    }

    fn is_misspelled_as(self, name: &str) -> bool {
        let plain: String = name
            .chars()
            .filter(|character| !matches!(character, '_' | '-'))
            .map(|character| character.to_ascii_lowercase())
            .collect();
        let is_right = |known: &&str| known.eq_ignore_ascii_case(&plain);
        self.names().iter().any(is_right) || self.misspellings().contains(&&*plain)
    }
}

/// A request's parameters: the headers `PKey` and `CSRFToken`, then the form body, then the query.
///
/// Names are case-insensitive, and most have synonyms. If a parameter is given several times, the first value that is
/// not empty is used: headers come first, then the form, then the query.
pub(crate) struct RequestParameters {
    pairs: Vec<(String, String)>,
}

/// The content types of bodies that hold parameters. Other bodies are not read.
enum FormEncoding {
    UrlEncoded,
    Multipart { boundary: String },
}

impl RequestParameters {
    /// Reads headers, query and body. A body that is not a form is not read.
    pub(crate) async fn read(parts: &Parts, body: Body) -> Result<Self, VoiceError> {
        Self::read_within(BODY_TIMEOUT, parts, body).await
    }

    async fn read_within(
        body_timeout: Duration,
        parts: &Parts,
        body: Body,
    ) -> Result<Self, VoiceError> {
        let mut pairs = from_headers(&parts.headers);
        let in_headers = pairs.len();
        if let Some(form) = FormEncoding::of(&parts.headers)? {
            let body = timeout(body_timeout, collect(body));
            let body = body.await.unwrap_or_else(|_late| {
                reject(
                    StatusCode::REQUEST_TIMEOUT,
                    "Timeout: the form body was not complete after 10 s.",
                )
            })?;
            pairs.extend(form.read(body).await?);
        }
        pairs.extend(from_query(parts));
        if pairs.len() - in_headers > PAIRS_MAX {
            return reject(
                StatusCode::BAD_REQUEST,
                "Too many parameters: at most 64 are allowed.",
            );
        }
        Ok(Self { pairs })
    }

    /// Reads headers and query only, for requests whose body is audio. Pairs beyond the maximum are ignored.
    pub(crate) fn from_head(parts: &Parts) -> Self {
        let mut pairs = from_headers(&parts.headers);
        pairs.extend(from_query(parts).take(PAIRS_MAX));
        Self { pairs }
    }

    /// The user that the request is about: `Destination`, `From` or `otherID`.
    pub(crate) fn destination(&self) -> Option<&str> {
        self.first(DESTINATION)
    }

    /// The room that the request is about: `RoomID`.
    pub(crate) fn room(&self) -> Option<&str> {
        self.first(ROOM)
    }

    /// The challenge for the other user to sign: `challenge`, `challenge1`, `challenge2` or `challenge3`.
    pub(crate) fn challenge(&self) -> Option<&str> {
        self.first(CHALLENGE)
    }

    /// The signature of the request, in hex: `Signature`, `serverChallengeSigned`, `challenge1signed` …
    pub(crate) fn signature(&self) -> Option<&str> {
        self.first(SIGNATURE)
    }

    /// The caller's session token of the website: `token` or `CSRFToken`.
    pub(crate) fn token(&self) -> Option<&str> {
        self.first(&TOKEN_PARAMETERS)
    }

    /// The caller's public key: `PKey`.
    pub(crate) fn key(&self) -> Option<&str> {
        self.first(KEY)
    }

    /// The audio format that a listener requests: `format`.
    pub(crate) fn format(&self) -> Option<&str> {
        self.first(FORMAT)
    }

    /// Rejects a request that has one of these parameters under another name only, because the request would
    /// have another meaning without it. Other unknown parameters are ignored.
    pub(crate) fn reject_misspelled(&self, known: &[ParameterName]) -> Result<(), VoiceError> {
        for known in known {
            let names = known.names();
            if self.first(names).is_some() {
                continue;
            }
            let mut all = self.pairs.iter().map(|(name, _)| name);
            if let Some(name) = all.find(|name| known.is_misspelled_as(name)) {
                let is_plain = |character: &char| {
                    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
                };
                let name: String = name.chars().filter(is_plain).collect();
                let message = format!("Unknown parameter {name}: did you mean {}?", names[0]);
                return reject(StatusCode::BAD_REQUEST, &message);
            }
        }
        Ok(())
    }

    /// The value of the parameter `name`; `None` if it is absent or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.first(&[name])
    }

    /// The parameter `name` as a number: `None` if it is absent, an error if it is not such a number.
    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, VoiceError> {
        match self.text(name).map(str::parse) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => reject(
                StatusCode::BAD_REQUEST,
                &format!("`{name}` is out of range or not a number."),
            ),
        }
    }

    fn first(&self, synonyms: &[&str]) -> Option<&str> {
        let matches_name = |name: &str| {
            synonyms
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        };
        let matching = self
            .pairs
            .iter()
            .filter(|(name, value)| !value.is_empty() && matches_name(name));
        matching.map(|(_, value)| value.as_str()).next()
    }
}

/// Shows parameter names only, because values may be tokens and signatures.
impl fmt::Debug for RequestParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.pairs.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl FormEncoding {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, VoiceError> {
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|content_type| content_type.to_str().ok())
            .unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Ok(Some(Self::UrlEncoded));
        }
        if !essence.eq_ignore_ascii_case("multipart/form-data") {
            return Ok(None);
        }
        match multer::parse_boundary(content_type) {
            Ok(boundary) if !boundary.is_empty() => Ok(Some(Self::Multipart { boundary })),
            Ok(_) | Err(_) => reject(
                StatusCode::BAD_REQUEST,
                "The form's Content-Type has no boundary.",
            ),
        }
    }

    async fn read(self, body: Bytes) -> Result<Vec<(String, String)>, VoiceError> {
        match self {
            Self::UrlEncoded => Ok(from_url_encoded(&body).collect()),
            Self::Multipart { boundary } => from_multipart(body, boundary).await,
        }
    }
}

fn reject<T>(status: StatusCode, message: &str) -> Result<T, VoiceError> {
    Err(VoiceError::new(status, message))
}

fn from_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let header_pair = |&name: &&str| {
        let value = std::str::from_utf8(headers.get(name)?.as_bytes()).ok()?;
        Some((name.to_owned(), value.to_owned()))
    };
    ["PKey", "CSRFToken"]
        .iter()
        .filter_map(header_pair)
        .collect()
}

fn from_query(parts: &Parts) -> impl Iterator<Item = (String, String)> {
    from_url_encoded(parts.uri.query().unwrap_or_default().as_bytes())
}

/// Decodes URL-encoded pairs. Invalid escapes are kept as they are, as in browsers. Yields at most one pair
/// more than the maximum.
fn from_url_encoded(text: &[u8]) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(text)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .take(PAIRS_MAX + 1)
}

async fn from_multipart(
    body: Bytes,
    boundary: String,
) -> Result<Vec<(String, String)>, VoiceError> {
    let broken = |_: multer::Error| VoiceError::bad("The multipart form is malformed.");
    let mut form = Multipart::new(stream::once(ready(Ok::<_, Infallible>(body))), boundary);
    let mut pairs = Vec::new();
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        let value = field.bytes().await.map_err(broken)?;
        pairs.push((name, String::from_utf8_lossy(&value).into_owned()));
    }
    Ok(pairs)
}

async fn collect(body: Body) -> Result<Bytes, VoiceError> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => reject(
            StatusCode::PAYLOAD_TOO_LARGE,
            "The form is too large: at most 64 KiB are allowed.",
        ),
        Err(_) => reject(StatusCode::BAD_REQUEST, "The form body ended early."),
    }
}

#[cfg(test)]
mod tests;
