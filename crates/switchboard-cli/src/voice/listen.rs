//! `switchboard voice listen`: streams a room into a file or a pipe.

use super::{
    client::VoiceClient,
    downlink::{self, Downlink, EndedBy},
    meter::{MeterThread, size},
    output::print_status,
};
use crate::stop::StopSignals;

const ENDED: &str = "The server ended the stream: it is shutting down, or another program with the same key is listening there now";

/// Receives the room's stream until the server ends it, a stop signal arrives, or `--seconds` have passed.
pub(super) async fn listen(
    server: &VoiceClient,
    room: &str,
    mut downlink: Downlink,
) -> anyhow::Result<()> {
    let mut stop = StopSignals::new()?;
    let format = downlink.format.name();
    let parameters = vec![("roomID", room.to_owned()), ("format", format.to_owned())];
    let stream = tokio::select! {
        stream = server.post("/joinRoom", parameters) => stream?,
        () = stop.recv() => return Ok(()),
    };
    print_status(&format!(
        "Listening to {room} at {}, as {format}",
        server.base()
    ));
    let gauge = downlink::gauge();
    let meter = MeterThread::start(vec![gauge.clone()]);
    let time_limit = downlink.time_limit();
    let enough = async {
        tokio::select! {
            () = stop.recv() => {}
            () = time_limit => {}
        }
    };
    let received = downlink.receive(stream, &gauge, enough).await;
    drop(meter);
    if matches!(received, Ok(EndedBy::Remote)) {
        print_status(ENDED);
    }
    print_status(&format!("Received {}", size(gauge.bytes())));
    received.map(drop)
}
