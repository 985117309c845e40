//! A listener of the library with TLS: it enforces the limits of connections, request heads and handshakes.
//!
//! `cargo run -p switchboard --example tls_listener`, then open <https://127.0.0.1:8443/>. For a certificate of your own
//! set `tls.cert` and `tls.key` of the settings.
#![allow(clippy::print_stdout, reason = "the example shows its output")]

use std::{error::Error, time::Duration};

use switchboard::{Config, Listener, Server, tls::CertificateManager};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.tls.self_signed = true;
    let mut listener = Listener::bind(([127, 0, 0, 1], 8443).into())?;
    if let Some(certificates) = CertificateManager::load(&config.tls)? {
        let loaded = certificates.current();
        println!("SHA-256 {}", loaded.default_certificate().fingerprint());
        listener = listener.with_tls(certificates.tls());
        // Reloads the files of `tls.cert` and `tls.key` when they change.
        tokio::spawn(certificates.run());
    }
    let server = Server::builder().config(config).build()?;
    server.serve(listener);
    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
