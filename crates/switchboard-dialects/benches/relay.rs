//! The work of a session for one relayed offer of 1.5 KiB, and for one notification of a join:
//! `cargo bench -p switchboard-dialects --bench relay`.
//!
//! The instructions of one call, which do not depend on the load of the machine:
//! `valgrind --tool=callgrind --toggle-collect='*handle_offer*' BENCH --bench --sample-count 1 --sample-size 1000 offer`
//! divided by 1000. BENCH is the binary that `cargo bench --no-run` names.

use std::sync::Arc;

use bytestring::ByteString;
use divan::Bencher;
use switchboard_core::{
    Address, Command, Event, Identity, Member, NameId, OfferRole, PeerId, RoomId, RoomName,
    SharedFrames, SpaceName,
};
use switchboard_dialects::{
    ClientFrame, Endpoint, Handshake, Query, Session, SessionOutput, find, json::quote,
};

const SDP_BYTES: usize = 1536;

fn main() {
    divan::main();
}

/// The SDP of a data channel with candidates, as JSON.
fn sdp() -> String {
    let mut sdp = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n"
        .to_owned();
    for number in 1.. {
        let host = format!(
            "a=candidate:{number} 1 udp 2122260223 192.0.2.{number} 54400 typ host generation 0\r\n"
        );
        if sdp.len() + host.len() > SDP_BYTES {
            break;
        }
        sdp += &host;
    }
    quote(&sdp)
}

fn peer(id: u8) -> PeerId {
    PeerId::from_random([id; 16])
}

/// The frames with which a client of this dialect joins, and an offer of it.
fn case(dialect: &str) -> (&'static [&'static str], String) {
    let (sdp, other) = (sdp(), peer(2));
    match dialect {
        "lightstream" => (
            &[r#"{"type":"join","roomID":"room","senderID":"a"}"#],
            format!(
                r#"{{"type":"offer","targetID":"b","senderID":"a","data":{{"type":"offer","sdp":{sdp}}}}}"#
            ),
        ),
        "p2p" => (
            &[
                r#"{"type":"IDENTIFY","username":"a"}"#,
                r#"{"type":"JOIN_ROOM","roomId":"room"}"#,
            ],
            format!(
                r#"{{"type":"SDP_OFFER","fromPeerId":"","toPeerId":"{other}","sdp":{{"type":"offer","sdp":{sdp}}}}}"#
            ),
        ),
        "singo" => (
            &[r#"{"type":"join","payload":{"room_id":"room"}}"#],
            format!(r#"{{"type":"offer","payload":{{"sdp":{sdp},"client_id":"b"}}}}"#),
        ),
        "mesh" => (
            &[],
            format!(
                r#"{{"kind":"Offer","reach":"OnePeer","sender":"","peerID":"b","content":{{"type":1,"sdp":{sdp}}}}}"#
            ),
        ),
        "peerjs" => (
            &[],
            format!(
                r#"{{"type":"OFFER","dst":"b","payload":{{"sdp":{{"type":"offer","sdp":{sdp}}},"type":"data","connectionId":"dc_1"}}}}"#
            ),
        ),
        "matchbox" => (
            &[],
            format!(r#"{{"Signal":{{"receiver":"{other}","data":{{"Offer":{sdp}}}}}}}"#),
        ),
        "ayame" => (
            &[r#"{"type":"register","roomId":"room","clientId":"a"}"#],
            format!(r#"{{"type":"offer","sdp":{sdp}}}"#),
        ),
        _ => (
            &[r#"{"type":"subscribe","topics":["room"]}"#],
            format!(
                r#"{{"type":"publish","topic":"room","data":{{"type":"signal","to":"b","from":"a","token":1700000000000.5,"signal":{{"type":"offer","sdp":{sdp}}}}}}}"#
            ),
        ),
    }
}

fn query(pairs: &[(&str, &str)]) -> Query {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn handshake(dialect: &str) -> Handshake {
    Handshake {
        peer: peer(1),
        identity: Identity::Claimed,
        endpoint: match dialect {
            "peerjs" => "socket",
            _ => Endpoint::MAIN,
        },
        params: Query::default(),
        query: query(&[("key", "peerjs"), ("id", "a"), ("token", "t")]),
        random: [7; 32],
        unix_ms: 0,
        limits: Arc::default(),
        settings: Arc::default(),
    }
}

fn other_member(dialect: &str) -> Arc<Member> {
    Arc::new(Member {
        peer: peer(2),
        address: Address::parse("b", 0).expect("an address"),
        name: None,
        dialect: find(dialect).expect("a dialect").traits(),
        identity: Identity::Claimed,
        token: None,
        group: None,
        policy: None,
    })
}

/// A session in a room with another member.
fn joined(dialect: &str, frames: &[&'static str]) -> Box<dyn Session> {
    let mut output = SessionOutput::default();
    let mut session = find(dialect)
        .expect("a dialect")
        .open(&handshake(dialect), &mut output);
    answer_commands(&mut *session, dialect, &mut output);
    for frame in frames {
        let frame = ByteString::from_static(frame);
        let result = session.on_frame(ClientFrame::Text(&frame), &mut output);
        result.expect("a valid frame");
        answer_commands(&mut *session, dialect, &mut output);
    }
    session
}

/// Lets claims and joins succeed.
fn answer_commands(session: &mut dyn Session, dialect: &str, output: &mut SessionOutput) {
    while let Some(command) = output.commands.pop() {
        let event = match command {
            Command::Claim(room, name) => Event::Claimed(NameId {
                space: SpaceName::default(),
                room,
                name,
            }),
            Command::Join { room, .. } => Event::Joined {
                room: RoomId::shared(SpaceName::default(), room),
                others: vec![(other_member(dialect), OfferRole::Offerer)],
            },
            Command::Release(..)
            | Command::Leave { .. }
            | Command::Send { .. }
            | Command::List(_) => {
                panic!("a command that no join needs")
            }
        };
        session.on_event(&event, output);
    }
}

#[inline(never)]
fn handle_offer(session: &mut dyn Session, offer: &ByteString, output: &mut SessionOutput) {
    let result = session.on_frame(ClientFrame::Text(offer), output);
    result.expect("a valid frame");
    assert_eq!(output.commands.len(), 1);
    output.commands.clear();
    output.frames.clear();
}

#[divan::bench(args = ["lightstream", "p2p", "singo", "mesh", "ayame", "matchbox", "y-webrtc", "peerjs"])]
fn offer(bencher: Bencher<'_, '_>, dialect: &str) {
    let (frames, offer) = case(dialect);
    let mut session = joined(dialect, frames);
    let (offer, mut output) = (ByteString::from(offer), SessionOutput::default());
    bencher.bench_local(|| handle_offer(&mut *session, &offer, &mut output));
}

#[inline(never)]
fn handle_join(session: &mut dyn Session, event: &Event, output: &mut SessionOutput) {
    session.on_event(event, output);
    assert!(!output.frames.is_empty());
    output.frames.clear();
}

#[divan::bench(args = ["lightstream", "p2p", "singo", "matchbox"])]
fn join(bencher: Bencher<'_, '_>, dialect: &str) {
    let mut session = joined(dialect, case(dialect).0);
    let room = RoomName::parse("room", 0).expect("a name");
    let room = RoomId::shared(SpaceName::default(), room);
    // The frames of an event are encoded for its first receiver.
    let event = || Event::Introduced {
        room: room.clone(),
        peer: other_member(dialect),
        role: OfferRole::Offerer,
        frames: SharedFrames::default(),
    };
    bencher.with_inputs(event).bench_local_values(|event| {
        handle_join(&mut *session, &event, &mut SessionOutput::default())
    });
}
