//! `GET /ice-servers`: the STUN and TURN servers for a client of any dialect, in the shape of
//! `RTCConfiguration`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use rand::RngExt as _;
use serde_json::{Value, json};
use switchboard_core::Power;
use switchboard_dialects::ice::IceServer;

use crate::{
    Config,
    access::control::require_somewhere,
    app_state::{AppState, unix_ms},
    cors,
    handlers::reject_method,
};

/// The path of the document.
pub(crate) const PATH: &str = "/ice-servers";

/// The origins whose pages may read the response. Pages of any origin can be clients.
const ORIGINS: &str = "*";

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Answers a request for the ICE servers, with new TURN credentials.
pub(crate) async fn answer(State(app): State<Arc<AppState>>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let mut response = match cors::preflight(&parts.method, &parts.headers) {
        Some(response) => response,
        None => respond(&app, &parts).await.unwrap_or_else(|error| *error),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    cors::allow(headers, &parts.headers, ORIGINS);
    response
}

/// The ICE servers for a client that may connect. The access hook is asked, because TURN credentials give access to
/// a relay.
async fn respond(app: &AppState, parts: &Parts) -> Result<Response, Box<Response>> {
    reject_method(&parts.method).map_or(Ok(()), Err)?;
    app.charge(parts)?;
    let (_permit, admission) = app.admit(parts).await.map_err(Box::new)?;
    require_somewhere(Power::Relay, &admission.grants())?;
    let document = document(&app.handshake().ice_servers()).to_string();
    Ok(([(header::CONTENT_TYPE, JSON)], document).into_response())
}

impl Config {
    /// The STUN and TURN servers as indented JSON in the shape of `RTCConfiguration`, with TURN credentials
    /// that are valid from now on.
    #[must_use]
    pub fn ice_document(&self) -> String {
        let user = format!("{:016x}", rand::rng().random::<u64>());
        let servers = self.ice.for_client(&user, unix_ms() / 1000);
        format!("{:#}\n", document(&servers))
    }
}

/// The servers as JSON in the shape of `RTCConfiguration`.
fn document(servers: &[IceServer]) -> Value {
    json!({ "iceServers": servers })
}
