//! The types of a dialect of the host program: [`Dialect`], [`Session`] and all that they use.
//!
//! A dialect is a `static`. [`Builder::dialect`](crate::Builder::dialect) adds it to a server. `examples/own-dialect` of
//! the repository is a complete one.

pub use bytestring::ByteString;
pub use switchboard_core::{
    Alias, Aliases, Command, DialectName, DialectTraits, ErrorCode, Event, EvictionReason, Group,
    JoinId, JoinOptions, LeaveKind, MessageKind, NameId, OfferPolicy, OfferRole, RelayedMessage,
    RequestError, ResourceKey, SharedFrames, Target, Token,
};
pub use switchboard_dialects::{
    Accepts, Candidate, ClientFrame, ClientIce, CloseReason, Content, CorsPolicy, Dialect,
    DialectNameError, DialectSetting, DialectSettings, DialectTable, Endpoint, FirstFrameTimeout,
    Handshake, HttpAnswer, HttpReply, Query, Session, SessionOutput, SettingConflict, SettingError,
    SettingValue, WebhookRequest, error_message, json,
};
