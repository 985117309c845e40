//! `switchboard voice listen`: a room, into a file or a pipe.

use super::{
    client::VoiceClient,
    downlink::{self, Downlink, EndedBy},
    meter::{MeterThread, size},
    output::print_status,
};
use crate::stop::StopSignals;

const ENDED: &str =
    "The server ended the stream: it stops, or another program with the same key listens there now";

/// Listens until the server ends it, somebody says stop, or it was long enough.
pub(super) async fn listen(
    server: &VoiceClient,
    room: &str,
    mut hearing: Downlink,
) -> Result<(), String> {
    let mut stop = StopSignals::new()?;
    let format = hearing.format.name();
    let parameters = vec![("roomID", room.to_owned()), ("format", format.to_owned())];
    let stream = tokio::select! {
        stream = server.post("/joinRoom", parameters) => stream?,
        () = stop.asked() => return Ok(()),
    };
    print_status(&format!(
        "Listening to {room} at {}, as {format}",
        server.base()
    ));
    let gauge = downlink::gauge();
    let meter = MeterThread::start(vec![gauge.clone()]);
    let is_enough = hearing.is_enough();
    let enough = async {
        tokio::select! {
            () = stop.asked() => {}
            () = is_enough => {}
        }
    };
    let heard = hearing.hear(stream, &gauge, enough).await;
    drop(meter);
    if heard == Ok(EndedBy::Them) {
        print_status(ENDED);
    }
    print_status(&format!("Heard {}", size(gauge.bytes())));
    heard.map(drop)
}
