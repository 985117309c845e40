//! Signaling in an axum app: each token belongs to one user, and the app stops gracefully.
//!
//! `cargo run -p switchboard --example embed`, then connect to `ws://127.0.0.1:3000/signaling/ws?token=ada-secret`.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use subtle::ConstantTimeEq;
use switchboard::{Admission, ConnectRequest, Denial, Server};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// The tokens of the users. An app takes them from its own sessions or its database.
const USERS: [(&str, &str); 2] = [("ada-secret", "ada"), ("bob-secret", "bob")];

/// The user of the token in the query `?token=…`. The time of the comparisons does not show how much of a token is right.
fn user(request: &ConnectRequest) -> Option<&'static str> {
    let token = request.uri.query()?.strip_prefix("token=")?.as_bytes();
    let mut user = None;
    for (secret, name) in USERS {
        if bool::from(secret.as_bytes().ct_eq(token)) {
            user = Some(name);
        }
    }
    user
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let switchboard = Server::builder()
        .on_connect(|request| async move {
            // With its own identity, a user that connects again replaces its own session, and no other.
            user(&request)
                .map(Admission::as_identity)
                .ok_or_else(|| Denial::new("Unknown token."))
        })
        .build()?;
    let app = Router::new()
        .route("/", get(|| async { "Signaling is at /signaling/ws." }))
        .nest("/signaling", switchboard.router())
        // The limits for each address need the addresses of the clients.
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        _ = terminate.recv() => {}
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    // Each client gets the close code 1012 and connects again soon.
    switchboard.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
