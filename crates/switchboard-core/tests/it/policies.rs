//! Room policies and the rule for sessions with the same identity, on two hubs whose changes one engine orders.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{
    Change, Command, DialectTraits, DisconnectReason, DuplicateIdentity, Effect, Entry, Event, Hub,
    HubRequest, Identity, Input, JoinOptions, LeaveKind, Limits, LogId, NodeId, Peer, PeerId,
    Position, RoomId, RoomName, RoomPolicies, RoomPolicy, SharedRoomPolicies, SpaceName, Token,
};

use crate::clock::epoch;

static MESH: DialectTraits = DialectTraits {
    name: "mesh",
    ..DialectTraits::DEFAULT
};

static PEERJS: DialectTraits = DialectTraits {
    name: "peerjs",
    announces_presence: false,
    reveals_members: false,
    ..DialectTraits::DEFAULT
};

/// A client of one of the hubs.
struct Client {
    hub: usize,
    peer: Peer,
}

/// Two hubs. Their proposals wait for [`Cluster::commit_all`], which commits them on both in one order.
struct Cluster {
    hubs: [Hub<&'static str>; 2],
    policies: SharedRoomPolicies,
    clients: BTreeMap<&'static str, Client>,
    proposals: VecDeque<(usize, LogId, Change)>,
    received: Vec<String>,
    position: u64,
    now: Instant,
}

fn room() -> RoomName {
    "room".parse().expect("a name")
}

fn room_id() -> RoomId {
    RoomId::shared(SpaceName::default(), room())
}

fn proven(name: &str) -> Identity {
    Identity::Proven(name.into())
}

fn with_token() -> JoinOptions {
    let grace = Duration::from_secs(30);
    let secret = "secret".into();
    JoinOptions {
        token: Some(Token { secret, grace }),
        ..JoinOptions::default()
    }
}

impl Cluster {
    fn new(policy: RoomPolicy, rule: DuplicateIdentity) -> Self {
        let policies = SharedRoomPolicies::default();
        let hub = || Hub::new(Arc::new(Limits::default())).with_policies(policies.clone());
        let cluster = Self {
            hubs: [hub(), hub()],
            policies,
            clients: BTreeMap::new(),
            proposals: VecDeque::new(),
            received: Vec::new(),
            position: 0,
            now: epoch(),
        };
        cluster.set(policy, rule);
        cluster
    }

    fn with_policy(policy: RoomPolicy) -> Self {
        Self::new(policy, DuplicateIdentity::Replace)
    }

    fn with_rule(rule: DuplicateIdentity) -> Self {
        Self::new(RoomPolicy::default(), rule)
    }

    fn set(&self, policy: RoomPolicy, rule: DuplicateIdentity) {
        let pattern = "room".parse().expect("a pattern");
        self.policies
            .replace(RoomPolicies::new([(pattern, policy)], rule));
    }

    fn connect(
        &mut self,
        (name, hub): (&'static str, usize),
        dialect: &'static DialectTraits,
        identity: Identity,
    ) {
        let number = self.clients.len() as u128 + 1;
        let id = PeerId::from_random(number.to_be_bytes());
        let peer = Peer::new(id, dialect, identity, SpaceName::default());
        self.clients.insert(name, Client { hub, peer });
    }

    fn command(&mut self, name: &'static str, command: Command) {
        let client = self.clients.get_mut(name).expect("a client");
        let request = client.peer.authorize(command, &Limits::default());
        self.request(name, request.expect("an allowed request"));
    }

    fn request(&mut self, name: &'static str, request: HubRequest) {
        let client = &self.clients[name];
        let (hub, peer) = (client.hub, client.peer.id());
        let local = name;
        let input = Input::Request {
            peer,
            local,
            request,
        };
        self.input(hub, input);
    }

    /// Requests a join under the client's name as its address, without a commit.
    fn request_join(&mut self, name: &'static str, options: JoinOptions) {
        self.request_join_at(name, name, options);
    }

    fn request_join_at(&mut self, name: &'static str, address: &str, options: JoinOptions) {
        let join = Command::Join {
            room: room(),
            address: address.parse().expect("an address"),
            name: None,
            options,
        };
        self.command(name, join);
    }

    /// Connects a client of `mesh` without an identity and joins the room.
    fn join(&mut self, name: &'static str) {
        self.join_as(name, &MESH, Identity::Claimed);
    }

    fn join_as(&mut self, name: &'static str, dialect: &'static DialectTraits, identity: Identity) {
        self.connect((name, 0), dialect, identity);
        self.request_join(name, JoinOptions::default());
        self.commit_all();
    }

    fn lose(&mut self, name: &'static str) {
        let client = self.clients.get_mut(name).expect("a client");
        for request in client.peer.disconnect(DisconnectReason::Lost) {
            self.request(name, request);
        }
        self.commit_all();
    }

    fn input(&mut self, hub: usize, input: Input<&'static str>) {
        self.hubs[hub].handle(input, self.now);
        self.drain(hub);
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        for hub in 0..2 {
            self.hubs[hub].handle_timeout(self.now);
            self.drain(hub);
        }
        self.commit_all();
    }

    fn drain(&mut self, hub: usize) {
        while let Some(effect) = self.hubs[hub].poll_effect() {
            match effect {
                Effect::Deliver(to, event) => self.received.extend(event_text(to, &event)),
                Effect::Propose { log, change, .. } => {
                    self.proposals.push_back((hub, log, change));
                }
                Effect::Send(to, message) => {
                    let to = usize::try_from(to.get()).expect("a small number");
                    self.input(to, Input::NodeMessage(node_id(hub), message));
                }
                Effect::Charge(..) => {}
            }
        }
    }

    fn commit_all(&mut self) {
        while let Some((proposer, log, change)) = self.proposals.pop_front() {
            self.position += 1;
            for hub in [proposer, 1 - proposer] {
                let entry = Entry {
                    position: Position::from(self.position),
                    node: (hub != proposer).then(|| node_of(&change, proposer, &self.clients)),
                    change: change.clone(),
                };
                self.input(hub, Input::Committed(log.clone(), entry));
            }
        }
    }

    /// Answers the probes that clients have got.
    fn answer_probes(&mut self) {
        let answered = |line: &String| line.ends_with("probed");
        let (probed, others): (Vec<_>, _) = std::mem::take(&mut self.received)
            .into_iter()
            .partition(answered);
        self.received = others;
        for line in probed {
            let name = line.split(':').next().unwrap_or_default();
            let name = *self
                .clients
                .keys()
                .find(|own| **own == name)
                .expect("a client");
            let address = name.parse().expect("an address");
            let resource = switchboard_core::ResourceKey::Address(room_id(), address);
            self.request(name, HubRequest::Alive(resource));
        }
        self.commit_all();
    }

    /// The events since the last call.
    fn received(&mut self) -> Vec<String> {
        std::mem::take(&mut self.received)
    }

    /// The addresses of the members. Both hubs must agree.
    fn members(&self) -> Vec<String> {
        let [first, second] = [0, 1].map(|hub| {
            let members = self.hubs[hub].members(&room_id()).into_iter();
            members
                .map(|member| member.address.to_string())
                .collect::<Vec<_>>()
        });
        assert_eq!(first, second, "the hubs agree");
        first
    }

    fn refused(&self) -> Vec<(&'static str, u64)> {
        let refused = self.policies.refused().into_iter();
        let refused = refused.filter(|(_, count)| *count > 0);
        refused
            .map(|(reason, count)| (reason.as_str(), count))
            .collect()
    }
}

fn node_id(hub: usize) -> NodeId {
    NodeId::from(hub as u64)
}

/// The node of a joining member. An eviction of a member of another node is proposed by this one.
fn node_of(change: &Change, proposer: usize, clients: &BTreeMap<&'static str, Client>) -> NodeId {
    let of_peer = |client: &&Client| client.peer.id() == change.peer();
    let hub = clients.values().find(of_peer);
    node_id(hub.map_or(proposer, |client| client.hub))
}

fn event_text(to: &str, event: &Event) -> Option<String> {
    let text = match event {
        Event::Joined { others, .. } => format!("joined {}", others.len()),
        Event::Rejoined { others, .. } => format!("rejoined {}", others.len()),
        Event::Members { others, .. } => format!("members {}", others.len()),
        Event::Claimed(_) => "claimed".to_owned(),
        Event::RequestFailed(error) => {
            if let switchboard_core::ErrorCode::Denied(text) = &error.code {
                text.as_deref()?.to_owned()
            } else {
                error.code.as_str().to_owned()
            }
        }
        Event::Probe(_) => "probed".to_owned(),
        Event::Evicted(reason) => format!("{reason:?}"),
        Event::Introduced { .. } | Event::Departed { .. } | Event::Received { .. } => return None,
    };
    Some(format!("{to}: {text}"))
}

// Policies

#[test]
fn max_members_holds_when_two_nodes_join_at_once() {
    for other in [&MESH, &PEERJS] {
        let mut cluster = Cluster::with_policy(RoomPolicy {
            max_members: Some(2),
            ..RoomPolicy::default()
        });
        cluster.join("a");
        cluster.connect(("b", 0), &MESH, Identity::Claimed);
        cluster.connect(("c", 1), other, Identity::Claimed);
        cluster.request_join("b", JoinOptions::default());
        cluster.request_join("c", JoinOptions::default());
        cluster.commit_all();
        assert_eq!(cluster.members(), ["a", "b"]);
        let received = cluster.received();
        assert!(
            received.contains(&"c: room-full".to_owned()),
            "{received:?}"
        );
        assert!(!received.iter().any(|line| line.starts_with("c: joined")));
        assert_eq!(cluster.refused(), [("max_members", 1)]);
    }
}

#[test]
fn max_members_counts_groups_and_joins_that_are_not_committed() {
    let mut cluster = Cluster::with_policy(RoomPolicy {
        max_members: Some(2),
        ..RoomPolicy::default()
    });
    for name in ["a", "b", "c"] {
        cluster.connect((name, 0), &MESH, Identity::Claimed);
        let group_size = NonZeroUsize::new(2);
        let options = JoinOptions {
            group_size,
            ..JoinOptions::default()
        };
        cluster.request_join(name, options);
    }
    cluster.commit_all();
    assert_eq!(
        cluster.received(),
        ["c: room-full", "a: joined 0", "b: joined 1"]
    );
}

#[test]
fn a_locked_room_keeps_its_members_and_admits_only_returning_clients() {
    let mut cluster = Cluster::with_policy(RoomPolicy::default());
    cluster.join("a");
    cluster.connect(("b", 0), &MESH, Identity::Claimed);
    cluster.request_join("b", with_token());
    cluster.commit_all();
    let locked = RoomPolicy {
        locked: Some(true),
        ..RoomPolicy::default()
    };
    cluster.set(locked, DuplicateIdentity::Replace);
    cluster.received();

    cluster.join("c");
    assert_eq!(cluster.received(), ["c: The room \"room\" is locked."]);
    // A member may ask again, and stays.
    cluster.request_join("a", JoinOptions::default());
    assert_eq!(cluster.received(), ["a: rejoined 1"]);

    // The connection of `b` is replaced by a newer one of the same client while the old one is not known to be lost.
    cluster.connect(("b2", 0), &MESH, Identity::Claimed);
    cluster.request_join_at("b2", "b", with_token());
    cluster.commit_all();
    assert_eq!(cluster.received(), ["b: Replaced", "b2: joined 1"]);

    // The address of a lost client is reserved for it, on every node.
    cluster.lose("b2");
    cluster.connect(("b3", 1), &MESH, Identity::Claimed);
    cluster.request_join_at("b3", "b", with_token());
    cluster.commit_all();
    assert_eq!(cluster.received(), ["b3: joined 1"]);

    // After a leave the client is outside.
    let kind = LeaveKind::Announced;
    cluster.command("a", Command::Leave { room: room(), kind });
    cluster.request_join("a", JoinOptions::default());
    cluster.commit_all();
    assert_eq!(cluster.received(), ["a: The room \"room\" is locked."]);
    assert_eq!(cluster.refused(), [("locked", 2)]);
}

#[test]
fn a_client_that_may_not_join_probes_no_holder_and_claims_no_name() {
    let mut cluster = Cluster::with_policy(RoomPolicy {
        dialects: Some(vec!["mesh".into()]),
        ..RoomPolicy::default()
    });
    cluster.join("a");
    cluster.connect(("p", 0), &PEERJS, Identity::Claimed);
    cluster.request_join_at("p", "a", JoinOptions::default());
    let text = "p: The room \"room\" does not admit the dialect \"peerjs\".";
    assert_eq!(cluster.received(), ["a: joined 0", text]);
    let name = || "Ada".parse().expect("a name");
    cluster.command("p", Command::Claim(Some(room()), name()));
    cluster.commit_all();
    assert_eq!(cluster.received(), [text]);
    // A name outside the room is free.
    cluster.command("p", Command::Claim(None, name()));
    cluster.commit_all();
    assert_eq!(cluster.received(), ["p: claimed"]);
    cluster.command("a", Command::Claim(Some(room()), name()));
    cluster.commit_all();
    assert_eq!(cluster.received(), ["a: claimed"]);
    assert_eq!(cluster.refused(), [("dialect", 2)]);
}

#[test]
fn a_hidden_room_lists_no_members() {
    let mut cluster = Cluster::with_policy(RoomPolicy::default());
    cluster.join("m");
    cluster.join_as("p", &PEERJS, Identity::Claimed);
    cluster.received();
    cluster.command("m", Command::List(room()));
    assert_eq!(cluster.received(), ["m: members 1"]);
    let hidden = RoomPolicy {
        presence: Some(false),
        ..RoomPolicy::default()
    };
    cluster.set(hidden, DuplicateIdentity::Replace);
    let refused =
        "The room \"room\" does not reveal its members, and the dialect \"mesh\" needs that.";
    cluster.command("m", Command::List(room()));
    assert_eq!(cluster.received(), [format!("m: {refused}")]);
    cluster.request_join("m", JoinOptions::default());
    assert_eq!(cluster.received(), ["m: rejoined 0"]);
    cluster.join("n");
    assert_eq!(cluster.received(), [format!("n: {refused}")]);
    cluster.join_as("q", &PEERJS, Identity::Claimed);
    assert_eq!(cluster.received(), ["q: joined 0"]);
}

#[test]
fn the_policy_of_a_credential_restricts_its_client_only() {
    let mut cluster = Cluster::with_policy(RoomPolicy::default());
    let own = RoomPolicy {
        max_members: Some(1),
        ..RoomPolicy::default()
    };
    cluster.join("a");
    cluster.connect(("b", 1), &MESH, Identity::Claimed);
    let b = cluster.clients.get_mut("b").expect("a client");
    b.peer.set_room_policy(Some(Arc::new(own)));
    cluster.request_join("b", JoinOptions::default());
    cluster.join("c");
    assert_eq!(
        cluster.received(),
        ["a: joined 0", "b: room-full", "c: joined 1"]
    );
}

// Sessions with the same identity

#[test]
fn replace_ends_the_session_with_the_same_address_only() {
    let mut cluster = Cluster::with_rule(DuplicateIdentity::Replace);
    cluster.join_as("a", &MESH, proven("ada"));
    cluster.join_as("b", &MESH, proven("ada"));
    assert_eq!(cluster.members(), ["a", "b"]);
    cluster.connect(("a2", 1), &MESH, proven("ada"));
    cluster.request_join_at("a2", "a", JoinOptions::default());
    cluster.commit_all();
    assert_eq!(cluster.members(), ["b", "a"]);
    let received = cluster.received();
    assert!(received.contains(&"a: Replaced".to_owned()), "{received:?}");
}

#[test]
fn refuse_admits_one_session_of_an_identity_at_any_address() {
    for (hub, address) in [(0, "a"), (1, "a"), (0, "b"), (1, "b")] {
        let mut cluster = Cluster::with_rule(DuplicateIdentity::Refuse);
        cluster.join_as("a", &MESH, proven("ada"));
        cluster.connect(("second", hub), &MESH, proven("ada"));
        cluster.request_join_at("second", address, JoinOptions::default());
        cluster.commit_all();
        assert_eq!(cluster.received(), ["a: joined 0", "second: taken"]);
        // Another identity, and clients without one, are admitted.
        cluster.join_as("bob", &MESH, proven("bob"));
        cluster.join("unknown");
        cluster.join("unknown2");
        assert_eq!(cluster.members(), ["a", "bob", "unknown", "unknown2"]);
        assert_eq!(cluster.refused(), [("duplicate_identity", 1)]);
        // The place is free when the first session has left.
        let kind = LeaveKind::Announced;
        cluster.command("a", Command::Leave { room: room(), kind });
        cluster.received();
        cluster.request_join_at("second", address, JoinOptions::default());
        cluster.commit_all();
        let received = cluster.received();
        let expected = match hub {
            // This hub has proposed the leave, so the join waits for it.
            0 => "second: joined 3",
            _ => "second: taken",
        };
        assert_eq!(received, [expected], "{hub} {address}");
    }
}

#[test]
fn of_two_sessions_that_join_on_two_nodes_at_once_the_first_in_the_log_stays() {
    for rule in [DuplicateIdentity::Refuse, DuplicateIdentity::Challenge] {
        let mut cluster = Cluster::with_rule(rule);
        for (name, hub) in [("a", 0), ("b", 1)] {
            cluster.connect((name, hub), &MESH, proven("ada"));
            cluster.request_join(name, JoinOptions::default());
        }
        cluster.commit_all();
        assert_eq!(cluster.members(), ["a"], "{rule:?}");
        assert_eq!(cluster.received(), ["a: joined 0", "b: taken"], "{rule:?}");
    }
}

#[test]
fn two_joins_of_an_identity_on_one_node_are_one_session() {
    let mut cluster = Cluster::with_rule(DuplicateIdentity::Refuse);
    for name in ["a", "b"] {
        cluster.connect((name, 0), &MESH, proven("ada"));
        cluster.request_join(name, JoinOptions::default());
    }
    cluster.commit_all();
    assert_eq!(cluster.received(), ["b: taken", "a: joined 0"]);
}

#[test]
fn challenge_probes_the_older_session_at_any_address() {
    for (hub, address) in [(0, "a"), (1, "a"), (0, "b"), (1, "b")] {
        let mut cluster = Cluster::with_rule(DuplicateIdentity::Challenge);
        cluster.join_as("a", &MESH, proven("ada"));
        cluster.connect(("second", hub), &MESH, proven("ada"));
        cluster.request_join_at("second", address, JoinOptions::default());
        assert_eq!(cluster.received(), ["a: joined 0", "a: probed"]);
        cluster.received.push("a: probed".to_owned());
        cluster.answer_probes();
        assert_eq!(cluster.received(), ["second: taken"], "{hub} {address}");
        assert_eq!(cluster.members(), ["a"]);

        // A session that does not answer is evicted, and the newcomer joins.
        cluster.request_join_at("second", address, JoinOptions::default());
        assert_eq!(cluster.received(), ["a: probed"]);
        cluster.advance(Duration::from_secs(2));
        let mut received = cluster.received();
        received.sort();
        assert_eq!(received, ["a: Unresponsive", "second: joined 0"]);
        assert_eq!(cluster.members(), [address], "{hub} {address}");
    }
}

#[test]
fn a_token_replaces_its_own_session_under_every_rule() {
    for rule in [
        DuplicateIdentity::Replace,
        DuplicateIdentity::Refuse,
        DuplicateIdentity::Challenge,
    ] {
        let mut cluster = Cluster::with_rule(rule);
        cluster.connect(("a", 0), &MESH, proven("ada"));
        cluster.request_join("a", with_token());
        cluster.commit_all();
        cluster.connect(("a2", 1), &MESH, proven("ada"));
        cluster.request_join_at("a2", "a", with_token());
        cluster.commit_all();
        let received = cluster.received();
        let expected = ["a: joined 0", "a: Replaced", "a2: joined 0"];
        assert_eq!(received.len(), 3, "{rule:?} {received:?}");
        assert!(
            expected
                .iter()
                .all(|line| received.contains(&(*line).to_owned()))
        );
    }
}

#[test]
fn a_member_that_is_joined_again_after_a_newer_session_is_evicted() {
    let mut cluster = Cluster::with_rule(DuplicateIdentity::Refuse);
    cluster.join_as("a", &MESH, proven("ada"));
    let member = cluster.hubs[0].members(&room_id()).remove(0);
    // The lease of the first node expires: the second evicts its member, and a newer session joins there.
    let log = LogId::Room(room_id());
    let lost = |position| Entry {
        position: Position::from(position),
        node: None,
        change: Change::Leave(member.peer, switchboard_core::LeaveCause::NodeLost),
    };
    for hub in 0..2 {
        cluster.input(hub, Input::Committed(log.clone(), lost(2)));
    }
    cluster.position = 2;
    cluster.connect(("b", 1), &MESH, proven("ada"));
    cluster.request_join("b", JoinOptions::default());
    cluster.commit_all();
    // The first node is back and joins its member again.
    cluster.proposals.push_back((0, log, Change::Join(member)));
    cluster.commit_all();
    assert_eq!(cluster.members(), ["b"]);
    assert_eq!(
        cluster.received(),
        ["a: joined 0", "b: joined 0", "a: Replaced"]
    );
}
