//! Every type in a public signature can be named by a host program, and errors are errors.

use std::{error::Error, fmt::Display, str::FromStr};

use switchboard as sb;
use switchboard::{dialect, engine, testing};

fn named<T: ?Sized>() {}
fn error<T: Error + Send + Sync + 'static>() {}
fn text<T: Display + FromStr>() {}

#[test]
fn types_of_public_signatures_are_exported_with_their_traits() {
    error::<sb::BuildError>();
    error::<sb::Denial>();
    error::<sb::SendError>();
    error::<sb::ListenError>();
    error::<sb::NameError>();
    error::<sb::PeerIdError>();
    error::<sb::config::ConfigError>();
    error::<dialect::DialectNameError>();
    error::<dialect::SettingError>();
    error::<dialect::ErrorCode>();
    error::<testing::TestError>();
    text::<sb::Address>();
    text::<sb::DisplayName>();
    text::<sb::PeerId>();
    text::<sb::RoomName>();
    text::<sb::SpaceName>();
    text::<engine::NodeId>();
    named::<(sb::Server, sb::Builder, sb::Config, sb::Listener, sb::Tls)>();
    named::<(
        sb::Admission,
        sb::ConnectRequest,
        sb::JoinRequest,
        sb::HostContext,
    )>();
    named::<(
        sb::Events,
        sb::ServerEvent,
        sb::ClientInfo,
        sb::RefusalReason,
        sb::ConnectionLimit,
    )>();
    named::<(
        sb::Rooms,
        sb::RoomId,
        sb::RoomScope,
        sb::Member,
        sb::Identity,
    )>();
    named::<(sb::Sessions, sb::SessionInfo, sb::Limits, sb::Heartbeat)>();
    named::<(sb::LeaveCause, sb::LeaveKind, sb::EvictionReason)>();
    named::<(
        dialect::DialectTraits,
        dialect::OfferPolicy,
        dialect::Token,
        dialect::Group,
    )>();
    named::<dyn dialect::Dialect>();
    named::<dyn dialect::Session>();
    named::<(
        dialect::SessionOutput,
        dialect::Handshake,
        dialect::Query,
        dialect::ClientIce,
    )>();
    named::<(
        dialect::HttpAnswer,
        dialect::HttpReply,
        dialect::Endpoint,
        dialect::CorsPolicy,
    )>();
    named::<(
        dialect::Command,
        dialect::Target,
        dialect::JoinOptions,
        dialect::RelayedMessage,
    )>();
    named::<(
        dialect::Event,
        dialect::OfferRole,
        dialect::RequestError,
        dialect::CloseReason,
    )>();
    named::<(
        dialect::Content<'_>,
        dialect::Candidate<'_>,
        dialect::DialectTable,
    )>();
    named::<dyn engine::Engine>();
    named::<dyn engine::EngineHandler>();
    named::<dyn engine::DialectRegistry>();
    named::<(
        engine::Memory,
        engine::ProposeOutcome,
        engine::Status,
        engine::NodeLine,
    )>();
    named::<(
        engine::LogId,
        engine::ElectionId,
        engine::Position,
        engine::Change,
        engine::Entry,
    )>();
    named::<(
        engine::NodeMessage,
        engine::NodeMessageBody,
        engine::MembershipRef,
        engine::Recipient,
    )>();
    named::<(
        engine::RejectReason,
        engine::DriverSettings,
        testing::TestServer,
        testing::TestClient,
    )>();
}
