//! The rules of voice rooms, one script ([`crate::script`]) for each.

use std::time::Instant;

use switchboard_core::RoomName;
use switchboard_voice::{Audience, Direction, RoomKey, VoiceRoomLimits, VoiceRooms};

use crate::script::{self, epoch, event_line, outcome, seconds, user};

fn check(script: &str) {
    check_with(VoiceRoomLimits::default(), script);
}

fn check_with(limits: VoiceRoomLimits, script: &str) {
    let mut rooms = VoiceRooms::new(limits);
    let mut now = epoch();
    script::check(script, |line| {
        let mut outputs = run_line(&mut rooms, line, &mut now);
        while let Some((to, event)) = rooms.poll_event() {
            let to = match to {
                Audience::User(user) => user.to_string(),
                Audience::AllUsers => "all".to_owned(),
            };
            outputs.push(format!("{to}: {}", event_line(&event)));
        }
        while let Some(id) = rooms.poll_ended() {
            outputs.push(format!("room {id} ended"));
        }
        outputs
    });
}

/// The key of a room: its name, or `#` and its number.
fn key(text: &str) -> RoomKey {
    match text.strip_prefix('#') {
        Some(number) => RoomKey::Numbered(number.parse().expect("not a number")),
        None => RoomKey::Named(RoomName::parse(text, 0).expect("not a valid room name")),
    }
}

/// Runs an input line. `mic+` and `headphones+` are followed by the key of a room, `mic-` and `headphones-` by its id.
fn run_line(rooms: &mut VoiceRooms, line: &[&str], now: &mut Instant) -> Vec<String> {
    match line {
        ["wait", time] => {
            *now += seconds(time);
            rooms.handle_timeout(*now);
            Vec::new()
        }
        ["wait-without-timer", time] => {
            *now += seconds(time);
            Vec::new()
        }
        ["list"] => rooms
            .list()
            .map(|room| format!("{} {} {}", room.id, room.name, room.count))
            .collect(),
        ["members", id] => members(rooms, id),
        [name, "mic+", room] => enter(rooms, name, room, Direction::Publish, *now),
        [name, "headphones+", room] => enter(rooms, name, room, Direction::Subscribe, *now),
        [name, "mic-", id] => leave(rooms, name, id, Direction::Publish, *now),
        [name, "headphones-", id] => leave(rooms, name, id, Direction::Subscribe, *now),
        _ => panic!("invalid script line: {line:?}"),
    }
}

fn members(rooms: &VoiceRooms, id: &str) -> Vec<String> {
    let id: u64 = id.parse().expect("not the number of a room");
    let Some(members) = rooms.members(id.into()) else {
        return vec!["no such room".to_owned()];
    };
    members
        .map(|(user, mic, headphones)| format!("{user} {mic} {headphones}"))
        .collect()
}

fn enter(
    rooms: &mut VoiceRooms,
    name: &str,
    room: &str,
    direction: Direction,
    now: Instant,
) -> Vec<String> {
    let entered = rooms.enter(&user(name), &key(room), direction, now);
    outcome(entered, |id| Some(format!("room {id}")))
        .into_iter()
        .collect()
}

fn leave(
    rooms: &mut VoiceRooms,
    name: &str,
    id: &str,
    direction: Direction,
    now: Instant,
) -> Vec<String> {
    let id: u64 = id.parse().expect("not the number of a room");
    rooms.leave(&user(name), id.into(), direction, now);
    Vec::new()
}

#[test]
fn all_users_are_notified_of_a_new_room_and_members_of_an_entering_user() {
    check(
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        bob headphones+ lounge
            room 1
            ann: bob in room 1 has mic- headphones+
        ann headphones+ lounge
            room 1
            bob: ann in room 1 has mic+ headphones+
        cid mic+ kitchen
            room 2
            all: new room 2 kitchen with 1
        cid mic+ lounge
            room 1
            ann: cid in room 1 has mic+ headphones-
            bob: cid in room 1 has mic+ headphones-
        ",
    );
}

#[test]
fn the_remaining_members_are_notified_of_a_leave() {
    check(
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        ann headphones+ lounge
            room 1
        bob mic+ lounge
            room 1
            ann: bob in room 1 has mic+ headphones-
        ann mic- 1
            bob: ann in room 1 has mic- headphones+
        ann headphones- 1
            bob: ann in room 1 has mic- headphones-
        bob mic- 1
        ",
    );
}

#[test]
fn rooms_are_listed_in_order_with_their_user_counts() {
    check(
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        ann headphones+ lounge
            room 1
        bob headphones+ kitchen
            room 2
            all: new room 2 kitchen with 1
        bob headphones+ lounge
            room 1
            ann: bob in room 1 has mic- headphones+
        list
            1 lounge 2
            2 kitchen 1
        bob headphones- 2
        list
            1 lounge 2
            2 kitchen 0
        members 1
            ann true true
            bob false true
        members 2
        members 3
            no such room
        ",
    );
}

#[test]
fn a_replacing_connection_in_a_room_causes_no_event() {
    check(
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        ann mic+ lounge
            room 1
        ann mic+ kitchen
            room 2
            all: new room 2 kitchen with 1
        ann headphones+ lounge
            room 1
        ann headphones+ lounge
            room 1
        ann mic- 1
        ann mic+ lounge
            room 1
        ",
    );
}

#[test]
fn an_empty_room_is_removed_after_linger_and_its_id_is_not_reused() {
    check(
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        ann mic- 1
        wait 59
        bob mic+ lounge
            room 1
        wait 100
        bob mic- 1
        wait 59.999
        list
            1 lounge 0
        wait 0.001
            room 1 ended
        list
        bob mic- 1
        ann mic+ lounge
            room 2
            all: new room 2 lounge with 1
        ",
    );
}

#[test]
fn a_numbered_room_keeps_its_number_as_its_name() {
    check(
        "
        1 mic+ #77
            room 77
            all: new room 77 77 with 1
        2 headphones+ #77
            room 77
            1: 2 in room 77 has mic- headphones+
        1 mic+ #5
            room 5
            all: new room 5 5 with 1
        list
            5 5 1
            77 77 2
        1 mic- 5
        wait 60
            room 5 ended
        1 mic+ #5
            room 5
            all: new room 5 5 with 1
        ",
    );
}

#[test]
fn a_user_that_enters_before_the_timer_fires_keeps_the_room() {
    check(
        "
        1 mic+ #77
            room 77
            all: new room 77 77 with 1
        1 mic+ #5
            room 5
            all: new room 5 5 with 1
        1 mic- 77
        1 mic- 5
        wait-without-timer 61
        2 mic+ #77
            room 77
            room 5 ended
        wait 100
        list
            77 77 1
        ",
    );
}

#[test]
fn named_and_numbered_rooms_are_different() {
    check(
        "
        ann mic+ #1
            room 1
            all: new room 1 1 with 1
        ann mic+ 1
            room 2
            all: new room 2 1 with 1
        ann mic- 1
        wait 60
            room 1 ended
        bob mic+ 1
            room 2
            ann: bob in room 2 has mic+ headphones-
        ",
    );
}

#[test]
fn a_leave_of_a_user_that_is_not_in_the_room_does_nothing() {
    check(
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        bob mic- 1
        ann headphones- 1
        ann mic- 9
        members 1
            ann true false
        ann mic- 1
        wait 30
        ann mic- 1
        wait 30
            room 1 ended
        ",
    );
}

#[test]
fn rooms_microphones_and_headphones_are_bounded() {
    let limits = VoiceRoomLimits {
        rooms: 1,
        sources: 1,
        listeners: 2,
        ..VoiceRoomLimits::default()
    };
    check_with(
        limits,
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        ann mic+ kitchen
            refused: TooManyRooms
        bob mic+ lounge
            refused: TooManySources
        ann mic+ lounge
            room 1
        ann headphones+ lounge
            room 1
        bob headphones+ lounge
            room 1
            ann: bob in room 1 has mic- headphones+
        cid headphones+ lounge
            refused: TooManyListeners
        members 1
            ann true true
            bob false true
        ann mic- 1
            bob: ann in room 1 has mic- headphones+
        bob mic+ lounge
            room 1
            ann: bob in room 1 has mic+ headphones+
        ",
    );
}

fn two_rooms() -> VoiceRoomLimits {
    VoiceRoomLimits {
        rooms: 2,
        ..VoiceRoomLimits::default()
    }
}

#[test]
fn the_longest_empty_room_is_removed_for_a_new_one() {
    check_with(
        two_rooms(),
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        ann mic+ kitchen
            room 2
            all: new room 2 kitchen with 1
        ann mic- 2
        wait 1
        ann mic- 1
        bob mic+ attic
            room 3
            all: new room 3 attic with 1
            room 2 ended
        list
            1 lounge 0
            3 attic 1
        bob mic+ kitchen
            room 4
            all: new room 4 kitchen with 1
            room 1 ended
        ann mic+ lounge
            refused: TooManyRooms
        wait 100
        ",
    );
}

#[test]
fn entering_an_existing_room_removes_no_room() {
    check_with(
        two_rooms(),
        "
        1 mic+ #7
            room 7
            all: new room 7 7 with 1
        1 mic- 7
        1 mic+ #8
            room 8
            all: new room 8 8 with 1
        1 mic- 8
        2 mic+ #7
            room 7
        2 mic+ #9
            room 9
            all: new room 9 9 with 1
            room 8 ended
        2 mic+ #8
            refused: TooManyRooms
        2 mic- 7
        2 mic+ #7
            room 7
        ",
    );
}

#[test]
fn a_refused_user_does_not_keep_a_room_alive() {
    let limits = VoiceRoomLimits {
        sources: 1,
        ..VoiceRoomLimits::default()
    };
    check_with(
        limits,
        "
        ann mic+ lounge
            room 1
            all: new room 1 lounge with 1
        bob mic+ lounge
            refused: TooManySources
        ann mic- 1
        bob mic- 1
        wait 60
            room 1 ended
        ",
    );
}
