//! The wire dialects of Switchboard: frames in, commands out; events in, frames out.
//!
//! A [`Dialect`] is one wire protocol, described once; a [`Session`] is one client speaking it.
//! Neither knows a socket or a clock. A [`ClientSession`] joins a session to the peer's rights in
//! the core and finds out the dialect where a path serves several.
//!
//! To add a dialect: one new file, the two lines marked below, and its transcripts.
#![warn(missing_docs)]

use std::fmt;

use switchboard_core::{Aliases, DialectTraits, Event, Limits, RequestError};

mod alias;
mod client_session;
mod close;
mod content;
mod endpoint;
mod error_message;
pub mod gostream;
mod handshake;
pub mod ice;
pub mod json;
mod output;
mod settings;
mod webidl;

// A dialect's first line:
mod ayame;
mod lightstream;
mod matchbox;
mod mesh;
mod p2p;
mod peerjs;
mod singo;
mod y_webrtc;

pub use client_session::{Actions, ClientSession};
pub use close::CloseReason;
pub use content::{Candidate, Content, HOST};
pub use endpoint::{Accepts, CorsPolicy, Endpoint, HttpAnswer, HttpReply};
pub use error_message::error_message;
pub use handshake::{ClientIce, Handshake, Query};
pub use output::{ClientFrame, FirstFrameTimeout, SessionOutput, WebhookRequest};
pub use settings::{DialectSetting, DialectSettings, SECS_MAX, SettingConflict, SettingValue};

/// Every dialect. Where several are on one path, they are asked in this order whether the first
/// frame is theirs.
pub static ALL: &[&dyn Dialect] = &[
    // A dialect's second line:
    &p2p::P2p,
    &lightstream::Lightstream,
    &singo::Singo,
    &mesh::Mesh,
    &ayame::Ayame,
    &matchbox::Matchbox,
    &peerjs::PeerJs,
    &y_webrtc::YWebrtc,
];

/// The dialect of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Dialect> {
    ALL.iter()
        .copied()
        .find(|dialect| dialect.traits().name == name)
}

/// One wire protocol.
pub trait Dialect: Sync + fmt::Debug {
    /// What the core must know of it.
    fn traits(&self) -> &'static DialectTraits;

    /// The base paths it is served under unless the configuration says otherwise.
    fn paths(&self) -> &'static [&'static str];

    /// What is served under a base path. By default connections at the base itself.
    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        vec![Endpoint::new(base, "", Endpoint::MAIN, Accepts::Sockets)]
    }

    /// The base path on a listener of its own, where it answers as its original server did. By
    /// default the first of [`Dialect::paths`].
    fn standalone_path(&self) -> &'static str {
        self.paths().first().copied().unwrap_or("/")
    }

    /// Answers a plain request at one of its doors. Nothing of it is kept: each has a handshake of
    /// its own.
    fn respond(&self, _door: &'static str, _handshake: &Handshake) -> HttpAnswer {
        HttpAnswer::Ready(HttpReply::not_found())
    }

    /// Settings of its own, as in the configuration's section of its name.
    fn settings(&self) -> &'static [DialectSetting] {
        &[]
    }

    /// Settings that do more than their names say, which the operator should know: the key of each, and
    /// the effect of its value.
    fn warnings(&self, _settings: &DialectSettings) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// The settings of the dialect that are of no use with each other or with the limits.
    fn conflicts(&self, _settings: &DialectSettings, _limits: &Limits) -> Vec<SettingConflict> {
        Vec::new()
    }

    /// Whether a client that sends this first on a shared path speaks it.
    fn recognizes(&self, _first: &json::JsonObject<'_>) -> bool {
        false
    }

    /// Whether [`Dialect::recognizes`] can ever say yes: else no other dialect may be on its path.
    fn is_recognizable(&self) -> bool {
        false
    }

    /// Begins a session. What is to be sent or asked at once goes to `out`.
    fn open(&self, handshake: &Handshake, out: &mut SessionOutput) -> Box<dyn Session>;

    /// The ids of the clients' own that a frame of this dialect names. `frame` is one that a session of
    /// this dialect has put into a [`switchboard_core::RelayedMessage`]; another node asks for it.
    fn aliases(&self, _frame: &str) -> Aliases {
        Aliases::default()
    }

    /// What a frame of this dialect says that others can be told. `frame` is one that a session
    /// of this dialect has put into a [`switchboard_core::RelayedMessage`].
    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>>;
}

/// One client speaking a dialect.
pub trait Session: Send {
    /// Takes a frame from the client. An error is told to the client by [`Session::on_event`] as
    /// [`Event::RequestFailed`].
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError>;

    /// Tells the client what has happened.
    fn on_event(&mut self, event: &Event, out: &mut SessionOutput);

    /// The time asked for with [`SessionOutput::tick`] is over, again.
    fn on_tick(&mut self, _out: &mut SessionOutput) {}

    /// The request of [`SessionOutput::webhook`] is answered: the body, if the status was 200 and it came in time.
    /// Nothing else of the connection happens between the request and this.
    fn on_webhook_response(&mut self, _reply: Option<&str>, _out: &mut SessionOutput) {}

    /// The connection is gone. What this gives is sent, and nobody waits for the answer.
    fn on_end(&mut self) -> Option<WebhookRequest> {
        None
    }
}
