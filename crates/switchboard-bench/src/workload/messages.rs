//! `relay` and `fanout`: members of rooms send messages to each other.

use std::rc::Rc;

use crate::{
    BenchError, BenchOptions, Report, Workload,
    assembly::assemble,
    client::{BenchClient, Net},
    drive::SpeakerGroup,
    member::{Participant, Speech},
    progress::Reporter,
    server_process::Probe,
    stamp::{self, ALL},
    workload::measure,
};

pub(crate) async fn run(
    net: &Rc<Net>,
    options: &BenchOptions,
    probe: &mut Probe,
    reporter: &mut Reporter<'_>,
) -> Result<Report, BenchError> {
    let rooms = assemble(net, options.clients, options.room_size(), reporter).await?;
    let connected = rooms.iter().map(Vec::len).sum();
    let mut groups = groups(net, options, rooms);
    let (tally, usage) = measure(net, options, &mut groups, probe, reporter).await?;
    let unit = match options.workload {
        Workload::Fanout => "delivery",
        Workload::Relay
        | Workload::Join
        | Workload::Idle
        | Workload::Churn
        | Workload::Mixed
        | Workload::Voice => "message",
    };
    Ok(Report::new(options, unit, connected, &tally, usage))
}

fn groups(net: &Net, options: &BenchOptions, rooms: Vec<Vec<BenchClient>>) -> Vec<SpeakerGroup> {
    let rooms = rooms.into_iter();
    if options.workload == Workload::Fanout {
        let content = stamp::text(options.payload);
        return rooms.map(|room| audience(net, room, &content)).collect();
    }
    let content = stamp::session_description(options.payload);
    rooms.flat_map(|room| pairs(net, room, &content)).collect()
}

/// The pairs of a room, whose two members speak in turn. The last member of an odd number is silent.
fn pairs(net: &Net, room: Vec<BenchClient>, content: &str) -> Vec<SpeakerGroup> {
    let mut members = room.into_iter();
    let mut groups = Vec::new();
    while let Some(first) = members.next() {
        let second = members.next();
        let speech = second
            .as_ref()
            .map(|second| direct(net, &first, second, content));
        let reply = second
            .as_ref()
            .map(|second| direct(net, second, &first, content));
        let first = Participant::new(first, speech.into_iter().collect());
        let second = second.map(|second| Participant::new(second, reply.into_iter().collect()));
        // The newcomer speaks first: the member may not yet know of it.
        let members = second.into_iter().chain([first]).collect();
        groups.push(SpeakerGroup { members });
    }
    groups
}

/// A room whose first member speaks to all others: with one frame, or in a dialect without such a frame with one for each.
fn audience(net: &Net, room: Vec<BenchClient>, content: &str) -> SpeakerGroup {
    let speeches = room.split_first().map(|(speaker, listeners)| {
        let frame = net.wire.broadcast(&speaker.seat, content);
        let to_all = |frame| vec![Speech::new(frame, ALL)];
        let to_each = || {
            listeners
                .iter()
                .map(|to| direct(net, speaker, to, content))
                .collect()
        };
        frame.map_or_else(to_each, to_all)
    });
    let mut speeches = speeches.into_iter();
    let member = |client| Participant::new(client, speeches.next().unwrap_or_default());
    let members = room.into_iter().map(member).collect();
    SpeakerGroup { members }
}

fn direct(net: &Net, from: &BenchClient, to: &BenchClient, content: &str) -> Speech {
    let frame = net.wire.direct(&from.seat, &to.address, content);
    Speech::new(frame, to.number)
}
