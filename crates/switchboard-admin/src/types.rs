//! The answers of the admin API: nodes, rooms, members, sessions, voice.

use serde::{Deserialize, Deserializer, Serialize};
use switchboard_core::{RoomId, RoomName, RoomScope, SpaceName};
use utoipa::{IntoParams, ToSchema};

/// The bytes of the name of a room or space in a request. The server's own limit is lower by default.
pub(crate) const NAME_BYTES_MAX: usize = 2048;

/// The name of a room.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, IntoParams,
)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RoomRef {
    /// The namespace of the room; empty for the default one.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "space"
    )]
    #[schema(max_length = 512)]
    #[param(max_length = 512)]
    pub space: String,
    /// The name within the namespace.
    #[schema(min_length = 1, max_length = 512)]
    #[param(min_length = 1, max_length = 512)]
    pub name: String,
    /// The only dialect that can enter the room; absent for a room of all dialects.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "dialect"
    )]
    #[schema(max_length = 64)]
    #[param(max_length = 64)]
    pub dialect: Option<String>,
}

/// Reads a namespace: the default one is always the empty text, so that each room has one name.
fn space<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_default = text == SpaceName::default().as_str();
    Ok(if is_default { String::new() } else { text })
}

/// Reads the dialect of a room: the empty text is none.
fn dialect<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// The name of a namespace in the API: the default one is the empty text.
#[must_use]
pub fn space_text(space: &SpaceName) -> String {
    match *space == SpaceName::default() {
        true => String::new(),
        false => space.as_str().to_owned(),
    }
}

impl RoomRef {
    /// The name of this room.
    #[must_use]
    pub fn of(room: &RoomId) -> Self {
        Self {
            space: space_text(&room.space),
            name: room.name.as_str().to_owned(),
            dialect: room.scope.dialect().map(str::to_owned),
        }
    }

    /// The room; `None` if the name is empty or too long.
    #[must_use]
    pub fn to_room_id(&self) -> Option<RoomId> {
        let space = match self.space.as_str() {
            "" => SpaceName::default(),
            space => SpaceName::parse(space, NAME_BYTES_MAX).ok()?,
        };
        let name = RoomName::parse(&self.name, NAME_BYTES_MAX).ok()?;
        let scope = match self.dialect.as_deref() {
            None | Some("") => RoomScope::Shared,
            Some(dialect) => RoomScope::only(dialect),
        };
        Some(RoomId { space, name, scope })
    }
}

/// A room in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomSummary {
    /// The name of the room.
    pub room: RoomRef,
    /// The members on all nodes.
    pub members: usize,
    /// Whether an operator has locked or unlocked the room; absent without such an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
}

/// A room with its members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomDetail {
    /// The name of the room.
    pub room: RoomRef,
    /// The number of members on all nodes.
    pub total: usize,
    /// The first 1,000 members, in the order of their joins.
    pub members: Vec<MemberInfo>,
    /// Whether an operator has locked or unlocked the room; absent without such an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// The nodes that could not be asked.
    #[serde(default)]
    pub failed_nodes: Vec<NodeFailure>,
}

/// A member of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberInfo {
    /// The id of its session.
    pub session: String,
    /// The address by which the other members name it.
    pub address: String,
    /// The name that the client has given itself.
    pub name: Option<String>,
    /// The dialect of the client.
    pub dialect: String,
    /// The authenticated identity.
    pub identity: Option<String>,
    /// The node of its session, if that node has answered.
    pub node: Option<String>,
    /// The IP address of the client, if its node has answered.
    pub client_address: Option<String>,
}

/// A page of rooms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomPage {
    /// The rooms, sorted by space, name and dialect.
    pub rooms: Vec<RoomSummary>,
    /// The cursor of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The nodes that could not be asked.
    #[serde(default)]
    pub failed_nodes: Vec<NodeFailure>,
}

/// A session of a WebSocket client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionSummary {
    /// The id of the session.
    pub id: String,
    /// The node of the session.
    pub node: String,
    /// The IP address of the client, if it is known.
    pub address: Option<String>,
    /// The dialect; `undetected` until the first frame has shown it.
    pub dialect: String,
    /// The authenticated identity.
    pub identity: Option<String>,
    /// The rooms that it has joined.
    pub rooms: Vec<RoomRef>,
    /// The time at which it began, in milliseconds since 1970.
    pub since_ms: u64,
    /// The bytes of events and frames that wait for the client.
    pub queued_bytes: usize,
}

/// A page of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionPage {
    /// The sessions, sorted by id.
    pub sessions: Vec<SessionSummary>,
    /// The cursor of the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The nodes that could not be asked.
    #[serde(default)]
    pub failed_nodes: Vec<NodeFailure>,
}

/// A session and its recent life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionDetail {
    /// The session; absent if it has ended.
    pub session: Option<SessionSummary>,
    /// Its last events, oldest first.
    pub events: Vec<crate::events::AdminEvent>,
    /// The nodes that could not be asked.
    #[serde(default)]
    pub failed_nodes: Vec<NodeFailure>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// The id of the node; `self` on a server without a cluster.
    pub id: String,
    /// The URL at which the other nodes reach it.
    pub url: Option<String>,
    /// Whether its lease is valid.
    pub alive: bool,
    /// The version that it runs.
    pub version: String,
    /// Its state, if the node has answered.
    pub state: Option<NodeState>,
}

/// The state of a node, as it reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeState {
    /// Whether load balancers may send new clients to it.
    pub ready: bool,
    /// Whether an operator drains it, or it stops.
    pub draining: bool,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// Open WebSocket connections.
    pub connections: u64,
    /// The limit of connections; 0 for none.
    pub connections_max: u64,
    /// Rooms with members on this node.
    pub rooms: u64,
    /// Whether it does the work of voice.
    pub voice: bool,
    /// Seconds that the store has not answered.
    pub engine_down_secs: Option<u64>,
    /// Frames received from clients since the start.
    pub frames_in: u64,
    /// Frames sent to clients since the start.
    pub frames_out: u64,
    /// Connections accepted since the start.
    pub connections_total: u64,
    /// Connections refused since the start, for a limit or by an access check.
    pub connections_refused: u64,
    /// Frames and requests answered with an error since the start.
    pub refused: u64,
    /// Times since the start that a client over its rate was read more slowly.
    pub paused: u64,
    /// Connections ended since the start because the client did not read.
    pub slow: u64,
}

/// The nodes of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeList {
    /// The node that has answered.
    pub this: String,
    /// All nodes, sorted by id.
    pub nodes: Vec<NodeInfo>,
    /// The nodes that could not be asked.
    #[serde(default)]
    pub failed_nodes: Vec<NodeFailure>,
}

/// Voice calls and voice rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VoiceOverview {
    /// The calls, of at most 1,000.
    pub calls: Vec<VoiceCallInfo>,
    /// The voice rooms, of at most 1,000.
    pub rooms: Vec<VoiceRoomInfo>,
    /// Whether there are more calls or rooms.
    pub more: bool,
    /// The nodes that could not be asked.
    #[serde(default)]
    pub failed_nodes: Vec<NodeFailure>,
}

/// A voice call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VoiceCallInfo {
    /// The calling user.
    pub caller: String,
    /// The called user.
    pub callee: String,
    /// The phase of the call.
    pub phase: String,
}

/// A voice room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VoiceRoomInfo {
    /// The number of the room.
    pub id: u64,
    /// The name of the room.
    pub name: String,
    /// The users in it.
    pub users: Vec<VoiceUserInfo>,
}

/// A user in a voice room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VoiceUserInfo {
    /// The id of the user.
    pub user: String,
    /// Whether its microphone is connected.
    pub microphone: bool,
    /// Whether it listens.
    pub headphones: bool,
}

/// A node that did not act or answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct NodeFailure {
    /// The id of the node.
    pub node: String,
    /// The reason.
    pub error: String,
}

/// The result of an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// The sessions, members or nodes that were affected.
    pub count: usize,
    /// The ban that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ban: Option<crate::bans::Ban>,
    /// The nodes on which the order was not carried out. A ban or a lock reaches them when they answer again.
    #[serde(default)]
    pub failed_nodes: Vec<NodeFailure>,
}

/// The bans in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BanList {
    /// The bans, oldest first.
    pub bans: Vec<crate::bans::Ban>,
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// The settings as TOML, as `switchboard check` prints them. Secrets are `***`.
    pub toml: String,
    /// The settings that differ from the default.
    pub changed: Vec<String>,
}

/// An order of an operator about the joins of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomLock {
    /// The room of the order.
    pub room: RoomRef,
    /// True: no client may join. False: clients may join, whatever the settings say. Null: as the settings say.
    pub locked: Option<bool>,
    /// The time of the order, in milliseconds since 1970. The later of two orders holds.
    pub changed_ms: u64,
}
