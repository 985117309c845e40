//! Tests of parameters in forms, queries and headers.

use axum::http::Request;

use super::*;
use axum::response::IntoResponse;

const KEY_HEX: &str = "03d65a93977caa3d1b081852ff57a79e465f1660577304baead505dd3a48589cf3";
const URL_ENCODED: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=----WebKitFormBoundaryX";

/// A form that a browser sent to the reference server, the original implementation.
const JOIN_CALL: &str = "------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"otherID\"\r\n\r\n\
    03d65a93977caa3d1b081852ff57a79e465f1660577304baead505dd3a48589cf3\r\n\
    ------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"format\"\r\n\r\nwav\r\n\
    ------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"Signature\"\r\n\r\n3044abcd\r\n\
    ------WebKitFormBoundaryX--\r\n";

/// A form that a browser sent to the reference server with identity `site`.
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

async fn form(content_type: &str, body: impl Into<Body>) -> Result<RequestParameters, VoiceError> {
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
    let call = RequestParameters::from_head(&head("/upCall?token=tok1&otherID=2&rate=8000", &[]));
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
