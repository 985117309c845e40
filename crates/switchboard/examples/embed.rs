use axum::{Router, routing::get};
use switchboard::{Admission, Server};

#[tokio::main]
async fn main() -> Result<(), std::io::Error> {
    let switchboard = Server::builder()
        .on_connect(|request| async move {
            match request.uri.query() {
                Some(query) if query.contains("token=secret") => Admission::as_identity("ada"),
                _ => Admission::Deny,
            }
        })
        .on_join(|request| async move { !request.room.name.as_str().starts_with("staff-") })
        .build();
    let app = Router::new()
        .route(
            "/",
            get(|| async { "An app that also has signaling, at /signaling/ws" }),
        )
        .nest("/signaling", switchboard.router());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app).await
}
