//! An access check with a value of the app's own type: rooms for staff, and one namespace for each customer.
//!
//! `cargo run -p switchboard --example access`, then connect to `ws://127.0.0.1:3000/ws?user=ada`.

use std::error::Error;

use axum::http::StatusCode;
use switchboard::{Admission, ConnectRequest, Denial, Listener, Server, SpaceName};

/// A user, as the app knows it.
struct AppUser {
    name: String,
    is_staff: bool,
}

/// The user of a request. An app checks a cookie or a token here, as the example `embed` does.
fn sign_in(request: &ConnectRequest) -> Result<AppUser, Denial> {
    let name = request
        .uri
        .query()
        .and_then(|query| query.strip_prefix("user="));
    let unknown = || Denial::new("Sign in first.").with_status(StatusCode::UNAUTHORIZED);
    let name = name.ok_or_else(unknown)?.to_owned();
    let is_staff = name == "ada";
    Ok(AppUser { name, is_staff })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder()
        .on_connect(|request| async move {
            let user = sign_in(&request)?;
            let space: SpaceName = "customer-1".parse().map_err(|_| Denial::default())?;
            let admission = Admission::as_identity(user.name.as_str());
            Ok(admission.in_space(space).with_context(user))
        })
        .on_join(|request| async move {
            let user = request.context.get::<AppUser>();
            let is_staff = user.is_some_and(|user| user.is_staff);
            if request.room.name.as_str().starts_with("staff-") && !is_staff {
                // The client gets the code `denied` and this text in its dialect.
                return Err(Denial::new("Only staff may enter this room."));
            }
            Ok(())
        })
        .build()?;
    server.serve(Listener::bind(([127, 0, 0, 1], 3000).into())?);
    tokio::signal::ctrl_c().await?;
    Ok(())
}
