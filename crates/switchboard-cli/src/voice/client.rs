//! Requests to a server, and what to say when it cannot or will not.

use std::{io, time::Duration};

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

pub(super) use failure::{Failure, causes, printable};
pub(crate) use tls::{Trust, failure as tls_failure};

use failure::root_cause;
use transport::{HttpClient, RequestBody};

use super::{events::CallEvents, identity::CliIdentity, uplink::UplinkSocket};

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// No ticket and no refusal is longer.
const ANSWER_MAX: usize = 64 * 1024;

pub(super) type FormParameters = Vec<(&'static str, String)>;

/// A server, and who we are to it.
pub(super) struct VoiceClient {
    base: String,
    transport: HttpClient,
    pub(super) identity: CliIdentity,
}

impl VoiceClient {
    pub(super) fn new(url: &str, trust: &Trust, identity: CliIdentity) -> Result<Self, String> {
        let base = url.trim_end_matches('/').to_owned();
        let uri: Uri = base
            .parse()
            .map_err(|error| format!("--url {url}: {error}"))?;
        let transport = match uri.scheme_str() {
            Some("http") => HttpClient::plain(),
            Some("https") => HttpClient::secure(trust)?,
            Some(_) | None => {
                return Err(format!(
                    "--url {url} begins with neither http:// nor https://"
                ));
            }
        };
        if base.contains(['?', '#']) {
            return Err(format!(
                "--url {url} goes on after the path: leave out what begins with ? or #"
            ));
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

    /// What proves in an address who we are.
    pub(super) async fn query(&self) -> Result<String, Failure> {
        let proof = self.proof().await?;
        Ok(encoded(&proof))
    }

    /// The servers for `RTCPeerConnection` that it tells its clients, as JSON.
    pub(super) async fn ice_servers(&self) -> Result<String, Failure> {
        const PATH: &str = "/ice-servers";
        let response = self.request(Method::GET, PATH, Vec::new(), HeaderMap::new());
        let text = text(response.await?.into_body()).await.unwrap_or_default();
        let is_document = |document: &serde_json::Value| document["iceServers"].is_array();
        let document = serde_json::from_str(&text).ok().filter(is_document);
        document
            .map(|document| format!("{document:#}\n"))
            .ok_or_else(|| Failure::Strange {
                address: format!("{}{PATH}", self.base),
                what: "no list of ICE servers",
            })
    }

    /// Opens the stream of what concerns us.
    pub(super) async fn events(&self) -> Result<CallEvents, Failure> {
        let response = self.request(
            Method::GET,
            "/messages",
            self.proof().await?,
            HeaderMap::new(),
        );
        Ok(CallEvents::new(
            response.await?.into_body(),
            self.identity.clone(),
        ))
    }

    /// A step in which we say who we are; that it is signed is the step's own matter.
    pub(super) async fn step(
        &self,
        path: &'static str,
        mut parameters: FormParameters,
    ) -> Result<(), Failure> {
        parameters.extend(self.claim());
        self.request(Method::POST, path, parameters, HeaderMap::new())
            .await
            .map(drop)
    }

    /// A request that proves who we are. A stream may follow.
    pub(super) async fn post(
        &self,
        path: &'static str,
        mut parameters: FormParameters,
    ) -> Result<Incoming, Failure> {
        parameters.extend(self.proof().await?);
        let response = self.request(Method::POST, path, parameters, HeaderMap::new());
        Ok(response.await?.into_body())
    }

    /// Opens a WebSocket, proving who we are.
    pub(super) async fn upgrade(
        &self,
        path: &'static str,
        mut parameters: FormParameters,
    ) -> Result<UplinkSocket, Failure> {
        parameters.extend(self.proof().await?);
        let strange = |what| Failure::Strange {
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
            return Err(strange("no WebSocket"));
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|_| strange("no WebSocket"))?;
        Ok(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await)
    }

    /// Sends audio as a body, for as long as that lasts, and gives the server's words: none when all of it
    /// could be heard.
    pub(super) async fn upload(
        &self,
        path: &'static str,
        mut parameters: FormParameters,
        audio: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<String, Failure> {
        parameters.extend(self.proof().await?);
        let body = StreamBody::new(audio.map_ok(Frame::data)).boxed_unsync();
        let request = self.build(Method::POST, path, &parameters, HeaderMap::new(), body)?;
        let response = self.transport.request(request).await;
        let response = response.map_err(|error| self.unanswered(&error))?;
        let response = self.unless_refused(path, response).await?;
        let words = text(response.into_body()).await.unwrap_or_default();
        Ok(printable(words.lines().next().unwrap_or_default()))
    }

    fn claim(&self) -> FormParameters {
        match &self.identity {
            CliIdentity::Key(key) => vec![("PKey", key.public().to_string())],
            CliIdentity::Token(_) => Vec::new(),
        }
    }

    /// Our key and a signature that only it can make. A token is a header of every request.
    async fn proof(&self) -> Result<FormParameters, Failure> {
        let mut proof = self.claim();
        if self.identity.has_key() {
            let ticket = self.ticket(proof.clone()).await?;
            let signature =
                self.identity
                    .sign_for_server(&ticket)
                    .ok_or_else(|| Failure::Strange {
                        address: format!("{}/getCallTicket", self.base),
                        what: "no ticket",
                    })?;
            proof.push(("Signature", signature));
        }
        Ok(proof)
    }

    async fn ticket(&self, claim: FormParameters) -> Result<String, Failure> {
        let response = self.request(Method::GET, "/getCallTicket", claim, HeaderMap::new());
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
        let nothing = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = self.build(method, path, &parameters, headers, nothing)?;
        let response = timeout(TIMEOUT, self.transport.request(request)).await;
        let response = response
            .map_err(|_| self.unreachable("no answer in time"))?
            .map_err(|error| self.unanswered(&error))?;
        self.unless_refused(path, response).await
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
            .map_err(|_| self.unreachable("this address is too long"))?;
        *request.headers_mut() = headers;
        if let CliIdentity::Token(token) = &self.identity {
            let token = token
                .parse()
                .map_err(|_| self.unreachable("--token is none: it has strange characters"))?;
            request.headers_mut().insert("CSRFToken", token);
        }
        Ok(request)
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::Unreachable {
            base: self.base.clone(),
            why: why.to_owned(),
        }
    }

    fn unanswered(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        match tls::failure(error) {
            Some(why) => Failure::Insecure {
                base: self.base.clone(),
                why,
            },
            None => self.unreachable(&root_cause(error)),
        }
    }

    async fn unless_refused(
        &self,
        path: &str,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let words = text(response.into_body()).await.unwrap_or_default();
        Err(Failure::Refused {
            address: format!("{}{path}", self.base),
            status,
            words: printable(words.lines().next().unwrap_or_default()),
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
    fn an_address_must_be_one() {
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
