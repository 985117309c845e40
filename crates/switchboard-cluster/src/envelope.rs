//! The encoding of messages between nodes: an envelope is a byte with the format version, and messages in the
//! encoding of the `postcard` crate. A node discards an envelope of an unknown version.

use std::sync::Arc;

use bytestring::ByteString;
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};
use switchboard_core::{
    Address, DisplayName, ElectionId, LogId, Member, MembershipRef, MessageKind, NameId, NodeId,
    NodeMessage, NodeMessageBody, PeerId, Position, Recipient, RelayedMessage, RoomId, RoomName,
    RoomScope, SpaceName, Target,
};

use crate::DialectRegistry;

/// Format version of the envelope, its first byte. In every version, the id of the sending node follows.
pub(crate) const VERSION: u8 = 4;

/// Maximum number of messages for which room is reserved before they are read: the count may be wrong.
const MESSAGES_RESERVED: usize = 256;

/// The beginning of an envelope after the version: the sending node, and the number of messages that follow. The encoding
/// is that of a struct with a vector, but no vector is needed to write or read it.
type WireHead = (u64, usize);

/// A message, and the head of its log (the position of the last change) on the sending node. All texts are borrowed: from
/// the message that is encoded, or from the bytes that are decoded.
#[derive(Serialize, Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    log: WireLogId<'a>,
    at: u64,
    #[serde(borrow)]
    message: WireBody<'a>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum WireLogId<'a> {
    /// The space, the name, and the only dialect that can join if the room is closed to others.
    Room(&'a str, &'a str, Option<&'a str>),
    /// The space, the room if the name is unique in a room only, and the name.
    Name(&'a str, Option<&'a str>, &'a str),
    Election(&'a str),
}

/// An encoded [`NodeMessageBody`].
#[derive(Clone, Copy, Serialize, Deserialize)]
enum WireBody<'a> {
    Relay {
        from: WireMembership,
        #[serde(borrow)]
        to: Option<(WireMembership, WireTarget<'a>)>,
        #[serde(borrow)]
        frame: WireFrame<'a>,
    },
    Bounce {
        to: PeerIdBytes,
        #[serde(borrow)]
        target: WireTarget<'a>,
    },
    Announce {
        to: Option<PeerIdBytes>,
        from: PeerIdBytes,
        address: &'a str,
        dialect: &'a str,
        #[serde(borrow)]
        frame: WireFrame<'a>,
    },
    Probe(PeerIdBytes),
    Alive(PeerIdBytes),
    SlowReceiver {
        sender: PeerIdBytes,
        bytes: u64,
    },
}

type PeerIdBytes = [u8; 16];
type WireMembership = (PeerIdBytes, u64);

#[derive(Clone, Copy, Serialize, Deserialize)]
enum WireTarget<'a> {
    Everyone,
    Peer(PeerIdBytes),
    Address(&'a str),
    AddressOrWait(&'a str),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct WireFrame<'a> {
    origin: &'a str,
    kind: WireKind,
    text: &'a str,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum WireKind {
    Offer,
    Answer,
    Candidate,
    Message,
    Opaque,
}

/// Encodes an envelope of messages, each with the head of its log on this node.
pub(super) fn write<'a, I>(from: NodeId, messages: I) -> Vec<u8>
where
    I: ExactSizeIterator<Item = (Position, &'a NodeMessage)> + Clone,
{
    let sizes = messages
        .clone()
        .map(|(_, message)| approximate_bytes(message));
    let mut encoded = Vec::with_capacity(sizes.sum());
    encoded.push(VERSION);
    let head: WireHead = (from.get(), messages.len());
    let encoded = append(encoded, &head);
    messages.fold(encoded, |encoded, (at, message)| {
        append(encoded, &encode_message(at, message))
    })
}

fn append(encoded: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    // Postcard cannot fail on the types of this file.
    postcard::serialize_with_flavor(value, VecFlavor(encoded)).unwrap_or_default()
}

/// Appends to a vector. The flavor of `postcard::to_extend` copies texts byte by byte.
struct VecFlavor(Vec<u8>);

impl Flavor for VecFlavor {
    type Output = Vec<u8>;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// The messages of an envelope.
#[derive(Debug, Default)]
pub(super) struct ReadMessages {
    /// The sending node, as far as it can be read.
    pub(super) from: Option<NodeId>,
    /// The format version; 0 if the envelope is empty.
    pub(super) version: u8,
    /// The messages that can be read.
    pub(super) messages: Vec<(Position, NodeMessage)>,
    /// Whether all or some of the messages are malformed, unknown or of another format version.
    pub(super) is_incomplete: bool,
}

/// Decodes an envelope. Messages that cannot be read are skipped. An envelope that is malformed has no messages.
pub(super) fn read(bytes: &[u8], dialects: &dyn DialectRegistry) -> ReadMessages {
    let (version, body) = bytes.split_first().unwrap_or((&0, &[]));
    let messages = match *version {
        VERSION => read_messages(body, dialects).ok(),
        _ => None,
    };
    let from = postcard::take_from_bytes::<u64>(body).ok();
    let (messages, is_incomplete) = messages.unwrap_or((Vec::new(), true));
    ReadMessages {
        from: from.map(|(from, _)| from.into()),
        version: *version,
        messages,
        is_incomplete,
    }
}

/// The messages of the body of an envelope, and whether some were skipped.
fn read_messages(
    body: &[u8],
    dialects: &dyn DialectRegistry,
) -> postcard::Result<(Vec<(Position, NodeMessage)>, bool)> {
    let ((_, count), mut rest) = postcard::take_from_bytes::<WireHead>(body)?;
    let mut messages = Vec::with_capacity(count.min(MESSAGES_RESERVED));
    let mut is_incomplete = false;
    for _ in 0..count {
        let (wire, next) = postcard::take_from_bytes::<WireMessage<'_>>(rest)?;
        rest = next;
        match decode_message(&wire, dialects) {
            Some(message) => messages.push((wire.at.into(), message)),
            None => is_incomplete = true,
        }
    }
    Ok((messages, is_incomplete))
}

fn decode_message(wire: &WireMessage<'_>, dialects: &dyn DialectRegistry) -> Option<NodeMessage> {
    let log = decode_log_id(wire.log)?;
    let body = decode_body(wire.message, dialects)?;
    Some(NodeMessage { log, body })
}

/// The approximate size of a message in bytes.
pub(crate) fn approximate_bytes(message: &NodeMessage) -> usize {
    const OVERHEAD: usize = 256;
    match &message.body {
        NodeMessageBody::Relay { message, .. } | NodeMessageBody::Announce { message, .. } => {
            OVERHEAD + message.frame.len()
        }
        NodeMessageBody::Bounce { .. }
        | NodeMessageBody::Probe(_)
        | NodeMessageBody::Alive(_)
        | NodeMessageBody::SlowReceiver { .. } => OVERHEAD,
    }
}

fn encode_message(at: Position, message: &NodeMessage) -> WireMessage<'_> {
    WireMessage {
        log: match &message.log {
            LogId::Room(room) => WireLogId::Room(
                room.space.as_str(),
                room.name.as_str(),
                room.scope.dialect(),
            ),
            LogId::Name(NameId { space, room, name }) => WireLogId::Name(
                space.as_str(),
                room.as_ref().map(RoomName::as_str),
                name.as_str(),
            ),
            LogId::Election(election) => WireLogId::Election(election.as_str()),
        },
        at: at.get(),
        message: encode_body(&message.body),
    }
}

fn decode_log_id(log: WireLogId<'_>) -> Option<LogId> {
    let parse_space = |space: &str| SpaceName::parse(space, 0).ok();
    let parse_room = |room: Option<&str>| match room {
        Some(room) => RoomName::parse(room, 0).ok().map(Some),
        None => Some(None),
    };
    Some(match log {
        WireLogId::Room(space, name, dialect) => LogId::Room(RoomId {
            space: parse_space(space)?,
            name: RoomName::parse(name, 0).ok()?,
            scope: dialect.map_or(RoomScope::Shared, RoomScope::only),
        }),
        WireLogId::Name(space, room, name) => LogId::Name(NameId {
            space: parse_space(space)?,
            room: parse_room(room)?,
            name: DisplayName::parse(name, 0).ok()?,
        }),
        WireLogId::Election(name) => LogId::Election(ElectionId::parse(name, 0).ok()?),
    })
}

fn encode_body(message: &NodeMessageBody) -> WireBody<'_> {
    match message {
        NodeMessageBody::Relay { from, to, message } => WireBody::Relay {
            from: encode_membership(from),
            to: match to {
                Recipient::Everyone => None,
                Recipient::One { member, target } => {
                    Some((encode_membership(member), encode_target(target)))
                }
            },
            frame: encode_frame(message),
        },
        NodeMessageBody::Bounce { to, target } => WireBody::Bounce {
            to: to.bytes(),
            target: encode_target(target),
        },
        NodeMessageBody::Announce { to, from, message } => WireBody::Announce {
            to: to.map(PeerId::bytes),
            from: from.peer.bytes(),
            address: from.address.as_str(),
            dialect: from.dialect.name,
            frame: encode_frame(message),
        },
        NodeMessageBody::Probe(peer) => WireBody::Probe(peer.bytes()),
        NodeMessageBody::Alive(peer) => WireBody::Alive(peer.bytes()),
        NodeMessageBody::SlowReceiver { sender, bytes } => WireBody::SlowReceiver {
            sender: sender.bytes(),
            bytes: *bytes as u64,
        },
    }
}

fn decode_body(body: WireBody<'_>, dialects: &dyn DialectRegistry) -> Option<NodeMessageBody> {
    Some(match body {
        WireBody::Relay { from, to, frame } => NodeMessageBody::Relay {
            from: decode_membership(from),
            to: match to {
                None => Recipient::Everyone,
                Some((member, target)) => Recipient::One {
                    member: decode_membership(member),
                    target: decode_target(target)?,
                },
            },
            message: decode_frame(frame, dialects)?,
        },
        WireBody::Bounce { to, target } => NodeMessageBody::Bounce {
            to: to.into(),
            target: decode_target(target)?,
        },
        WireBody::Announce {
            to,
            from,
            address,
            dialect,
            frame,
        } => {
            let address = Address::parse(address, 0).ok()?;
            let from = Member::new(from.into(), address, dialects.dialect(dialect));
            NodeMessageBody::Announce {
                to: to.map(PeerId::from),
                from: Arc::new(from),
                message: decode_frame(frame, dialects)?,
            }
        }
        WireBody::Probe(peer) => NodeMessageBody::Probe(peer.into()),
        WireBody::Alive(peer) => NodeMessageBody::Alive(peer.into()),
        WireBody::SlowReceiver { sender, bytes } => NodeMessageBody::SlowReceiver {
            sender: sender.into(),
            bytes: usize::try_from(bytes).ok()?,
        },
    })
}

fn encode_membership(member: &MembershipRef) -> WireMembership {
    (member.peer.bytes(), member.since.get())
}

fn decode_membership((peer, since): WireMembership) -> MembershipRef {
    MembershipRef {
        peer: peer.into(),
        since: since.into(),
    }
}

fn encode_target(target: &Target) -> WireTarget<'_> {
    match target {
        Target::Everyone => WireTarget::Everyone,
        Target::Peer(peer) => WireTarget::Peer(peer.bytes()),
        Target::Address(address) => WireTarget::Address(address.as_str()),
        Target::AddressOrWait(address) => WireTarget::AddressOrWait(address.as_str()),
    }
}

fn decode_target(target: WireTarget<'_>) -> Option<Target> {
    Some(match target {
        WireTarget::Everyone => Target::Everyone,
        WireTarget::Peer(peer) => Target::Peer(peer.into()),
        WireTarget::Address(address) => Target::Address(Address::parse(address, 0).ok()?),
        WireTarget::AddressOrWait(address) => {
            Target::AddressOrWait(Address::parse(address, 0).ok()?)
        }
    })
}

fn encode_frame(message: &RelayedMessage) -> WireFrame<'_> {
    WireFrame {
        origin: message.origin,
        kind: match message.kind {
            MessageKind::Offer => WireKind::Offer,
            MessageKind::Answer => WireKind::Answer,
            MessageKind::Candidate => WireKind::Candidate,
            MessageKind::Message => WireKind::Message,
            MessageKind::Opaque => WireKind::Opaque,
        },
        text: &message.frame,
    }
}

fn decode_frame(
    frame: WireFrame<'_>,
    dialects: &dyn DialectRegistry,
) -> Option<Arc<RelayedMessage>> {
    let kind = match frame.kind {
        WireKind::Offer => MessageKind::Offer,
        WireKind::Answer => MessageKind::Answer,
        WireKind::Candidate => MessageKind::Candidate,
        WireKind::Message => MessageKind::Message,
        WireKind::Opaque => MessageKind::Opaque,
    };
    let text = ByteString::from(frame.text);
    dialects.message(frame.origin, kind, text).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_core::DialectTraits;

    struct EmptyRegistry;

    impl DialectRegistry for EmptyRegistry {
        fn dialect(&self, _name: &str) -> &'static DialectTraits {
            unreachable!("no member is read")
        }

        fn encode_member(&self, _member: &Member, _join: u64) -> Vec<u8> {
            unreachable!("no member is written")
        }

        fn decode_member(&self, _peer: PeerId, _address: Address, _metadata: &[u8]) -> Member {
            unreachable!("no member is read")
        }

        fn message(
            &self,
            _origin: &str,
            _kind: MessageKind,
            _frame: ByteString,
        ) -> Option<RelayedMessage> {
            None
        }
    }

    /// Nodes of other releases read and write these bytes. A change needs another [`VERSION`].
    #[test]
    fn version_4_has_these_bytes() {
        let log = LogId::Election(ElectionId::parse("voice", 0).expect("a name"));
        let since = Position::from(300);
        let member = |byte| MembershipRef {
            peer: PeerId::from([byte; 16]),
            since,
        };
        let frame = ByteString::from_static("frame");
        let message = RelayedMessage::new("dialect", MessageKind::Answer, frame, |_, _| true);
        let body = NodeMessageBody::Relay {
            from: member(7),
            to: Recipient::One {
                member: member(8),
                target: Target::Peer(PeerId::from([9; 16])),
            },
            message: message.into(),
        };
        let message = NodeMessage { log, body };
        let bytes = write(NodeId::from(1), [(9.into(), &message)].into_iter());
        let expected = [
            &[VERSION, 1, 1][..],
            b"\x02\x05voice\x09",
            &[[0].as_slice(), &[7; 16], &[0xAC, 2]].concat(),
            &[[1].as_slice(), &[8; 16], &[0xAC, 2, 1], &[9; 16]].concat(),
            b"\x07dialect\x01\x05frame",
        ];
        assert_eq!((VERSION, bytes), (4, expected.concat()));
    }

    #[test]
    fn envelope_preserves_the_scope_of_rooms() {
        let shared = RoomId::shared(
            SpaceName::default(),
            RoomName::parse("peerjs", 0).expect("a name"),
        );
        let closed = |dialect| RoomId {
            scope: RoomScope::only(dialect),
            ..shared.clone()
        };
        // A node also passes on messages about dialects that it does not know.
        let rooms = [
            shared.clone(),
            closed("peerjs"),
            closed("of a later release"),
        ];
        let messages = rooms.clone().map(|room| NodeMessage {
            log: LogId::Room(room),
            body: NodeMessageBody::Probe(PeerId::from([7; 16])),
        });
        let node = NodeId::from(1);
        let bytes = write(node, messages.iter().map(|message| (9.into(), message)));
        let read = read(&bytes, &EmptyRegistry);
        assert_eq!(read.from, Some(node));
        let read: Vec<_> = read
            .messages
            .into_iter()
            .map(|(_, message)| message.log)
            .collect();
        assert_eq!(read, rooms.map(LogId::Room));
    }

    #[test]
    fn envelope_preserves_the_room_of_names() {
        let in_space = NameId::in_space(
            SpaceName::default(),
            DisplayName::parse("ada", 0).expect("a name"),
        );
        let in_room = |room| NameId {
            room: Some(RoomName::parse(room, 0).expect("a name")),
            ..in_space.clone()
        };
        let names = [in_space.clone(), in_room("red"), in_room("ada")];
        let messages = names.clone().map(|name| NodeMessage {
            log: LogId::Name(name),
            body: NodeMessageBody::Alive(PeerId::from([7; 16])),
        });
        let bytes = write(
            NodeId::from(1),
            messages.iter().map(|message| (9.into(), message)),
        );
        let read = read(&bytes, &EmptyRegistry).messages.into_iter();
        let read: Vec<_> = read.map(|(_, message)| message.log).collect();
        assert_eq!(read, names.map(LogId::Name));
    }

    #[test]
    fn an_envelope_that_cannot_be_read_names_its_node_and_version() {
        let node = NodeId::from(300);
        let bytes = write(node, std::iter::empty());
        let read_all = read(&bytes, &EmptyRegistry);
        assert!(!read_all.is_incomplete, "{read_all:?}");

        let other_version = [&[VERSION + 1], &bytes[1..]].concat();
        let mut truncated = bytes;
        truncated.pop();
        for (bytes, from, version) in [
            (&other_version[..], Some(node), VERSION + 1),
            (&truncated[..], Some(node), VERSION),
            (&[VERSION], None, VERSION),
            (&[], None, 0),
        ] {
            let read = read(bytes, &EmptyRegistry);
            assert_eq!((read.from, read.version), (from, version), "{bytes:?}");
            assert!(read.is_incomplete && read.messages.is_empty(), "{read:?}");
        }
    }

    #[test]
    fn an_unreadable_message_does_not_hide_the_others() {
        let log = LogId::Election(ElectionId::parse("voice", 0).expect("a name"));
        let peer = PeerId::from([7; 16]);
        let frame = ByteString::from_static("frame");
        // The registry knows no dialect, so it cannot read a frame.
        let relay = NodeMessageBody::Relay {
            from: MembershipRef {
                peer,
                since: 1.into(),
            },
            to: Recipient::Everyone,
            message: RelayedMessage::new("new", MessageKind::Offer, frame, |_, _| true).into(),
        };
        let messages = [relay, NodeMessageBody::Probe(peer)].map(|body| NodeMessage {
            log: log.clone(),
            body,
        });
        let bytes = write(NodeId::from(1), messages.iter().map(|it| (9.into(), it)));
        let read = read(&bytes, &EmptyRegistry);
        assert!(read.is_incomplete, "{read:?}");
        assert_eq!(read.messages.len(), 1);
    }
}
