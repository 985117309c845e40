//! Requests to an ACME server.

use std::{convert::Infallible, error::Error, fs, path::Path, pin::Pin, time::Duration};

use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient as AcmeHttp};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use switchboard_transport::HttpClient;
use tokio::time::timeout;

use super::{AcmeConfig, AcmeError};

/// The time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum bytes of a response. The longest one is a certificate chain.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// An HTTP client of ACME servers.
pub(super) struct AcmeClient(std::sync::Arc<HttpClient>);

impl AcmeClient {
    /// A client that verifies the ACME server by the roots of the settings, or by those of this machine.
    pub(super) fn new(config: &AcmeConfig) -> Result<Self, AcmeError> {
        let client = match &config.directory_ca {
            None => HttpClient::default(),
            Some(file) => {
                let roots = roots(file).ok_or_else(|| AcmeError::NoRoots(file.clone()))?;
                HttpClient::trusting(roots)
            }
        };
        Ok(Self(client.into()))
    }
}

/// The certificates of a PEM file; `None` if there is none.
fn roots(file: &Path) -> Option<RootCertStore> {
    let text = fs::read(file).ok()?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.ok()?);
    (added > 0).then_some(roots)
}

type Responding = Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>>;

impl AcmeHttp for AcmeClient {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Responding {
        let client = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await;
            let body = body.unwrap_or_else(|never: Infallible| match never {});
            let request = Request::from_parts(parts, Full::new(body.to_bytes()));
            let exchanged = timeout(REQUEST_TIMEOUT, exchange(&client, request)).await;
            exchanged
                .unwrap_or_else(|elapsed| Err(elapsed.into()))
                .map_err(instant_acme::Error::Other)
        })
    }
}

/// Sends a request and reads the whole response.
async fn exchange(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
) -> Result<BytesResponse, Box<dyn Error + Send + Sync>> {
    let (parts, body) = client.send(request).await?.into_parts();
    let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await?;
    let body = Full::new(body.to_bytes());
    Ok(axum::http::Response::from_parts(parts, body).into())
}
