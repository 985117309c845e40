//! One node of a cluster that shares a Redis: the members of a room may be connected to different nodes.
//!
//! Start a Redis, then `cargo run -p switchboard --example nodes 3001` and `… 3002`.

use std::{error::Error, time::Duration};

use switchboard::{Config, Listener, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args()
        .nth(1)
        .ok_or("the first argument is the port")?
        .parse()?;
    let mut config = Config::default();
    let redis = "[engine]\nurl = \"redis://127.0.0.1:6379\"\n";
    if let Some(error) = config.read_toml("nodes.rs", redis).into_iter().next() {
        return Err(error.into());
    }
    // The other nodes forward voice requests to this address.
    config.engine.advertise_url = format!("http://127.0.0.1:{port}");
    let server = Server::builder().config(config).build()?;
    server.serve(Listener::bind(([127, 0, 0, 1], port).into())?);
    tokio::signal::ctrl_c().await?;
    // `/readyz` answers 503 before the connections are closed, so that a load balancer sends clients to other nodes.
    server.begin_drain();
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
