//! What every dialect must do, as one suite that runs over each of them.

mod forged_fields;

use std::time::Duration;

use serde_json::json;
use switchboard_core::{
    Address, Command, DialectTraits, DisconnectReason, ErrorCode, Identity, JoinOptions, LeaveKind,
    Limits, OfferPolicy, Peer, PeerId, RoomName, SpaceName,
};
use switchboard_dialects::find;
use switchboard_testkit::{ClientId, Simulation, permissive_settings};

use crate::drivers::{ACCENTS, ClientEvent, DialectDriver, OfferRule};

/// A room with two members of one dialect.
struct Pair {
    world: Simulation,
    accent: &'static DialectDriver,
    alice: ClientId,
    bob: ClientId,
}

impl Pair {
    fn new(accent: &'static DialectDriver) -> Self {
        Self::with(accent, Limits::default())
    }

    fn with(accent: &'static DialectDriver, limits: Limits) -> Self {
        let mut world = Simulation::with(1, limits, permissive_settings());
        let alice = accent.enter(&mut world, "room", "alice");
        let bob = accent.enter(&mut world, "room", "bob");
        let mut pair = Self {
            world,
            accent,
            alice,
            bob,
        };
        pair.forget();
        pair
    }

    fn id(&self, client: ClientId) -> String {
        self.accent.id_of(&self.world, client)
    }

    fn told(&mut self, client: ClientId) -> Vec<ClientEvent> {
        self.accent.told(&mut self.world, client)
    }

    /// Whether what the client has sent is refused, and it is told so where its dialect has words.
    fn is_refused(&mut self, client: ClientId) -> bool {
        let (told, refused) = (self.told(client), self.world.take_error_codes(client));
        is_answered(self.accent, &told, &refused)
    }

    /// Everybody has read everything.
    fn forget(&mut self) {
        for client in self.world.ids() {
            self.world.take_frames(client);
            self.world.take_error_codes(client);
        }
    }

    /// Alice's offers reach Bob, in her name.
    fn must_work(&mut self) {
        let offer = (self.accent.offer)(&self.id(self.bob), "alive");
        self.world.send(self.alice, offer.to_string());
        let expected = ClientEvent::Offer {
            from: self.id(self.alice),
            sdp: "alive".into(),
        };
        assert_eq!(self.told(self.bob), [expected], "{}", self.accent.name);
    }
}

/// Whether somebody was told that one thing is refused. If its dialect has no words for it, it is
/// counted all the same.
fn is_answered(accent: &DialectDriver, told: &[ClientEvent], refused: &[&str]) -> bool {
    match accent.answers_members {
        true => matches!(told, [ClientEvent::Error(_)]),
        // Who waits for somebody may be told that it has waited in vain.
        false if !accent.waits.is_zero() => {
            matches!(told, [] | [ClientEvent::Error(_)]) && refused.len() == 1
        }
        false => told.is_empty() && refused.len() == 1,
    }
}

/// Whether a client was told that it is not let in. If its dialect has no words for that, it is
/// counted all the same.
fn is_turned_away(accent: &DialectDriver, world: &mut Simulation, client: ClientId) -> bool {
    let (told, refused) = (accent.told(world, client), world.take_error_codes(client));
    match accent.answers_joins {
        true => matches!(told.last(), Some(ClientEvent::Error(_))),
        false => !refused.is_empty(),
    }
}

#[test]
fn a_room_without_a_name_is_refused() {
    for accent in &ACCENTS {
        let mut world = Simulation::new(1);
        let client = accent.enter(&mut world, "", "alice");
        assert!(
            is_turned_away(accent, &mut world, client),
            "{}",
            accent.name
        );
        assert!(world.rooms().is_empty(), "{}", accent.name);
    }
}

#[test]
fn a_person_without_a_name_is_refused() {
    for accent in ACCENTS.iter().filter(|accent| accent.chooses_names) {
        let mut world = Simulation::new(1);
        let client = accent.enter(&mut world, "room", "");
        assert!(
            is_turned_away(accent, &mut world, client),
            "{}",
            accent.name
        );
        assert!(world.rooms().is_empty(), "{}", accent.name);
    }
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let limits = Limits {
        name_bytes: 16,
        ..Limits::default()
    };
    let (fits, long) = ("é".repeat(8), "é".repeat(8) + "x");
    for accent in &ACCENTS {
        let mut world = Simulation::with(1, limits.clone(), permissive_settings());
        let client = accent.enter(&mut world, &fits, &fits);
        assert!(world.member(client).is_some(), "{}", accent.name);
        for (room, nick) in [(&*long, "bob"), ("room", &*long)] {
            if nick == long && !accent.chooses_names {
                continue;
            }
            let client = accent.enter(&mut world, room, nick);
            assert!(
                is_turned_away(accent, &mut world, client),
                "{}",
                accent.name
            );
            assert!(world.member(client).is_none(), "{}", accent.name);
        }
    }
}

#[test]
fn a_name_without_a_visible_character_is_refused() {
    for accent in &ACCENTS {
        for hidden in [" ", "\u{200b}\u{2060}", "\u{3164}\t", "\u{202e}"] {
            for (room, nick) in [(hidden, "bob"), ("room", hidden)] {
                if nick == hidden && !accent.chooses_names {
                    continue;
                }
                let mut world = Simulation::new(1);
                let client = accent.enter(&mut world, room, nick);
                let is_told = is_turned_away(accent, &mut world, client);
                let close = world.closed(client).map(|close| close.code);
                let is_closed = accent.answers_joins || close == Some(1008);
                assert!(is_told && is_closed, "{} {hidden:?}", accent.name);
                assert!(world.member(client).is_none(), "{}", accent.name);
            }
        }
    }
}

#[test]
fn the_servers_name_is_no_clients_where_the_server_speaks_under_it() {
    for accent in ACCENTS.iter().filter(|accent| accent.chooses_names) {
        for nick in ["server", "Server", "SERVER", "sErVeR", "~server"] {
            let mut world = Simulation::new(1);
            let client = accent.enter(&mut world, "room", nick);
            let dialect = find(accent.name).expect("a dialect");
            if dialect.traits().allows_server_address {
                let address = world
                    .member(client)
                    .map(|(_, member)| member.address.clone());
                let address = address.map(|address| address.to_string());
                assert_eq!(address.as_deref(), Some(nick), "{}", accent.name);
                continue;
            }
            assert!(world.member(client).is_none(), "{} as {nick}", accent.name);
            assert!(
                is_turned_away(accent, &mut world, client),
                "{}",
                accent.name
            );
        }
    }
}

#[test]
fn a_signal_for_nobody_is_answered() {
    for accent in ACCENTS.iter().filter(|accent| accent.names_others) {
        let mut pair = Pair::new(accent);
        for nobody in [
            "nobody",
            "",
            "00000000-0000-4000-8000-000000000000",
            "server",
        ] {
            let offer = (accent.offer)(nobody, "v=0");
            if nobody.is_empty() && accent.name == "lightstream" {
                continue; // There it means everybody.
            }
            pair.world.send(pair.alice, offer.to_string());
            pair.world.advance(accent.waits);
            assert!(
                pair.is_refused(pair.alice),
                "{}, to {nobody:?}",
                accent.name
            );
            assert_eq!(pair.told(pair.bob), [], "{}", accent.name);
        }
        pair.must_work();
    }
}

#[test]
fn nonsense_is_answered_and_survived() {
    let deep = "[".repeat(10_000);
    let garbage = [
        "",
        " ",
        "{",
        "}",
        "{}}",
        "[]",
        "null",
        "true",
        "7",
        "\"text\"",
        "{bad",
        "{\"a\"}",
        "{\"type\":\"\\ud800\",\"kind\":\"\\ud800\"}",
        "\u{feff}{}",
        "{\"type\":1e999,\"kind\":1e999}",
        "{\"type\":null,\"kind\":null}",
        "{\"type\":{}, \"kind\":[]}",
        &deep,
        "\u{0}",
    ];
    for accent in &ACCENTS {
        let mut pair = Pair::new(accent);
        for text in garbage {
            pair.world.send(pair.alice, text);
            assert!(
                pair.is_refused(pair.alice),
                "{}, to {text:.40}",
                accent.name
            );
        }
        assert_eq!(pair.told(pair.bob), [], "{}", accent.name);
        pair.must_work();
    }
}

#[test]
fn a_payload_that_is_passed_on_may_be_nested_to_any_depth() {
    for accent in &ACCENTS {
        let mut pair = Pair::new(accent);
        for depth in [50, 64, 200, 50_000] {
            let offer = (accent.offer)(&pair.id(pair.bob), "deep").to_string();
            let open = offer.trim_end_matches('}');
            let close = &offer[open.len()..];
            let nest = "[".repeat(depth) + &"]".repeat(depth);
            let frame = format!("{open},\"deep\":{nest}{close}");
            pair.world.send(pair.alice, frame);
            let refused = pair.world.take_error_codes(pair.alice);
            assert_eq!(refused, [""; 0], "{}, {depth}", accent.name);
            let told = pair.world.take_frames(pair.bob);
            assert!(!told.is_empty(), "{}, {depth}", accent.name);
        }
        pair.must_work();
    }
}

#[test]
fn bytes_are_text_or_an_error() {
    for accent in &ACCENTS {
        let mut pair = Pair::new(accent);
        let offer = (accent.offer)(&pair.id(pair.bob), "bytes").to_string();
        pair.world.send_binary(pair.alice, offer.into_bytes());
        let (refused, bob) = (pair.is_refused(pair.alice), pair.told(pair.bob));
        let passes = accent.reads_bytes;
        assert_eq!(
            (refused, bob.len()),
            (!passes, usize::from(passes)),
            "{}",
            accent.name
        );
        for bytes in [&b"\xff\x00"[..], b"", b"{\"type\":\"\xc3\"}"] {
            pair.world.send_binary(pair.alice, bytes.to_vec());
            assert!(pair.is_refused(pair.alice), "{}", accent.name);
        }
        pair.must_work();
    }
}

/// Those who can ask for a room again and again.
fn movers() -> impl Iterator<Item = &'static DialectDriver> {
    let asks = |accent: &&DialectDriver| (accent.join)("", "").is_some();
    ACCENTS.iter().filter(asks).filter(|accent| accent.moves)
}

#[test]
fn moving_is_leaving_and_coming() {
    for accent in movers() {
        let mut pair = Pair::new(accent);
        let carol = accent.enter(&mut pair.world, "other", "carol");
        let alice = pair.id(pair.alice);
        pair.forget();
        accent.join(&mut pair.world, pair.alice, "other", "alice");
        assert_eq!(
            pair.told(pair.bob),
            [ClientEvent::Left(alice.clone())],
            "{}",
            accent.name
        );
        assert_eq!(pair.told(carol).len(), 1, "{}: of the arrival", accent.name);
        let offer = (accent.offer)(&alice, "v=0");
        pair.world.send(pair.bob, offer.to_string());
        assert!(pair.is_refused(pair.bob), "{}", accent.name);
        assert_eq!(pair.world.hub().rooms().len(), 2, "{}", accent.name);
    }
}

#[test]
fn joining_again_is_told_to_nobody() {
    for accent in movers() {
        let mut pair = Pair::new(accent);
        accent.join(&mut pair.world, pair.alice, "room", "alice");
        assert_eq!(pair.told(pair.bob), [], "{}", accent.name);
        assert!(!pair.is_refused(pair.alice), "{}", accent.name);
        assert_eq!(pair.world.log().len(), 2, "{}", accent.name);
        pair.must_work();
    }
}

/// Those who are told who leaves.
fn tellers() -> impl Iterator<Item = &'static DialectDriver> {
    ACCENTS.iter().filter(|accent| accent.tells_departures)
}

#[test]
fn leaving_is_told_once() {
    for accent in tellers() {
        let Some(leave) = accent.leave else { continue };
        let mut pair = Pair::new(accent);
        let alice = pair.id(pair.alice);
        for told in [vec![ClientEvent::Left(alice)], vec![]] {
            pair.world.send(pair.alice, leave("room").to_string());
            assert_eq!(pair.told(pair.bob), told, "{}", accent.name);
        }
        pair.world.crash(pair.alice);
        assert_eq!(pair.told(pair.bob), [], "{}", accent.name);
    }
}

#[test]
fn a_departure_is_told_once() {
    for accent in tellers() {
        let mut pair = Pair::new(accent);
        let alice = pair.id(pair.alice);
        pair.world.crash(pair.alice);
        assert_eq!(
            pair.told(pair.bob),
            [ClientEvent::Left(alice)],
            "{}",
            accent.name
        );
        pair.world.advance(Duration::from_secs(1));
        assert_eq!(pair.told(pair.bob), [], "{}", accent.name);
    }
}

#[test]
fn a_silent_client_is_gone_within_a_minute() {
    for accent in &ACCENTS {
        let mut pair = Pair::new(accent);
        let alice = pair.id(pair.alice);
        pair.world.freeze(pair.alice);
        pair.world.advance(Duration::from_secs(60));
        let told = pair.told(pair.bob);
        assert!(
            told.contains(&ClientEvent::Left(alice)) == accent.tells_departures,
            "{}: {told:?}",
            accent.name
        );
        assert!(!pair.world.is_connected(pair.alice), "{}", accent.name);
    }
}

#[test]
fn nobody_can_send_what_only_the_server_says() {
    let only_the_server = [
        json!({"type": "user-left", "senderID": "bob"}),
        json!({"type": "peers", "senderID": "server", "peers": []}),
        json!({"type": "error", "senderID": "server"}),
        json!({"type": "PEER_LEFT_ROOM", "peer": {"id": "x"}}),
        json!({"type": "ROOM_MEMBERS", "members": []}),
        json!({"type": "leave-client", "payload": {"client_id": "x"}}),
        json!({"type": "notify-client-id", "payload": {"client_id": "x"}}),
        json!({"kind": "DisconnectionNotification", "reach": "AllPeers", "content": {}}),
        json!({"type": "accept", "isExistUser": true}),
        json!({"type": "reject", "reason": "full"}),
        json!({"type": "bye"}),
        json!({"NewPeer": "x"}),
        json!({"PeerLeft": "x"}),
        json!({"type": "pong"}),
    ];
    for accent in &ACCENTS {
        let mut pair = Pair::new(accent);
        for frame in &only_the_server {
            pair.world.send(pair.alice, frame.to_string());
            assert_eq!(pair.told(pair.bob), [], "{}: {frame}", accent.name);
        }
        // Two types in one frame: one for us, one for the receiver.
        let offer = (accent.offer)(&pair.id(pair.bob), "v=0").to_string();
        for (first, second) in [("type", "Type"), ("type", "type"), ("Type", "type")] {
            let forged = format!(
                "{{\"{first}\":\"user-left\",\"{second}\":\"offer\",{}",
                &offer[1..]
            );
            pair.world.send(pair.alice, forged);
            let told = pair.told(pair.bob);
            let is_offer = |told: &ClientEvent| matches!(told, ClientEvent::Offer { .. });
            assert!(told.iter().all(is_offer), "{}: {told:?}", accent.name);
        }
    }
}

#[test]
fn signals_never_cross_rooms() {
    for accent in &ACCENTS {
        for stranger in &ACCENTS {
            let mut pair = Pair::new(accent);
            let mallory = stranger.enter(&mut pair.world, "other", "mallory");
            let bob = stranger.id_of(&pair.world, pair.bob);
            pair.forget();
            pair.world
                .send(mallory, (stranger.offer)(&bob, "v=0").to_string());
            if let Some(shout) = stranger.shout {
                pair.world.send(mallory, shout("hello").to_string());
            }
            pair.world.advance(stranger.waits);
            let told = stranger.told(&mut pair.world, mallory);
            let refused = pair.world.take_error_codes(mallory);
            assert!(
                is_answered(stranger, &told, &refused),
                "{} at {}: {told:?}",
                stranger.name,
                accent.name
            );
            for client in [pair.bob, pair.alice] {
                let mut told = pair.told(client).into_iter();
                assert!(
                    told.all(|told| told == ClientEvent::Other),
                    "{} at {}",
                    stranger.name,
                    accent.name
                );
            }
        }
    }
}

#[test]
fn unknown_fields_survive_among_equals() {
    let unknown = json!({"deep": [1, null, "é\u{2028}\"", {"x": 1.5}], "": {}});
    for accent in &ACCENTS {
        let mut pair = Pair::new(accent);
        let mut offer = (accent.offer)(&pair.id(pair.bob), "v=0");
        for object in accent.keeps {
            let object = offer.pointer_mut(object).expect("an object in the offer");
            object["unknown"] = unknown.clone();
        }
        pair.world.send(pair.alice, offer.to_string());
        let frames = pair.world.received(pair.bob);
        let [frame] = &frames[..] else {
            panic!("{}: {frames:?}", accent.name);
        };
        for object in accent.keeps {
            let kept = frame.pointer(object).map(|object| &object["unknown"]);
            assert_eq!(kept, Some(&unknown), "{}, {object:?}", accent.name);
        }
    }
}

#[test]
fn a_full_room_is_refused_and_has_place_again() {
    let limits = Limits {
        room_members: 2,
        directory_members: 2,
        ..Limits::default()
    };
    for accent in &ACCENTS {
        let mut pair = Pair::with(accent, limits.clone());
        let carol = accent.enter(&mut pair.world, "room", "carol");
        assert!(
            is_turned_away(accent, &mut pair.world, carol),
            "{}",
            accent.name
        );
        assert_eq!(pair.told(pair.alice), [], "{}", accent.name);
        pair.must_work();
        pair.world.crash(pair.bob);
        let dave = accent.enter(&mut pair.world, "room", "dave");
        assert!(pair.world.member(dave).is_some(), "{}", accent.name);
    }
}

#[test]
fn a_peer_is_in_so_many_rooms_and_no_more() {
    static TONGUE: DialectTraits = DialectTraits {
        name: "any",
        offer_policy: OfferPolicy::NewcomerOffers,
        signals: true,
        messages: true,
        ..DialectTraits::DEFAULT
    };
    let limits = Limits::default();
    let id = PeerId::from_random([7; 16]);
    let mut peer = Peer::new(id, &TONGUE, Identity::Claimed, SpaceName::default());
    let room = |index: usize| RoomName::parse(&format!("room {index}"), 0).expect("a name");
    let join = |index| Command::Join {
        room: room(index),
        address: Address::from(id),
        name: None,
        options: JoinOptions::default(),
    };
    for index in 0..limits.rooms_per_peer {
        peer.authorize(join(index), &limits).expect("there is room");
    }
    let one_more = peer.authorize(join(limits.rooms_per_peer), &limits);
    assert_eq!(one_more.expect_err("a limit").code, ErrorCode::TooManyRooms);
    peer.authorize(join(0), &limits)
        .expect("it is there already");
    let leave = Command::Leave {
        room: room(3),
        kind: LeaveKind::Announced,
    };
    peer.authorize(leave, &limits).expect("it is there");
    peer.authorize(join(limits.rooms_per_peer), &limits)
        .expect("there is room again");
    assert_eq!(
        peer.disconnect(DisconnectReason::Lost).len(),
        limits.rooms_per_peer
    );
}

#[test]
fn who_holds_a_name_and_is_alive_keeps_it() {
    for accent in ACCENTS.iter().filter(|accent| accent.chooses_names) {
        let mut pair = Pair::new(accent);
        let mallory = accent.enter(&mut pair.world, "room", "alice");
        assert!(
            is_turned_away(accent, &mut pair.world, mallory),
            "{}",
            accent.name
        );
        pair.world.advance(Duration::from_secs(3));
        assert_eq!(pair.told(pair.bob), [], "{}", accent.name);
        assert!(pair.world.is_connected(pair.alice), "{}", accent.name);
        pair.must_work();
    }
}

#[test]
fn a_ghosts_name_is_free_after_two_seconds() {
    for accent in ACCENTS.iter().filter(|accent| accent.chooses_names) {
        let mut pair = Pair::new(accent);
        let ghost = pair.id(pair.alice);
        pair.world.freeze(pair.alice);
        let heir = accent.enter(&mut pair.world, "room", "alice");
        let late = accent.enter(&mut pair.world, "elsewhere", "late");
        pair.world.advance(Duration::from_millis(1999));
        assert_eq!(pair.told(pair.bob), [], "{}", accent.name);
        pair.world.advance(Duration::from_millis(1));
        let heirs_id = pair.id(heir);
        let told = pair.told(pair.bob);
        let left = accent.tells_departures.then_some(ClientEvent::Left(ghost));
        let came = accent.tells_arrivals.then_some(ClientEvent::Came(heirs_id));
        let expected: Vec<_> = left.into_iter().chain(came).collect();
        assert_eq!(told, expected, "{}: once each, in order", accent.name);
        assert!(!pair.world.is_connected(pair.alice), "{}", accent.name);
        let told = pair.told(heir);
        let bob = pair.id(pair.bob);
        assert_eq!(
            told.contains(&ClientEvent::Call(bob)),
            accent.calls == OfferRule::Newcomer,
            "{}: {told:?}",
            accent.name
        );
        assert!(pair.world.is_connected(late), "{}", accent.name);
    }
}

#[test]
fn of_many_heirs_one_is_lucky() {
    for accent in ACCENTS.iter().filter(|accent| accent.chooses_names) {
        let mut pair = Pair::new(accent);
        pair.world.freeze(pair.alice);
        let heirs: Vec<_> = (0..20)
            .map(|_| accent.enter(&mut pair.world, "room", "alice"))
            .collect();
        pair.world.advance(Duration::from_secs(3));
        let mut lucky = 0;
        for heir in heirs {
            let told = pair.told(heir);
            let refused = told
                .iter()
                .any(|told| matches!(told, ClientEvent::Error(_)));
            assert_ne!(
                refused,
                pair.world.member(heir).is_some(),
                "{}: {told:?}",
                accent.name
            );
            lucky += usize::from(!refused);
        }
        assert_eq!(lucky, 1, "{}", accent.name);
    }
}

#[test]
fn the_same_person_replaces_its_older_self() {
    for accent in ACCENTS.iter().filter(|accent| accent.chooses_names) {
        let mut world = Simulation::new(1);
        let me = || Identity::Proven("me@example.org".into());
        let selves = [0, 1].map(|_| {
            let client = accent.open_as(&mut world, "room", "me", me());
            accent.join(&mut world, client, "room", "me");
            client
        });
        assert!(!world.is_connected(selves[0]), "{}", accent.name);
        assert!(world.member(selves[1]).is_some(), "{}", accent.name);
        assert_eq!(
            world.hub().members(&world.rooms()[0]).len(),
            1,
            "{}",
            accent.name
        );
    }
}

#[test]
fn the_first_frame_tells_the_dialect() {
    for accent in &ACCENTS {
        if !find(accent.name).is_some_and(|dialect| dialect.is_recognizable()) {
            continue; // It shares no path.
        }
        let mut world = Simulation::new(1);
        let client = world.open("shared", &[("room", "room")]);
        let first = (accent.greet)("me").or_else(|| (accent.join)("room", "me"));
        let first = first.unwrap_or_else(|| json!({"kind": "IdentifySelf"}));
        world.send(client, first.to_string());
        assert_eq!(world.dialect(client), accent.name);
        if (accent.greet)("me").is_some() {
            accent.join(&mut world, client, "room", "me");
        }
        let friend = accent.enter(&mut world, "room", "friend");
        accent.told(&mut world, client);
        let me = accent.id_of(&world, client);
        world.send(friend, (accent.offer)(&me, "v=0").to_string());
        let told = accent.told(&mut world, client);
        assert!(
            matches!(&told[..], [ClientEvent::Offer { .. }]),
            "{}: {told:?}",
            accent.name
        );
    }
}

#[test]
fn every_two_dialects_call_each_other_once() {
    for here in &ACCENTS {
        for there in &ACCENTS {
            let mut world = Simulation::new(1);
            let member = here.enter(&mut world, "room", "member");
            here.told(&mut world, member);
            let newcomer = there.enter(&mut world, "room", "newcomer");
            let calls = |told: Vec<ClientEvent>| {
                told.into_iter()
                    .filter(|told| matches!(told, ClientEvent::Call(_)))
                    .count()
            };
            let member_calls = calls(here.told(&mut world, member));
            let newcomer_calls = calls(there.told(&mut world, newcomer));
            let expected = match there.calls_as_newcomer(here) {
                None => (0, 0),
                Some(false) => (1, 0),
                Some(true) => (0, 1),
            };
            assert_eq!(
                (member_calls, newcomer_calls),
                expected,
                "{} comes to {}",
                there.name,
                here.name
            );
        }
    }
}
