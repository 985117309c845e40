//! The peer of one connection: its rooms and names, and the authorization of its commands.

use std::sync::Arc;

use crate::{
    command::{Claimant, Command, HubRequest, JoinOptions, LeaveKind},
    error::{ErrorCode, RequestError},
    grants::{Grants, Power, PowerSet},
    id::{Address, DisplayName, JoinId, NameId, PeerId, RoomId, RoomName, RoomScope, SpaceName},
    introduction::{DialectTraits, Group, Identity, Member},
    limits::{Limits, exceeds},
    reserved::is_server_name,
    room_policy::RoomPolicy,
};

/// The number of rooms or names of a peer up to which their list is allocated without spare capacity.
const FEW_ITEMS: usize = 4;

/// The reason why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client closed the connection properly, or its dialect has ended the session.
    Graceful,
    /// The client's socket was closed or reset without a proper close. The client has certainly ended the connection,
    /// so its addresses are released as after a graceful close.
    Reset,
    /// The client stopped responding, or the server ended the connection.
    Lost,
}

/// A room that a peer has joined or is joining.
#[derive(Debug)]
struct JoinedRoom {
    room: RoomName,
    scope: RoomScope,
    /// The id of the latest join.
    join_id: JoinId,
    /// The latest join had a token, so the address stays reserved after the connection is lost.
    has_token: bool,
    /// The powers of the peer in the room. They are kept, so that no message matches patterns.
    powers: PowerSet,
}

/// A name that a peer holds or has claimed: a [`NameId`] in the peer's space.
#[derive(Debug, PartialEq, Eq)]
struct HeldName {
    room: Option<RoomName>,
    name: DisplayName,
}

/// The rooms and names of one connection. It turns the commands that the connection's dialect session decodes into
/// requests to a hub.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    dialect: &'static DialectTraits,
    identity: Identity,
    space: SpaceName,
    grants: Arc<Grants>,
    /// Whether the grants have the power `relay`. It is kept, because each step of a session reads it.
    may_relay: bool,
    /// The policy that the client's credential carries.
    policy: Option<Arc<RoomPolicy>>,
    /// Sorted by room.
    rooms: Vec<JoinedRoom>,
    /// The names that the peer holds or has claimed.
    names: Vec<HeldName>,
    last_join_id: JoinId,
}

impl Peer {
    /// A peer without rooms and names, with the grants [`Grants::participant`].
    #[must_use]
    pub fn new(
        id: PeerId,
        traits: &'static DialectTraits,
        identity: Identity,
        space: SpaceName,
    ) -> Self {
        Self {
            id,
            dialect: traits,
            identity,
            space,
            grants: Grants::participant(),
            may_relay: true,
            policy: None,
            rooms: Vec::new(),
            names: Vec::new(),
            last_join_id: JoinId::default(),
        }
    }

    /// The peer's id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The peer's identity.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The namespace of the peer's rooms and names.
    #[must_use]
    pub fn space(&self) -> &SpaceName {
        &self.space
    }

    /// Sets the policy that the client's credential carries. It applies to later joins and claims.
    pub fn set_room_policy(&mut self, policy: Option<Arc<RoomPolicy>>) {
        self.policy = policy;
    }

    /// The policy that the client's credential carries.
    #[must_use]
    pub fn room_policy(&self) -> Option<&RoomPolicy> {
        self.policy.as_deref()
    }

    /// The traits of the peer's dialect.
    #[must_use]
    pub fn dialect(&self) -> &'static DialectTraits {
        self.dialect
    }

    /// The peer's grants.
    #[must_use]
    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// Replaces the grants. They hold for the next command in each room that the peer is in.
    pub fn set_grants(&mut self, grants: Arc<Grants>) {
        for joined in &mut self.rooms {
            joined.powers = grants.in_room(&joined.room);
        }
        self.may_relay = grants.has(Power::Relay);
        self.grants = grants;
    }

    /// Whether the peer may get STUN and TURN servers with credentials.
    #[must_use]
    pub fn may_relay(&self) -> bool {
        self.may_relay
    }

    /// The rooms of the peer that it may not join any more: for each the request to leave it, and the error that
    /// informs the session.
    #[must_use]
    pub fn revoked_rooms(&self) -> Vec<(HubRequest, RequestError)> {
        let join = PowerSet::of(Power::Join);
        let revoked = self
            .rooms
            .iter()
            .filter(|joined| !joined.powers.contains(join));
        let revoked = revoked.map(|joined| {
            let room = self.room(joined.room.clone(), joined.scope.clone());
            let code = denied(Power::Join, Some(&joined.room));
            let error = RequestError::join(code, &joined.room, joined.join_id);
            (HubRequest::Leave(room, LeaveKind::Announced), error)
        });
        revoked.collect()
    }

    /// Sets the identity and the namespace after the peer was authenticated by its first frame. It has no rooms and
    /// names then: they would belong to another namespace.
    pub fn authenticate(&mut self, identity: Identity, space: SpaceName) {
        debug_assert!(self.rooms.is_empty() && self.names.is_empty());
        self.identity = identity;
        self.space = space;
    }

    /// Sets the dialect after it was detected. Rooms and names are kept.
    pub fn set_dialect(&mut self, traits: &'static DialectTraits) {
        self.dialect = traits;
    }

    /// Checks a command and turns it into a hub request.
    ///
    /// # Errors
    /// `NotInRoom`, `Reserved`, `TooManyRooms`, or `Denied` if the peer lacks a grant.
    pub fn authorize(
        &mut self,
        command: Command,
        limits: &Limits,
    ) -> Result<HubRequest, RequestError> {
        match command {
            Command::Claim(room, name) => self.claim(room, name),
            Command::Release(room, name) => Ok(self.release(room, name)),
            Command::Join {
                room,
                address,
                name,
                options,
            } => self.join(room, address, name, options, limits),
            Command::Leave { room, kind } => {
                let id = self.joined_room(&room)?;
                if let Ok(index) = self.index_of(&room) {
                    self.rooms.remove(index);
                }
                Ok(HubRequest::Leave(id, kind))
            }
            Command::Send { room, to, message } => {
                let id = self.joined_room_with(&room, PowerSet::to_send(message.kind));
                let id = id.map_err(|error| error.to(to.clone()))?;
                Ok(HubRequest::Send(id, to, Arc::new(message)))
            }
            // A member is told of the other members anyway, so it needs no grant to list them.
            Command::List(room) => Ok(HubRequest::List(self.joined_room(&room)?)),
        }
    }

    /// Records a rejected join. Returns false if a newer join or a leave has superseded it.
    pub fn note_rejected_join(&mut self, error: &RequestError) -> bool {
        let (Some(room), Some(join_id)) = (&error.room, error.join) else {
            return true;
        };
        let before = self.rooms.len();
        self.rooms
            .retain(|joined| joined.room != *room || joined.join_id != join_id);
        self.rooms.len() != before
    }

    /// Removes all rooms and names, and returns the requests that release them.
    #[must_use]
    pub fn disconnect(&mut self, reason: DisconnectReason) -> Vec<HubRequest> {
        let rooms = std::mem::take(&mut self.rooms);
        let names = std::mem::take(&mut self.names);
        let release = |held: HeldName| HubRequest::Release(self.name_id(held.room, held.name));
        let leave = rooms.into_iter().map(|joined| {
            let kind = match reason {
                DisconnectReason::Lost if joined.has_token => LeaveKind::ConnectionLost,
                DisconnectReason::Lost | DisconnectReason::Reset | DisconnectReason::Graceful => {
                    LeaveKind::Announced
                }
            };
            HubRequest::Leave(self.room(joined.room, joined.scope), kind)
        });
        leave.chain(names.into_iter().map(release)).collect()
    }

    fn room(&self, name: RoomName, scope: RoomScope) -> RoomId {
        RoomId {
            space: self.space.clone(),
            name,
            scope,
        }
    }

    /// The index of the room in `rooms`, or the index at which to insert it.
    fn index_of(&self, room: &RoomName) -> Result<usize, usize> {
        self.rooms.binary_search_by(|joined| joined.room.cmp(room))
    }

    fn joined(&self, room: &RoomName) -> Option<&JoinedRoom> {
        self.index_of(room).ok().map(|index| &self.rooms[index])
    }

    /// The room of this name that the peer is in.
    fn joined_room(&self, room: &RoomName) -> Result<RoomId, RequestError> {
        let not_in_room = || RequestError::new(ErrorCode::NotInRoom).in_room(room);
        let joined = self.joined(room).ok_or_else(not_in_room)?;
        Ok(self.room(room.clone(), joined.scope.clone()))
    }

    /// The room of this name that the peer is in and has these powers in.
    fn joined_room_with(&self, room: &RoomName, powers: PowerSet) -> Result<RoomId, RequestError> {
        let not_in_room = || RequestError::new(ErrorCode::NotInRoom).in_room(room);
        let joined = self.joined(room).ok_or_else(not_in_room)?;
        match joined.powers.first_missing(powers) {
            None => Ok(self.room(room.clone(), joined.scope.clone())),
            Some(power) => Err(RequestError::new(denied(power, Some(room))).in_room(room)),
        }
    }

    /// The scope of the room for these join options. A room that the peer is in keeps its scope.
    fn scope_of(&self, room: &RoomName, options: &JoinOptions) -> RoomScope {
        if let Some(joined) = self.joined(room) {
            return joined.scope.clone();
        }
        // Members of a group, or of a dialect without signals, are invisible to other dialects, so
        // they must not count against the member limit of the shared room.
        let is_invisible_to_others =
            options.group_size.is_some() || !self.dialect.reaches_other_dialects();
        match options.closed_to_other_dialects || is_invisible_to_others {
            true => RoomScope::only(self.dialect.name),
            false => RoomScope::Shared,
        }
    }

    fn name_id(&self, room: Option<RoomName>, name: DisplayName) -> NameId {
        let space = self.space.clone();
        NameId { space, room, name }
    }

    fn claim(
        &mut self,
        room: Option<RoomName>,
        name: DisplayName,
    ) -> Result<HubRequest, RequestError> {
        let id = self.name_id(room.clone(), name.clone());
        if is_server_name(id.name.as_str()) {
            return Err(RequestError::claim(ErrorCode::Reserved, id));
        }
        let may_join = match &id.room {
            Some(room) => self.grants.allows(Power::Join, room),
            None => self.grants.has(Power::Join),
        };
        if !may_join {
            let code = denied(Power::Join, id.room.as_ref());
            return Err(RequestError::claim(code, id));
        }
        let held = HeldName { room, name };
        if !self.names.contains(&held) {
            reserve_one(&mut self.names);
            self.names.push(held);
        }
        let claimant = Claimant {
            identity: self.identity.clone(),
            dialect: self.dialect,
            policy: self.policy.clone(),
        };
        Ok(HubRequest::Claim(id, Box::new(claimant)))
    }

    fn release(&mut self, room: Option<RoomName>, name: DisplayName) -> HubRequest {
        let released = HeldName { room, name };
        self.names.retain(|held| *held != released);
        HubRequest::Release(self.name_id(released.room, released.name))
    }

    fn join(
        &mut self,
        room: RoomName,
        address: Address,
        name: Option<DisplayName>,
        options: JoinOptions,
        limits: &Limits,
    ) -> Result<HubRequest, RequestError> {
        self.last_join_id = self.last_join_id.next();
        if !self.dialect.allows_server_address && is_server_name(address.as_str()) {
            return Err(RequestError::join(
                ErrorCode::Reserved,
                &room,
                self.last_join_id,
            ));
        }
        if self.joined(&room).is_none() && exceeds(self.rooms.len() + 1, limits.rooms_per_peer) {
            return Err(RequestError::join(
                ErrorCode::TooManyRooms,
                &room,
                self.last_join_id,
            ));
        }
        let powers = self.grants.in_room(&room);
        if !powers.contains(PowerSet::of(Power::Join)) {
            let code = denied(Power::Join, Some(&room));
            return Err(RequestError::join(code, &room, self.last_join_id));
        }
        let scope = self.scope_of(&room, &options);
        let joined = JoinedRoom {
            room: room.clone(),
            scope: scope.clone(),
            join_id: self.last_join_id,
            has_token: options.token.is_some(),
            powers,
        };
        match self.index_of(&room) {
            Ok(index) => self.rooms[index] = joined,
            Err(index) => {
                reserve_one(&mut self.rooms);
                self.rooms.insert(index, joined);
            }
        }
        let member = Member {
            peer: self.id,
            address,
            name,
            dialect: self.dialect,
            identity: self.identity.clone(),
            token: options.token.map(Box::new),
            // The hub replaces `first` if a group of the room has free slots.
            group: options.group_size.map(|capacity| {
                Box::new(Group {
                    first: self.id,
                    capacity,
                })
            }),
            policy: self.policy.clone(),
        };
        let room = self.room(room, scope);
        Ok(HubRequest::Join(room, Arc::new(member), self.last_join_id))
    }
}

/// The error of a command without the grant that it needs.
fn denied(power: Power, room: Option<&RoomName>) -> ErrorCode {
    let room = room.map(|room| format!(" in the room {room:?}"));
    let text = format!(
        "You do not have the grant {:?}{}.",
        power.as_str(),
        room.unwrap_or_default()
    );
    ErrorCode::Denied(Some(text.into()))
}

/// Reserves memory for one more item. A list of few items gets no spare capacity: nearly all peers have one room.
fn reserve_one<T>(list: &mut Vec<T>) {
    if list.len() < FEW_ITEMS {
        list.reserve_exact(1);
    }
}
