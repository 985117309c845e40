//! Listeners without TLS that redirect to HTTPS.

use std::sync::Arc;

use axum::{Router, routing::get};
use switchboard_transport::{Listener, redirect_router};

use super::CertificateManager;
use crate::{Server, probes, router::reserve_router};

impl CertificateManager {
    /// Serves on a listener without TLS until [`Server::shutdown`]: GET and HEAD requests for a host of the certificates
    /// are redirected to HTTPS on `port`, and `/healthz` is answered.
    pub fn serve_redirect(&self, server: &Server, listener: Listener, port: u16) {
        let reserve = reserve_router(&server.state, None);
        server.serve_router(listener, self.redirect_router(port), reserve);
    }

    fn redirect_router(&self, port: u16) -> Router {
        let manager = self.clone();
        let hosts = Arc::new(move |host: &str| manager.current().is_for(host));
        redirect_router(hosts, port).route("/healthz", get(probes::live))
    }
}
