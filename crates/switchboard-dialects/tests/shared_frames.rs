//! The frames of a join or leave are encoded once for all receivers of a dialect. Each receiver must get the frames
//! that it would get alone.

use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{
    DisplayName, Event, Identity, LeaveKind, Member, OfferRole, PeerId, RoomId, RoomName,
    SharedFrames, SpaceName,
};
use switchboard_dialects::{
    ALL, ClientFrame, Dialect, Endpoint, Handshake, Session, SessionOutput,
};

const RECEIVERS: u8 = 3;

fn room() -> RoomId {
    let room = RoomName::parse("room", 0).expect("a name");
    RoomId::shared(SpaceName::default(), room)
}

/// The handshake of a client. Each client has a random text, an id and a name of its own.
fn handshake(client: u8) -> Handshake {
    let pairs = |pairs: &[(&str, String)]| {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect()
    };
    Handshake {
        peer: PeerId::from_random([client; 16]),
        identity: Identity::Claimed,
        endpoint: Endpoint::MAIN,
        params: pairs(&[("room", "room".to_owned())]),
        query: pairs(&[
            ("key", "peerjs".to_owned()),
            ("id", format!("id{client}")),
            ("token", "token".to_owned()),
        ]),
        random: [client; 32],
        unix_ms: 0,
        limits: Arc::default(),
        settings: Arc::default(),
    }
}

/// The first frame of a client of this dialect, if it must send one to be in the room.
fn first_frame(dialect: &str, client: u8) -> Option<String> {
    match dialect {
        "lightstream" => Some(format!(
            r#"{{"type":"join","roomID":"room","senderID":"id{client}"}}"#
        )),
        "singo" => Some(r#"{"type":"join","payload":{"room_id":"room"}}"#.to_owned()),
        "ayame" => Some(format!(
            r#"{{"type":"register","roomId":"room","clientId":"id{client}"}}"#
        )),
        "p2p" => Some(format!(
            r#"{{"type":"IDENTIFY","username":"name{client}","roomId":"room"}}"#
        )),
        "y-webrtc" => Some(r#"{"type":"subscribe","topics":["room"]}"#.to_owned()),
        _ => None,
    }
}

/// The session of a client that is in the room.
fn session(dialect: &dyn Dialect, client: u8) -> Box<dyn Session> {
    let mut output = SessionOutput::default();
    let mut session = dialect.open(&handshake(client), &mut output);
    if let Some(frame) = first_frame(dialect.traits().name, client) {
        let frame = ByteString::from(frame);
        let handled = session.on_frame(ClientFrame::Text(&frame), &mut output);
        handled.expect("the first frame of the dialect");
    }
    let others = Vec::new();
    let joined = Event::Joined {
        room: room(),
        others,
    };
    session.on_event(&joined, &mut output);
    session
}

fn other(dialect: &dyn Dialect, number: u8) -> Arc<Member> {
    let peer = PeerId::from_random([number; 16]);
    Arc::new(Member {
        name: DisplayName::parse("\"Ann\"", 0).ok(),
        ..Member::new(peer, peer.into(), dialect.traits())
    })
}

/// All joins and leaves of which a member can be notified.
fn events(other: &Arc<Member>) -> Vec<Event> {
    let introduced = |role| Event::Introduced {
        room: room(),
        peer: other.clone(),
        role,
        frames: SharedFrames::default(),
    };
    let departed = |kind| Event::Departed {
        room: room(),
        peer: other.clone(),
        kind,
        frames: SharedFrames::default(),
    };
    let roles = [OfferRole::Offerer, OfferRole::Answerer, OfferRole::None];
    let kinds = [LeaveKind::Announced, LeaveKind::Silent];
    let joins = roles.map(introduced).into_iter();
    joins.chain(kinds.map(departed)).collect()
}

fn frames_of(session: &mut dyn Session, event: &Event) -> Vec<ByteString> {
    let mut output = SessionOutput::at(1_000);
    session.on_event(event, &mut output);
    output.frames
}

/// The frames of this event for clients of all dialects that are in one room.
fn frames_for_all(event: impl Fn() -> Arc<Event>) -> Vec<(&'static str, u8, Vec<ByteString>)> {
    let clients =
        (0..RECEIVERS).flat_map(|client| ALL.iter().map(move |dialect| (client, dialect)));
    let frames = clients.map(|(client, dialect)| {
        let mut session = session(*dialect, client);
        let frames = frames_of(&mut *session, &event());
        (dialect.traits().name, client, frames)
    });
    frames.collect()
}

#[test]
fn a_shared_frame_is_the_frame_that_each_receiver_gets_alone() {
    for dialect in ALL {
        let other = other(*dialect, 99);
        for (index, event) in events(&other).into_iter().enumerate() {
            let event = Arc::new(event);
            let shared = frames_for_all(|| event.clone());
            let alone = frames_for_all(|| Arc::new(events(&other).remove(index)));
            assert_eq!(shared, alone, "{event:?}");
        }
    }
}

/// The dialects whose frames do not depend on the receiver share their memory.
#[test]
fn the_frames_of_a_join_and_a_leave_are_encoded_once() {
    let is_shared = |event: Event, dialect: &dyn Dialect| {
        let mut frames = [1, 2].map(|client| frames_of(&mut *session(dialect, client), &event));
        let [first, second] = frames.each_mut().map(|frames| frames.pop());
        first
            .zip(second)
            .map(|(first, second)| first.as_ptr() == second.as_ptr())
    };
    for (name, join, leave) in [
        ("lightstream", Some(true), Some(true)),
        ("p2p", Some(true), Some(true)),
        ("singo", Some(true), Some(true)),
        ("matchbox", Some(true), Some(true)),
        // A client of mesh, peerjs or y-webrtc is not notified of joins, and one of y-webrtc not of leaves either.
        ("mesh", None, Some(true)),
        ("y-webrtc", None, None),
        // These frames have the receiver's own id, ICE servers or state.
        ("peerjs", None, Some(false)),
        ("ayame", Some(false), None),
    ] {
        let dialect = switchboard_dialects::find(name).expect("a dialect");
        let other = other(switchboard_dialects::find("p2p").expect("a dialect"), 99);
        let mut events = events(&other).into_iter();
        assert_eq!(
            is_shared(events.next().expect("a join"), dialect),
            join,
            "{name}"
        );
        assert_eq!(
            is_shared(events.nth(2).expect("a leave"), dialect),
            leave,
            "{name}"
        );
    }
}
