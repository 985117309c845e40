//! Requests to the admin API.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Response, body::Incoming, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde_json::Value;
use switchboard::AdminKey;
use tokio::time::timeout;

use super::{args::AdminServerArgs, tables};
use crate::{terminal, voice::Trust};

/// Time that the server has to answer. It waits for other nodes itself, for five seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The bytes of one event.
const EVENT_BYTES_MAX: usize = 256 * 1024;

/// A client of the admin API of one server.
pub(super) struct AdminClient {
    base: String,
    token: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl AdminClient {
    pub(super) fn new(args: &AdminServerArgs) -> anyhow::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(TIMEOUT));
        let config = match args.url.starts_with("https:") {
            true => Trust::from_flags(args.ca.as_deref(), false).config_or_system()?,
            false => without_roots()?,
        };
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        let connector = builder.https_or_http().enable_http1().wrap_connector(http);
        Ok(Self {
            base: format!("{}/admin/v1", args.url.trim_end_matches('/')),
            token: token(args)?,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Sends a request and returns the answer.
    pub(super) async fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let response = self.send(method, path, body).await?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
        let body = timeout(TIMEOUT, body).await.context("no answer in time")?;
        let body = body.map_err(|error| anyhow!("the answer is incomplete: {error}"))?;
        serde_json::from_slice(&body.to_bytes()).context("the answer is not JSON")
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body));
        let request = request.with_context(|| format!("--url {}", self.base))?;
        let response = timeout(TIMEOUT, self.client.request(request)).await;
        let response = response.with_context(|| format!("{}: no answer in time", self.base))?;
        let response = response.with_context(|| {
            format!("cannot reach {}; is internal.listen set there?", self.base)
        })?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(refusal(response).await),
        }
    }

    /// Prints the live events until the server ends the stream.
    pub(super) async fn follow(&self, is_json: bool) -> anyhow::Result<()> {
        let response = self.send(&Method::GET, "/events", None).await?;
        let mut body = response.into_body();
        let mut text = String::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the stream has broken off")?;
            let data = frame.into_data().unwrap_or_default();
            text += &String::from_utf8_lossy(&data);
            while let Some((event, rest)) = text.split_once("\n\n") {
                print_event(event, is_json);
                text = rest.to_owned();
            }
            if text.len() > EVENT_BYTES_MAX {
                return Err(anyhow!("an event has more than {EVENT_BYTES_MAX} bytes"));
            }
        }
        Err(anyhow!("the server has ended the stream"))
    }
}

fn print_event(event: &str, is_json: bool) {
    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
    let Some(data) = data else { return };
    match serde_json::from_str::<Value>(data) {
        Ok(event) if !is_json => terminal::print(&tables::event(&event)),
        Ok(_) | Err(_) => terminal::print(&format!("{data}\n")),
    }
}

async fn refusal(response: Response<Incoming>) -> anyhow::Error {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect();
    let body = body.await.map(|body| body.to_bytes()).unwrap_or_default();
    let error: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = error["message"].as_str().map(str::to_owned);
    let text = text.unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_owned());
    let advice = match status.as_u16() {
        401 => "; give the token with --token-file or SWITCHBOARD_ADMIN_TOKEN",
        _ => "",
    };
    anyhow!("{} ({status}){advice}", tables::plain(&text))
}

/// The token of the flags or the environment; without one, that of the file in the state folder.
fn token(args: &AdminServerArgs) -> anyhow::Result<String> {
    if let Some(token) = &args.token {
        return Ok(token.trim().to_owned());
    }
    let file = match &args.token_file {
        Some(file) => file.clone(),
        None => AdminKey::default_file()?,
    };
    let key = AdminKey::load(&file)
        .context("no token: set SWITCHBOARD_ADMIN_TOKEN, or run as the user of the server")?;
    Ok(key.text().to_owned())
}

/// Trusts no server, for URLs without TLS.
fn without_roots() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .context("no TLS")?;
    let roots = RootCertStore::empty();
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The query of a path with these parameters.
pub(super) fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters
        .iter()
        .filter_map(|(key, value)| Some((key, (*value)?)));
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(given)
        .finish();
    if query.is_empty() {
        query
    } else {
        format!("?{query}")
    }
}
