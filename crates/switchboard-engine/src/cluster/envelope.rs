//! How members and letters are spelled between nodes.
//!
//! A member's card is JSON, for people who look into the store. Mail is postcard behind one byte
//! that says which spelling it is; a node that does not know it takes nothing of it.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use switchboard_core::{
    Address, DisplayName, ElectionId, Group, Identity, LogId, Member, MembershipRef, MessageKind,
    NameId, NodeId, NodeMessage, NodeMessageBody, PeerId, Position, Recipient, RelayedMessage,
    RoomId, RoomName, RoomScope, SpaceName, Target, Token,
};

use super::store::StoredMember;
use crate::DialectRegistry;

/// The spelling of mail, as its first byte.
const VERSION: u8 = 4;

#[derive(Default, Serialize, Deserialize)]
struct MemberMetadata {
    dialect: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    /// Its secret, and for how many milliseconds its address is kept for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<(String, u64)>,
    /// Who was the first in its circle, and how many seats that has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    circle: Option<(PeerIdBytes, NonZeroUsize)>,
    /// Which of its node's joins it is: one that was given up is not taken for the next.
    #[serde(default)]
    join: u64,
}

/// What a seat says of a member besides its id and address.
pub(super) fn write_metadata(member: &Member, join: u64) -> String {
    let card = MemberMetadata {
        dialect: member.dialect.name.to_owned(),
        name: member.name.as_ref().map(|name| name.as_str().to_owned()),
        identity: match &member.identity {
            Identity::Claimed => None,
            Identity::Proven(name) => Some(name.to_string()),
        },
        token: member.token.as_ref().map(|token| {
            let grace = u64::try_from(token.grace.as_millis());
            (token.secret.to_string(), grace.unwrap_or(u64::MAX))
        }),
        circle: (member.group).map(|circle| (circle.first.bytes(), circle.capacity)),
        join,
    };
    // Strings are JSON.
    serde_json::to_string(&card).unwrap_or_default()
}

/// The member of a seat. A card that cannot be read is of somebody who speaks an unknown dialect.
pub(super) fn read_member(seat: &StoredMember, words: &dyn DialectRegistry) -> Member {
    let card = serde_json::from_str(&seat.metadata).unwrap_or_default();
    member_of_metadata(seat.peer, seat.address.clone(), card, words)
}

fn member_of_metadata(
    peer: PeerId,
    address: Address,
    card: MemberMetadata,
    words: &dyn DialectRegistry,
) -> Member {
    Member {
        peer,
        address,
        name: card.name.and_then(|name| DisplayName::parse(&name, 0).ok()),
        dialect: words.dialect(&card.dialect),
        identity: match card.identity {
            Some(name) => Identity::Proven(name.into()),
            None => Identity::Claimed,
        },
        token: card.token.map(|(secret, grace)| Token {
            secret: secret.into(),
            grace: Duration::from_millis(grace),
        }),
        group: card.circle.map(|(first, seats)| Group {
            first: first.into(),
            capacity: seats,
        }),
    }
}

/// Letters of one node to another.
#[derive(Serialize, Deserialize)]
struct Envelope {
    from: u64,
    letters: Vec<WireMessage>,
}

/// A letter, and up to where its sender knew the log.
#[derive(Serialize, Deserialize)]
struct WireMessage {
    log: WireLogId,
    at: u64,
    message: WireBody,
}

#[derive(Serialize, Deserialize)]
enum WireLogId {
    /// Its space, its name, and the only dialect that can enter, if it is closed to others.
    Room(String, String, Option<String>),
    /// Its space, the room in which it is unique, if it is not unique in the space, and the name.
    Name(String, Option<String>, String),
    Duty(String),
}

#[derive(Serialize, Deserialize)]
enum WireBody {
    Relay {
        from: WireMembership,
        to: Option<(WireMembership, WireTarget)>,
        frame: WireFrame,
    },
    Bounce {
        to: PeerIdBytes,
        target: WireTarget,
    },
    Announce {
        to: Option<PeerIdBytes>,
        from: PeerIdBytes,
        address: String,
        dialect: String,
        frame: WireFrame,
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

#[derive(Serialize, Deserialize)]
enum WireTarget {
    Everyone,
    Peer(PeerIdBytes),
    Address(String),
    Awaited(String),
}

#[derive(Serialize, Deserialize)]
struct WireFrame {
    origin: String,
    kind: WireKind,
    text: String,
}

#[derive(Serialize, Deserialize)]
enum WireKind {
    Offer,
    Answer,
    Candidate,
    Message,
    Opaque,
}

/// Mail of letters, each with up to where its sender knew the log.
pub(super) fn write<'a>(
    from: NodeId,
    letters: impl Iterator<Item = (Position, &'a NodeMessage)>,
) -> Vec<u8> {
    let letters = letters
        .map(|(at, letter)| wire_message(at, letter))
        .collect();
    let from = from.get();
    // Postcard fails on types that these are not.
    postcard::to_extend(&Envelope { from, letters }, vec![VERSION]).unwrap_or_default()
}

/// Reads mail. None if it is not mail of this spelling; letters that mean nothing here are left out.
pub(super) fn read(
    bytes: &[u8],
    words: &dyn DialectRegistry,
) -> Option<(NodeId, Vec<(Position, NodeMessage)>)> {
    let body = bytes.strip_prefix(&[VERSION])?;
    let mail: Envelope = postcard::from_bytes(body).ok()?;
    let letters = mail.letters.into_iter();
    let letters = letters.filter_map(|sheet| {
        let log = log_of(sheet.log)?;
        let message = body_of(sheet.message, words)?;
        Some((sheet.at.into(), NodeMessage { log, body: message }))
    });
    Some((mail.from.into(), letters.collect()))
}

/// How many bytes a letter takes, about.
pub(crate) fn approximate_bytes(letter: &NodeMessage) -> usize {
    const REST: usize = 256;
    match &letter.body {
        NodeMessageBody::Relay { message: relay, .. }
        | NodeMessageBody::Announce { message: relay, .. } => REST + relay.frame.len(),
        NodeMessageBody::Bounce { .. }
        | NodeMessageBody::Probe(_)
        | NodeMessageBody::Alive(_)
        | NodeMessageBody::SlowReceiver { .. } => REST,
    }
}

fn wire_message(at: Position, letter: &NodeMessage) -> WireMessage {
    WireMessage {
        log: match &letter.log {
            LogId::Room(room) => WireLogId::Room(
                room.space.to_string(),
                room.name.to_string(),
                room.scope.dialect().map(str::to_owned),
            ),
            LogId::Name(NameId { space, room, name }) => WireLogId::Name(
                space.to_string(),
                room.as_ref().map(RoomName::to_string),
                name.to_string(),
            ),
            LogId::Election(duty) => WireLogId::Duty(duty.to_string()),
        },
        at: at.get(),
        message: wire_body(&letter.body),
    }
}

fn log_of(log: WireLogId) -> Option<LogId> {
    let space = |space: String| SpaceName::parse(&space, 0).ok();
    let room_name = |room: Option<String>| match room {
        Some(room) => RoomName::parse(&room, 0).ok().map(Some),
        None => Some(None),
    };
    Some(match log {
        WireLogId::Room(of, name, dialect) => LogId::Room(RoomId {
            space: space(of)?,
            name: RoomName::parse(&name, 0).ok()?,
            scope: dialect.map_or(RoomScope::Shared, |dialect| RoomScope::only(&dialect)),
        }),
        WireLogId::Name(of, room, name) => LogId::Name(NameId {
            space: space(of)?,
            room: room_name(room)?,
            name: DisplayName::parse(&name, 0).ok()?,
        }),
        WireLogId::Duty(name) => LogId::Election(ElectionId::parse(&name, 0).ok()?),
    })
}

fn wire_body(message: &NodeMessageBody) -> WireBody {
    match message {
        NodeMessageBody::Relay {
            from,
            to,
            message: relay,
        } => WireBody::Relay {
            from: wire_membership(from),
            to: match to {
                Recipient::Everyone => None,
                Recipient::One {
                    member: seat,
                    target,
                } => Some((wire_membership(seat), wire_target(target))),
            },
            frame: wire_frame(relay),
        },
        NodeMessageBody::Bounce { to, target } => WireBody::Bounce {
            to: to.bytes(),
            target: wire_target(target),
        },
        NodeMessageBody::Announce {
            to,
            from,
            message: relay,
        } => WireBody::Announce {
            to: to.map(PeerId::bytes),
            from: from.peer.bytes(),
            address: from.address.to_string(),
            dialect: from.dialect.name.to_owned(),
            frame: wire_frame(relay),
        },
        NodeMessageBody::Probe(peer) => WireBody::Probe(peer.bytes()),
        NodeMessageBody::Alive(peer) => WireBody::Alive(peer.bytes()),
        NodeMessageBody::SlowReceiver { sender, bytes } => WireBody::SlowReceiver {
            sender: sender.bytes(),
            bytes: *bytes as u64,
        },
    }
}

fn body_of(spelled: WireBody, words: &dyn DialectRegistry) -> Option<NodeMessageBody> {
    Some(match spelled {
        WireBody::Relay { from, to, frame } => NodeMessageBody::Relay {
            from: membership_ref(from),
            to: match to {
                None => Recipient::Everyone,
                Some((seat, target)) => Recipient::One {
                    member: membership_ref(seat),
                    target: target_of(target)?,
                },
            },
            message: message_of_frame(frame, words)?,
        },
        WireBody::Bounce { to, target } => NodeMessageBody::Bounce {
            to: to.into(),
            target: target_of(target)?,
        },
        WireBody::Announce {
            to,
            from,
            address,
            dialect,
            frame,
        } => {
            let card = MemberMetadata {
                dialect,
                ..MemberMetadata::default()
            };
            let address = Address::parse(&address, 0).ok()?;
            NodeMessageBody::Announce {
                to: to.map(PeerId::from),
                from: Arc::new(member_of_metadata(from.into(), address, card, words)),
                message: message_of_frame(frame, words)?,
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

fn wire_membership(seat: &MembershipRef) -> WireMembership {
    (seat.peer.bytes(), seat.since.get())
}

fn membership_ref((peer, since): WireMembership) -> MembershipRef {
    MembershipRef {
        peer: peer.into(),
        since: since.into(),
    }
}

fn wire_target(target: &Target) -> WireTarget {
    match target {
        Target::Everyone => WireTarget::Everyone,
        Target::Peer(peer) => WireTarget::Peer(peer.bytes()),
        Target::Address(address) => WireTarget::Address(address.to_string()),
        Target::AddressOrWait(address) => WireTarget::Awaited(address.to_string()),
    }
}

fn target_of(to: WireTarget) -> Option<Target> {
    Some(match to {
        WireTarget::Everyone => Target::Everyone,
        WireTarget::Peer(peer) => Target::Peer(peer.into()),
        WireTarget::Address(address) => Target::Address(Address::parse(&address, 0).ok()?),
        WireTarget::Awaited(address) => Target::AddressOrWait(Address::parse(&address, 0).ok()?),
    })
}

fn wire_frame(relay: &RelayedMessage) -> WireFrame {
    WireFrame {
        origin: relay.origin.to_owned(),
        kind: match relay.kind {
            MessageKind::Offer => WireKind::Offer,
            MessageKind::Answer => WireKind::Answer,
            MessageKind::Candidate => WireKind::Candidate,
            MessageKind::Message => WireKind::Message,
            MessageKind::Opaque => WireKind::Opaque,
        },
        text: relay.frame.to_string(),
    }
}

fn message_of_frame(frame: WireFrame, words: &dyn DialectRegistry) -> Option<Arc<RelayedMessage>> {
    let kind = match frame.kind {
        WireKind::Offer => MessageKind::Offer,
        WireKind::Answer => MessageKind::Answer,
        WireKind::Candidate => MessageKind::Candidate,
        WireKind::Message => MessageKind::Message,
        WireKind::Opaque => MessageKind::Opaque,
    };
    let text = ByteString::from(frame.text);
    words.message(&frame.origin, kind, text).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_core::DialectTraits;

    struct NoWords;

    impl DialectRegistry for NoWords {
        fn dialect(&self, _name: &str) -> &'static DialectTraits {
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

    #[test]
    fn mail_about_a_closed_room_is_about_no_other() {
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
        let letters = rooms.clone().map(|room| NodeMessage {
            log: LogId::Room(room),
            body: NodeMessageBody::Probe(PeerId::from([7; 16])),
        });
        let node = NodeId::from(1);
        let bytes = write(node, letters.iter().map(|letter| (9.into(), letter)));
        let (from, read) = read(&bytes, &NoWords).expect("mail");
        assert_eq!(from, node);
        let read: Vec<_> = read.into_iter().map(|(_, letter)| letter.log).collect();
        assert_eq!(read, rooms.map(LogId::Room));
    }

    #[test]
    fn mail_about_a_name_in_a_room_is_about_no_other_name() {
        let in_space = NameId::in_space(
            SpaceName::default(),
            DisplayName::parse("ada", 0).expect("a name"),
        );
        let in_room = |room| NameId {
            room: Some(RoomName::parse(room, 0).expect("a name")),
            ..in_space.clone()
        };
        let names = [in_space.clone(), in_room("red"), in_room("ada")];
        let letters = names.clone().map(|name| NodeMessage {
            log: LogId::Name(name),
            body: NodeMessageBody::Alive(PeerId::from([7; 16])),
        });
        let bytes = write(
            NodeId::from(1),
            letters.iter().map(|letter| (9.into(), letter)),
        );
        let (_, read) = read(&bytes, &NoWords).expect("mail");
        let read: Vec<_> = read.into_iter().map(|(_, letter)| letter.log).collect();
        assert_eq!(read, names.map(LogId::Name));
    }
}
