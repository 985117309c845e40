//! Listeners without TLS that redirect to HTTPS.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use switchboard_transport::{Listener, redirect_router};

use super::{CertificateManager, acme::AcmeChallenges};
use crate::{Server, probes, router::reserve_router};

/// The path of the file of an HTTP-01 challenge (RFC 8555, section 8.3).
const CHALLENGE: &str = "/.well-known/acme-challenge/{token}";

impl CertificateManager {
    /// Serves on a listener without TLS until [`Server::shutdown`]: GET and HEAD requests for a host of the certificates
    /// are redirected to HTTPS on `port`, and `/healthz` and the challenges of an ACME server are answered.
    pub fn serve_redirect(&self, server: &Server, listener: Listener, port: u16) {
        let reserve = reserve_router(&server.state, None);
        server.serve_router(listener, self.redirect_router(port), reserve);
    }

    fn redirect_router(&self, port: u16) -> Router {
        let manager = self.clone();
        let hosts = Arc::new(move |host: &str| manager.current().is_for(host));
        let router = redirect_router(hosts, port).route("/healthz", get(probes::live));
        match self.challenges() {
            None => router,
            Some(challenges) => router.route(CHALLENGE, get(challenge).with_state(challenges)),
        }
    }
}

async fn challenge(
    State(challenges): State<Arc<AcmeChallenges>>,
    Path(token): Path<String>,
) -> Result<String, StatusCode> {
    challenges.file(&token).ok_or(StatusCode::NOT_FOUND)
}
