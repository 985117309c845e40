//! Measures for how long a long offer locks a shard (a hub, which is the state of a set of rooms, behind a mutex). Run
//! it with `cargo bench -p switchboard-dialects`.
//!
//! The offer goes from a member of the dialect `p2p` to one of the dialect `mesh`, so it must be parsed. A shard locks
//! the hub for `first_lock`, parses the frame without the lock, and locks the hub again for `second_lock`. For
//! comparison, `parsed_under_lock` is the time if the hub parses the frame itself.
#![expect(
    clippy::disallowed_methods,
    reason = "the hub needs a time; the bench does not depend on its value"
)]

use std::{sync::Arc, time::Instant};

use divan::Bencher;
use switchboard_core::{
    Change, Effect, Entry, Hub, HubRequest, Identity, Input, JoinId, Member, MessageKind, PeerId,
    Position, RoomId, RoomName, SpaceName, Target,
};
use switchboard_dialects::{Content, DialectTable, find};

const SDP_BYTES: usize = 240_000;

fn main() {
    divan::main();
}

fn peer(id: u8) -> PeerId {
    PeerId::from_random([id; 16])
}

fn room() -> RoomId {
    let room = RoomName::parse("room", 0).expect("a name");
    RoomId::shared(SpaceName::default(), room)
}

fn request(id: u8, request: HubRequest) -> Input<()> {
    Input::Request {
        peer: peer(id),
        local: (),
        request,
    }
}

/// A hub with one room, which has a member of `p2p` and one of `mesh`.
fn mixed_hub() -> Hub<()> {
    let mut hub = Hub::new(Arc::default());
    for (id, dialect) in [(1, "p2p"), (2, "mesh")] {
        let member = Member {
            peer: peer(id),
            address: peer(id).into(),
            name: None,
            dialect: find(dialect).expect("a dialect").traits(),
            identity: Identity::Claimed,
            token: None,
            group: None,
            policy: None,
        };
        let join = HubRequest::Join(room(), Arc::new(member), JoinId::default());
        hub.handle(request(id, join), Instant::now());
        commit(&mut hub, u64::from(id));
    }
    hub
}

/// Commits the proposed join, and drops the other effects.
fn commit(hub: &mut Hub<()>, position: u64) {
    while let Some(effect) = hub.poll_effect() {
        if let Effect::Propose { log, change, .. } = effect {
            assert!(matches!(change, Change::Join(_)));
            let entry = Entry {
                position: Position::from(position),
                node: None,
                change,
            };
            hub.handle(Input::Committed(log, entry), Instant::now());
        }
    }
}

/// An offer of the member of `p2p` to that of `mesh`.
fn offer() -> Input<()> {
    let line = "a=candidate:1 1 udp 2122260223 192.0.2.1 54321 typ host\\r\\n";
    let sdp = line.repeat(SDP_BYTES / line.len());
    let frame = format!(r#"{{"type":"SDP_OFFER","sdp":{{"type":"offer","sdp":"{sdp}"}}}}"#);
    let message = Content::relayed_message(
        "p2p",
        MessageKind::Offer,
        frame.into(),
        DialectTable::default(),
    );
    let message = Arc::new(message.expect("a dialect"));
    request(1, HubRequest::Send(room(), Target::Peer(peer(2)), message))
}

/// The effects of the hub. A bench returns them, so that the time to free the frame is not measured: a server keeps it
/// in the outboxes.
fn drain(hub: &mut Hub<()>) -> Vec<Effect<()>> {
    std::iter::from_fn(|| hub.poll_effect()).collect()
}

#[divan::bench]
fn parsed_under_lock(bencher: Bencher<'_, '_>) {
    let mut hub = mixed_hub();
    bencher.with_inputs(offer).bench_local_values(|input| {
        hub.handle(input, Instant::now());
        drain(&mut hub)
    });
}

#[divan::bench]
fn first_lock(bencher: Bencher<'_, '_>) {
    let mut hub = mixed_hub();
    bencher.with_inputs(offer).bench_local_values(|input| {
        let unparsed = hub.try_handle(input, Instant::now());
        (unparsed, drain(&mut hub))
    });
}

#[divan::bench]
fn second_lock(bencher: Bencher<'_, '_>) {
    let (mut hub, mut other) = (mixed_hub(), mixed_hub());
    let parsed = || {
        let unparsed = other.try_handle(offer(), Instant::now());
        unparsed.expect("not parsed yet").parse()
    };
    bencher.with_inputs(parsed).bench_local_values(|input| {
        let unparsed = hub.try_handle(input, Instant::now());
        (unparsed, drain(&mut hub))
    });
}
