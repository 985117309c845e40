//! The listeners without TLS that redirect to HTTPS.

use std::net::SocketAddr;

use switchboard::{Config, Listener, Server};

use crate::{banner, certificate::Certificates, serve::bind_address};

/// Binds the addresses of `tls.redirect_listen`.
pub(crate) fn bind(config: &Config) -> anyhow::Result<Vec<Listener>> {
    let addresses = config.tls.redirect_listen.iter();
    addresses
        .map(|address| bind_address(*address, "tls.redirect_listen"))
        .collect()
}

/// Prints the address of each listener. `main` is the address of the main listener, to which they redirect.
pub(crate) fn announce(server: &Server, listeners: &[Listener], main: SocketAddr) {
    for listener in listeners {
        banner::announce_redirect(server, listener.address(), https_port(server, main));
    }
}

/// Serves on these listeners.
pub(crate) fn serve(
    server: &Server,
    listeners: Vec<Listener>,
    certificates: &Certificates,
    main: SocketAddr,
) {
    let port = https_port(server, main);
    let manager = certificates.manager();
    for listener in listeners {
        manager.serve_redirect(server, listener, port);
    }
}

fn https_port(server: &Server, main: SocketAddr) -> u16 {
    match server.config().tls.redirect_port {
        0 => main.port(),
        port => port,
    }
}
