//! Sessions that outlive their connections, with a dialect of the test kit that resumes them.

use std::time::Duration;

use switchboard_core::{Identity, Limits};
use switchboard_testkit::{
    ClientId, Simulation, permissive_settings,
    resumable::{KEPT, Resumable},
};

fn open(simulation: &mut Simulation) -> ClientId {
    simulation.open_in(Some(&Resumable), &[], Identity::Claimed)
}

fn texts(simulation: &mut Simulation, client: ClientId) -> Vec<String> {
    let frames = simulation.take_frames(client).into_iter();
    frames.map(|frame| frame.text.to_string()).collect()
}

/// Two members, `ada` and `bob`, and the id and token of bob's session, with a space between them. Bob has received two
/// frames: `session` and `joined`.
fn room_of_two(limits: Limits) -> (Simulation, ClientId, ClientId, String) {
    let mut simulation = Simulation::with(1, limits, permissive_settings());
    let members = ["ada", "bob"].map(|address| {
        let client = open(&mut simulation);
        simulation.send(client, format!("join {address}"));
        (client, texts(&mut simulation, client))
    });
    let [(ada, _), (bob, received)] = members;
    let secret = received[0].strip_prefix("session ").expect("a session");
    assert_eq!(received[1..], ["joined"]);
    (simulation, ada, bob, secret.to_owned())
}

#[test]
fn missed_frames_arrive_in_order_exactly_once_over_a_second_connection() {
    let (mut simulation, ada, bob, secret) = room_of_two(Limits::default());
    simulation.send(ada, "say 1");
    simulation.send(ada, "say 2");
    // Frames 3 and 4 are discarded. Below, bob resumes as if it had received frame 3 only.
    simulation.take_frames(bob);
    simulation.crash(bob);
    simulation.send(ada, "say 3");
    assert_eq!(
        texts(&mut simulation, bob),
        [""; 0],
        "a frame was sent without a connection"
    );
    let second = open(&mut simulation);
    assert_eq!(texts(&mut simulation, second).len(), 1);
    simulation.send(second, format!("resume {secret} 3"));
    assert!(
        !simulation.is_connected(second),
        "the second connection has a session of its own, but must serve that of bob"
    );
    let expected = ["resumed", "said ada 2", "said ada 3"];
    assert_eq!(texts(&mut simulation, bob), expected);
    simulation.send(ada, "say 4");
    simulation.send(bob, "say hello");
    assert_eq!(texts(&mut simulation, bob), ["said ada 4"]);
    assert_eq!(
        texts(&mut simulation, ada).last().expect("a frame"),
        "said bob hello"
    );
}

#[test]
fn session_can_be_resumed_after_each_of_many_losses() {
    let (mut simulation, ada, bob, secret) = room_of_two(Limits::default());
    for number in 3..50 {
        simulation.crash(bob);
        simulation.send(ada, format!("say {number}"));
        let next = open(&mut simulation);
        simulation.send(next, format!("resume {secret} {}", number - 1));
        let expected = ["resumed".to_owned(), format!("said ada {number}")];
        assert_eq!(texts(&mut simulation, bob), expected);
        simulation.send(bob, format!("ack {number}"));
    }
}

#[test]
fn second_connection_takes_over_before_the_server_notices_the_loss_of_the_first() {
    let (mut simulation, ada, bob, secret) = room_of_two(Limits::default());
    simulation.freeze(bob);
    simulation.send(ada, "say 1");
    simulation.take_frames(bob);
    let second = open(&mut simulation);
    simulation.send(second, format!("resume {secret} 2"));
    assert_eq!(texts(&mut simulation, bob), ["resumed", "said ada 1"]);
    simulation.advance(Duration::from_secs(3600));
    assert!(
        simulation.is_connected(bob),
        "bob is still taken for unresponsive"
    );
}

#[test]
fn session_without_connection_ends_when_its_frames_exceed_the_outbox_limit() {
    let limits = Limits {
        outbox_bytes: 1000,
        ..Limits::default()
    };
    let (mut simulation, ada, bob, secret) = room_of_two(limits);
    simulation.send(bob, "ack 2");
    simulation.crash(bob);
    let long = "x".repeat(300);
    for is_kept in [true, true, true, false] {
        simulation.send(ada, format!("say {long}"));
        assert_eq!(simulation.is_connected(bob), is_kept);
    }
    let second = open(&mut simulation);
    simulation.take_frames(second);
    simulation.send(second, format!("resume {secret} 2"));
    assert_eq!(texts(&mut simulation, second), ["refused not found"]);
    assert!(
        simulation.is_connected(second),
        "the refused client must keep its own session"
    );
    simulation.send(second, "join bob");
    assert_eq!(
        texts(&mut simulation, second),
        ["joined"],
        "the address must be free again"
    );
}

#[test]
fn client_that_acknowledges_no_frames_cannot_resume_after_the_oldest_were_dropped() {
    let limits = Limits {
        outbox_bytes: 1000,
        ..Limits::default()
    };
    let (mut simulation, ada, bob, _) = room_of_two(limits);
    let long = "x".repeat(300);
    for _ in 0..10 {
        simulation.send(ada, format!("say {long}"));
        assert!(simulation.is_connected(bob));
    }
    simulation.crash(bob);
    assert!(
        !simulation.is_connected(bob),
        "the session must end with the connection"
    );
}

#[test]
fn session_ends_some_time_after_a_lost_connection_and_at_once_after_a_graceful_close() {
    let (mut simulation, ada, bob, _) = room_of_two(Limits::default());
    simulation.crash(bob);
    simulation.advance(KEPT - Duration::from_secs(1));
    assert!(simulation.is_connected(bob));
    simulation.advance(Duration::from_secs(1));
    assert!(!simulation.is_connected(bob));
    simulation.leave(ada);
    assert!(simulation.rooms().is_empty());
}

#[test]
fn only_the_token_and_the_identity_of_a_session_resume_it() {
    let (mut simulation, _, bob, secret) = room_of_two(Limits::default());
    let mallory = open(&mut simulation);
    let other = simulation.open_in(Some(&Resumable), &[], Identity::Proven("mallory".into()));
    for client in [mallory, other] {
        simulation.take_frames(client);
    }
    let id = secret.split(' ').next().expect("an id");
    simulation.crash(bob);
    simulation.send(mallory, format!("resume {id} guessed 2"));
    simulation.send(other, format!("resume {secret} 2"));
    simulation.send(mallory, format!("resume {secret} 9"));
    assert_eq!(
        texts(&mut simulation, mallory),
        ["refused not found", "refused not sent"]
    );
    assert_eq!(texts(&mut simulation, other), ["refused not found"]);
    simulation.send(mallory, format!("resume {secret} 2"));
    assert_eq!(texts(&mut simulation, bob), ["resumed"]);
}
