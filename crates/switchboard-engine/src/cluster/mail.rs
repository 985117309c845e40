//! How members and letters are spelled between nodes.
//!
//! A member's card is JSON, for people who look into the store. Mail is postcard behind one byte
//! that says which spelling it is; a node that does not know it takes nothing of it.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use switchboard_core::{
    Address, Addressee, Circle, DisplayName, Duty, Identity, Letter, LogId, Member, Message,
    NameId, NodeId, PeerId, Position, Relay, RelayKind, RoomId, RoomName, RoomScope, SeatRef,
    SpaceName, Target, Token,
};

use super::store::Seat;
use crate::Vocabulary;

/// The spelling of mail, as its first byte.
const VERSION: u8 = 4;

#[derive(Default, Serialize, Deserialize)]
struct Card {
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
    circle: Option<(Id, NonZeroUsize)>,
    /// Which of its node's joins it is: one that was given up is not taken for the next.
    #[serde(default)]
    join: u64,
}

/// What a seat says of a member besides its id and address.
pub(super) fn card(member: &Member, join: u64) -> String {
    let card = Card {
        dialect: member.tongue.name.to_owned(),
        name: member.name.as_ref().map(|name| name.as_str().to_owned()),
        identity: match &member.identity {
            Identity::Claimed => None,
            Identity::Proven(name) => Some(name.to_string()),
        },
        token: member.token.as_ref().map(|token| {
            let grace = u64::try_from(token.grace.as_millis());
            (token.secret.to_string(), grace.unwrap_or(u64::MAX))
        }),
        circle: (member.circle).map(|circle| (circle.first.bytes(), circle.seats)),
        join,
    };
    // Strings are JSON.
    serde_json::to_string(&card).unwrap_or_default()
}

/// The member of a seat. A card that cannot be read is of somebody who speaks an unknown dialect.
pub(super) fn member(seat: &Seat, words: &dyn Vocabulary) -> Member {
    let card = serde_json::from_str(&seat.card).unwrap_or_default();
    of_card(seat.peer, seat.address.clone(), card, words)
}

fn of_card(peer: PeerId, address: Address, card: Card, words: &dyn Vocabulary) -> Member {
    Member {
        peer,
        address,
        name: card.name.and_then(|name| DisplayName::parse(&name, 0).ok()),
        tongue: words.tongue(&card.dialect),
        identity: match card.identity {
            Some(name) => Identity::Proven(name.into()),
            None => Identity::Claimed,
        },
        token: card.token.map(|(secret, grace)| Token {
            secret: secret.into(),
            grace: Duration::from_millis(grace),
        }),
        circle: card.circle.map(|(first, seats)| Circle {
            first: first.into(),
            seats,
        }),
    }
}

/// Letters of one node to another.
#[derive(Serialize, Deserialize)]
struct Mail {
    from: u64,
    letters: Vec<Sheet>,
}

/// A letter, and up to where its sender knew the log.
#[derive(Serialize, Deserialize)]
struct Sheet {
    log: Log,
    at: u64,
    message: Spelled,
}

#[derive(Serialize, Deserialize)]
enum Log {
    /// Its space, its name, and the only dialect that can enter, if it is closed to others.
    Room(String, String, Option<String>),
    /// Its space, the room in which it is unique, if it is not unique in the space, and the name.
    Name(String, Option<String>, String),
    Duty(String),
}

#[derive(Serialize, Deserialize)]
enum Spelled {
    Relay {
        from: Place,
        to: Option<(Place, To)>,
        frame: Frame,
    },
    Bounce {
        to: Id,
        target: To,
    },
    Announce {
        to: Option<Id>,
        from: Id,
        address: String,
        dialect: String,
        frame: Frame,
    },
    Probe(Id),
    Alive(Id),
    SlowReceiver {
        sender: Id,
        bytes: u64,
    },
}

type Id = [u8; 16];
type Place = (Id, u64);

#[derive(Serialize, Deserialize)]
enum To {
    Everyone,
    Peer(Id),
    Address(String),
    Awaited(String),
}

#[derive(Serialize, Deserialize)]
struct Frame {
    origin: String,
    kind: Kind,
    text: String,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Offer,
    Answer,
    Candidate,
    Message,
    Opaque,
}

/// Mail of letters, each with up to where its sender knew the log.
pub(super) fn write<'a>(
    from: NodeId,
    letters: impl Iterator<Item = (Position, &'a Letter)>,
) -> Vec<u8> {
    let letters = letters.map(|(at, letter)| sheet(at, letter)).collect();
    let from = from.get();
    // Postcard fails on types that these are not.
    postcard::to_extend(&Mail { from, letters }, vec![VERSION]).unwrap_or_default()
}

/// Reads mail. None if it is not mail of this spelling; letters that mean nothing here are left out.
pub(super) fn read(
    bytes: &[u8],
    words: &dyn Vocabulary,
) -> Option<(NodeId, Vec<(Position, Letter)>)> {
    let body = bytes.strip_prefix(&[VERSION])?;
    let mail: Mail = postcard::from_bytes(body).ok()?;
    let letters = mail.letters.into_iter();
    let letters = letters.filter_map(|sheet| {
        let log = log_of(sheet.log)?;
        let message = message_of(sheet.message, words)?;
        Some((sheet.at.into(), Letter { log, message }))
    });
    Some((mail.from.into(), letters.collect()))
}

/// How many bytes a letter takes, about.
pub(crate) fn weight(letter: &Letter) -> usize {
    const REST: usize = 256;
    match &letter.message {
        Message::Relay { relay, .. } | Message::Announce { relay, .. } => REST + relay.frame.len(),
        Message::Bounce { .. }
        | Message::Probe(_)
        | Message::Alive(_)
        | Message::SlowReceiver { .. } => REST,
    }
}

fn sheet(at: Position, letter: &Letter) -> Sheet {
    Sheet {
        log: match &letter.log {
            LogId::Room(room) => Log::Room(
                room.space.to_string(),
                room.name.to_string(),
                room.scope.dialect().map(str::to_owned),
            ),
            LogId::Name(NameId { space, room, name }) => Log::Name(
                space.to_string(),
                room.as_ref().map(RoomName::to_string),
                name.to_string(),
            ),
            LogId::Duty(duty) => Log::Duty(duty.to_string()),
        },
        at: at.get(),
        message: spelled(&letter.message),
    }
}

fn log_of(log: Log) -> Option<LogId> {
    let space = |space: String| SpaceName::parse(&space, 0).ok();
    let room_name = |room: Option<String>| match room {
        Some(room) => RoomName::parse(&room, 0).ok().map(Some),
        None => Some(None),
    };
    Some(match log {
        Log::Room(of, name, dialect) => LogId::Room(RoomId {
            space: space(of)?,
            name: RoomName::parse(&name, 0).ok()?,
            scope: dialect.map_or(RoomScope::Shared, |dialect| RoomScope::only(&dialect)),
        }),
        Log::Name(of, room, name) => LogId::Name(NameId {
            space: space(of)?,
            room: room_name(room)?,
            name: DisplayName::parse(&name, 0).ok()?,
        }),
        Log::Duty(name) => LogId::Duty(Duty::parse(&name, 0).ok()?),
    })
}

fn spelled(message: &Message) -> Spelled {
    match message {
        Message::Relay { from, to, relay } => Spelled::Relay {
            from: place(from),
            to: match to {
                Addressee::Everyone => None,
                Addressee::One { seat, target } => Some((place(seat), to_of(target))),
            },
            frame: frame(relay),
        },
        Message::Bounce { to, target } => Spelled::Bounce {
            to: to.bytes(),
            target: to_of(target),
        },
        Message::Announce { to, from, relay } => Spelled::Announce {
            to: to.map(PeerId::bytes),
            from: from.peer.bytes(),
            address: from.address.to_string(),
            dialect: from.tongue.name.to_owned(),
            frame: frame(relay),
        },
        Message::Probe(peer) => Spelled::Probe(peer.bytes()),
        Message::Alive(peer) => Spelled::Alive(peer.bytes()),
        Message::SlowReceiver { sender, bytes } => Spelled::SlowReceiver {
            sender: sender.bytes(),
            bytes: *bytes as u64,
        },
    }
}

fn message_of(spelled: Spelled, words: &dyn Vocabulary) -> Option<Message> {
    Some(match spelled {
        Spelled::Relay { from, to, frame } => Message::Relay {
            from: seat_ref(from),
            to: match to {
                None => Addressee::Everyone,
                Some((seat, target)) => Addressee::One {
                    seat: seat_ref(seat),
                    target: target_of(target)?,
                },
            },
            relay: relay_of(frame, words)?,
        },
        Spelled::Bounce { to, target } => Message::Bounce {
            to: to.into(),
            target: target_of(target)?,
        },
        Spelled::Announce {
            to,
            from,
            address,
            dialect,
            frame,
        } => {
            let card = Card {
                dialect,
                ..Card::default()
            };
            let address = Address::parse(&address, 0).ok()?;
            Message::Announce {
                to: to.map(PeerId::from),
                from: Arc::new(of_card(from.into(), address, card, words)),
                relay: relay_of(frame, words)?,
            }
        }
        Spelled::Probe(peer) => Message::Probe(peer.into()),
        Spelled::Alive(peer) => Message::Alive(peer.into()),
        Spelled::SlowReceiver { sender, bytes } => Message::SlowReceiver {
            sender: sender.into(),
            bytes: usize::try_from(bytes).ok()?,
        },
    })
}

fn place(seat: &SeatRef) -> Place {
    (seat.peer.bytes(), seat.since.get())
}

fn seat_ref((peer, since): Place) -> SeatRef {
    SeatRef {
        peer: peer.into(),
        since: since.into(),
    }
}

fn to_of(target: &Target) -> To {
    match target {
        Target::Everyone => To::Everyone,
        Target::Peer(peer) => To::Peer(peer.bytes()),
        Target::Address(address) => To::Address(address.to_string()),
        Target::Awaited(address) => To::Awaited(address.to_string()),
    }
}

fn target_of(to: To) -> Option<Target> {
    Some(match to {
        To::Everyone => Target::Everyone,
        To::Peer(peer) => Target::Peer(peer.into()),
        To::Address(address) => Target::Address(Address::parse(&address, 0).ok()?),
        To::Awaited(address) => Target::Awaited(Address::parse(&address, 0).ok()?),
    })
}

fn frame(relay: &Relay) -> Frame {
    Frame {
        origin: relay.origin.to_owned(),
        kind: match relay.kind {
            RelayKind::Offer => Kind::Offer,
            RelayKind::Answer => Kind::Answer,
            RelayKind::Candidate => Kind::Candidate,
            RelayKind::Message => Kind::Message,
            RelayKind::Opaque => Kind::Opaque,
        },
        text: relay.frame.to_string(),
    }
}

fn relay_of(frame: Frame, words: &dyn Vocabulary) -> Option<Arc<Relay>> {
    let kind = match frame.kind {
        Kind::Offer => RelayKind::Offer,
        Kind::Answer => RelayKind::Answer,
        Kind::Candidate => RelayKind::Candidate,
        Kind::Message => RelayKind::Message,
        Kind::Opaque => RelayKind::Opaque,
    };
    let text = ByteString::from(frame.text);
    words.relay(&frame.origin, kind, text).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_core::Tongue;

    struct NoWords;

    impl Vocabulary for NoWords {
        fn tongue(&self, _name: &str) -> &'static Tongue {
            unreachable!("no member is read")
        }

        fn relay(&self, _origin: &str, _kind: RelayKind, _frame: ByteString) -> Option<Relay> {
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
        let letters = rooms.clone().map(|room| Letter {
            log: LogId::Room(room),
            message: Message::Probe(PeerId::from([7; 16])),
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
        let letters = names.clone().map(|name| Letter {
            log: LogId::Name(name),
            message: Message::Alive(PeerId::from([7; 16])),
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
