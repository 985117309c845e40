//! The rooms as an API for the host program.

use std::sync::Arc;

use switchboard_core::{
    Address, DialectName, Identity, Input, Member, MessageKind, PeerId, RelayedMessage, RoomId,
    RoomName, RoomScope, SpaceName, Target,
};
use switchboard_dialects::{Content, HOST};
use switchboard_transport::SessionRegistry;
use thiserror::Error;

use crate::shards::Shards;

/// Reads the rooms, sends messages into them and removes members. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rooms {
    shards: Arc<Shards>,
    sessions: Arc<SessionRegistry>,
}

/// The room of this name in the default space that every dialect can enter; `None` for the empty name.
/// A dialect may close its rooms to others: see [`room_of_dialect`].
#[must_use]
pub fn room(name: &str) -> Option<RoomId> {
    Some(RoomId::shared(
        SpaceName::default(),
        RoomName::parse(name, 0).ok()?,
    ))
}

/// The room of this name in the default space that only this dialect can enter; `None` for the empty name. All rooms of
/// `peerjs` are such rooms unless `peerjs.mixed` is set.
#[must_use]
pub fn room_of_dialect(name: &str, dialect: &str) -> Option<RoomId> {
    Some(RoomId {
        scope: RoomScope::only(dialect),
        ..room(name)?
    })
}

impl Rooms {
    pub(crate) fn new(shards: Arc<Shards>, sessions: Arc<SessionRegistry>) -> Self {
        Self { shards, sessions }
    }

    /// The rooms that this node has members in, or had until recently, sorted. The number is that of the members on
    /// all nodes.
    #[must_use]
    pub fn list(&self) -> Vec<(RoomId, usize)> {
        let mut rooms = self.shards.rooms();
        rooms.sort();
        rooms
    }

    /// The members of a room on all nodes, in the order of their joins. Empty if this node has no member in the room.
    #[must_use]
    pub fn members(&self, room: &RoomId) -> Vec<Arc<Member>> {
        self.shards.members(room)
    }

    /// Sends text from the server to one member, in the member's dialect.
    ///
    /// # Errors
    /// If the address is no member's, or the member's dialect has no text messages.
    pub fn send(&self, room: &RoomId, address: &Address, text: &str) -> Result<(), SendError> {
        self.send_content(room, address, &Content::Message(text.into()))
    }

    /// Sends text, a session description or a candidate from the server to one member, in the member's dialect. The
    /// sender that the client sees is `server`.
    ///
    /// # Errors
    /// If the address is no member's, or the member's dialect carries no content of this kind.
    pub fn send_content(
        &self,
        room: &RoomId,
        address: &Address,
        content: &Content<'_>,
    ) -> Result<(), SendError> {
        let member = self.member(room, address)?;
        let is_carried = match content {
            Content::Message(_) => member.dialect.messages,
            Content::Offer(_) | Content::Answer(_) | Content::Candidate(_) => {
                member.dialect.signals
            }
        };
        if !is_carried {
            return Err(SendError::NotCarried(member.dialect.name));
        }
        let to = Target::Address(address.clone());
        self.announce(room, to, content.to_host_message());
        Ok(())
    }

    /// Sends one member a frame of its own dialect, unchanged: for data that no other dialect has. `frame` gets the
    /// name of the dialect and returns the frame; with `None`, nothing is sent.
    ///
    /// # Errors
    /// If the address is no member's, or `frame` returns `None`.
    pub fn send_frame(
        &self,
        room: &RoomId,
        address: &Address,
        frame: impl FnOnce(DialectName) -> Option<String>,
    ) -> Result<(), SendError> {
        let name = self.member(room, address)?.dialect.name;
        let frame = frame(name).ok_or(SendError::NotCarried(name))?;
        let message = RelayedMessage::new(name, MessageKind::Opaque, frame.into(), |_, _| false);
        self.announce(room, Target::Address(address.clone()), message);
        Ok(())
    }

    fn member(&self, room: &RoomId, address: &Address) -> Result<Arc<Member>, SendError> {
        let members = self.members(room).into_iter();
        let mut named = members.filter(|member| member.address == *address);
        named.next().ok_or(SendError::NoSuchMember)
    }

    /// Sends text from the server to all members of a room. Returns the number of members whose dialects support
    /// text messages.
    pub fn broadcast(&self, room: &RoomId, text: &str) -> usize {
        let receivers = self
            .members(room)
            .iter()
            .filter(|member| member.dialect.messages)
            .count();
        let message = Content::Message(text.into()).to_host_message();
        self.announce(room, Target::Everyone, message);
        receivers
    }

    /// Closes a member's connection with 1008 and the first 123 bytes of `reason`; on another node with
    /// `removed from the room`. The other members are notified that it left. Returns whether there was such a member.
    pub fn kick(&self, room: &RoomId, address: &Address, reason: &str) -> bool {
        let Ok(member) = self.member(room, address) else {
            return false;
        };
        let peer = member.peer;
        self.sessions.end(peer, reason);
        // The connection may end before the hub gets the input, and another client may join under the address.
        let kick = Input::Kick {
            room: room.clone(),
            address: address.clone(),
            peer,
        };
        self.shards.handle(room, kick);
        true
    }

    fn announce(&self, room: &RoomId, to: Target, message: RelayedMessage) {
        let (room, from) = (room.clone(), server());
        let message = Arc::new(message);
        self.shards.handle(
            &room.clone(),
            Input::Announce {
                room,
                to,
                from,
                message,
            },
        );
    }
}

/// The reason why nothing was sent to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The room has no member with this address, or this node has no member in the room.
    #[error("the room has no member with this address")]
    NoSuchMember,
    /// The dialect of the member carries nothing of this kind.
    #[error("the dialect {0:?} of the member carries nothing of this kind")]
    NotCarried(DialectName),
}

/// The host program as a sender. Dialects whose server sends as `server` escape the names of members that could be
/// confused with it.
fn server() -> Arc<Member> {
    Arc::new(Member {
        peer: PeerId::from_random([0; 16]),
        address: Address::parse("server", 0).expect("not empty"),
        name: None,
        dialect: &HOST,
        identity: Identity::Claimed,
        token: None,
        group: None,
        policy: None,
    })
}
