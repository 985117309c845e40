//! Simulated clients of a cluster. A client passes commands to the hub of its node and gets the events of the hub, both
//! without wire frames. The messages that the clients send are recorded.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytestring::ByteString;
use switchboard_cluster::DialectRegistry;
use switchboard_core::{
    Address, Command, DialectTraits, DisplayName, Event, Identity, JoinId, Member, MessageKind,
    NameId, OfferPolicy, Peer, PeerId, RelayedMessage, RoomId, RoomName, SpaceName, Target,
};
use switchboard_dialects::{decode_member, encode_member};

use super::NodeKey;

/// Index of a client, in the order of connecting.
pub type ClientKey = usize;

/// The dialects of the clients: one per offer policy, and one without signaling.
pub static DIALECTS: [DialectTraits; 4] = [
    dialect("newcomers", OfferPolicy::NewcomerOffers, true),
    dialect("members", OfferPolicy::MemberOffers, true),
    dialect("never", OfferPolicy::Unspecified, true),
    dialect("text", OfferPolicy::Unspecified, false),
];

/// The traits of an unknown dialect.
static UNKNOWN: DialectTraits = dialect("unknown", OfferPolicy::Unspecified, false);

const fn dialect(name: &'static str, offer_policy: OfferPolicy, signals: bool) -> DialectTraits {
    DialectTraits {
        name,
        offer_policy,
        signals,
        messages: true,
        ..DialectTraits::DEFAULT
    }
}

/// The dialect registry of every node.
#[derive(Debug)]
pub struct SimDialects;

impl DialectRegistry for SimDialects {
    fn dialect(&self, name: &str) -> &'static DialectTraits {
        let known = DIALECTS.iter().find(|dialect| dialect.name == name);
        known.unwrap_or(&UNKNOWN)
    }

    fn encode_member(&self, member: &Member, join: u64) -> Vec<u8> {
        encode_member(member, join)
    }

    fn decode_member(&self, peer: PeerId, address: Address, metadata: &[u8]) -> Member {
        let member = decode_member(peer, address.clone(), metadata, |name| self.dialect(name));
        member.unwrap_or_else(|_| Member::new(peer, address, self.dialect("")))
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

/// A sent message. Its serial number is its index in the list.
#[derive(Clone, Debug)]
pub struct SentMessage {
    /// The sending client.
    pub from: ClientKey,
    /// The receiving client; `None` for all members of the room.
    pub to: Option<ClientKey>,
    /// The room of the message.
    pub room: RoomId,
    /// The time of sending.
    pub at: Duration,
    /// Whether it is an SDP offer. A client whose dialect has no signaling gets offers of its own dialect only.
    pub is_offer: bool,
}

/// A request of a client that its node accepted.
#[derive(Clone, Debug)]
pub enum ClientRequest {
    /// Joins a room.
    Join {
        /// The room to join.
        room: RoomId,
        /// The address of the member: its unique name in the room.
        address: Address,
        /// The display name, unique for each join.
        name: DisplayName,
        /// The id of the join request.
        join_id: JoinId,
    },
    /// Leaves a room.
    Leave(RoomId),
    /// Claims a name: asks for it to be unique in its room or, without a room, among all rooms.
    Claim(NameId),
    /// Sends the message with this serial number.
    Send(usize),
    /// Any other request, which the oracle ignores.
    Other,
}

/// An entry of the log of a client.
#[derive(Clone, Debug)]
pub enum ClientLogEntry {
    /// The client sent a request.
    Requested(ClientRequest),
    /// The client received an event. The flag is false if the event rejects a join that a later
    /// request has superseded: the client ignores it.
    Received(Arc<Event>, bool),
    /// The connection of the client ended.
    Ended,
}

/// A client with the log of its requests and events.
#[derive(Debug)]
pub struct ClusterClient {
    pub(super) node: NodeKey,
    pub(super) peer: Peer,
    pub(super) is_connected: bool,
    /// Whether the hub has removed it with [`Event::Evicted`]. It then sends nothing more, and its connection ends
    /// soon.
    pub(super) is_evicted: bool,
    pub(super) frozen_at: Option<Duration>,
    pub(super) log: Vec<(Duration, ClientLogEntry)>,
    /// The other members that its events have named and that have not left since, by room.
    pub(super) known_members: BTreeMap<RoomId, BTreeMap<PeerId, Arc<Member>>>,
}

impl ClusterClient {
    pub(super) fn new(node: NodeKey, peer: Peer) -> Self {
        Self {
            node,
            peer,
            is_connected: true,
            is_evicted: false,
            frozen_at: None,
            log: Vec::new(),
            known_members: BTreeMap::new(),
        }
    }

    /// The node of the client.
    #[must_use]
    pub fn node(&self) -> NodeKey {
        self.node
    }

    /// The peer id of the client.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.peer.id()
    }

    /// The dialect of the client.
    #[must_use]
    pub fn dialect(&self) -> &'static DialectTraits {
        self.peer.dialect()
    }

    /// Whether the client is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The time at which the client was frozen, if it was: it stopped responding while its connection stayed open.
    #[must_use]
    pub fn frozen_at(&self) -> Option<Duration> {
        self.frozen_at
    }

    /// All requests and events of the client, each with its time.
    #[must_use]
    pub fn log(&self) -> &[(Duration, ClientLogEntry)] {
        &self.log
    }

    pub(super) fn can_act(&self) -> bool {
        self.is_connected && !self.is_evicted && self.frozen_at.is_none()
    }

    pub(super) fn freeze(&mut self, now: Duration) {
        self.frozen_at.get_or_insert(now);
    }

    /// Receives an event.
    pub(super) fn receive(&mut self, now: Duration, event: Arc<Event>) {
        let mut is_current = true;
        match &*event {
            Event::RequestFailed(error) => {
                is_current = self.peer.note_rejected_join(error);
                if let (Some(name), Some(_), true) = (&error.room, error.join, is_current) {
                    self.known_members.remove(&room(name.as_str()));
                }
            }
            Event::Evicted(_) => self.is_evicted = true,
            Event::Joined { room, others } => {
                let members = others
                    .iter()
                    .map(|(member, _)| (member.peer, member.clone()));
                self.known_members.insert(room.clone(), members.collect());
            }
            Event::Introduced { room, peer, .. } => {
                let known = self.known_members.entry(room.clone()).or_default();
                known.insert(peer.peer, peer.clone());
            }
            Event::Departed { room, peer, .. } => {
                let known = self.known_members.entry(room.clone()).or_default();
                known.remove(&peer.peer);
            }
            Event::Claimed(_)
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Received { .. }
            | Event::Probe(_) => {}
        }
        self.log
            .push((now, ClientLogEntry::Received(event, is_current)));
    }
}

pub(super) fn space() -> SpaceName {
    SpaceName::default()
}

// The second argument of the following `parse` calls is the maximum length in bytes; 0 means no limit.

pub(super) fn room_name(name: &str) -> RoomName {
    RoomName::parse(name, 0).expect("not empty")
}

/// The shared room with this name.
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

/// A peer of the dialect with this index of [`DIALECTS`]. `identity` is its proven identity, if it has one.
pub(super) fn peer(id: PeerId, dialect: usize, identity: Option<&str>) -> Peer {
    let identity = identity.map_or(Identity::Claimed, |name| Identity::Proven(name.into()));
    Peer::new(id, &DIALECTS[dialect], identity, space())
}

/// A command that sends a message to one member of the room, or with `None` to all. The serial number is its text.
pub(super) fn message(
    dialect: &'static DialectTraits,
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
            dialect.name,
            kind,
            ByteString::from(serial.to_string()),
            |_, _| true,
        ),
    }
}
