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
const TOKEN: &[&str] = &["token", "CSRFToken"];
const KEY: &[&str] = &["PKey"];
const FORMAT: &[&str] = &["format"];

/// A parameter that clients are known to misspell.
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
/// Names are case-insensitive, and most have synonyms. Of several values the first non-empty one is used, in
/// that order: a form's `token` comes after the header and before the query.
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
        self.first(TOKEN)
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
mod tests {
    use axum::http::Request;

    use super::*;
    use axum::response::IntoResponse;

    const KEY_HEX: &str = "03d65a93977caa3d1b081852ff57a79e465f1660577304baead505dd3a48589cf3";
    const URL_ENCODED: &str = "application/x-www-form-urlencoded";
    const MULTIPART: &str = "multipart/form-data; boundary=----WebKitFormBoundaryX";

    /// A form that a browser sent to the reference server.
    const JOIN_CALL: &str = "------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"otherID\"\r\n\r\n\
        03d65a93977caa3d1b081852ff57a79e465f1660577304baead505dd3a48589cf3\r\n\
        ------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\nwav\r\n\
        ------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"Signature\"\r\n\r\n3044abcd\r\n\
        ------WebKitFormBoundaryX--\r\n";

    /// A form that a browser sent in site mode.
    const JOIN_ROOM: &str = "------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"roomID\"\r\n\r\n7\r\n\
        ------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\nwav\r\n\
        ------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\ntok1\r\n\
        ------WebKitFormBoundaryX--\r\n";

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    async fn read(
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<RequestParameters, VoiceError> {
        RequestParameters::read(&head(uri, headers), body.into()).await
    }

    async fn form(
        content_type: &str,
        body: impl Into<Body>,
    ) -> Result<RequestParameters, VoiceError> {
        read("/newCall", &[("content-type", content_type)], body).await
    }

    async fn status(content_type: &str, body: impl Into<Body>) -> StatusCode {
        error_status(form(content_type, body).await.unwrap_err()).await
    }

    /// The status of an error response. Asserts that its body is one line.
    async fn error_status(error: VoiceError) -> StatusCode {
        let response = error.into_response();
        let status = response.status();
        let message = response.into_body().collect().await.unwrap().to_bytes();
        let message = String::from_utf8_lossy(&message);
        assert!(
            message.ends_with(".\n") && message.lines().count() == 1,
            "{message:?}"
        );
        status
    }

    #[tokio::test]
    async fn multipart_form_of_a_browser_is_read() {
        let headers = [("PKey", KEY_HEX), ("Content-Type", MULTIPART)];
        let read_call = read("/joinCall", &headers, JOIN_CALL).await.unwrap();
        assert_eq!(read_call.destination(), Some(KEY_HEX));
        assert_eq!(read_call.format(), Some("wav"));
        assert_eq!(read_call.signature(), Some("3044abcd"));
        assert_eq!(read_call.key(), Some(KEY_HEX));
        assert_eq!(read_call.token(), None);

        let read_room = form(MULTIPART, JOIN_ROOM).await.unwrap();
        assert_eq!(read_room.room(), Some("7"));
        assert_eq!(read_room.number::<u64>("roomID").unwrap(), Some(7));
        assert_eq!(read_room.token(), Some("tok1"));
        assert_eq!(read_room.key(), None);
    }

    #[tokio::test]
    async fn url_encoded_form_is_read() {
        let body =
            format!("Destination={KEY_HEX}&challenge=d%C3%A9fi-%E6%8C%91+%E6%88%98&signature=30");
        let call = form(URL_ENCODED, body).await.unwrap();
        assert_eq!(call.destination(), Some(KEY_HEX));
        assert_eq!(call.challenge(), Some("défi-挑 战"));
        assert_eq!(call.signature(), Some("30"));
        let content_type = "Application/X-WWW-Form-UrlEncoded; charset=UTF-8";
        assert_eq!(
            form(content_type, "From=1").await.unwrap().destination(),
            Some("1")
        );
    }

    #[test]
    fn query_is_read() {
        let uri = format!("/upRoom?roomID=%22%2C%20%22x%22%3A%22y&PKey={KEY_HEX}&Signature=30");
        let room = RequestParameters::from_head(&head(&uri, &[]));
        assert_eq!(room.room(), Some(r#"", "x":"y"#));
        assert_eq!((room.key(), room.signature()), (Some(KEY_HEX), Some("30")));

        let messages = RequestParameters::from_head(&head("/messages?CSRFtoken=tok1", &[]));
        assert_eq!(messages.token(), Some("tok1"));
        let call =
            RequestParameters::from_head(&head("/upCall?token=tok1&otherID=2&rate=8000", &[]));
        assert_eq!(
            (call.token(), call.destination()),
            (Some("tok1"), Some("2"))
        );
        assert_eq!(call.number::<u32>("rate").unwrap(), Some(8000));
        assert_eq!(call.number::<u32>("channels").unwrap(), None);
        let handshake = RequestParameters::from_head(&head("/keyXCHG?pubkey=02ab&sign=30", &[]));
        assert_eq!(
            (handshake.text("pubkey"), handshake.text("sign")),
            (Some("02ab"), Some("30"))
        );
        assert_eq!(
            RequestParameters::from_head(&head("/newCall", &[])).signature(),
            None
        );
    }

    #[tokio::test]
    async fn known_misspellings_are_rejected_with_the_right_name() {
        let known = [
            ParameterName::Room,
            ParameterName::Format,
            ParameterName::Rate,
            ParameterName::Channels,
        ];
        for (misspelled, right) in [
            ("sampleRate", "rate"),
            ("sample_rate", "rate"),
            ("samplerate", "rate"),
            ("Sample-Rate", "rate"),
            ("channel", "channels"),
            ("numChannels", "channels"),
            ("room", "roomID"),
            ("room_id", "roomID"),
            ("codec", "format"),
        ] {
            let query = format!("/upRoom?{misspelled}=1");
            let params = RequestParameters::from_head(&head(&query, &[]));
            let error = params
                .reject_misspelled(&known)
                .unwrap_err()
                .into_response();
            assert_eq!(error.status(), 400, "{misspelled}");
            let message = error.into_body().collect().await.unwrap().to_bytes();
            let expected = format!("Unknown parameter {misspelled}: did you mean {right}?\n");
            assert_eq!(String::from_utf8_lossy(&message), expected);
        }
    }

    #[test]
    fn other_unknown_parameters_are_ignored() {
        let known = [
            ParameterName::Room,
            ParameterName::Format,
            ParameterName::Rate,
            ParameterName::Channels,
        ];
        for query in [
            "roomId=abc&RATE=8000&channels=2&utm_source=x&id=3&connection=a",
            "rate=8000&sampleRate=8000",
            "",
        ] {
            let params = RequestParameters::from_head(&head(&format!("/upRoom?{query}"), &[]));
            assert!(params.reject_misspelled(&known).is_ok(), "{query}");
        }
        let elsewhere = RequestParameters::from_head(&head("/listRoom?room=abc&sampleRate=1", &[]));
        assert!(elsewhere.reject_misspelled(&[]).is_ok());
    }

    #[tokio::test]
    async fn synonyms_and_any_case_are_accepted() {
        for name in [
            "Destination",
            "destination",
            "From",
            "FROM",
            "otherID",
            "otherid",
        ] {
            let form = form(URL_ENCODED, format!("{name}=x")).await.unwrap();
            assert_eq!(form.destination(), Some("x"), "{name}");
            assert_eq!(
                (form.room(), form.challenge(), form.signature()),
                (None, None, None)
            );
        }
        for name in ["RoomID", "roomID", "roomid"] {
            let form = form(URL_ENCODED, format!("{name}=x")).await.unwrap();
            assert_eq!(form.room(), Some("x"), "{name}");
        }
        for name in [
            "challenge",
            "Challenge",
            "challenge1",
            "challenge2",
            "challenge3",
        ] {
            let form = form(URL_ENCODED, format!("{name}=x")).await.unwrap();
            assert_eq!(form.challenge(), Some("x"), "{name}");
            assert_eq!(form.signature(), None, "{name}");
        }
        for name in [
            "signature",
            "Signature",
            "serverChallengeSigned",
            "challenge1signed",
            "challenge2signed",
            "challenge3signed",
        ] {
            let form = form(URL_ENCODED, format!("{name}=x")).await.unwrap();
            assert_eq!(form.signature(), Some("x"), "{name}");
            assert_eq!(form.challenge(), None, "{name}");
        }
        for name in ["token", "CSRFToken", "CSRFtoken"] {
            let form = form(URL_ENCODED, format!("{name}=x")).await.unwrap();
            assert_eq!(form.token(), Some("x"), "{name}");
        }
        let form = read("/", &[("csrftoken", "x"), ("pkey", "y")], "")
            .await
            .unwrap();
        assert_eq!((form.token(), form.key()), (Some("x"), Some("y")));
    }

    #[tokio::test]
    async fn first_nonempty_value_of_headers_body_query_is_used() {
        let content_type = ("content-type", URL_ENCODED);
        let uri = "/?token=query&format=query&roomID=query";
        let body = "token=body&format=body&roomID=&From=&otherID=1&Destination=2";
        let all = read(uri, &[content_type, ("CSRFToken", "header")], body)
            .await
            .unwrap();
        assert_eq!(all.token(), Some("header"));
        assert_eq!(all.format(), Some("body"));
        assert_eq!(all.room(), Some("query"));
        assert_eq!(all.destination(), Some("1"));
        let all = read(uri, &[content_type, ("CSRFToken", "")], body)
            .await
            .unwrap();
        assert_eq!(all.token(), Some("body"));
        assert_eq!(form(URL_ENCODED, "a=&a=").await.unwrap().text("a"), None);
    }

    #[tokio::test]
    async fn bodies_that_are_not_forms_are_not_read() {
        let unending = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        for content_type in [
            "",
            "text/plain",
            "application/json",
            "audio/wav",
            "multipart/mixed",
        ] {
            let headers = [("content-type", content_type)];
            let read = read("/?token=x", &headers, unending()).await.unwrap();
            assert_eq!(read.token(), Some("x"), "{content_type}");
        }
        let read = read("/?token=x", &[], unending()).await.unwrap();
        assert_eq!(read.token(), Some("x"));
    }

    #[tokio::test]
    async fn a_form_is_bounded_in_bytes_and_pairs() {
        let largest = format!("token={}", "x".repeat(BODY_MAX - 6));
        let token = form(URL_ENCODED, largest.clone()).await.unwrap();
        assert_eq!(token.token().map(str::len), Some(BODY_MAX - 6));
        for content_type in [URL_ENCODED, MULTIPART] {
            let too_large = status(content_type, format!("{largest}x")).await;
            assert_eq!(too_large, StatusCode::PAYLOAD_TOO_LARGE);
        }

        assert!(form(URL_ENCODED, "a=1&".repeat(64)).await.is_ok());
        assert_eq!(status(URL_ENCODED, "a=1&".repeat(65)).await, 400);
        let field = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
        let fields = |count| format!("{}--X--\r\n", field.repeat(count));
        let content_type = "multipart/form-data; boundary=X";
        assert!(form(content_type, fields(64)).await.is_ok());
        assert_eq!(status(content_type, fields(65)).await, 400);
        let uri = format!("/?{}", "a=1&".repeat(33));
        let content_type = ("content-type", URL_ENCODED);
        let both = read(&uri, &[content_type], "a=1&".repeat(32))
            .await
            .unwrap_err();
        assert_eq!(error_status(both).await, 400);
        let uri = format!("/?{}&token=x", "a=1&".repeat(64));
        let head = RequestParameters::from_head(&head(&uri, &[]));
        assert_eq!((head.text("a"), head.token()), (Some("1"), None));
    }

    #[tokio::test]
    async fn incomplete_form_times_out() {
        let unending = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let head = head("/", &[("content-type", URL_ENCODED)]);
        let late = RequestParameters::read_within(Duration::from_millis(1), &head, unending).await;
        assert_eq!(
            error_status(late.unwrap_err()).await,
            StatusCode::REQUEST_TIMEOUT
        );
        let broken = stream::once(ready(Err::<Bytes, _>(std::io::Error::other("gone"))));
        let broken = Body::from_stream(broken);
        assert_eq!(status(URL_ENCODED, broken).await, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn malformed_multipart_form_is_rejected() {
        assert_eq!(status("multipart/form-data", JOIN_CALL).await, 400);
        assert_eq!(
            status("multipart/form-data; boundary=", JOIN_CALL).await,
            400
        );
        assert_eq!(
            status("multipart/form-data; boundary=Y", JOIN_CALL).await,
            400
        );
        for broken in ["", "x", "--", "----------", "\r\n\r\n", "\0\0\0"] {
            assert_eq!(status(MULTIPART, broken).await, 400, "{broken:?}");
        }
        for cut in 1..JOIN_CALL.len() - 4 {
            assert_eq!(status(MULTIPART, &JOIN_CALL[..cut]).await, 400, "{cut}");
        }
        let nothing = form(MULTIPART, "------WebKitFormBoundaryX--\r\n")
            .await
            .unwrap();
        assert_eq!(nothing.destination(), None);
        let nameless = JOIN_ROOM.replace("; name=\"token\"", "");
        let nameless = form(MULTIPART, nameless).await.unwrap();
        assert_eq!((nameless.room(), nameless.token()), (Some("7"), None));
    }

    #[tokio::test]
    async fn invalid_escapes_and_bytes_are_decoded_leniently() {
        let lenient = form(URL_ENCODED, "a=%&b=%z&c=%e&d=%ff&=e&&f&g=%00")
            .await
            .unwrap();
        let of = |name| lenient.text(name);
        assert_eq!(
            (of("a"), of("b"), of("c")),
            (Some("%"), Some("%z"), Some("%e"))
        );
        assert_eq!(
            (of("d"), of("f"), of("g")),
            (Some("\u{fffd}"), None, Some("\0"))
        );
        let bytes = b"------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n------WebKitFormBoundaryX--";
        let lenient = form(MULTIPART, &bytes[..]).await.unwrap();
        assert_eq!(lenient.text("a"), Some("\u{fffd}"));
        let lenient = RequestParameters::from_head(&head("/?token=%ff%", &[]));
        assert_eq!(lenient.token(), Some("\u{fffd}%"));
    }

    #[tokio::test]
    async fn parameter_that_is_not_a_number_is_rejected() {
        let form = form(URL_ENCODED, "rate=fast&channels=-1&roomID=")
            .await
            .unwrap();
        for name in ["rate", "channels"] {
            assert_eq!(
                error_status(form.number::<u32>(name).unwrap_err()).await,
                400
            );
        }
        assert_eq!(form.number::<u64>("roomID").unwrap(), None);
    }

    #[tokio::test]
    async fn debug_hides_values() {
        let form = form(URL_ENCODED, "token=secret").await.unwrap();
        assert_eq!(format!("{form:?}"), r#"["token"]"#);
    }
}
