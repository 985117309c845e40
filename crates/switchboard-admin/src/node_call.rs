//! The calls that nodes carry out for each other. A call has the caller, so that the acting node checks its grants.

use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use switchboard_core::RoomId;
use tokio::time::timeout;

use crate::{
    bans::Ban,
    caller::{AdminCaller, Need},
    error::{ApiError, ApiErrorCode},
    events::{AdminEvent, EventBatch, EventKind, Positions},
    paging::{is_within, page_of_rooms, page_of_sessions},
    requests::{KickTarget, PAGE_MAX, RoomQuery, SessionQuery, check_room},
    service::AdminContext,
    types::{MemberInfo, RoomLock, RoomRef, RoomSummary, SessionSummary},
};

/// The longest wait for events in milliseconds.
pub(crate) const EVENTS_WAIT_MS_MAX: u64 = 10_000;

/// The events of one answer.
const EVENTS_PER_ANSWER: usize = 256;

/// A call to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeCall {
    pub(crate) caller: AdminCaller,
    pub(crate) action: NodeAction,
}

/// The part of a call that one node carries out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeAction {
    State,
    Rooms(RoomQuery),
    Members(RoomRef),
    /// The member with this address.
    Member {
        room: RoomRef,
        address: String,
    },
    Sessions(SessionQuery),
    /// A session, and its events.
    Session(String),
    Voice,
    /// Ends the sessions of a target; with a room, only those in the room.
    Kick {
        target: KickTarget,
        room: Option<RoomRef>,
        reason: String,
    },
    AddBan(Ban),
    RemoveBan {
        id: String,
        /// The room of the ban, whose moderators may remove it.
        room: Option<RoomRef>,
    },
    /// Ends the sessions of this node in a room.
    Close {
        room: RoomRef,
        reason: String,
    },
    Lock(RoomLock),
    /// Sends text into a room, if this node has members in it.
    Message {
        room: RoomRef,
        text: String,
    },
    Drain(bool),
    Events {
        positions: Positions,
        resumes: bool,
        wait_ms: u64,
    },
    /// The bans and locks of this node, unless they have this digest.
    Sync {
        digest: u64,
    },
}

/// A session and its events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionPart {
    pub(crate) session: Option<SessionSummary>,
    pub(crate) events: Vec<AdminEvent>,
}

/// The members of a room as one node knows them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MembersPart {
    pub(crate) total: usize,
    /// The first ones, in the order of their joins.
    pub(crate) members: Vec<MemberInfo>,
}

/// The bans and locks of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SyncPart {
    pub(crate) bans: Vec<Ban>,
    pub(crate) locks: Vec<RoomLock>,
}

impl NodeAction {
    /// The grants that the action needs.
    fn need(&self) -> Need<'_> {
        match self {
            Self::State
            | Self::Rooms(_)
            | Self::Members(_)
            | Self::Member { .. }
            | Self::Sessions(_)
            | Self::Session(_)
            | Self::Voice
            | Self::Drain(_)
            | Self::Events { .. }
            | Self::Sync { .. }
            | Self::Kick { room: None, .. }
            | Self::RemoveBan { room: None, .. } => Need::Admin,
            Self::Kick {
                room: Some(room), ..
            }
            | Self::RemoveBan {
                room: Some(room), ..
            }
            | Self::Close { room, .. }
            | Self::Message { room, .. } => Need::Moderate(room),
            Self::Lock(lock) => Need::Moderate(&lock.room),
            Self::AddBan(ban) => ban.room.as_ref().map_or(Need::Admin, Need::Moderate),
        }
    }
}

impl NodeAction {
    /// The time that the action may wait before it answers.
    pub(crate) fn wait(&self) -> Duration {
        match self {
            Self::Events { wait_ms, .. } => {
                Duration::from_millis((*wait_ms).min(EVENTS_WAIT_MS_MAX))
            }
            Self::State
            | Self::Rooms(_)
            | Self::Members(_)
            | Self::Member { .. }
            | Self::Sessions(_)
            | Self::Session(_)
            | Self::Voice
            | Self::Kick { .. }
            | Self::AddBan(_)
            | Self::RemoveBan { .. }
            | Self::Close { .. }
            | Self::Lock(_)
            | Self::Message { .. }
            | Self::Drain(_)
            | Self::Sync { .. } => Duration::ZERO,
        }
    }
}

impl NodeCall {
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        self.caller.check(self.action.need())
    }
}

impl AdminContext {
    /// Carries out a call on this node.
    pub(crate) async fn perform(&self, call: NodeCall) -> Result<Value, ApiError> {
        call.check()?;
        match call.action {
            NodeAction::State => to_value(&self.host.state()),
            NodeAction::Rooms(query) => to_value(&self.rooms(&query)?),
            NodeAction::Members(room) => to_value(&self.members(&room)?),
            NodeAction::Member { room, address } => to_value(&self.member(&room, &address)?),
            NodeAction::Sessions(query) => {
                let limit = part_size(query.limit);
                to_value(&page_of_sessions(self.host.sessions(), &query, limit)?.0)
            }
            NodeAction::Session(id) => to_value(&self.session(&id)),
            NodeAction::Voice => to_value(&self.host.voice()),
            NodeAction::Kick {
                target,
                room,
                reason,
            } => to_value(&self.kick(&target, room.as_ref(), &reason)?),
            NodeAction::AddBan(ban) => {
                let added = self.bans.add(ban, self.host.now_ms());
                added.map_err(|error| {
                    ApiError::new(ApiErrorCode::LimitReached, error.to_string())
                })?;
                to_value(&1)
            }
            NodeAction::RemoveBan { id, room } => to_value(&self.remove_ban(&id, room.as_ref())?),
            NodeAction::Close { room, reason } => to_value(&self.close(&room, &reason)?),
            NodeAction::Lock(lock) => {
                room_id(&lock.room)?;
                self.host.set_lock(&lock)?;
                to_value(&1)
            }
            NodeAction::Message { room, text } => to_value(&self.message(&room, &text)?),
            NodeAction::Drain(is_draining) => {
                self.host.set_draining(is_draining);
                to_value(&1)
            }
            NodeAction::Events {
                positions,
                resumes,
                wait_ms,
            } => to_value(&self.events(&positions, resumes, wait_ms).await),
            NodeAction::Sync { digest } => to_value(&self.sync(digest)),
        }
    }

    fn rooms(&self, query: &RoomQuery) -> Result<Vec<RoomSummary>, ApiError> {
        let mut rooms: Vec<_> = self
            .host
            .rooms()
            .iter()
            .map(|(room, members)| RoomSummary {
                room: RoomRef::of(room),
                members: *members,
                locked: None,
            })
            .collect();
        for lock in self.host.locks() {
            match rooms.iter_mut().find(|it| it.room == lock.room) {
                Some(room) => room.locked = lock.locked,
                None if lock.locked.is_some() => rooms.push(RoomSummary {
                    room: lock.room,
                    members: 0,
                    locked: lock.locked,
                }),
                None => {}
            }
        }
        Ok(page_of_rooms(rooms, query, part_size(query.limit))?.0)
    }

    fn members(&self, room: &RoomRef) -> Result<MembersPart, ApiError> {
        let mut members = self.host.members(&room_id(room)?);
        let total = members.len();
        members.truncate(PAGE_MAX);
        Ok(MembersPart { total, members })
    }

    fn member(&self, room: &RoomRef, address: &str) -> Result<Option<MemberInfo>, ApiError> {
        let mut members = self.host.members(&room_id(room)?).into_iter();
        Ok(members.find(|member| member.address == address))
    }

    fn session(&self, id: &str) -> SessionPart {
        let mut sessions = self.host.sessions().into_iter();
        SessionPart {
            session: sessions.find(|session| session.id == id),
            events: self.events.of_session(id),
        }
    }

    /// Ends the sessions of this node that belong to a target. Returns their number.
    fn kick(
        &self,
        target: &KickTarget,
        room: Option<&RoomRef>,
        reason: &str,
    ) -> Result<usize, ApiError> {
        if let (KickTarget::Member(address), Some(room)) = (target, room) {
            return self.kick_member(room, address, reason);
        }
        let sessions = self.host.sessions().into_iter();
        let sessions = sessions.filter(|session| {
            let is_in = room.is_none_or(|room| session.rooms.contains(room));
            is_in && is_meant(target, session)
        });
        let ended = sessions
            .filter(|session| self.host.end_session(&session.id, reason))
            .count();
        let voice = match (target, room) {
            (KickTarget::Identity(user), None) => self.host.end_voice_user(user),
            (
                KickTarget::Identity(_)
                | KickTarget::Session(_)
                | KickTarget::Network(_)
                | KickTarget::Member(_),
                _,
            ) => 0,
        };
        Ok(ended + voice)
    }

    /// Ends the session of a member, if it is on this node.
    fn kick_member(&self, room: &RoomRef, address: &str, reason: &str) -> Result<usize, ApiError> {
        let id = room_id(room)?;
        let is_here = self
            .member(room, address)?
            .is_some_and(|member| member.node.is_some());
        Ok(usize::from(
            is_here && self.host.evict(&id, address, reason),
        ))
    }

    fn remove_ban(&self, id: &str, room: Option<&RoomRef>) -> Result<bool, ApiError> {
        let now = self.host.now_ms();
        match self.bans.get(id, now) {
            // A moderator names the room of the ban; a ban of another room or of all rooms is not theirs to remove.
            Some(ban) if room.is_some() && ban.room.as_ref() != room => Err(ApiError::new(
                ApiErrorCode::Forbidden,
                "the ban is not of this room",
            )),
            Some(_) | None => Ok(self.bans.remove(id, now)),
        }
    }

    fn close(&self, room: &RoomRef, reason: &str) -> Result<usize, ApiError> {
        let id = room_id(room)?;
        let members = self.host.members(&id).into_iter();
        let here = members.filter(|member| member.node.is_some());
        Ok(here
            .filter(|member| self.host.evict(&id, &member.address, reason))
            .count())
    }

    /// Sends text into a room. `None` if this node has no member in it.
    fn message(&self, room: &RoomRef, text: &str) -> Result<Option<usize>, ApiError> {
        let id = room_id(room)?;
        if self.host.members(&id).is_empty() {
            return Ok(None);
        }
        Ok(Some(self.host.broadcast(&id, text)))
    }

    async fn events(&self, positions: &Positions, resumes: bool, wait_ms: u64) -> EventBatch {
        let from = self.events.start(positions, resumes);
        let batch = self.events.after(from, EVENTS_PER_ANSWER);
        // A stream that does not know this process yet must learn its position at once.
        if !batch.events.is_empty() || batch.missed > 0 || !positions.0.contains_key(&batch.process)
        {
            return batch;
        }
        let wait = Duration::from_millis(wait_ms.min(EVENTS_WAIT_MS_MAX));
        let waited = timeout(wait, self.events.wait(from)).await;
        match waited {
            Ok(()) => self.events.after(from, EVENTS_PER_ANSWER),
            Err(_) => batch,
        }
    }

    /// The bans and locks of this node, unless they have this digest.
    fn sync(&self, digest: u64) -> Option<SyncPart> {
        (self.digest() != digest).then(|| SyncPart {
            bans: self.bans.snapshot(self.host.now_ms()),
            locks: self.host.locks(),
        })
    }

    /// A number that is equal on nodes with equal bans and locks.
    pub(crate) fn digest(&self) -> u64 {
        let locks = self.host.locks();
        let locks = locks.iter().map(|lock| lock.changed_ms.wrapping_mul(31));
        let bans = self.bans.digest(self.host.now_ms());
        locks.fold(bans, u64::wrapping_add)
    }

    /// Records an event of this node.
    pub(crate) fn record(&self, kind: EventKind) {
        self.events.push(AdminEvent {
            time_ms: self.host.now_ms(),
            node: self.host.this_node(),
            kind,
        });
    }
}

fn is_meant(target: &KickTarget, session: &SessionSummary) -> bool {
    match target {
        KickTarget::Session(id) => session.id == *id,
        KickTarget::Identity(name) => session.identity.as_ref() == Some(name),
        KickTarget::Network(net) => is_within(session.address.as_deref(), *net),
        KickTarget::Member(_) => false,
    }
}

/// The entries that a node returns for a page: one more, which tells whether there is another page.
fn part_size(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE_MAX).min(PAGE_MAX) + 1
}

pub(crate) fn room_id(room: &RoomRef) -> Result<RoomId, ApiError> {
    check_room(room)?;
    room.to_room_id()
        .ok_or_else(|| ApiError::bad_request("no room has this name"))
}

pub(crate) fn to_value<T: Serialize>(value: &T) -> Result<Value, ApiError> {
    serde_json::to_value(value).map_err(|error| unreadable(&error))
}

pub(crate) fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> ApiError {
    ApiError::new(
        ApiErrorCode::Unavailable,
        format!("unreadable answer of a node: {error}"),
    )
}
