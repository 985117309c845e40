//! Clients without a dialect, and what they say.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytestring::ByteString;
use switchboard_core::{
    Address, Command, DialectTraits, DisplayName, Event, Identity, JoinId, Member, MessageKind,
    NameId, OfferPolicy, Peer, PeerId, RelayedMessage, RoomId, RoomName, SpaceName, Target,
};
use switchboard_engine::DialectRegistry;

use super::NodeKey;

/// A client, by the order in which they came.
pub type ClientKey = usize;

/// What clients speak: one tongue of each custom, and one without signals.
pub static TONGUES: [DialectTraits; 4] = [
    dialect("newcomers", OfferPolicy::NewcomerOffers, true),
    dialect("members", OfferPolicy::MemberOffers, true),
    dialect("never", OfferPolicy::Unspecified, true),
    dialect("text", OfferPolicy::Unspecified, false),
];

/// What a tongue is here that nobody knows.
static UNKNOWN: DialectTraits = dialect("unknown", OfferPolicy::Unspecified, false);

const fn dialect(name: &'static str, custom: OfferPolicy, signals: bool) -> DialectTraits {
    DialectTraits {
        name,
        offer_policy: custom,
        signals,
        messages: true,
        ..DialectTraits::DEFAULT
    }
}

/// What every station knows of tongues.
#[derive(Debug)]
pub(super) struct SimDialects;

impl DialectRegistry for SimDialects {
    fn dialect(&self, name: &str) -> &'static DialectTraits {
        let known = TONGUES.iter().find(|tongue| tongue.name == name);
        known.unwrap_or(&UNKNOWN)
    }

    fn message(
        &self,
        origin: &str,
        kind: MessageKind,
        frame: ByteString,
    ) -> Option<RelayedMessage> {
        let origin = self.dialect(origin).name;
        Some(RelayedMessage::new(origin, kind, frame, |_, _| true))
    }
}

/// Something sent; its serial number is its place in the list.
#[derive(Clone, Debug)]
pub struct SentMessage {
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
pub enum ClientRequest {
    /// To enter a room.
    Join {
        /// Which.
        room: RoomId,
        /// Under what address.
        address: Address,
        /// The name of the stay.
        stay: DisplayName,
        /// Which attempt it is.
        attempt: JoinId,
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
pub enum ClientLogEntry {
    /// It asked.
    Requested(ClientRequest),
    /// It was told. The refusal of a join may come when it stands no more: the client has asked
    /// something else since.
    Received(Arc<Event>, bool),
    /// Its connection ended.
    Ended,
}

/// A client and what it has asked and was told.
#[derive(Debug)]
pub struct ClusterClient {
    pub(super) station: NodeKey,
    pub(super) peer: Peer,
    pub(super) is_connected: bool,
    pub(super) is_evicted: bool,
    pub(super) frozen: Option<Duration>,
    pub(super) log: Vec<(Duration, ClientLogEntry)>,
    /// Whom it knows, by room.
    pub(super) knows: BTreeMap<RoomId, BTreeMap<PeerId, Arc<Member>>>,
}

impl ClusterClient {
    pub(super) fn new(station: NodeKey, peer: Peer) -> Self {
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
    pub fn station(&self) -> NodeKey {
        self.station
    }

    /// Its peer's id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.peer.id()
    }

    /// What it speaks.
    #[must_use]
    pub fn dialect(&self) -> &'static DialectTraits {
        self.peer.dialect()
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
    pub fn log(&self) -> &[(Duration, ClientLogEntry)] {
        &self.log
    }

    pub(super) fn can_act(&self) -> bool {
        self.is_connected && !self.is_evicted && self.frozen.is_none()
    }

    pub(super) fn freeze(&mut self, now: Duration) {
        self.frozen.get_or_insert(now);
    }

    /// Is told something.
    pub(super) fn receive(&mut self, now: Duration, event: Arc<Event>) {
        let mut stands = true;
        match &*event {
            Event::RequestFailed(refused) => {
                stands = self.peer.note_rejected_join(refused);
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
            | Event::Received { .. }
            | Event::Probe(_) => {}
        }
        self.log
            .push((now, ClientLogEntry::Received(event, stands)));
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
    tongue: &'static DialectTraits,
    room: &str,
    to: Option<PeerId>,
    serial: usize,
    is_offer: bool,
) -> Command {
    let kind = match is_offer {
        true => MessageKind::Offer,
        false => MessageKind::Message,
    };
    Command::Send {
        room: room_name(room),
        to: to.map_or(Target::Everyone, Target::Peer),
        message: RelayedMessage::new(
            tongue.name,
            kind,
            ByteString::from(serial.to_string()),
            |_, _| true,
        ),
    }
}
