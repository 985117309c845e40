//! Names that are unique in a room or a space, at the requests of peers to a hub.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{
    Charge, Command, DialectTraits, DisconnectReason, DisplayName, Effect, Entry, ErrorCode, Event,
    Hub, HubRequest, Identity, Input, Limits, NameId, Peer, PeerId, Position, RoomName, SpaceName,
};

use crate::script::epoch;

static TONGUE: DialectTraits = DialectTraits {
    name: "tongue",
    ..DialectTraits::DEFAULT
};

const CHALLENGE: Duration = Duration::from_secs(2);

/// A hub whose engine orders at once, and its peers, by index.
struct Claims {
    hub: Hub<usize>,
    peers: Vec<Peer>,
    now: Instant,
    position: u64,
    told: Vec<String>,
    charged: Vec<(usize, Charge)>,
}

impl Claims {
    fn new(peers: u8) -> Self {
        let peer = |number| {
            let id = PeerId::from_random([number; 16]);
            Peer::new(id, &TONGUE, Identity::Claimed, SpaceName::default())
        };
        Self {
            hub: Hub::new(Arc::default()),
            peers: (1..=peers).map(peer).collect(),
            now: epoch(),
            position: 0,
            told: Vec::new(),
            charged: Vec::new(),
        }
    }

    fn command(&mut self, peer: usize, command: Command) {
        let ask = self.peers[peer].authorize(command, &Limits::default());
        self.ask(peer, ask.expect("a peer may claim this name"));
    }

    fn ask(&mut self, local: usize, ask: HubRequest) {
        let peer = self.peers[local].id();
        self.hub.handle(
            Input::Request {
                peer,
                local,
                request: ask,
            },
            self.now,
        );
        self.drain_effects();
    }

    fn drain_effects(&mut self) {
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Deliver(to, event) => self.told.push(format!("{to}: {}", text(&event))),
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

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn text(event: &Event) -> String {
    let name = |id: &NameId| match &id.room {
        Some(room) => format!("{} in {room}", id.name),
        None => id.name.to_string(),
    };
    match event {
        Event::Claimed(id) => format!("has {}", name(id)),
        Event::RequestFailed(refused) => {
            let claim = refused.claim.as_ref().expect("a refused claim");
            format!("{}: {}", refused.code.as_str(), name(claim))
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
        claims.told(),
        ["0: has ada", "1: has ada in red", "2: has ada in blue"]
    );
    claims.command(3, claim(Some("red"), "ada"));
    assert_eq!(claims.told(), ["1: alive?"]);
    let place = claims.peers[3].authorize(claim(Some("red"), "ada"), &Limits::default());
    claims.ask(
        1,
        HubRequest::Alive(place.expect("a right that it has").resource()),
    );
    assert_eq!(claims.told(), ["3: taken: ada in red"]);
}

#[test]
fn a_claim_is_charged_for_the_ping_of_the_holder() {
    let mut claims = Claims::new(2);
    claims.command(0, claim(Some("red"), "ada"));
    assert_eq!(claims.charged, []);
    claims.command(1, claim(Some("red"), "ada"));
    let (count, bytes) = (1, 128);
    let ping = Charge::Deliveries { count, bytes };
    assert_eq!(claims.charged, [(1, ping)]);
}

#[test]
fn a_name_in_a_room_of_a_silent_holder_goes_to_the_claimant() {
    let mut claims = Claims::new(2);
    claims.command(0, claim(Some("red"), "ada"));
    claims.command(1, claim(Some("red"), "ada"));
    claims.told();
    claims.now += CHALLENGE;
    claims.hub.handle_timeout(claims.now);
    claims.drain_effects();
    assert_eq!(
        claims.told(),
        ["0: Evicted(Unresponsive)", "1: has ada in red"]
    );
}

#[test]
fn a_released_name_is_free_at_once_and_a_released_claim_is_withdrawn() {
    let mut claims = Claims::new(3);
    claims.command(0, claim(Some("red"), "ada"));
    claims.command(1, claim(Some("red"), "ada"));
    claims.command(2, claim(Some("red"), "ada"));
    claims.command(1, release(Some("red"), "ada"));
    claims.told();
    claims.command(0, release(Some("red"), "ada"));
    assert_eq!(claims.told(), ["2: has ada in red"]);
    claims.command(1, release(Some("red"), "ada"));
    assert_eq!(claims.told(), [""; 0], "a peer releases only its own names");
    claims.command(1, claim(Some("red"), "ada"));
    assert_eq!(claims.told(), ["2: alive?"]);
}

#[test]
fn a_peer_gives_back_the_names_that_it_has_and_no_others() {
    let mut claims = Claims::new(1);
    for command in [
        claim(None, "ada"),
        claim(Some("red"), "ada"),
        release(Some("red"), "ada"),
        claim(Some("blue"), "ada"),
    ] {
        claims.command(0, command);
    }
    let asks = claims.peers[0].disconnect(DisconnectReason::Graceful);
    let released = asks.iter().map(|ask| {
        let HubRequest::Release(id) = ask else {
            panic!("{ask:?}");
        };
        id.room.as_ref().map(RoomName::to_string)
    });
    assert_eq!(released.collect::<Vec<_>>(), [None, Some("blue".into())]);
}

#[test]
fn the_name_of_the_server_is_refused_in_a_room_too() {
    let mut claims = Claims::new(1);
    let refused = claims.peers[0].authorize(claim(Some("red"), "Server"), &Limits::default());
    let refused = refused.expect_err("a reserved name");
    assert_eq!(refused.code, ErrorCode::Reserved);
    let id = refused.claim.expect("the name");
    assert_eq!(id.room, Some(room_name("red")));
}
