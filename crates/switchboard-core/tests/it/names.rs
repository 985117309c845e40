//! Claims of names that are unique in a room or a space.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{
    Change, Charge, Command, DialectTraits, DisconnectReason, DisplayName, Effect, Entry,
    ErrorCode, Event, Hub, HubRequest, Identity, Input, LeaveCause, Limits, NameId, Peer, PeerId,
    Position, RoomName, SpaceName,
};

use crate::clock::epoch;

static TRAITS: DialectTraits = DialectTraits {
    name: "traits",
    ..DialectTraits::DEFAULT
};

/// The time that the hub gives the holder of a name to answer a probe.
const CHALLENGE_TIMEOUT: Duration = Duration::from_secs(2);

/// A hub whose proposed changes are committed at once, and its peers by index.
struct Claims {
    hub: Hub<usize>,
    peers: Vec<Peer>,
    now: Instant,
    position: u64,
    received: Vec<String>,
    charged: Vec<(usize, Charge)>,
    /// Whether proposed evictions are lost. This happens if the cluster has ended (fenced) the lease of the node.
    loses_evictions: bool,
}

impl Claims {
    fn new(peers: u8) -> Self {
        Self::with_identities((0..peers).map(|_| Identity::Claimed).collect())
    }

    fn with_identities(identities: Vec<Identity>) -> Self {
        let peer = |(number, identity)| {
            let id = PeerId::from_random([number; 16]);
            Peer::new(id, &TRAITS, identity, SpaceName::default())
        };
        Self {
            hub: Hub::new(Arc::default()),
            peers: (1..).zip(identities).map(peer).collect(),
            now: epoch(),
            position: 0,
            received: Vec::new(),
            charged: Vec::new(),
            loses_evictions: false,
        }
    }

    /// Advances the time by the timeout of a challenge.
    fn expire_challenge(&mut self) {
        self.now += CHALLENGE_TIMEOUT;
        self.hub.handle_timeout(self.now);
        self.drain_effects();
    }

    fn command(&mut self, peer: usize, command: Command) {
        let request = self.peers[peer].authorize(command, &Limits::default());
        self.request(peer, request.expect("a peer may claim this name"));
    }

    fn request(&mut self, local: usize, request: HubRequest) {
        let peer = self.peers[local].id();
        self.hub.handle(
            Input::Request {
                peer,
                local,
                request,
            },
            self.now,
        );
        self.drain_effects();
    }

    fn drain_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Deliver(to, event) => {
                    self.received.push(format!("{to}: {}", event_text(&event)))
                }
                Effect::Propose {
                    change: Change::Leave(_, LeaveCause::Evicted(_)),
                    ..
                } if self.loses_evictions => {}
                Effect::Propose { log, change, .. } => {
                    self.position += 1;
                    let entry = Entry {
                        position: Position::from(self.position),
                        node: None,
                        change,
                    };
                    self.hub.handle(Input::Committed(log, entry), self.now);
                }
                Effect::Charge(to, charge) => self.charged.push((to, charge)),
                Effect::Send(..) => {}
            }
        }
    }

    /// The events that all peers got since the last call, each as `index: event`.
    fn received(&mut self) -> Vec<String> {
        std::mem::take(&mut self.received)
    }
}

fn event_text(event: &Event) -> String {
    let name = |id: &NameId| match &id.room {
        Some(room) => format!("{} in {room}", id.name),
        None => id.name.to_string(),
    };
    match event {
        Event::Claimed(id) => format!("has {}", name(id)),
        Event::RequestFailed(error) => {
            let claim = error.claim.as_ref().expect("the error names the claim");
            format!("{}: {}", error.code.as_str(), name(claim))
        }
        Event::Probe(_) => "alive?".to_owned(),
        Event::Evicted(_)
        | Event::Joined { .. }
        | Event::Rejoined { .. }
        | Event::Members { .. }
        | Event::Introduced { .. }
        | Event::Departed { .. }
        | Event::Received { .. } => format!("{event:?}"),
    }
}

fn claim(room: Option<&str>, name: &str) -> Command {
    Command::Claim(room.map(room_name), display_name(name))
}

fn release(room: Option<&str>, name: &str) -> Command {
    Command::Release(room.map(room_name), display_name(name))
}

fn room_name(name: &str) -> RoomName {
    RoomName::parse(name, 0).expect("a name")
}

fn display_name(name: &str) -> DisplayName {
    DisplayName::parse(name, 0).expect("a name")
}

#[test]
fn a_name_is_claimed_once_in_each_room_and_once_in_the_space() {
    let mut claims = Claims::new(4);
    claims.command(0, claim(None, "ada"));
    claims.command(1, claim(Some("red"), "ada"));
    claims.command(2, claim(Some("blue"), "ada"));
    assert_eq!(
        claims.received(),
        ["0: has ada", "1: has ada in red", "2: has ada in blue"]
    );
    claims.command(3, claim(Some("red"), "ada"));
    assert_eq!(claims.received(), ["1: alive?"]);
    let request = claims.peers[3].authorize(claim(Some("red"), "ada"), &Limits::default());
    let resource = request.expect("an allowed request").resource();
    claims.request(1, HubRequest::Alive(resource));
    assert_eq!(claims.received(), ["3: taken: ada in red"]);
}

#[test]
fn a_claim_is_charged_for_the_probe_of_the_holder() {
    let mut claims = Claims::new(2);
    claims.command(0, claim(Some("red"), "ada"));
    assert_eq!(claims.charged, []);
    claims.command(1, claim(Some("red"), "ada"));
    let (count, bytes) = (1, 128);
    let probe = Charge::Deliveries { count, bytes };
    assert_eq!(claims.charged, [(1, probe)]);
}

#[test]
fn the_name_of_an_unresponsive_holder_goes_to_the_claimant() {
    let mut claims = Claims::new(2);
    claims.command(0, claim(Some("red"), "ada"));
    claims.command(1, claim(Some("red"), "ada"));
    claims.received();
    claims.expire_challenge();
    assert_eq!(
        claims.received(),
        ["0: Evicted(Unresponsive)", "1: has ada in red"]
    );
}

#[test]
fn an_eviction_that_was_lost_is_repeated() {
    let mut claims = Claims::new(2);
    claims.command(0, claim(None, "ada"));
    claims.command(1, claim(None, "ada"));
    claims.received();
    claims.loses_evictions = true;
    claims.expire_challenge();
    assert_eq!(claims.received(), [""; 0]);
    claims.loses_evictions = false;
    claims.expire_challenge();
    assert_eq!(
        claims.received(),
        ["0: Evicted(Unresponsive)", "1: has ada"]
    );
}

#[test]
fn an_eviction_by_the_same_user_that_was_lost_is_repeated_with_its_reason() {
    let ada = || Identity::Proven("ada".into());
    let mut claims = Claims::with_identities(vec![ada(), ada()]);
    claims.command(0, claim(None, "ada"));
    claims.loses_evictions = true;
    claims.command(1, claim(None, "ada"));
    assert_eq!(claims.received(), ["0: has ada"]);
    claims.loses_evictions = false;
    claims.expire_challenge();
    assert_eq!(claims.received(), ["0: Evicted(Replaced)", "1: has ada"]);
}

/// The first claimant, proven to be the same user as the holder, withdraws its claim. The other one is not proven, so
/// the holder must be probed.
#[test]
fn a_holder_is_not_evicted_before_it_was_probed() {
    let ada = || Identity::Proven("ada".into());
    let mut claims = Claims::with_identities(vec![ada(), ada(), Identity::Claimed]);
    claims.command(0, claim(None, "ada"));
    claims.loses_evictions = true;
    claims.command(1, claim(None, "ada"));
    claims.command(2, claim(None, "ada"));
    claims.command(1, release(None, "ada"));
    claims.received();
    claims.loses_evictions = false;
    claims.expire_challenge();
    assert_eq!(claims.received(), ["0: alive?"]);
    claims.expire_challenge();
    assert_eq!(
        claims.received(),
        ["0: Evicted(Unresponsive)", "2: has ada"]
    );
}

#[test]
fn a_released_name_is_free_at_once_and_a_released_claim_is_withdrawn() {
    let mut claims = Claims::new(3);
    claims.command(0, claim(Some("red"), "ada"));
    claims.command(1, claim(Some("red"), "ada"));
    claims.command(2, claim(Some("red"), "ada"));
    claims.command(1, release(Some("red"), "ada"));
    claims.received();
    claims.command(0, release(Some("red"), "ada"));
    assert_eq!(claims.received(), ["2: has ada in red"]);
    claims.command(1, release(Some("red"), "ada"));
    assert_eq!(
        claims.received(),
        [""; 0],
        "a peer releases only its own names"
    );
    claims.command(1, claim(Some("red"), "ada"));
    assert_eq!(claims.received(), ["2: alive?"]);
}

#[test]
fn a_disconnect_releases_the_held_names_only() {
    let mut claims = Claims::new(1);
    for command in [
        claim(None, "ada"),
        claim(Some("red"), "ada"),
        release(Some("red"), "ada"),
        claim(Some("blue"), "ada"),
    ] {
        claims.command(0, command);
    }
    let requests = claims.peers[0].disconnect(DisconnectReason::Graceful);
    let released = requests.iter().map(|request| {
        let HubRequest::Release(id) = request else {
            panic!("{request:?}");
        };
        id.room.as_ref().map(RoomName::to_string)
    });
    assert_eq!(released.collect::<Vec<_>>(), [None, Some("blue".into())]);
}

#[test]
fn the_name_of_the_server_is_refused_in_a_room_too() {
    let mut claims = Claims::new(1);
    let error = claims.peers[0].authorize(claim(Some("red"), "Server"), &Limits::default());
    let error = error.expect_err("a reserved name");
    assert_eq!(error.code, ErrorCode::Reserved);
    let id = error.claim.expect("the name");
    assert_eq!(id.room, Some(room_name("red")));
}
