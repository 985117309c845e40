//! What a client may ask for besides its seat, and frames for who is still to come.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use switchboard_core::{
    Address, Change, Command, DialectTraits, DisconnectReason, Effect, Entry, ErrorCode, Event,
    Hub, HubRequest, Identity, Input, JoinOptions, LeaveCause, LeaveKind, Limits, LogId, Member,
    MessageKind, NodeId, NodeMessage, NodeMessageBody, Peer, PeerId, Position, RelayedMessage,
    RoomId, RoomName, SpaceName, Target, Token,
};

use crate::script::epoch;

static OPEN: DialectTraits = DialectTraits {
    name: "open",
    ..DialectTraits::DEFAULT
};

static DISCREET: DialectTraits = DialectTraits {
    name: "discreet",
    announces_presence: false,
    ..DialectTraits::DEFAULT
};

static TIGHT: DialectTraits = DialectTraits {
    name: "tight",
    members_max: 2,
    ..DialectTraits::DEFAULT
};

/// A hub whose engine orders at once, and its clients, by name.
struct TestNode {
    hub: Hub<&'static str>,
    peers: BTreeMap<&'static str, Peer>,
    now: Instant,
    position: u64,
    told: Vec<String>,
    limits: Limits,
}

impl TestNode {
    fn new() -> Self {
        let limits = Limits::default();
        Self {
            hub: Hub::new(Arc::new(limits.clone())),
            peers: BTreeMap::new(),
            now: epoch(),
            position: 0,
            told: Vec::new(),
            limits,
        }
    }

    fn comes(&mut self, name: &'static str, tongue: &'static DialectTraits, terms: JoinOptions) {
        self.comes_as(name, name, tongue, terms);
    }

    fn comes_as(
        &mut self,
        name: &'static str,
        address: &str,
        tongue: &'static DialectTraits,
        terms: JoinOptions,
    ) {
        let number = self.peers.len() as u128 + 1;
        let id = PeerId::from_random(number.to_be_bytes());
        let mut peer = Peer::new(id, tongue, Identity::Claimed, SpaceName::default());
        let join = Command::Join {
            room: RoomName::parse("room", 0).expect("a name"),
            address: Address::parse(address, 0).expect("an address"),
            name: None,
            options: terms,
        };
        let ask = peer.authorize(join, &self.limits).expect("it may ask");
        self.peers.insert(name, peer);
        self.ask(name, ask);
    }

    fn says(&mut self, name: &'static str, to: Target, text: &'static str) {
        self.sends(name, to, MessageKind::Offer, text);
    }

    fn sends(&mut self, name: &'static str, to: Target, kind: MessageKind, text: &'static str) {
        let relay = RelayedMessage::new("open", kind, ByteString::from_static(text), |_, _| true);
        let room = RoomName::parse("room", 0).expect("a name");
        let peer = self.peers.get_mut(name).expect("it has come");
        let ask = peer.authorize(
            Command::Send {
                room,
                to,
                message: relay,
            },
            &self.limits,
        );
        let ask = ask.expect("it is in");
        self.ask(name, ask);
    }

    fn goes(&mut self, name: &'static str, parting: DisconnectReason) {
        let asks = self
            .peers
            .get_mut(name)
            .expect("it has come")
            .disconnect(parting);
        for ask in asks {
            self.ask(name, ask);
        }
    }

    fn ask(&mut self, name: &'static str, ask: HubRequest) {
        let peer = self.peers[name].id();
        let local = name;
        self.input(Input::Request {
            peer,
            local,
            request: ask,
        });
    }

    fn input(&mut self, input: Input<&'static str>) {
        self.hub.handle(input, self.now);
        self.carry_out();
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        self.hub.handle_timeout(self.now);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Deliver(to, event) => self.told.push(format!("{to}: {}", words(&event))),
                Effect::Propose { log, change, .. } => self.commit(log, change, None),
                Effect::Send(..) | Effect::Charge(..) => {}
            }
        }
    }

    fn commit(&mut self, log: LogId, change: Change, node: Option<NodeId>) {
        self.position += 1;
        let position = Position::from(self.position);
        let entry = Entry {
            position,
            node,
            change,
        };
        self.hub.handle(Input::Committed(log, entry), self.now);
    }

    /// What everybody was told since the last time.
    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn words(event: &Event) -> String {
    match event {
        Event::Joined { others, .. } => {
            let others = others.iter().map(|(other, _)| other.address.as_str());
            format!("in with {}", others.collect::<Vec<_>>().join(" "))
                .trim_end()
                .to_owned()
        }
        Event::Introduced { peer, .. } => format!("{} came", peer.address),
        Event::Departed {
            peer,
            kind: farewell,
            ..
        } => {
            assert_ne!(
                *farewell,
                LeaveKind::ConnectionLost,
                "members see no such thing"
            );
            format!("{} left", peer.address)
        }
        Event::Received {
            from,
            message: relay,
            ..
        } => format!("{} says {}", from.address, relay.frame),
        Event::RequestFailed(refused) => {
            let target = refused
                .target
                .as_ref()
                .map(Address::as_str)
                .unwrap_or_default();
            format!("{} {target}", refused.code.as_str())
                .trim_end()
                .to_owned()
        }
        Event::Probe(_) => "alive?".to_owned(),
        Event::Evicted(why) => format!("{why:?}"),
        Event::Claimed(_) | Event::Rejoined { .. } | Event::Members { .. } => format!("{event:?}"),
    }
}

fn token(secret: &str) -> JoinOptions {
    JoinOptions {
        token: Some(Token {
            secret: secret.into(),
            grace: Duration::from_secs(30),
        }),
        group_size: None,
        closed_to_other_dialects: false,
    }
}

fn circle(seats: usize) -> JoinOptions {
    JoinOptions {
        token: None,
        group_size: NonZeroUsize::new(seats),
        closed_to_other_dialects: false,
    }
}

fn awaited(address: &str) -> Target {
    Target::AddressOrWait(Address::parse(address, 0).expect("an address"))
}

fn room() -> LogId {
    LogId::Room(RoomId::shared(
        SpaceName::default(),
        RoomName::parse("room", 0).expect("a name"),
    ))
}

#[test]
fn the_discreet_are_told_of_nobody_and_others_of_them() {
    let mut house = TestNode::new();
    house.comes("ann", &DISCREET, JoinOptions::default());
    house.comes("ben", &DISCREET, JoinOptions::default());
    assert_eq!(house.told(), ["ann: in with", "ben: in with"]);
    house.comes("cyd", &OPEN, JoinOptions::default());
    assert_eq!(house.told(), ["cyd: in with ann ben"]);
    house.goes("ann", DisconnectReason::Graceful);
    assert_eq!(house.told(), ["cyd: ann left"]);
}

#[test]
fn circles_fill_one_after_the_other_and_see_only_themselves() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, circle(2));
    house.comes("ben", &OPEN, circle(2));
    house.comes("cyd", &OPEN, circle(2));
    assert_eq!(
        house.told(),
        [
            "ann: in with",
            "ann: ben came",
            "ben: in with ann",
            "cyd: in with"
        ]
    );
    house.says("ann", Target::Everyone, "hello");
    assert_eq!(house.told(), ["ben: ann says hello"]);
    let cyd = Address::parse("cyd", 0).expect("an address");
    house.says("ann", Target::Address(cyd), "psst");
    assert_eq!(house.told(), ["ann: no-such-peer cyd"]);
    house.comes("dan", &OPEN, JoinOptions::default());
    assert_eq!(
        house.told(),
        ["dan: in with"],
        "who wants no circle is in none"
    );
}

#[test]
fn a_closed_circle_stays_closed() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, circle(2));
    house.comes("ben", &OPEN, circle(2));
    house.goes("ben", DisconnectReason::Graceful);
    house.told();
    house.comes("cyd", &OPEN, circle(2));
    assert_eq!(house.told(), ["cyd: in with"]);
    house.comes("dan", &OPEN, circle(2));
    assert_eq!(house.told(), ["cyd: dan came", "dan: in with cyd"]);
}

#[test]
fn who_leaves_an_open_circle_makes_place() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, circle(3));
    house.comes("ben", &OPEN, circle(3));
    house.goes("ann", DisconnectReason::Lost);
    house.told();
    house.comes("cyd", &OPEN, circle(3));
    house.comes("dan", &OPEN, circle(3));
    house.comes("eve", &OPEN, circle(3));
    assert_eq!(
        house.told(),
        [
            "ben: cyd came",
            "cyd: in with ben",
            "ben: dan came",
            "cyd: dan came",
            "dan: in with ben cyd",
            "eve: in with"
        ]
    );
}

#[test]
fn a_tight_dialect_keeps_a_third_out_whoever_comes_last() {
    for tongues in [
        [&TIGHT, &OPEN, &OPEN],
        [&OPEN, &TIGHT, &OPEN],
        [&OPEN, &OPEN, &TIGHT],
    ] {
        let mut house = TestNode::new();
        for (name, tongue) in ["ann", "ben", "cyd"].into_iter().zip(tongues) {
            house.comes(name, tongue, JoinOptions::default());
        }
        assert_eq!(
            house.told().last().map(String::as_str),
            Some("cyd: room-full")
        );
    }
}

#[test]
fn one_too_many_on_another_node_is_taken_back() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, JoinOptions::default());
    // Its own node could not know yet that somebody tight is on its way.
    let tight = Member {
        peer: PeerId::from_random([99; 16]),
        address: Address::parse("far", 0).expect("an address"),
        name: None,
        dialect: &TIGHT,
        identity: Identity::Claimed,
        token: None,
        group: None,
    };
    house.told();
    let id = PeerId::from_random([98; 16]);
    let mut late = Peer::new(id, &OPEN, Identity::Claimed, SpaceName::default());
    let join = Command::Join {
        room: RoomName::parse("room", 0).expect("a name"),
        address: Address::parse("late", 0).expect("an address"),
        name: None,
        options: JoinOptions::default(),
    };
    let ask = late.authorize(join, &house.limits).expect("it may ask");
    house.peers.insert("late", late);
    house.hub.handle(
        Input::Request {
            peer: id,
            local: "late",
            request: ask,
        },
        house.now,
    );
    let Some(Effect::Propose { log, change, .. }) = house.hub.poll_effect() else {
        panic!("its join is proposed");
    };
    house.commit(room(), Change::Join(Arc::new(tight)), Some(NodeId::from(7)));
    house.commit(log, change, None);
    house.carry_out();
    assert_eq!(
        house.told(),
        [
            "ann: far came",
            "late: room-full",
            "ann: late came",
            "ann: late left"
        ]
    );
}

#[test]
fn a_lost_address_is_kept_for_its_token() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, token("s"));
    house.goes("ann", DisconnectReason::Lost);
    house.comes_as("thief", "ann", &OPEN, token("other"));
    house.comes_as("stranger", "ann", &OPEN, JoinOptions::default());
    assert_eq!(
        house.told(),
        ["ann: in with", "thief: taken ann", "stranger: taken ann"]
    );
    house.comes_as("again", "ann", &OPEN, token("s"));
    assert_eq!(house.told(), ["again: in with"]);
    house.goes("again", DisconnectReason::Lost);
    house.passes(Duration::from_secs(30));
    house.comes_as("next", "ann", &OPEN, JoinOptions::default());
    assert_eq!(house.told(), ["next: in with"]);
    assert_eq!(house.hub.poll_timeout(), None, "nothing is kept");
}

#[test]
fn a_goodbye_or_a_reset_frees_an_address_at_once() {
    for parting in [DisconnectReason::Graceful, DisconnectReason::Reset] {
        let mut house = TestNode::new();
        house.comes("ann", &OPEN, token("s"));
        house.goes("ann", parting);
        house.comes_as("next", "ann", &OPEN, token("other"));
        assert_eq!(house.told(), ["ann: in with", "next: in with"]);
    }
}

#[test]
fn a_reset_that_is_seen_during_a_challenge_lets_the_claimant_in() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, token("s"));
    house.comes_as("next", "ann", &OPEN, token("other"));
    house.goes("ann", DisconnectReason::Reset);
    assert_eq!(
        house.told(),
        ["ann: in with", "ann: alive?", "next: in with"]
    );
}

#[test]
fn the_same_token_replaces_at_once() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, token("s"));
    house.comes("ben", &OPEN, JoinOptions::default());
    house.told();
    house.comes_as("again", "ann", &OPEN, token("s"));
    assert_eq!(
        house.told(),
        [
            "ann: Replaced",
            "ben: ann left",
            "ben: ann came",
            "again: in with ben"
        ]
    );
}

#[test]
fn a_frame_waits_for_who_is_to_come_and_not_for_ever() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, JoinOptions::default());
    house.told();
    house.says("ann", awaited("ben"), "one");
    house.says("ann", awaited("ben"), "two");
    house.says("ann", awaited("cyd"), "three");
    house.passes(Duration::from_secs(4));
    assert_eq!(house.told(), [""; 0]);
    house.comes("ben", &OPEN, JoinOptions::default());
    assert_eq!(
        house.told(),
        [
            "ann: ben came",
            "ben: in with ann",
            "ben: ann says one",
            "ben: ann says two"
        ]
    );
    house.passes(Duration::from_secs(1));
    assert_eq!(house.told(), ["ann: expired cyd"]);
    assert_eq!(house.hub.poll_timeout(), None, "nothing is kept");
}

#[test]
fn who_has_left_has_nothing_waiting() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, JoinOptions::default());
    house.says("ann", awaited("ben"), "one");
    house.goes("ann", DisconnectReason::Lost);
    assert_eq!(house.hub.poll_timeout(), None);
    house.comes("ben", &OPEN, JoinOptions::default());
    assert_eq!(house.told(), ["ann: in with", "ben: in with"]);
}

/// A frame of so many bytes.
fn text(bytes: usize) -> &'static str {
    Box::leak("x".repeat(bytes).into_boxed_str())
}

#[test]
fn a_host_that_calls_players_before_they_reconnect_loses_nothing() {
    let mut house = TestNode::new();
    house.comes("host", &DISCREET, JoinOptions::default());
    house.told();
    let players: Vec<&'static str> = (0..30)
        .map(|number| &*Box::leak(format!("player{number}").into_boxed_str()))
        .collect();
    let (offer, candidate) = (text(6 * 1024), text(350));
    for player in &players {
        house.says("host", awaited(player), offer);
        for _ in 0..9 {
            house.sends("host", awaited(player), MessageKind::Candidate, candidate);
        }
    }
    house.passes(Duration::from_secs(2));
    for player in &players {
        house.comes(player, &DISCREET, JoinOptions::default());
        let heard = |line: &String| line.starts_with(&format!("{player}: host says"));
        assert_eq!(house.told().iter().filter(|line| heard(line)).count(), 10);
    }
    house.passes(Duration::from_secs(5));
    assert_eq!(house.told(), [""; 0]);
}

#[test]
fn eight_connections_of_a_pair_wait_and_a_ninth_expires() {
    let mut house = TestNode::new();
    house.comes("ann", &DISCREET, JoinOptions::default());
    house.told();
    for _ in 0..9 {
        house.says("ann", awaited("ben"), "offer");
        for _ in 0..64 {
            house.sends("ann", awaited("ben"), MessageKind::Candidate, "candidate");
        }
    }
    assert_eq!(house.told(), [""; 0], "nothing is refused before its time");
    house.comes("ben", &DISCREET, JoinOptions::default());
    let told = house.told();
    let heard = |what: &str| told.iter().filter(|line| line.ends_with(what)).count();
    assert_eq!((heard("says offer"), heard("says candidate")), (8, 8 * 64));
    assert_eq!(
        heard("ann: expired ben"),
        1,
        "the ninth is not lost silently"
    );
    house.passes(Duration::from_secs(5));
    assert_eq!(house.told(), [""; 0]);
}

#[test]
fn an_absent_address_expires_once_even_if_its_frames_had_no_place() {
    let mut house = TestNode::new();
    house.comes("ann", &DISCREET, JoinOptions::default());
    house.told();
    let big = text(200 * 1024);
    for name in ["ben", "cyd", "dan", "eve"] {
        for _ in 0..3 {
            house.says("ann", awaited(name), big);
        }
    }
    house.passes(Duration::from_millis(4999));
    assert_eq!(house.told(), [""; 0]);
    house.passes(Duration::from_millis(1));
    let expired = ["ben", "cyd", "dan", "eve"].map(|name| format!("ann: expired {name}"));
    assert_eq!(house.told(), expired);
    assert_eq!(house.hub.poll_timeout(), None, "nothing is kept");
    assert_eq!(ErrorCode::Expired.as_str(), "expired");
}

#[test]
fn a_client_can_take_all_that_waits_for_it() {
    let mut house = TestNode::new();
    let senders: Vec<&'static str> = (0..8)
        .map(|number| &*Box::leak(format!("sender{number}").into_boxed_str()))
        .collect();
    for sender in &senders {
        house.comes(sender, &DISCREET, JoinOptions::default());
        house.says(sender, awaited("ben"), text(200 * 1024));
    }
    house.told();
    house.comes("ben", &DISCREET, JoinOptions::default());
    let told = house.told();
    let of_ben = told.iter().filter(|line| line.starts_with("ben:"));
    let bytes = of_ben.map(|line| line.len() + 128).sum::<usize>();
    assert!(bytes <= house.limits.outbox_bytes / 2 + 1024, "{bytes}");
    let expired = told.iter().filter(|line| line.ends_with("expired ben"));
    assert_eq!(expired.count(), 6, "each whose frame had no place is told");
}

#[test]
fn a_sender_waits_for_a_bounded_number_of_addresses() {
    let mut house = TestNode::new();
    house.comes("ann", &DISCREET, JoinOptions::default());
    house.told();
    for number in 0..1024 {
        house.says("ann", awaited(&format!("b{number}")), "x");
    }
    assert_eq!(house.told(), [""; 0]);
    house.says("ann", awaited("one more"), "x");
    assert_eq!(house.told(), ["ann: expired one more"]);
    house.passes(Duration::from_secs(5));
    assert_eq!(house.told().len(), 1024);
    house.says("ann", awaited("one more"), "x");
    assert_eq!(house.told(), [""; 0]);
}

#[test]
fn a_ghosts_address_is_kept_for_its_token() {
    let mut house = TestNode::new();
    house.comes("ann", &OPEN, token("s"));
    house.comes_as("thief", "ann", &OPEN, token("other"));
    house.passes(Duration::from_secs(2));
    assert_eq!(
        house.told(),
        [
            "ann: in with",
            "ann: alive?",
            "ann: Unresponsive",
            "thief: taken ann"
        ]
    );
    house.comes_as("again", "ann", &OPEN, token("s"));
    assert_eq!(house.told(), ["again: in with"]);
}

#[test]
fn nobody_tight_keeps_out_who_comes_to_nobody() {
    let mut house = TestNode::new();
    house.comes("ann", &TIGHT, JoinOptions::default());
    house.comes("ben", &DISCREET, JoinOptions::default());
    house.comes("cyd", &DISCREET, JoinOptions::default());
    house.comes("dan", &OPEN, circle(2));
    assert_eq!(
        house.told(),
        [
            "ann: in with",
            "ann: ben came",
            "ben: in with",
            "ann: cyd came",
            "cyd: in with",
            "dan: in with"
        ]
    );
    house.comes("eve", &TIGHT, JoinOptions::default());
    assert_eq!(house.told(), ["eve: room-full"]);
}

#[test]
fn circles_do_not_fill_a_room() {
    let mut house = TestNode::new();
    house.limits.room_members = 2;
    house.hub = Hub::new(Arc::new(house.limits.clone()));
    for name in ["ann", "ben", "cyd", "dan"] {
        house.comes(name, &OPEN, circle(2));
    }
    house.told();
    house.says("dan", Target::Everyone, "hello");
    assert_eq!(house.told(), ["cyd: dan says hello"]);
}

fn at(address: &str) -> Target {
    Target::Address(Address::parse(address, 0).expect("an address"))
}

/// A member of another node, which this one learns of.
fn far_member(house: &mut TestNode, address: &str) -> PeerId {
    let peer = PeerId::from_random([99; 16]);
    let member = Member {
        peer,
        address: Address::parse(address, 0).expect("an address"),
        name: None,
        dialect: &OPEN,
        identity: Identity::Claimed,
        token: None,
        group: None,
    };
    let join = Change::Join(Arc::new(member));
    house.commit(room(), join, Some(NodeId::from(7)));
    house.carry_out();
    peer
}

#[test]
fn a_member_without_presence_is_told_when_a_counterpart_leaves() {
    for parting in [
        DisconnectReason::Graceful,
        DisconnectReason::Reset,
        DisconnectReason::Lost,
    ] {
        let mut house = TestNode::new();
        for name in ["ann", "ben"] {
            house.comes(name, &DISCREET, JoinOptions::default());
        }
        for name in ["caller", "callee", "stranger"] {
            house.comes(name, &OPEN, JoinOptions::default());
        }
        house.says("caller", at("ann"), "offer");
        house.says("caller", at("ann"), "another offer");
        house.says("ann", at("callee"), "offer");
        house.says("ann", at("ben"), "offer");
        house.sends("stranger", at("ann"), MessageKind::Candidate, "candidate");
        house.told();
        for name in ["ben", "stranger", "callee", "caller"] {
            house.goes(name, parting);
        }
        let told = house.told();
        let of_discreet = |line: &&String| line.starts_with("ann") || line.starts_with("ben");
        let of_discreet: Vec<_> = told.iter().filter(of_discreet).collect();
        assert_eq!(of_discreet, ["ann: callee left", "ann: caller left"]);
    }
}

#[test]
fn an_offer_to_all_makes_every_member_without_presence_a_counterpart() {
    let mut house = TestNode::new();
    for name in ["ann", "ben"] {
        house.comes(name, &DISCREET, JoinOptions::default());
    }
    house.comes("cyd", &OPEN, JoinOptions::default());
    house.says("cyd", Target::Everyone, "offer");
    house.told();
    house.goes("cyd", DisconnectReason::Graceful);
    assert_eq!(house.told(), ["ann: cyd left", "ben: cyd left"]);
}

#[test]
fn a_counterpart_on_another_node_is_missed_too() {
    let mut house = TestNode::new();
    house.comes("ann", &DISCREET, JoinOptions::default());
    let far = far_member(&mut house, "far");
    house.says("ann", at("far"), "offer");
    house.told();
    let leave = Change::Leave(far, LeaveCause::NodeLost);
    house.commit(room(), leave, Some(NodeId::from(7)));
    house.carry_out();
    assert_eq!(house.told(), ["ann: far left"]);
}

#[test]
fn a_member_without_presence_that_the_other_nodes_lost_loses_its_counterparts_there() {
    let mut house = TestNode::new();
    house.comes("ann", &DISCREET, JoinOptions::default());
    house.comes("near", &OPEN, JoinOptions::default());
    far_member(&mut house, "far");
    house.says("ann", at("far"), "offer");
    house.says("ann", at("near"), "offer");
    house.told();
    let ann = house.peers["ann"].id();
    house.commit(room(), Change::Leave(ann, LeaveCause::NodeLost), None);
    house.carry_out();
    assert_eq!(house.told(), ["ann: far left"]);
    house.goes("near", DisconnectReason::Graceful);
    assert_eq!(house.told(), ["ann: near left"]);
}

#[test]
fn an_address_that_has_left_another_node_expires_once_and_in_time() {
    let mut house = TestNode::new();
    house.comes("ann", &DISCREET, JoinOptions::default());
    far_member(&mut house, "far");
    for text in ["offer", "candidate", "candidate"] {
        house.says("ann", awaited("far"), text);
    }
    house.told();
    let to = house.peers["ann"].id();
    for _ in 0..3 {
        let target = awaited("far");
        let message = NodeMessageBody::Bounce { to, target };
        let letter = NodeMessage {
            log: room(),
            body: message,
        };
        house.input(Input::NodeMessage(NodeId::from(7), letter));
    }
    house.passes(Duration::from_millis(4999));
    assert_eq!(house.told(), [""; 0]);
    house.passes(Duration::from_millis(1));
    assert_eq!(house.told(), ["ann: expired far"]);
}

#[test]
fn the_counterparts_of_a_member_are_bounded() {
    let mut house = TestNode::new();
    house.comes("host", &OPEN, JoinOptions::default());
    let names: Vec<&'static str> = (0..1026)
        .map(|number| &*Box::leak(format!("p{number}").into_boxed_str()))
        .collect();
    for name in &names {
        house.comes(name, &DISCREET, JoinOptions::default());
        house.says("host", at(name), "offer");
    }
    house.goes("p1", DisconnectReason::Graceful);
    house.told();
    house.goes("host", DisconnectReason::Graceful);
    let told = house.told();
    assert_eq!(told.len(), 1024);
    assert_eq!(told[0], "p2: host left", "the oldest call is forgotten");
}
