//! Clients without a dialect, and what they say.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytestring::ByteString;
use switchboard_core::{
    Address, Attempt, Command, Custom, DisplayName, Event, Identity, Member, NameId, Peer, PeerId,
    Relay, RelayKind, RoomId, RoomName, SpaceName, Target, Tongue,
};
use switchboard_engine::Vocabulary;

use super::StationKey;

/// A client, by the order in which they came.
pub type ClientKey = usize;

/// What clients speak: one tongue of each custom, and one without signals.
pub static TONGUES: [Tongue; 4] = [
    tongue("newcomers", Custom::NewcomerCalls, true),
    tongue("members", Custom::MemberCalls, true),
    tongue("never", Custom::NeverTold, true),
    tongue("text", Custom::NeverTold, false),
];

/// What a tongue is here that nobody knows.
static UNKNOWN: Tongue = tongue("unknown", Custom::NeverTold, false);

const fn tongue(name: &'static str, custom: Custom, signals: bool) -> Tongue {
    Tongue {
        name,
        custom,
        signals,
        messages: true,
        ..Tongue::USUAL
    }
}

/// What every station knows of tongues.
#[derive(Debug)]
pub(super) struct Words;

impl Vocabulary for Words {
    fn tongue(&self, name: &str) -> &'static Tongue {
        let known = TONGUES.iter().find(|tongue| tongue.name == name);
        known.unwrap_or(&UNKNOWN)
    }

    fn relay(&self, origin: &str, kind: RelayKind, frame: ByteString) -> Option<Relay> {
        let origin = self.tongue(origin).name;
        Some(Relay::new(origin, kind, frame, |_, _| true))
    }
}

/// Something sent; its serial number is its place in the list.
#[derive(Clone, Debug)]
pub struct Sent {
    /// By whom.
    pub from: ClientKey,
    /// To whom; none for everybody in the room.
    pub to: Option<ClientKey>,
    /// Where.
    pub room: RoomId,
    /// When.
    pub at: Duration,
    /// Whether it asks for a call, which not every tongue has words for.
    pub is_offer: bool,
}

/// What a client asked, as its station took it.
#[derive(Clone, Debug)]
pub enum Asked {
    /// To enter a room.
    Join {
        /// Which.
        room: RoomId,
        /// Under what address.
        address: Address,
        /// The name of the stay.
        stay: DisplayName,
        /// Which attempt it is.
        attempt: Attempt,
    },
    /// To leave a room.
    Leave(RoomId),
    /// To have a name.
    Claim(NameId),
    /// To bring something to others.
    Send(usize),
    /// Who is in a room.
    List,
}

/// What happened to a client.
#[derive(Clone, Debug)]
pub enum Noted {
    /// It asked.
    Asked(Asked),
    /// It was told. The refusal of a join may come when it stands no more: the client has asked
    /// something else since.
    Told(Arc<Event>, bool),
    /// Its connection ended.
    Ended,
}

/// A client and what it has asked and was told.
#[derive(Debug)]
pub struct Client {
    pub(super) station: StationKey,
    pub(super) peer: Peer,
    pub(super) is_connected: bool,
    pub(super) is_evicted: bool,
    pub(super) frozen: Option<Duration>,
    pub(super) log: Vec<(Duration, Noted)>,
    /// Whom it knows, by room.
    pub(super) knows: BTreeMap<RoomId, BTreeMap<PeerId, Arc<Member>>>,
}

impl Client {
    pub(super) fn new(station: StationKey, peer: Peer) -> Self {
        Self {
            station,
            peer,
            is_connected: true,
            is_evicted: false,
            frozen: None,
            log: Vec::new(),
            knows: BTreeMap::new(),
        }
    }

    /// Its station.
    #[must_use]
    pub fn station(&self) -> StationKey {
        self.station
    }

    /// Its peer's id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.peer.id()
    }

    /// What it speaks.
    #[must_use]
    pub fn tongue(&self) -> &'static Tongue {
        self.peer.tongue()
    }

    /// Whether its connection is there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Since when it has answered no probe, if so.
    #[must_use]
    pub fn frozen(&self) -> Option<Duration> {
        self.frozen
    }

    /// Everything it asked and was told, and when.
    #[must_use]
    pub fn log(&self) -> &[(Duration, Noted)] {
        &self.log
    }

    pub(super) fn can_act(&self) -> bool {
        self.is_connected && !self.is_evicted && self.frozen.is_none()
    }

    pub(super) fn freeze(&mut self, now: Duration) {
        self.frozen.get_or_insert(now);
    }

    /// Is told something.
    pub(super) fn hear(&mut self, now: Duration, event: Arc<Event>) {
        let mut stands = true;
        match &*event {
            Event::Refused(refused) => {
                stands = self.peer.observe(refused);
                if let (Some(name), Some(_), true) = (&refused.room, refused.join, stands) {
                    self.knows.remove(&room(name.as_str()));
                }
            }
            Event::Evicted(_) => self.is_evicted = true,
            Event::Joined { room, others } => {
                let members = others
                    .iter()
                    .map(|(member, _)| (member.peer, member.clone()));
                self.knows.insert(room.clone(), members.collect());
            }
            Event::Introduced { room, peer, .. } => {
                let known = self.knows.entry(room.clone()).or_default();
                known.insert(peer.peer, peer.clone());
            }
            Event::Departed { room, peer, .. } => {
                let known = self.knows.entry(room.clone()).or_default();
                known.remove(&peer.peer);
            }
            Event::Claimed(_)
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Heard { .. }
            | Event::Probe(_) => {}
        }
        self.log.push((now, Noted::Told(event, stands)));
    }
}

pub(super) fn space() -> SpaceName {
    SpaceName::default()
}

pub(super) fn room_name(name: &str) -> RoomName {
    RoomName::parse(name, 0).expect("not empty")
}

/// The room of this name.
///
/// # Panics
/// If the name is empty.
#[must_use]
pub fn room(name: &str) -> RoomId {
    RoomId::shared(space(), room_name(name))
}

pub(super) fn address(text: &str) -> Address {
    Address::parse(text, 0).expect("not empty")
}

pub(super) fn name(text: &str) -> DisplayName {
    DisplayName::parse(text, 0).expect("not empty")
}

pub(super) fn peer(id: PeerId, tongue: usize, person: Option<&str>) -> Peer {
    let identity = person.map_or(Identity::Claimed, |name| Identity::Proven(name.into()));
    Peer::new(id, &TONGUES[tongue], identity, space())
}

/// Something with a serial number for one member or for all.
pub(super) fn relay(
    tongue: &'static Tongue,
    room: &str,
    to: Option<PeerId>,
    serial: usize,
    is_offer: bool,
) -> Command {
    let kind = match is_offer {
        true => RelayKind::Offer,
        false => RelayKind::Message,
    };
    Command::Relay {
        room: room_name(room),
        to: to.map_or(Target::Everyone, Target::Peer),
        relay: Relay::new(
            tongue.name,
            kind,
            ByteString::from(serial.to_string()),
            |_, _| true,
        ),
    }
}
