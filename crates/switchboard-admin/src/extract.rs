//! Reads parameters and bodies of requests, with errors of the API.

use axum::{
    body::{Body, to_bytes},
    http::{header, request::Parts},
};
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ApiErrorCode};

/// The bytes of a body.
pub(crate) const BODY_BYTES_MAX: usize = 32 * 1024;

/// The JSON body of a request.
pub(crate) async fn body<T: DeserializeOwned>(parts: &Parts, body: Body) -> Result<T, ApiError> {
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| {
        let kind = kind.as_bytes().split(|byte| *byte == b';').next();
        kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"application/json"))
    });
    if !is_json {
        return Err(ApiError::bad_request(
            "the Content-Type must be application/json",
        ));
    }
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let text = format!("the body has more than {BODY_BYTES_MAX} bytes, or ended early");
        ApiError::new(ApiErrorCode::TooLarge, text)
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("malformed body: {error}")))
}

/// The parameters in the query of a request. A parameter that is given twice or is unknown is an error.
pub(crate) fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, ApiError> {
    let query = parts.uri.query().unwrap_or_default();
    let mut map = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        // Numbers are read as such; every other parameter is text.
        let value = match &*name {
            "limit" => value
                .parse::<u64>()
                .map_or_else(|_| value.as_ref().into(), Into::into),
            _ => serde_json::Value::from(&*value),
        };
        if map.insert(name.clone().into_owned(), value).is_some() {
            return Err(ApiError::bad_request(format!(
                "the parameter {name:?} is given twice"
            )));
        }
    }
    serde_json::from_value(map.into())
        .map_err(|error| ApiError::bad_request(format!("malformed query: {error}")))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;
    use crate::{requests::RoomQuery, types::RoomRef};

    fn parts(uri: &str, kind: &str) -> Parts {
        let request = Request::builder().uri(uri).header("content-type", kind);
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn query_is_read_strictly() {
        let parsed: RoomQuery = query(&parts("/?prefix=a%20b&limit=7", "")).expect("valid");
        assert_eq!(
            (parsed.prefix.as_deref(), parsed.limit),
            (Some("a b"), Some(7))
        );
        for bad in [
            "/?limit=x",
            "/?limit=-1",
            "/?prefix=a&prefix=b",
            "/?other=1",
        ] {
            assert!(query::<RoomQuery>(&parts(bad, "")).is_err(), "{bad}");
        }
        let room: RoomRef = query(&parts("/?name=a%2Fb", "")).expect("valid");
        assert_eq!(room.name, "a/b");
    }

    #[tokio::test]
    async fn body_is_json_of_a_bounded_length() {
        let json = parts("/", "application/json; charset=utf-8");
        let room: RoomRef = body(&json, r#"{"name":"a"}"#.into()).await.expect("valid");
        assert_eq!(room.name, "a");
        let long = "x".repeat(BODY_BYTES_MAX + 1);
        let error = body::<RoomRef>(&json, long.into())
            .await
            .expect_err("too long");
        assert_eq!(error.code, ApiErrorCode::TooLarge);
        let form = body::<RoomRef>(&parts("/", "text/plain"), "{}".into()).await;
        assert!(form.is_err(), "a form of another site has another type");
    }
}
