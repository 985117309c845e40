//! `switchboard voice listen`: a room, into a file or a pipe.

use super::{
    client::Server,
    downlink::{self, By, Hearing},
    meter::{Meter, size},
    output::tell,
};
use crate::stop::Stop;

const ENDED: &str =
    "The server ended the stream: it stops, or another program with the same key listens there now";

/// Listens until the server ends it, somebody says stop, or it was long enough.
pub(super) async fn listen(
    server: &Server,
    room: &str,
    mut hearing: Hearing,
) -> Result<(), String> {
    let mut stop = Stop::new()?;
    let format = hearing.format.name();
    let parameters = vec![("roomID", room.to_owned()), ("format", format.to_owned())];
    let stream = tokio::select! {
        stream = server.post("/joinRoom", parameters) => stream?,
        () = stop.asked() => return Ok(()),
    };
    tell(&format!(
        "Listening to {room} at {}, as {format}",
        server.base()
    ));
    let gauge = downlink::gauge();
    let meter = Meter::start(vec![gauge.clone()]);
    let is_enough = hearing.is_enough();
    let enough = async {
        tokio::select! {
            () = stop.asked() => {}
            () = is_enough => {}
        }
    };
    let heard = hearing.hear(stream, &gauge, enough).await;
    drop(meter);
    if heard == Ok(By::Them) {
        tell(ENDED);
    }
    tell(&format!("Heard {}", size(gauge.bytes())));
    heard.map(drop)
}
