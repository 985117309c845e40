//! The admin API of Switchboard: nodes, rooms, sessions, bans and live events over a whole cluster.
//!
//! [`AdminService`] carries out a call on its node through the trait [`AdminHost`], and sends it to the other nodes,
//! each of which checks the grants of the caller again. [`routes`] serves it as HTTP.
#![warn(missing_docs)]

mod bans;
mod caller;
mod error;
mod events;
mod extract;
mod host;
mod node_call;
mod openapi;
mod paging;
mod requests;
mod router;
mod service;
mod stream;
mod types;

pub use bans::{BANS_MAX, Ban, BanTable, BanTarget, BannedClient, TTL_SECS_MAX, TooManyBans};
pub use caller::AdminCaller;
pub use error::{ApiError, ApiErrorCode};
pub use events::{AdminEvent, EVENTS_MAX, EventBatch, EventKind, EventLog, Positions};
pub use host::{AdminHost, NodeCallError};
pub use openapi::description;
pub use requests::{
    BanRequest, CloseRequest, KickRequest, LockRequest, MESSAGE_LENGTH_MAX, MessageRequest,
    PAGE_MAX, REASON_LENGTH_MAX, RoomQuery, SessionQuery,
};
pub use router::{PATH, routes};
pub use service::{AdminContext, AdminService};
pub use types::{
    BanList, MemberInfo, NodeFailure, NodeInfo, NodeList, NodeState, Outcome, RoomDetail, RoomLock,
    RoomPage, RoomRef, RoomSummary, SessionDetail, SessionPage, SessionSummary, Settings,
    VoiceCallInfo, VoiceOverview, VoiceRoomInfo, VoiceUserInfo, space_text,
};
