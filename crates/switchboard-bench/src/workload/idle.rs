//! `idle`: joined clients that do nothing but stay connected.

use std::rc::Rc;

use crate::{
    BenchError, BenchOptions, Report, assembly::assemble, client::Net, drive::SpeakerGroup,
    member::Participant, progress::Reporter, server_process::Probe, workload::measure,
};

pub(crate) async fn run(
    net: &Rc<Net>,
    options: &BenchOptions,
    probe: &mut Probe,
    reporter: &mut Reporter<'_>,
) -> Result<Report, BenchError> {
    let rooms = assemble(net, options.clients, options.room_size(), reporter).await?;
    let connected: usize = rooms.iter().map(Vec::len).sum();
    let silent = |client| Participant::new(client, Vec::new());
    let rooms = rooms.into_iter();
    let mut groups: Vec<_> = rooms
        .map(|room| SpeakerGroup {
            members: room.into_iter().map(silent).collect(),
        })
        .collect();
    let (mut tally, usage) = measure(net, options, &mut groups, probe, reporter).await?;
    let living: usize = groups.iter().map(|group| group.members.len()).sum();
    tally.units = (living as f64 * tally.elapsed.as_secs_f64()).round() as u64;
    Ok(Report::new(
        options,
        "connection second",
        connected,
        &tally,
        usage,
    ))
}
