//! Options of a join, and messages that depend on joins. A token is a secret with which a client gets its address back
//! after it lost its connection. A group is a set of members that see only each other. A deferred message waits until a
//! member with its address joins. A counterpart is a member of another dialect that has exchanged a session description
//! with the member.

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

use crate::clock::epoch;

static WITH_PRESENCE: DialectTraits = DialectTraits {
    name: "with-presence",
    ..DialectTraits::DEFAULT
};

static WITHOUT_PRESENCE: DialectTraits = DialectTraits {
    name: "without-presence",
    announces_presence: false,
    ..DialectTraits::DEFAULT
};

static LIMITED: DialectTraits = DialectTraits {
    name: "limited",
    members_max: 2,
    ..DialectTraits::DEFAULT
};

/// A hub whose proposed changes are committed at once, and its clients by name.
struct CommittingNode {
    hub: Hub<&'static str>,
    peers: BTreeMap<&'static str, Peer>,
    now: Instant,
    position: u64,
    received: Vec<String>,
    limits: Limits,
}

impl CommittingNode {
    fn new() -> Self {
        let limits = Limits::default();
        Self {
            hub: Hub::new(Arc::new(limits.clone())),
            peers: BTreeMap::new(),
            now: epoch(),
            position: 0,
            received: Vec::new(),
            limits,
        }
    }

    /// Joins a new client under its name as its address.
    fn join(&mut self, name: &'static str, traits: &'static DialectTraits, options: JoinOptions) {
        self.join_as(name, name, traits, options);
    }

    fn join_as(
        &mut self,
        name: &'static str,
        address: &str,
        traits: &'static DialectTraits,
        options: JoinOptions,
    ) {
        let number = self.peers.len() as u128 + 1;
        let id = PeerId::from_random(number.to_be_bytes());
        let mut peer = Peer::new(id, traits, Identity::Claimed, SpaceName::default());
        let join = Command::Join {
            room: RoomName::parse("room", 0).expect("a name"),
            address: Address::parse(address, 0).expect("an address"),
            name: None,
            options,
        };
        let request = peer
            .authorize(join, &self.limits)
            .expect("the join is allowed");
        self.peers.insert(name, peer);
        self.request(name, request);
    }

    fn send_offer(&mut self, name: &'static str, to: Target, text: &'static str) {
        self.send(name, to, MessageKind::Offer, text);
    }

    fn send(&mut self, name: &'static str, to: Target, kind: MessageKind, text: &'static str) {
        let message = RelayedMessage::new(
            "with-presence",
            kind,
            ByteString::from_static(text),
            |_, _| true,
        );
        let room = RoomName::parse("room", 0).expect("a name");
        let peer = self.peers.get_mut(name).expect("a known client");
        let request = peer.authorize(Command::Send { room, to, message }, &self.limits);
        let request = request.expect("a member");
        self.request(name, request);
    }

    fn disconnect(&mut self, name: &'static str, reason: DisconnectReason) {
        let requests = self
            .peers
            .get_mut(name)
            .expect("a known client")
            .disconnect(reason);
        for request in requests {
            self.request(name, request);
        }
    }

    fn request(&mut self, name: &'static str, request: HubRequest) {
        let peer = self.peers[name].id();
        let local = name;
        self.input(Input::Request {
            peer,
            local,
            request,
        });
    }

    fn input(&mut self, input: Input<&'static str>) {
        self.hub.handle(input, self.now);
        self.drain_effects();
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.hub.handle_timeout(self.now);
        self.drain_effects();
    }

    fn drain_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Deliver(to, event) => {
                    self.received.push(format!("{to}: {}", event_text(&event)))
                }
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

    /// The events that all clients got since the last call, each as `client: event` (see [`event_text`]).
    fn received(&mut self) -> Vec<String> {
        std::mem::take(&mut self.received)
    }
}

/// A short text of an event. A client that has joined is "in with" the addresses of the earlier members.
fn event_text(event: &Event) -> String {
    match event {
        Event::Joined { others, .. } => {
            let others = others.iter().map(|(other, _)| other.address.as_str());
            format!("in with {}", others.collect::<Vec<_>>().join(" "))
                .trim_end()
                .to_owned()
        }
        Event::Introduced { peer, .. } => format!("{} came", peer.address),
        Event::Departed { peer, kind, .. } => {
            assert_ne!(
                *kind,
                LeaveKind::ConnectionLost,
                "members must get Announced for a lost connection"
            );
            format!("{} left", peer.address)
        }
        Event::Received { from, message, .. } => format!("{} says {}", from.address, message.frame),
        Event::RequestFailed(error) => {
            let target = error
                .target
                .as_ref()
                .map(Address::as_str)
                .unwrap_or_default();
            format!("{} {target}", error.code.as_str())
                .trim_end()
                .to_owned()
        }
        Event::Probe(_) => "alive?".to_owned(),
        Event::Evicted(reason) => format!("{reason:?}"),
        Event::Claimed(_) | Event::Rejoined { .. } | Event::Members { .. } => format!("{event:?}"),
    }
}

/// Join options with a token that reserves the address for 30 s.
fn token(secret: &str) -> JoinOptions {
    JoinOptions {
        token: Some(Token {
            secret: secret.into(),
            grace: Duration::from_secs(30),
        }),
        ..JoinOptions::default()
    }
}

fn group(capacity: usize) -> JoinOptions {
    JoinOptions {
        group_size: NonZeroUsize::new(capacity),
        ..JoinOptions::default()
    }
}

fn address_or_wait(address: &str) -> Target {
    Target::AddressOrWait(Address::parse(address, 0).expect("an address"))
}

fn room() -> LogId {
    LogId::Room(RoomId::shared(
        SpaceName::default(),
        RoomName::parse("room", 0).expect("a name"),
    ))
}

#[test]
fn members_without_presence_are_visible_but_not_notified() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITHOUT_PRESENCE, JoinOptions::default());
    node.join("ben", &WITHOUT_PRESENCE, JoinOptions::default());
    assert_eq!(node.received(), ["ann: in with", "ben: in with"]);
    node.join("cyd", &WITH_PRESENCE, JoinOptions::default());
    assert_eq!(node.received(), ["cyd: in with ann ben"]);
    node.disconnect("ann", DisconnectReason::Graceful);
    assert_eq!(node.received(), ["cyd: ann left"]);
}

#[test]
fn groups_fill_one_after_the_other_and_their_members_see_only_each_other() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, group(2));
    node.join("ben", &WITH_PRESENCE, group(2));
    node.join("cyd", &WITH_PRESENCE, group(2));
    assert_eq!(
        node.received(),
        [
            "ann: in with",
            "ann: ben came",
            "ben: in with ann",
            "cyd: in with"
        ]
    );
    node.send_offer("ann", Target::Everyone, "hello");
    assert_eq!(node.received(), ["ben: ann says hello"]);
    let cyd = Address::parse("cyd", 0).expect("an address");
    node.send_offer("ann", Target::Address(cyd), "psst");
    assert_eq!(node.received(), ["ann: no-such-peer cyd"]);
    node.join("dan", &WITH_PRESENCE, JoinOptions::default());
    assert_eq!(
        node.received(),
        ["dan: in with"],
        "a member without a group size is in no group"
    );
}

#[test]
fn a_group_that_was_full_once_takes_no_more_members() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, group(2));
    node.join("ben", &WITH_PRESENCE, group(2));
    node.disconnect("ben", DisconnectReason::Graceful);
    node.received();
    node.join("cyd", &WITH_PRESENCE, group(2));
    assert_eq!(node.received(), ["cyd: in with"]);
    node.join("dan", &WITH_PRESENCE, group(2));
    assert_eq!(node.received(), ["cyd: dan came", "dan: in with cyd"]);
}

#[test]
fn a_leave_from_an_open_group_frees_a_slot() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, group(3));
    node.join("ben", &WITH_PRESENCE, group(3));
    node.disconnect("ann", DisconnectReason::Lost);
    node.received();
    node.join("cyd", &WITH_PRESENCE, group(3));
    node.join("dan", &WITH_PRESENCE, group(3));
    node.join("eve", &WITH_PRESENCE, group(3));
    assert_eq!(
        node.received(),
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
fn a_dialect_limit_of_two_refuses_a_third_member_in_any_order() {
    for all_traits in [
        [&LIMITED, &WITH_PRESENCE, &WITH_PRESENCE],
        [&WITH_PRESENCE, &LIMITED, &WITH_PRESENCE],
        [&WITH_PRESENCE, &WITH_PRESENCE, &LIMITED],
    ] {
        let mut node = CommittingNode::new();
        for (name, traits) in ["ann", "ben", "cyd"].into_iter().zip(all_traits) {
            node.join(name, traits, JoinOptions::default());
        }
        assert_eq!(
            node.received().last().map(String::as_str),
            Some("cyd: room-full")
        );
    }
}

#[test]
fn a_join_is_refused_and_undone_if_a_member_that_limits_the_room_was_committed_before_it() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, JoinOptions::default());
    // When this node proposes the join of "late", it has not applied the join of "far", whose dialect allows two
    // members.
    let address = Address::parse("far", 0).expect("an address");
    let limited = Member::new(PeerId::from_random([99; 16]), address, &LIMITED);
    node.received();
    let id = PeerId::from_random([98; 16]);
    let mut late = Peer::new(id, &WITH_PRESENCE, Identity::Claimed, SpaceName::default());
    let join = Command::Join {
        room: RoomName::parse("room", 0).expect("a name"),
        address: Address::parse("late", 0).expect("an address"),
        name: None,
        options: JoinOptions::default(),
    };
    let request = late
        .authorize(join, &node.limits)
        .expect("the join is allowed");
    node.peers.insert("late", late);
    node.hub.handle(
        Input::Request {
            peer: id,
            local: "late",
            request,
        },
        node.now,
    );
    let Some(Effect::Propose { log, change, .. }) = node.hub.poll_effect() else {
        panic!("the hub did not propose the join");
    };
    node.commit(
        room(),
        Change::Join(Arc::new(limited)),
        Some(NodeId::from(7)),
    );
    node.commit(log, change, None);
    node.drain_effects();
    assert_eq!(
        node.received(),
        [
            "ann: far came",
            "late: room-full",
            "ann: late came",
            "ann: late left"
        ]
    );
}

#[test]
fn the_address_of_a_lost_connection_is_reserved_for_its_token() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, token("s"));
    node.disconnect("ann", DisconnectReason::Lost);
    node.join_as("thief", "ann", &WITH_PRESENCE, token("other"));
    node.join_as("stranger", "ann", &WITH_PRESENCE, JoinOptions::default());
    assert_eq!(
        node.received(),
        ["ann: in with", "thief: taken ann", "stranger: taken ann"]
    );
    node.join_as("again", "ann", &WITH_PRESENCE, token("s"));
    assert_eq!(node.received(), ["again: in with"]);
    node.disconnect("again", DisconnectReason::Lost);
    node.advance(Duration::from_secs(30));
    node.join_as("next", "ann", &WITH_PRESENCE, JoinOptions::default());
    assert_eq!(node.received(), ["next: in with"]);
    assert_eq!(node.hub.poll_timeout(), None, "no timeout is left");
}

/// The client has certainly ended the connection itself, so no reservation is needed.
#[test]
fn a_close_or_a_reset_by_the_client_frees_its_address_at_once() {
    for reason in [DisconnectReason::Graceful, DisconnectReason::Reset] {
        let mut node = CommittingNode::new();
        node.join("ann", &WITH_PRESENCE, token("s"));
        node.disconnect("ann", reason);
        node.join_as("next", "ann", &WITH_PRESENCE, token("other"));
        assert_eq!(node.received(), ["ann: in with", "next: in with"]);
    }
}

#[test]
fn a_reset_during_a_challenge_lets_the_claimant_join() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, token("s"));
    node.join_as("next", "ann", &WITH_PRESENCE, token("other"));
    node.disconnect("ann", DisconnectReason::Reset);
    assert_eq!(
        node.received(),
        ["ann: in with", "ann: alive?", "next: in with"]
    );
}

#[test]
fn the_same_token_evicts_the_old_connection_at_once() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, token("s"));
    node.join("ben", &WITH_PRESENCE, JoinOptions::default());
    node.received();
    node.join_as("again", "ann", &WITH_PRESENCE, token("s"));
    assert_eq!(
        node.received(),
        [
            "ann: Replaced",
            "ben: ann left",
            "ben: ann came",
            "again: in with ben"
        ]
    );
}

#[test]
fn a_frame_for_an_absent_address_is_delivered_after_a_join_or_expires() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, JoinOptions::default());
    node.received();
    node.send_offer("ann", address_or_wait("ben"), "one");
    node.send_offer("ann", address_or_wait("ben"), "two");
    node.send_offer("ann", address_or_wait("cyd"), "three");
    node.advance(Duration::from_secs(4));
    assert_eq!(node.received(), [""; 0]);
    node.join("ben", &WITH_PRESENCE, JoinOptions::default());
    assert_eq!(
        node.received(),
        [
            "ann: ben came",
            "ben: in with ann",
            "ben: ann says one",
            "ben: ann says two"
        ]
    );
    node.advance(Duration::from_secs(1));
    assert_eq!(node.received(), ["ann: expired cyd"]);
    assert_eq!(node.hub.poll_timeout(), None, "no timeout is left");
}

#[test]
fn a_leave_discards_the_deferred_frames_of_the_sender() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, JoinOptions::default());
    node.send_offer("ann", address_or_wait("ben"), "one");
    node.disconnect("ann", DisconnectReason::Lost);
    assert_eq!(node.hub.poll_timeout(), None);
    node.join("ben", &WITH_PRESENCE, JoinOptions::default());
    assert_eq!(node.received(), ["ann: in with", "ben: in with"]);
}

/// A frame text of this many bytes.
fn text(bytes: usize) -> &'static str {
    Box::leak("x".repeat(bytes).into_boxed_str())
}

#[test]
fn all_frames_to_players_that_reconnect_are_delivered() {
    let mut node = CommittingNode::new();
    node.join("host", &WITHOUT_PRESENCE, JoinOptions::default());
    node.received();
    let players: Vec<&'static str> = (0..30)
        .map(|number| &*Box::leak(format!("player{number}").into_boxed_str()))
        .collect();
    let (offer, candidate) = (text(6 * 1024), text(350));
    for player in &players {
        node.send_offer("host", address_or_wait(player), offer);
        for _ in 0..9 {
            node.send(
                "host",
                address_or_wait(player),
                MessageKind::Candidate,
                candidate,
            );
        }
    }
    node.advance(Duration::from_secs(2));
    for player in &players {
        node.join(player, &WITHOUT_PRESENCE, JoinOptions::default());
        let count_of = |line: &String| line.starts_with(&format!("{player}: host says"));
        assert_eq!(
            node.received().iter().filter(|line| count_of(line)).count(),
            10
        );
    }
    node.advance(Duration::from_secs(5));
    assert_eq!(node.received(), [""; 0]);
}

#[test]
fn signals_of_eight_connections_to_one_address_are_deferred_and_those_of_a_ninth_expire() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITHOUT_PRESENCE, JoinOptions::default());
    node.received();
    for _ in 0..9 {
        node.send_offer("ann", address_or_wait("ben"), "offer");
        for _ in 0..64 {
            node.send(
                "ann",
                address_or_wait("ben"),
                MessageKind::Candidate,
                "candidate",
            );
        }
    }
    assert_eq!(
        node.received(),
        [""; 0],
        "no error is sent before the frames expire"
    );
    node.join("ben", &WITHOUT_PRESENCE, JoinOptions::default());
    let received = node.received();
    let count_of = |what: &str| received.iter().filter(|line| line.ends_with(what)).count();
    assert_eq!(
        (count_of("says offer"), count_of("says candidate")),
        (8, 8 * 64)
    );
    assert_eq!(
        count_of("ann: expired ben"),
        1,
        "the sender must get one error for the ninth connection"
    );
    node.advance(Duration::from_secs(5));
    assert_eq!(node.received(), [""; 0]);
}

#[test]
fn an_absent_address_expires_once_even_if_frames_were_dropped() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITHOUT_PRESENCE, JoinOptions::default());
    node.received();
    let big = text(200 * 1024);
    for name in ["ben", "cyd", "dan", "eve"] {
        for _ in 0..3 {
            node.send_offer("ann", address_or_wait(name), big);
        }
    }
    node.advance(Duration::from_millis(4999));
    assert_eq!(node.received(), [""; 0]);
    node.advance(Duration::from_millis(1));
    let expired = ["ben", "cyd", "dan", "eve"].map(|name| format!("ann: expired {name}"));
    assert_eq!(node.received(), expired);
    assert_eq!(node.hub.poll_timeout(), None, "no timeout is left");
    assert_eq!(ErrorCode::Expired.as_str(), "expired");
}

#[test]
fn deferred_frames_for_one_address_fill_at_most_half_of_an_outbox() {
    let mut node = CommittingNode::new();
    let senders: Vec<&'static str> = (0..8)
        .map(|number| &*Box::leak(format!("sender{number}").into_boxed_str()))
        .collect();
    for sender in &senders {
        node.join(sender, &WITHOUT_PRESENCE, JoinOptions::default());
        node.send_offer(sender, address_or_wait("ben"), text(200 * 1024));
    }
    node.received();
    node.join("ben", &WITHOUT_PRESENCE, JoinOptions::default());
    let received = node.received();
    let of_ben = received.iter().filter(|line| line.starts_with("ben:"));
    let bytes = of_ben.map(|line| line.len() + 128).sum::<usize>();
    assert!(bytes <= node.limits.outbox_bytes / 2 + 1024, "{bytes}");
    let expired = received.iter().filter(|line| line.ends_with("expired ben"));
    assert_eq!(
        expired.count(),
        6,
        "each sender whose frame did not fit gets an error"
    );
}

#[test]
fn frames_of_a_sender_wait_for_at_most_1024_addresses() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITHOUT_PRESENCE, JoinOptions::default());
    node.received();
    for number in 0..1024 {
        node.send_offer("ann", address_or_wait(&format!("b{number}")), "x");
    }
    assert_eq!(node.received(), [""; 0]);
    node.send_offer("ann", address_or_wait("one more"), "x");
    assert_eq!(node.received(), ["ann: expired one more"]);
    node.advance(Duration::from_secs(5));
    assert_eq!(node.received().len(), 1024);
    node.send_offer("ann", address_or_wait("one more"), "x");
    assert_eq!(node.received(), [""; 0]);
}

#[test]
fn the_address_of_an_unresponsive_member_is_reserved_for_its_token() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITH_PRESENCE, token("s"));
    node.join_as("thief", "ann", &WITH_PRESENCE, token("other"));
    node.advance(Duration::from_secs(2));
    assert_eq!(
        node.received(),
        [
            "ann: in with",
            "ann: alive?",
            "ann: Unresponsive",
            "thief: taken ann"
        ]
    );
    node.join_as("again", "ann", &WITH_PRESENCE, token("s"));
    assert_eq!(node.received(), ["again: in with"]);
}

#[test]
fn a_dialect_limit_does_not_count_invisible_members() {
    let mut node = CommittingNode::new();
    node.join("ann", &LIMITED, JoinOptions::default());
    node.join("ben", &WITHOUT_PRESENCE, JoinOptions::default());
    node.join("cyd", &WITHOUT_PRESENCE, JoinOptions::default());
    node.join("dan", &WITH_PRESENCE, group(2));
    assert_eq!(
        node.received(),
        [
            "ann: in with",
            "ann: ben came",
            "ben: in with",
            "ann: cyd came",
            "cyd: in with",
            "dan: in with"
        ]
    );
    node.join("eve", &LIMITED, JoinOptions::default());
    assert_eq!(node.received(), ["eve: room-full"]);
}

#[test]
fn members_of_groups_do_not_use_up_the_limit_of_room_members() {
    let mut node = CommittingNode::new();
    node.limits.room_members = 2;
    node.hub = Hub::new(Arc::new(node.limits.clone()));
    for name in ["ann", "ben", "cyd", "dan"] {
        node.join(name, &WITH_PRESENCE, group(2));
    }
    node.received();
    node.send_offer("dan", Target::Everyone, "hello");
    assert_eq!(node.received(), ["cyd: dan says hello"]);
}

/// The member with this address as the target of a message.
fn at(address: &str) -> Target {
    Target::Address(Address::parse(address, 0).expect("an address"))
}

/// Commits the join of a member of another node.
fn add_remote_member(node: &mut CommittingNode, address: &str) -> PeerId {
    let peer = PeerId::from_random([99; 16]);
    let address = Address::parse(address, 0).expect("an address");
    let member = Member::new(peer, address, &WITH_PRESENCE);
    let join = Change::Join(Arc::new(member));
    node.commit(room(), join, Some(NodeId::from(7)));
    node.drain_effects();
    peer
}

#[test]
fn a_member_without_presence_is_told_when_a_counterpart_leaves() {
    for reason in [
        DisconnectReason::Graceful,
        DisconnectReason::Reset,
        DisconnectReason::Lost,
    ] {
        let mut node = CommittingNode::new();
        for name in ["ann", "ben"] {
            node.join(name, &WITHOUT_PRESENCE, JoinOptions::default());
        }
        for name in ["caller", "callee", "stranger"] {
            node.join(name, &WITH_PRESENCE, JoinOptions::default());
        }
        node.send_offer("caller", at("ann"), "offer");
        node.send_offer("caller", at("ann"), "another offer");
        node.send_offer("ann", at("callee"), "offer");
        node.send_offer("ann", at("ben"), "offer");
        node.send("stranger", at("ann"), MessageKind::Candidate, "candidate");
        node.received();
        for name in ["ben", "stranger", "callee", "caller"] {
            node.disconnect(name, reason);
        }
        let received = node.received();
        let without_presence = |line: &&String| line.starts_with("ann") || line.starts_with("ben");
        let without_presence: Vec<_> = received.iter().filter(without_presence).collect();
        assert_eq!(without_presence, ["ann: callee left", "ann: caller left"]);
    }
}

#[test]
fn an_offer_to_all_makes_every_member_without_presence_a_counterpart() {
    let mut node = CommittingNode::new();
    for name in ["ann", "ben"] {
        node.join(name, &WITHOUT_PRESENCE, JoinOptions::default());
    }
    node.join("cyd", &WITH_PRESENCE, JoinOptions::default());
    node.send_offer("cyd", Target::Everyone, "offer");
    node.received();
    node.disconnect("cyd", DisconnectReason::Graceful);
    assert_eq!(node.received(), ["ann: cyd left", "ben: cyd left"]);
}

#[test]
fn a_member_without_presence_is_told_when_a_counterpart_of_a_lost_node_leaves() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITHOUT_PRESENCE, JoinOptions::default());
    let far = add_remote_member(&mut node, "far");
    node.send_offer("ann", at("far"), "offer");
    node.received();
    let leave = Change::Leave(far, LeaveCause::NodeLost);
    node.commit(room(), leave, Some(NodeId::from(7)));
    node.drain_effects();
    assert_eq!(node.received(), ["ann: far left"]);
}

#[test]
fn a_suspended_member_is_told_that_its_counterparts_on_other_nodes_have_left() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITHOUT_PRESENCE, JoinOptions::default());
    node.join("near", &WITH_PRESENCE, JoinOptions::default());
    add_remote_member(&mut node, "far");
    node.send_offer("ann", at("far"), "offer");
    node.send_offer("ann", at("near"), "offer");
    node.received();
    // The lease of this node expires: "ann" is removed and suspended until it is joined again.
    let ann = node.peers["ann"].id();
    node.commit(room(), Change::Leave(ann, LeaveCause::NodeLost), None);
    node.drain_effects();
    assert_eq!(node.received(), ["ann: far left"]);
    node.disconnect("near", DisconnectReason::Graceful);
    assert_eq!(node.received(), ["ann: near left"]);
}

#[test]
fn frames_that_another_node_returns_expire_after_five_seconds_with_one_error() {
    let mut node = CommittingNode::new();
    node.join("ann", &WITHOUT_PRESENCE, JoinOptions::default());
    add_remote_member(&mut node, "far");
    for text in ["offer", "candidate", "candidate"] {
        node.send_offer("ann", address_or_wait("far"), text);
    }
    node.received();
    let to = node.peers["ann"].id();
    for _ in 0..3 {
        let target = address_or_wait("far");
        let body = NodeMessageBody::Bounce { to, target };
        let message = NodeMessage { log: room(), body };
        node.input(Input::NodeMessage(NodeId::from(7), message));
    }
    node.advance(Duration::from_millis(4999));
    assert_eq!(node.received(), [""; 0]);
    node.advance(Duration::from_millis(1));
    assert_eq!(node.received(), ["ann: expired far"]);
}

#[test]
fn a_member_has_at_most_1024_counterparts_and_the_oldest_are_dropped() {
    let mut node = CommittingNode::new();
    node.join("host", &WITH_PRESENCE, JoinOptions::default());
    let names: Vec<&'static str> = (0..1026)
        .map(|number| &*Box::leak(format!("p{number}").into_boxed_str()))
        .collect();
    for name in &names {
        node.join(name, &WITHOUT_PRESENCE, JoinOptions::default());
        node.send_offer("host", at(name), "offer");
    }
    node.disconnect("p1", DisconnectReason::Graceful);
    node.received();
    node.disconnect("host", DisconnectReason::Graceful);
    let received = node.received();
    assert_eq!(received.len(), 1024);
    // p1 has left, and p0 was dropped at the limit.
    assert_eq!(received[0], "p2: host left");
}
