//! A suite of tests that every dialect must pass.

mod forged_fields;
mod policies;

use std::time::Duration;

use serde_json::json;
use switchboard_core::{
    Address, Command, DialectTraits, DisconnectReason, ErrorCode, Identity, JoinOptions, LeaveKind,
    Limits, OfferPolicy, Peer, PeerId, RoomName, SpaceName,
};
use switchboard_dialects::find;
use switchboard_testkit::{ClientId, Simulation, permissive_settings};

use crate::drivers::{ClientEvent, DRIVERS, DialectDriver, OfferRule};

/// A room with two members of one dialect.
struct MemberPair {
    simulation: Simulation,
    driver: &'static DialectDriver,
    alice: ClientId,
    bob: ClientId,
}

impl MemberPair {
    fn new(driver: &'static DialectDriver) -> Self {
        Self::with(driver, Limits::default())
    }

    fn with(driver: &'static DialectDriver, limits: Limits) -> Self {
        let mut simulation = Simulation::with(1, limits, permissive_settings());
        let alice = driver.connect_and_join(&mut simulation, "room", "alice");
        let bob = driver.connect_and_join(&mut simulation, "room", "bob");
        let mut pair = Self {
            simulation,
            driver,
            alice,
            bob,
        };
        pair.discard_output();
        pair
    }

    fn id(&self, client: ClientId) -> String {
        self.driver.id_of(&self.simulation, client)
    }

    fn take_events(&mut self, client: ClientId) -> Vec<ClientEvent> {
        self.driver.take_events(&mut self.simulation, client)
    }

    /// Whether the client's frame since the last call was rejected, with an error frame if its dialect has them.
    fn was_rejected(&mut self, client: ClientId) -> bool {
        let (events, error_codes) = (
            self.take_events(client),
            self.simulation.take_error_codes(client),
        );
        is_rejected_once(self.driver, &events, &error_codes)
    }

    /// Discards the frames and error codes of all clients.
    fn discard_output(&mut self) {
        for client in self.simulation.ids() {
            self.simulation.take_frames(client);
            self.simulation.take_error_codes(client);
        }
    }

    /// Checks that an offer of Alice reaches Bob with Alice as its sender.
    fn assert_offers_arrive(&mut self) {
        let offer = (self.driver.offer)(&self.id(self.bob), "alive");
        self.simulation.send(self.alice, offer.to_string());
        let expected = ClientEvent::Offer {
            from: self.id(self.alice),
            sdp: "alive".into(),
        };
        assert_eq!(
            self.take_events(self.bob),
            [expected],
            "{}",
            self.driver.name
        );
    }
}

/// Whether one request was rejected: with an error frame, or, in dialects without error frames, with a counted error code.
fn is_rejected_once(driver: &DialectDriver, events: &[ClientEvent], error_codes: &[&str]) -> bool {
    match driver.reports_member_errors {
        true => matches!(events, [ClientEvent::Error(_)]),
        // PeerJS has no error frames, but tells the sender of a deferred frame that it has expired.
        false if !driver.deferral.is_zero() => {
            matches!(events, [] | [ClientEvent::Error(_)]) && error_codes.len() == 1
        }
        false => events.is_empty() && error_codes.len() == 1,
    }
}

/// Whether a join was rejected: with an error frame, or, in dialects without error frames, with a counted error code.
fn join_is_rejected(driver: &DialectDriver, simulation: &mut Simulation, client: ClientId) -> bool {
    let (events, error_codes) = (
        driver.take_events(simulation, client),
        simulation.take_error_codes(client),
    );
    match driver.reports_join_errors {
        true => matches!(events.last(), Some(ClientEvent::Error(_))),
        false => !error_codes.is_empty(),
    }
}

#[test]
fn a_join_with_an_empty_room_name_is_rejected() {
    for driver in &DRIVERS {
        let mut simulation = Simulation::new(1);
        let client = driver.connect_and_join(&mut simulation, "", "alice");
        assert!(
            join_is_rejected(driver, &mut simulation, client),
            "{}",
            driver.name
        );
        assert!(simulation.rooms().is_empty(), "{}", driver.name);
    }
}

#[test]
fn a_join_with_an_empty_client_name_is_rejected() {
    for driver in DRIVERS.iter().filter(|driver| driver.chooses_name) {
        let mut simulation = Simulation::new(1);
        let client = driver.connect_and_join(&mut simulation, "room", "");
        assert!(
            join_is_rejected(driver, &mut simulation, client),
            "{}",
            driver.name
        );
        assert!(simulation.rooms().is_empty(), "{}", driver.name);
    }
}

#[test]
fn a_name_over_the_byte_limit_is_rejected() {
    let limits = Limits {
        name_bytes: 16,
        ..Limits::default()
    };
    let (fits, long) = ("é".repeat(8), "é".repeat(8) + "x");
    for driver in &DRIVERS {
        let mut simulation = Simulation::with(1, limits.clone(), permissive_settings());
        let client = driver.connect_and_join(&mut simulation, &fits, &fits);
        assert!(simulation.member(client).is_some(), "{}", driver.name);
        for (room, nick) in [(&*long, "bob"), ("room", &*long)] {
            if nick == long && !driver.chooses_name {
                continue;
            }
            let client = driver.connect_and_join(&mut simulation, room, nick);
            assert!(
                join_is_rejected(driver, &mut simulation, client),
                "{}",
                driver.name
            );
            assert!(simulation.member(client).is_none(), "{}", driver.name);
        }
    }
}

#[test]
fn a_name_without_a_visible_character_is_rejected() {
    for driver in &DRIVERS {
        for hidden in [" ", "\u{200b}\u{2060}", "\u{3164}\t", "\u{202e}"] {
            for (room, nick) in [(hidden, "bob"), ("room", hidden)] {
                if nick == hidden && !driver.chooses_name {
                    continue;
                }
                let mut simulation = Simulation::new(1);
                let client = driver.connect_and_join(&mut simulation, room, nick);
                let is_reported = join_is_rejected(driver, &mut simulation, client);
                let close = simulation.closed(client).map(|close| close.code);
                let is_closed = driver.reports_join_errors || close == Some(1008);
                assert!(is_reported && is_closed, "{} {hidden:?}", driver.name);
                assert!(simulation.member(client).is_none(), "{}", driver.name);
            }
        }
    }
}

#[test]
fn the_name_server_is_reserved_in_dialects_whose_frames_use_it() {
    for driver in DRIVERS.iter().filter(|driver| driver.chooses_name) {
        for nick in ["server", "Server", "SERVER", "sErVeR", "~server"] {
            let mut simulation = Simulation::new(1);
            let client = driver.connect_and_join(&mut simulation, "room", nick);
            let dialect = find(driver.name).expect("a dialect");
            if dialect.traits().allows_server_address {
                let address = simulation
                    .member(client)
                    .map(|(_, member)| member.address.clone());
                let address = address.map(|address| address.to_string());
                assert_eq!(address.as_deref(), Some(nick), "{}", driver.name);
                continue;
            }
            assert!(
                simulation.member(client).is_none(),
                "{} as {nick}",
                driver.name
            );
            assert!(
                join_is_rejected(driver, &mut simulation, client),
                "{}",
                driver.name
            );
        }
    }
}

#[test]
fn a_signal_for_an_absent_member_is_answered() {
    for driver in DRIVERS.iter().filter(|driver| driver.has_member_ids) {
        let mut pair = MemberPair::new(driver);
        for absent in [
            "absent",
            "",
            "00000000-0000-4000-8000-000000000000",
            "server",
        ] {
            let offer = (driver.offer)(absent, "v=0");
            if absent.is_empty() && driver.name == "lightstream" {
                continue; // In lightstream, an empty target means all members.
            }
            pair.simulation.send(pair.alice, offer.to_string());
            pair.simulation.advance(driver.deferral);
            assert!(
                pair.was_rejected(pair.alice),
                "{}, to {absent:?}",
                driver.name
            );
            assert_eq!(pair.take_events(pair.bob), [], "{}", driver.name);
        }
        pair.assert_offers_arrive();
    }
}

#[test]
fn malformed_frames_are_answered_and_the_connection_stays_usable() {
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
    for driver in &DRIVERS {
        let mut pair = MemberPair::new(driver);
        for text in garbage {
            pair.simulation.send(pair.alice, text);
            assert!(
                pair.was_rejected(pair.alice),
                "{}, to {text:.40}",
                driver.name
            );
        }
        assert_eq!(pair.take_events(pair.bob), [], "{}", driver.name);
        pair.assert_offers_arrive();
    }
}

#[test]
fn a_relayed_payload_may_be_nested_to_any_depth() {
    for driver in &DRIVERS {
        let mut pair = MemberPair::new(driver);
        for depth in [50, 64, 200, 50_000] {
            let offer = (driver.offer)(&pair.id(pair.bob), "deep").to_string();
            let open = offer.trim_end_matches('}');
            let close = &offer[open.len()..];
            let nest = "[".repeat(depth) + &"]".repeat(depth);
            let frame = format!("{open},\"deep\":{nest}{close}");
            pair.simulation.send(pair.alice, frame);
            let error_codes = pair.simulation.take_error_codes(pair.alice);
            assert_eq!(error_codes, [""; 0], "{}, {depth}", driver.name);
            let frames = pair.simulation.take_frames(pair.bob);
            assert!(!frames.is_empty(), "{}, {depth}", driver.name);
        }
        pair.assert_offers_arrive();
    }
}

#[test]
fn a_binary_frame_is_read_as_text_or_rejected() {
    for driver in &DRIVERS {
        let mut pair = MemberPair::new(driver);
        let offer = (driver.offer)(&pair.id(pair.bob), "bytes").to_string();
        pair.simulation.send_binary(pair.alice, offer.into_bytes());
        let (is_rejected, delivered) = (pair.was_rejected(pair.alice), pair.take_events(pair.bob));
        let is_accepted = driver.accepts_binary;
        assert_eq!(
            (is_rejected, delivered.len()),
            (!is_accepted, usize::from(is_accepted)),
            "{}",
            driver.name
        );
        for bytes in [&b"\xff\x00"[..], b"", b"{\"type\":\"\xc3\"}"] {
            pair.simulation.send_binary(pair.alice, bytes.to_vec());
            assert!(pair.was_rejected(pair.alice), "{}", driver.name);
        }
        pair.assert_offers_arrive();
    }
}

/// The dialects in which a member can join again, the same room or another.
fn drivers_that_change_rooms() -> impl Iterator<Item = &'static DialectDriver> {
    let has_join_frame = |driver: &&DialectDriver| (driver.join)("", "").is_some();
    DRIVERS
        .iter()
        .filter(has_join_frame)
        .filter(|driver| driver.can_change_room)
}

#[test]
fn a_join_of_another_room_leaves_the_first() {
    for driver in drivers_that_change_rooms() {
        let mut pair = MemberPair::new(driver);
        let carol = driver.connect_and_join(&mut pair.simulation, "other", "carol");
        let alice = pair.id(pair.alice);
        pair.discard_output();
        driver.join(&mut pair.simulation, pair.alice, "other", "alice");
        assert_eq!(
            pair.take_events(pair.bob),
            [ClientEvent::Left(alice.clone())],
            "{}",
            driver.name
        );
        assert_eq!(
            pair.take_events(carol).len(),
            1,
            "{}: the join is announced",
            driver.name
        );
        let offer = (driver.offer)(&alice, "v=0");
        pair.simulation.send(pair.bob, offer.to_string());
        assert!(pair.was_rejected(pair.bob), "{}", driver.name);
        assert_eq!(pair.simulation.hub().rooms().len(), 2, "{}", driver.name);
    }
}

#[test]
fn a_repeated_join_is_not_announced() {
    for driver in drivers_that_change_rooms() {
        let mut pair = MemberPair::new(driver);
        driver.join(&mut pair.simulation, pair.alice, "room", "alice");
        assert_eq!(pair.take_events(pair.bob), [], "{}", driver.name);
        assert!(!pair.was_rejected(pair.alice), "{}", driver.name);
        assert_eq!(pair.simulation.log().len(), 2, "{}", driver.name);
        pair.assert_offers_arrive();
    }
}

/// The dialects that announce leaves.
fn drivers_that_announce_leaves() -> impl Iterator<Item = &'static DialectDriver> {
    DRIVERS.iter().filter(|driver| driver.announces_leaves)
}

#[test]
fn a_leave_is_announced_once() {
    for driver in drivers_that_announce_leaves() {
        let Some(leave) = driver.leave else { continue };
        let mut pair = MemberPair::new(driver);
        let alice = pair.id(pair.alice);
        for events in [vec![ClientEvent::Left(alice)], vec![]] {
            pair.simulation.send(pair.alice, leave("room").to_string());
            assert_eq!(pair.take_events(pair.bob), events, "{}", driver.name);
        }
        pair.simulation.crash(pair.alice);
        assert_eq!(pair.take_events(pair.bob), [], "{}", driver.name);
    }
}

#[test]
fn a_lost_connection_is_announced_once() {
    for driver in drivers_that_announce_leaves() {
        let mut pair = MemberPair::new(driver);
        let alice = pair.id(pair.alice);
        pair.simulation.crash(pair.alice);
        assert_eq!(
            pair.take_events(pair.bob),
            [ClientEvent::Left(alice)],
            "{}",
            driver.name
        );
        pair.simulation.advance(Duration::from_secs(1));
        assert_eq!(pair.take_events(pair.bob), [], "{}", driver.name);
    }
}

#[test]
fn an_unresponsive_client_is_removed_within_a_minute() {
    for driver in &DRIVERS {
        let mut pair = MemberPair::new(driver);
        let alice = pair.id(pair.alice);
        pair.simulation.freeze(pair.alice);
        pair.simulation.advance(Duration::from_secs(60));
        let events = pair.take_events(pair.bob);
        assert!(
            events.contains(&ClientEvent::Left(alice)) == driver.announces_leaves,
            "{}: {events:?}",
            driver.name
        );
        assert!(!pair.simulation.is_connected(pair.alice), "{}", driver.name);
    }
}

#[test]
fn clients_cannot_send_frames_of_the_server() {
    let server_frames = [
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
    for driver in &DRIVERS {
        let mut pair = MemberPair::new(driver);
        for frame in &server_frames {
            pair.simulation.send(pair.alice, frame.to_string());
            assert_eq!(pair.take_events(pair.bob), [], "{}: {frame}", driver.name);
        }
        // Two type fields in one frame: the server may read one of them, the receiver the other.
        let offer = (driver.offer)(&pair.id(pair.bob), "v=0").to_string();
        for (first, second) in [("type", "Type"), ("type", "type"), ("Type", "type")] {
            let forged = format!(
                "{{\"{first}\":\"user-left\",\"{second}\":\"offer\",{}",
                &offer[1..]
            );
            pair.simulation.send(pair.alice, forged);
            let events = pair.take_events(pair.bob);
            let is_offer = |event: &ClientEvent| matches!(event, ClientEvent::Offer { .. });
            assert!(events.iter().all(is_offer), "{}: {events:?}", driver.name);
        }
    }
}

#[test]
fn signals_never_cross_rooms() {
    for driver in &DRIVERS {
        for stranger in &DRIVERS {
            let mut pair = MemberPair::new(driver);
            let mallory = stranger.connect_and_join(&mut pair.simulation, "other", "mallory");
            let bob = stranger.id_of(&pair.simulation, pair.bob);
            pair.discard_output();
            pair.simulation
                .send(mallory, (stranger.offer)(&bob, "v=0").to_string());
            if let Some(broadcast) = stranger.broadcast {
                pair.simulation
                    .send(mallory, broadcast("hello").to_string());
            }
            pair.simulation.advance(stranger.deferral);
            let events = stranger.take_events(&mut pair.simulation, mallory);
            let error_codes = pair.simulation.take_error_codes(mallory);
            assert!(
                is_rejected_once(stranger, &events, &error_codes),
                "{} at {}: {events:?}",
                stranger.name,
                driver.name
            );
            for client in [pair.bob, pair.alice] {
                let mut events = pair.take_events(client).into_iter();
                assert!(
                    events.all(|event| event == ClientEvent::Other),
                    "{} at {}",
                    stranger.name,
                    driver.name
                );
            }
        }
    }
}

#[test]
fn unknown_fields_are_relayed_within_a_dialect() {
    let unknown = json!({"deep": [1, null, "é\u{2028}\"", {"x": 1.5}], "": {}});
    for driver in &DRIVERS {
        let mut pair = MemberPair::new(driver);
        let mut offer = (driver.offer)(&pair.id(pair.bob), "v=0");
        for object in driver.preserved_objects {
            let object = offer.pointer_mut(object).expect("an object in the offer");
            object["unknown"] = unknown.clone();
        }
        pair.simulation.send(pair.alice, offer.to_string());
        let frames = pair.simulation.received(pair.bob);
        let [frame] = &frames[..] else {
            panic!("{}: {frames:?}", driver.name);
        };
        for object in driver.preserved_objects {
            let kept = frame.pointer(object).map(|object| &object["unknown"]);
            assert_eq!(kept, Some(&unknown), "{}, {object:?}", driver.name);
        }
    }
}

#[test]
fn a_join_of_a_full_room_is_rejected_until_a_member_leaves() {
    let limits = Limits {
        room_members: 2,
        directory_members: 2,
        ..Limits::default()
    };
    for driver in &DRIVERS {
        let mut pair = MemberPair::with(driver, limits.clone());
        let carol = driver.connect_and_join(&mut pair.simulation, "room", "carol");
        assert!(
            join_is_rejected(driver, &mut pair.simulation, carol),
            "{}",
            driver.name
        );
        assert_eq!(pair.take_events(pair.alice), [], "{}", driver.name);
        pair.assert_offers_arrive();
        pair.simulation.crash(pair.bob);
        let dave = driver.connect_and_join(&mut pair.simulation, "room", "dave");
        assert!(pair.simulation.member(dave).is_some(), "{}", driver.name);
    }
}

#[test]
fn a_peer_joins_at_most_the_configured_number_of_rooms() {
    static TRAITS: DialectTraits = DialectTraits {
        name: "any",
        offer_policy: OfferPolicy::NewcomerOffers,
        signals: true,
        messages: true,
        ..DialectTraits::DEFAULT
    };
    let limits = Limits::default();
    let id = PeerId::from_random([7; 16]);
    let mut peer = Peer::new(id, &TRAITS, Identity::Claimed, SpaceName::default());
    let room = |index: usize| RoomName::parse(&format!("room {index}"), 0).expect("a name");
    let join = |index| Command::Join {
        room: room(index),
        address: Address::from(id),
        name: None,
        options: JoinOptions::default(),
    };
    for index in 0..limits.rooms_per_peer {
        peer.authorize(join(index), &limits)
            .expect("below the limit");
    }
    let rejected = peer.authorize(join(limits.rooms_per_peer), &limits);
    assert_eq!(rejected.expect_err("a limit").code, ErrorCode::TooManyRooms);
    peer.authorize(join(0), &limits)
        .expect("it is a member already");
    let leave = Command::Leave {
        room: room(3),
        kind: LeaveKind::Announced,
    };
    peer.authorize(leave, &limits).expect("it is a member");
    peer.authorize(join(limits.rooms_per_peer), &limits)
        .expect("below the limit again");
    assert_eq!(
        peer.disconnect(DisconnectReason::Lost).len(),
        limits.rooms_per_peer
    );
}

#[test]
fn a_responsive_holder_keeps_its_name() {
    for driver in DRIVERS.iter().filter(|driver| driver.chooses_name) {
        let mut pair = MemberPair::new(driver);
        let mallory = driver.connect_and_join(&mut pair.simulation, "room", "alice");
        assert!(
            join_is_rejected(driver, &mut pair.simulation, mallory),
            "{}",
            driver.name
        );
        pair.simulation.advance(Duration::from_secs(3));
        assert_eq!(pair.take_events(pair.bob), [], "{}", driver.name);
        assert!(pair.simulation.is_connected(pair.alice), "{}", driver.name);
        pair.assert_offers_arrive();
    }
}

#[test]
fn the_name_of_an_unresponsive_client_is_free_after_two_seconds() {
    for driver in DRIVERS.iter().filter(|driver| driver.chooses_name) {
        let mut pair = MemberPair::new(driver);
        let holder = pair.id(pair.alice);
        pair.simulation.freeze(pair.alice);
        let claimant = driver.connect_and_join(&mut pair.simulation, "room", "alice");
        let late = driver.connect_and_join(&mut pair.simulation, "elsewhere", "late");
        pair.simulation.advance(Duration::from_millis(1999));
        assert_eq!(pair.take_events(pair.bob), [], "{}", driver.name);
        pair.simulation.advance(Duration::from_millis(1));
        let claimants_id = pair.id(claimant);
        let events = pair.take_events(pair.bob);
        let left = driver.announces_leaves.then_some(ClientEvent::Left(holder));
        let joined = driver
            .announces_joins
            .then_some(ClientEvent::Joined(claimants_id));
        let expected: Vec<_> = left.into_iter().chain(joined).collect();
        assert_eq!(events, expected, "{}: once each, in order", driver.name);
        assert!(!pair.simulation.is_connected(pair.alice), "{}", driver.name);
        let events = pair.take_events(claimant);
        let bob = pair.id(pair.bob);
        assert_eq!(
            events.contains(&ClientEvent::MustOffer(bob)),
            driver.offer_rule == OfferRule::Newcomer,
            "{}: {events:?}",
            driver.name
        );
        assert!(pair.simulation.is_connected(late), "{}", driver.name);
    }
}

#[test]
fn of_many_claimants_one_gets_the_name() {
    for driver in DRIVERS.iter().filter(|driver| driver.chooses_name) {
        let mut pair = MemberPair::new(driver);
        pair.simulation.freeze(pair.alice);
        let claimants: Vec<_> = (0..20)
            .map(|_| driver.connect_and_join(&mut pair.simulation, "room", "alice"))
            .collect();
        pair.simulation.advance(Duration::from_secs(3));
        let mut admitted = 0;
        for claimant in claimants {
            let events = pair.take_events(claimant);
            let is_rejected = events
                .iter()
                .any(|event| matches!(event, ClientEvent::Error(_)));
            assert_ne!(
                is_rejected,
                pair.simulation.member(claimant).is_some(),
                "{}: {events:?}",
                driver.name
            );
            admitted += usize::from(!is_rejected);
        }
        assert_eq!(admitted, 1, "{}", driver.name);
    }
}

#[test]
fn a_new_connection_of_an_identity_replaces_the_old_one() {
    for driver in DRIVERS.iter().filter(|driver| driver.chooses_name) {
        let mut simulation = Simulation::new(1);
        let own_identity = || Identity::Proven("me@example.org".into());
        let connections = [0, 1].map(|_| {
            let client = driver.open_as(&mut simulation, "room", "me", own_identity());
            driver.join(&mut simulation, client, "room", "me");
            client
        });
        assert!(!simulation.is_connected(connections[0]), "{}", driver.name);
        assert!(
            simulation.member(connections[1]).is_some(),
            "{}",
            driver.name
        );
        assert_eq!(
            simulation.hub().members(&simulation.rooms()[0]).len(),
            1,
            "{}",
            driver.name
        );
    }
}

#[test]
fn the_dialect_is_detected_from_the_first_frame() {
    for driver in &DRIVERS {
        if !find(driver.name).is_some_and(|dialect| dialect.is_recognizable()) {
            continue; // Clients of this dialect connect to a path of its own.
        }
        let mut simulation = Simulation::new(1);
        let client = simulation.open("shared", &[("room", "room")]);
        let first = (driver.identify)("me").or_else(|| (driver.join)("room", "me"));
        let first = first.unwrap_or_else(|| json!({"kind": "IdentifySelf"}));
        simulation.send(client, first.to_string());
        assert_eq!(simulation.dialect(client), driver.name);
        if (driver.identify)("me").is_some() {
            driver.join(&mut simulation, client, "room", "me");
        }
        let other = driver.connect_and_join(&mut simulation, "room", "friend");
        driver.take_events(&mut simulation, client);
        let own_identity = driver.id_of(&simulation, client);
        simulation.send(other, (driver.offer)(&own_identity, "v=0").to_string());
        let events = driver.take_events(&mut simulation, client);
        assert!(
            matches!(&events[..], [ClientEvent::Offer { .. }]),
            "{}: {events:?}",
            driver.name
        );
    }
}

#[test]
fn every_pair_of_dialects_gets_one_offerer() {
    for member_driver in &DRIVERS {
        for newcomer_driver in &DRIVERS {
            let mut simulation = Simulation::new(1);
            let member = member_driver.connect_and_join(&mut simulation, "room", "member");
            member_driver.take_events(&mut simulation, member);
            let newcomer = newcomer_driver.connect_and_join(&mut simulation, "room", "newcomer");
            let count_offers = |events: Vec<ClientEvent>| {
                events
                    .into_iter()
                    .filter(|event| matches!(event, ClientEvent::MustOffer(_)))
                    .count()
            };
            let member_offers = count_offers(member_driver.take_events(&mut simulation, member));
            let newcomer_offers_count =
                count_offers(newcomer_driver.take_events(&mut simulation, newcomer));
            let expected = match newcomer_driver.newcomer_offers(member_driver) {
                None => (0, 0),
                Some(false) => (1, 0),
                Some(true) => (0, 1),
            };
            assert_eq!(
                (member_offers, newcomer_offers_count),
                expected,
                "{} joins {}",
                newcomer_driver.name,
                member_driver.name
            );
        }
    }
}
