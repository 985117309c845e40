//! HTTP requests to a voice server, and their errors.

use std::{io, time::Duration};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use http_body_util::{BodyExt as _, Empty, Limited, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Frame, Incoming},
    header::{self, HeaderMap, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::{client::generate_key, derive_accept_key},
        protocol::Role,
    },
};

mod failure;
mod tls;
mod transport;

pub(super) use failure::{Failure, printable};
pub(crate) use tls::{Trust, failure as tls_failure};

use failure::root_cause;
use transport::{RequestBody, VoiceTransport};

use super::{events::CallEvents, identity::CliIdentity, uplink::UplinkSocket};

/// Timeout for a response.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum length of a text response, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// The parameters of a request, as names and values.
pub(super) type FormParameters = Vec<(&'static str, String)>;

/// A client of one server, with the identity of the local user.
pub(super) struct VoiceClient {
    base: String,
    transport: VoiceTransport,
    pub(super) identity: CliIdentity,
}

impl VoiceClient {
    pub(super) fn new(url: &str, trust: &Trust, identity: CliIdentity) -> anyhow::Result<Self> {
        let base = url.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().with_context(|| format!("--url {url}"))?;
        let transport = match uri.scheme_str() {
            Some("http") => VoiceTransport::plain(),
            Some("https") => VoiceTransport::secure(trust)?,
            Some(_) | None => {
                return Err(anyhow!("--url {url} must begin with http:// or https://"));
            }
        };
        if base.contains(['?', '#']) {
            return Err(anyhow!("--url {url} must not contain ? or #"));
        }
        Ok(Self {
            base,
            transport,
            identity,
        })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The authentication parameters, encoded for a URL's query.
    pub(super) async fn query(&self) -> Result<String, Failure> {
        let authentication = self.authentication().await?;
        Ok(encoded(&authentication))
    }

    /// The ICE servers that the server offers to its clients, as JSON for `RTCPeerConnection`.
    pub(super) async fn ice_servers(&self) -> Result<String, Failure> {
        const PATH: &str = "/ice-servers";
        let response = self.request(Method::GET, PATH, Vec::new(), HeaderMap::new());
        let text = text(response.await?.into_body()).await.unwrap_or_default();
        let is_document = |document: &serde_json::Value| document["iceServers"].is_array();
        let document = serde_json::from_str(&text).ok().filter(is_document);
        document
            .map(|document| format!("{document:#}\n"))
            .ok_or_else(|| Failure::Unexpected {
                address: format!("{}{PATH}", self.base),
                what: "no list of ICE servers",
            })
    }

    /// Opens the event stream of the local user.
    pub(super) async fn events(&self) -> Result<CallEvents, Failure> {
        let response = self.request(
            Method::GET,
            "/messages",
            self.authentication().await?,
            HeaderMap::new(),
        );
        Ok(CallEvents::new(
            response.await?.into_body(),
            self.identity.clone(),
        ))
    }

    /// Sends a handshake request with the local user's public key. `parameters` contain the signature, if there is one.
    pub(super) async fn handshake_request(
        &self,
        path: &'static str,
        mut parameters: FormParameters,
    ) -> Result<(), Failure> {
        parameters.extend(self.key_parameter());
        self.request(Method::POST, path, parameters, HeaderMap::new())
            .await
            .map(drop)
    }

    /// Sends an authenticated request. Returns the response body, which may be a stream.
    pub(super) async fn post(
        &self,
        path: &'static str,
        mut parameters: FormParameters,
    ) -> Result<Incoming, Failure> {
        parameters.extend(self.authentication().await?);
        let response = self.request(Method::POST, path, parameters, HeaderMap::new());
        Ok(response.await?.into_body())
    }

    /// Opens an authenticated WebSocket.
    pub(super) async fn upgrade(
        &self,
        path: &'static str,
        mut parameters: FormParameters,
    ) -> Result<UplinkSocket, Failure> {
        parameters.extend(self.authentication().await?);
        let unexpected = |what| Failure::Unexpected {
            address: format!("{}{path}", self.base),
            what,
        };
        let key = generate_key();
        let response = self
            .request(Method::GET, path, parameters, websocket_headers(&key))
            .await?;
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS
            || accepted.is_none_or(|accepted| accepted != &derive_accept_key(key.as_bytes()))
        {
            return Err(unexpected("no WebSocket"));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|_| unexpected("no WebSocket"))?;
        Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
    }

    /// Sends audio as a request body, without a timeout. Returns the first line of the response, which is
    /// empty if all of the audio was played.
    pub(super) async fn upload(
        &self,
        path: &'static str,
        mut parameters: FormParameters,
        audio: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<String, Failure> {
        parameters.extend(self.authentication().await?);
        let body = StreamBody::new(audio.map_ok(Frame::data)).boxed_unsync();
        let request = self.build(Method::POST, path, &parameters, HeaderMap::new(), body)?;
        let response = self.transport.request(request).await;
        let response = response.map_err(|error| self.transport_failure(&error))?;
        let response = self.check_status(path, response).await?;
        let message = text(response.into_body()).await.unwrap_or_default();
        Ok(printable(message.lines().next().unwrap_or_default()))
    }

    fn key_parameter(&self) -> FormParameters {
        match &self.identity {
            CliIdentity::Key(key) => vec![("PKey", key.public().to_string())],
            CliIdentity::Token(_) => Vec::new(),
        }
    }

    /// The authentication parameters: the local user's key and its signature over a ticket. A session token
    /// is sent as a header of every request instead.
    async fn authentication(&self) -> Result<FormParameters, Failure> {
        let mut authentication = self.key_parameter();
        if self.identity.has_key() {
            let ticket = self.ticket(authentication.clone()).await?;
            let signature =
                self.identity
                    .sign_for_server(&ticket)
                    .ok_or_else(|| Failure::Unexpected {
                        address: format!("{}/getCallTicket", self.base),
                        what: "no ticket",
                    })?;
            authentication.push(("Signature", signature));
        }
        Ok(authentication)
    }

    async fn ticket(&self, key_parameter: FormParameters) -> Result<String, Failure> {
        let response = self.request(
            Method::GET,
            "/getCallTicket",
            key_parameter,
            HeaderMap::new(),
        );
        let text = text(response.await?.into_body()).await;
        Ok(text.unwrap_or_default().trim().to_owned())
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        parameters: FormParameters,
        headers: HeaderMap,
    ) -> Result<Response<Incoming>, Failure> {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = self.build(method, path, &parameters, headers, empty)?;
        let response = timeout(TIMEOUT, self.transport.request(request)).await;
        let response = response
            .map_err(|_| self.unreachable("response timed out"))?
            .map_err(|error| self.transport_failure(&error))?;
        self.check_status(path, response).await
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        parameters: &FormParameters,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        let uri = format!("{}{path}?{}", self.base, encoded(parameters));
        *request.uri_mut() = uri
            .parse()
            .map_err(|_| self.unreachable("the URL is too long"))?;
        *request.headers_mut() = headers;
        if let CliIdentity::Token(token) = &self.identity {
            let token = token.parse().map_err(|_| {
                self.unreachable("--token has characters that are not allowed in an HTTP header")
            })?;
            request.headers_mut().insert("CSRFToken", token);
        }
        Ok(request)
    }

    fn unreachable(&self, reason: &str) -> Failure {
        Failure::Unreachable {
            base: self.base.clone(),
            reason: reason.to_owned(),
        }
    }

    fn transport_failure(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        match tls::failure(error) {
            Some(reason) => Failure::Insecure {
                base: self.base.clone(),
                reason,
            },
            None => self.unreachable(&root_cause(error)),
        }
    }

    async fn check_status(
        &self,
        path: &str,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let message = text(response.into_body()).await.unwrap_or_default();
        Err(Failure::Rejected {
            address: format!("{}{path}", self.base),
            status,
            message: printable(message.lines().next().unwrap_or_default()),
        })
    }
}

async fn text(body: Incoming) -> Option<String> {
    let body = timeout(TIMEOUT, Limited::new(body, ANSWER_MAX).collect())
        .await
        .ok()?
        .ok()?;
    Some(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

fn encoded(parameters: &FormParameters) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish()
}

fn websocket_headers(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(
        header::SEC_WEBSOCKET_VERSION,
        HeaderValue::from_static("13"),
    );
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_validated() {
        let open = |url: &str| {
            let identity = CliIdentity::Token("t".to_owned());
            VoiceClient::new(url, &Trust::System, identity).map(|server| server.base)
        };
        assert_eq!(
            open("http://localhost:8080/").unwrap(),
            "http://localhost:8080"
        );
        assert_eq!(
            open("http://localhost/voice/").unwrap(),
            "http://localhost/voice"
        );
        for url in [
            "localhost:8080",
            "ftp://localhost",
            "",
            "http://localhost/?a=b",
            "http://",
        ] {
            assert!(open(url).is_err(), "{url}");
        }
    }
}
