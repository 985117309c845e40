//! A moderator: greets each member, removes those with a bad name, and prints what happens.
//!
//! `cargo run -p switchboard --example rooms`, then open <http://127.0.0.1:3000/>.
#![allow(clippy::print_stdout, reason = "the example shows its output")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "later versions have more events"
)]

use std::error::Error;

use switchboard::{Listener, SendError, Server, ServerEvent};

/// Handles one event of the server.
fn moderate(server: &Server, event: ServerEvent) {
    let rooms = server.rooms();
    match event {
        ServerEvent::Joined { room, member, .. } if member.address.as_str() == "troll" => {
            rooms.kick(&room, &member.address, "Choose another name.");
        }
        ServerEvent::Joined { room, member, .. } => {
            match rooms.send(&room, &member.address, "Welcome. Be polite.") {
                Ok(()) => {}
                Err(SendError::NotCarried(dialect)) => println!("{dialect} has no text messages"),
                Err(error) => println!("not greeted: {error}"),
            }
            for (room, members) in rooms.list() {
                println!("{}: {members} members", room.name);
            }
        }
        ServerEvent::Left { member, cause, .. } => {
            println!("{} has left: {cause:?}", member.address)
        }
        ServerEvent::Disconnected {
            client,
            reason,
            duration,
            ..
        } => {
            println!(
                "{:?} after {} s: {reason}",
                client.address,
                duration.as_secs()
            );
        }
        ServerEvent::Missed(count) => println!("{count} events are lost"),
        _ => {}
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder().build()?;
    let mut events = server.events();
    server.serve(Listener::bind(([127, 0, 0, 1], 3000).into())?);
    while let Some(event) = events.recv().await {
        moderate(&server, event);
    }
    Ok(())
}
