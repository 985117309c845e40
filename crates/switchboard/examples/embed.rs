use axum::{Router, routing::get};
use switchboard::{Admission, Denial, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let switchboard = Server::builder()
        .on_connect(|request| async move {
            match request.uri.query() {
                Some(query) if query.contains("token=secret") => Ok(Admission::as_identity("ada")),
                _ => Err(Denial::default()),
            }
        })
        .build()?;
    let app = Router::new()
        .route(
            "/",
            get(|| async { "An app that also has signaling, at /signaling/ws" }),
        )
        .nest("/signaling", switchboard.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await?;
    Ok(())
}
