//! Serves the dialect `lines` beside all others, and prints the audit trail: `websocat ws://127.0.0.1:3000/lines`.

use std::{error::Error, io::stdout, sync::Arc, time::Duration};

use own_dialect::{AuditTrail, LINES};
use switchboard::{Listener, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder()
        .dialect(&LINES)
        .engine(Arc::new(AuditTrail::new(stdout())), None)
        .build()?;
    server.serve(Listener::bind(([127, 0, 0, 1], 3000).into())?);
    tokio::signal::ctrl_c().await?;
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
