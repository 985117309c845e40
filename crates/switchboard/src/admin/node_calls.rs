//! The calls that nodes send each other for the admin API. They go to the advertised URL of a node, which clients reach
//! too, so each has the node secret. Without it, the path answers as if it did not exist.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use switchboard_admin::{AdminService, NodeCallError};
use switchboard_core::error_chain;
use switchboard_transport::HttpClient;
use switchboard_voice::is_from_node;

use super::{Admin, Secret};

/// The path of the calls, below the advertised URL of a node.
pub(crate) const PATH: &str = "/switchboard/node/v1/admin";

/// The bytes of a call.
const CALL_BYTES_MAX: usize = 64 * 1024;

/// The bytes of an answer. A page of sessions in many rooms is the longest.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The header with the node secret, as in forwarded voice requests.
const NODE_SECRET: HeaderName = HeaderName::from_static("x-switchboard-node-secret");

/// The header with the format version of the calls.
const FORMAT: HeaderName = HeaderName::from_static("x-switchboard-node-format");

/// The format version: the actions and answers of `switchboard_admin`. A node refuses a call of another version.
const CALL_FORMAT: HeaderValue = HeaderValue::from_static("admin-1");

/// Adds the path of the calls.
pub(super) fn routes<S>(router: Router<S>, admin: Admin) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let handler = move |request: Request| async move {
        let (parts, body) = request.into_parts();
        match check(&parts, &admin.secret) {
            Ok(()) => {
                admin.app.uncount_node(&parts);
                answer(&admin.service, body).await
            }
            Err(status) => status.into_response(),
        }
    };
    router.route(PATH, any(handler))
}

/// Checks that a node of this cluster and of this format sends the call.
fn check(parts: &Parts, secret: &Secret) -> Result<(), StatusCode> {
    if !is_from_node(&parts.headers, &*secret.0) {
        return Err(StatusCode::NOT_FOUND);
    }
    if parts.headers.get(FORMAT) != Some(&CALL_FORMAT) {
        return Err(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }
    (parts.method == axum::http::Method::POST)
        .then_some(())
        .ok_or(StatusCode::METHOD_NOT_ALLOWED)
}

async fn answer(service: &AdminService, body: Body) -> Response {
    let Ok(call) = to_bytes(body, CALL_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let answer = service.answer_node(&call).await;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, answer).into_response()
}

fn failed(reason: impl Into<String>) -> NodeCallError {
    NodeCallError(reason.into())
}

/// Sends a call to the node at this URL.
pub(super) async fn send(
    client: &HttpClient,
    secret: &Secret,
    url: &str,
    call: Vec<u8>,
) -> Result<Vec<u8>, NodeCallError> {
    let request = request(secret, url, call)?;
    let response = client.send(request).await;
    let response = response.map_err(|error| failed(error_chain(&error)))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Err(failed("the node has another node secret")),
        StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            return Err(failed(
                "the node runs a release with another format of admin calls",
            ));
        }
        status => return Err(failed(format!("the node has answered {status}"))),
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await;
    let body = body.map_err(|error| failed(format!("the answer is incomplete: {error}")))?;
    Ok(body.to_bytes().into())
}

fn request(
    secret: &Secret,
    url: &str,
    call: Vec<u8>,
) -> Result<axum::http::Request<Full<Bytes>>, NodeCallError> {
    let secret = (secret.0)();
    let secret = secret.ok_or_else(|| failed("this node does not know the node secret yet"))?;
    let secret = HeaderValue::try_from(secret);
    let mut secret = secret.map_err(|_| failed("the node secret is no header"))?;
    secret.set_sensitive(true);
    let uri = format!("{}{PATH}", url.trim_end_matches('/')).parse::<Uri>();
    let uri =
        uri.map_err(|error| failed(format!("the node advertises an invalid URL: {error}")))?;
    let mut request = axum::http::Request::new(Full::from(call));
    *request.method_mut() = axum::http::Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(NODE_SECRET, secret);
    headers.insert(FORMAT, CALL_FORMAT);
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    Ok(request)
}
