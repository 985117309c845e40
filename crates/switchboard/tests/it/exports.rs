//! A host program can name every type of a public signature, and error types implement `Error`. The compiler checks it.

use std::{error::Error, fmt::Display, str::FromStr};

use switchboard as sb;
use switchboard::{dialect, engine, testing};

fn assert_nameable<T: ?Sized>() {}
fn assert_error<T: Error + Send + Sync + 'static>() {}
fn assert_text<T: Display + FromStr>() {}

#[test]
fn types_of_public_signatures_are_exported_with_their_traits() {
    assert_error::<sb::BuildError>();
    assert_error::<sb::Denial>();
    assert_error::<sb::SendError>();
    assert_error::<sb::ListenError>();
    assert_error::<sb::NameError>();
    assert_error::<sb::PeerIdError>();
    assert_error::<sb::config::ConfigError>();
    assert_error::<dialect::DialectNameError>();
    assert_error::<dialect::SettingError>();
    assert_error::<dialect::ErrorCode>();
    assert_error::<testing::TestError>();
    assert_text::<sb::Address>();
    assert_text::<sb::DisplayName>();
    assert_text::<sb::PeerId>();
    assert_text::<sb::RoomName>();
    assert_text::<sb::SpaceName>();
    assert_text::<engine::NodeId>();
    assert_nameable::<(sb::Server, sb::Builder, sb::Config, sb::Listener, sb::Tls)>();
    assert_nameable::<(
        sb::Admission,
        sb::ConnectRequest,
        sb::JoinRequest,
        sb::HostContext,
    )>();
    assert_nameable::<(
        sb::Events,
        sb::ServerEvent,
        sb::ClientInfo,
        sb::RefusalReason,
        sb::ConnectionLimit,
    )>();
    assert_nameable::<(
        sb::Rooms,
        sb::RoomId,
        sb::RoomScope,
        sb::Member,
        sb::Identity,
    )>();
    assert_nameable::<(sb::Sessions, sb::SessionInfo, sb::Limits, sb::Heartbeat)>();
    assert_nameable::<(sb::LeaveCause, sb::LeaveKind, sb::EvictionReason)>();
    assert_nameable::<(
        dialect::DialectTraits,
        dialect::OfferPolicy,
        dialect::Token,
        dialect::Group,
    )>();
    assert_nameable::<dyn dialect::Dialect>();
    assert_nameable::<dyn dialect::Session>();
    assert_nameable::<(
        dialect::SessionOutput,
        dialect::Handshake,
        dialect::Query,
        dialect::ClientIce,
    )>();
    assert_nameable::<(
        dialect::HttpAnswer,
        dialect::HttpReply,
        dialect::Endpoint,
        dialect::CorsPolicy,
    )>();
    assert_nameable::<(
        dialect::Command,
        dialect::Target,
        dialect::JoinOptions,
        dialect::RelayedMessage,
    )>();
    assert_nameable::<(
        dialect::Event,
        dialect::OfferRole,
        dialect::RequestError,
        dialect::CloseReason,
    )>();
    assert_nameable::<(
        dialect::Content<'_>,
        dialect::Candidate<'_>,
        dialect::DialectTable,
    )>();
    assert_nameable::<dyn engine::Engine>();
    assert_nameable::<dyn engine::EngineHandler>();
    assert_nameable::<dyn engine::DialectRegistry>();
    assert_nameable::<(
        engine::Memory,
        engine::ProposeOutcome,
        engine::Status,
        engine::NodeLine,
    )>();
    assert_nameable::<(
        engine::LogId,
        engine::ElectionId,
        engine::Position,
        engine::Change,
        engine::Entry,
    )>();
    assert_nameable::<(
        engine::NodeMessage,
        engine::NodeMessageBody,
        engine::MembershipRef,
        engine::Recipient,
    )>();
    assert_nameable::<(
        engine::RejectReason,
        engine::DriverSettings,
        testing::TestServer,
        testing::TestClient,
    )>();
}
