//! The dialects of Switchboard: the wire protocols that existing clients speak.
//!
//! A [`Dialect`] describes one wire protocol. A [`Session`] is the state of one client of a dialect: it turns the
//! client's frames into commands, and events of the hubs (which have the rooms) into frames. Both are free of I/O and
//! clocks. The crate `switchboard-session` combines a session with the client's [`Peer`](switchboard_core::Peer), which
//! authorizes commands. Where one path serves several dialects, that crate also detects the dialect by the first frame.
//!
//! A new dialect needs a file, the two lines marked below (first and second line of a dialect), and transcripts, which
//! the tests of `switchboard-testkit` replay.
#![warn(missing_docs)]

use std::{borrow::Cow, fmt};

#[cfg(doc)]
use switchboard_core::ErrorCode;
use switchboard_core::{Aliases, DialectTraits, Event, Limits, RequestError};

mod close;
mod content;
mod displayed_names;
mod endpoint;
mod error_message;
mod handshake;
pub mod ice;
pub mod json;
mod member_metadata;
mod output;
mod resume;
mod settings;
mod table;
mod webidl;

// First line of a dialect:
mod ayame;
mod lightstream;
mod matchbox;
mod mesh;
mod p2p;
mod peerjs;
mod singo;
mod y_webrtc;

pub use close::CloseReason;
pub use content::{Candidate, Content, HOST};
pub use endpoint::{Accepts, CorsPolicy, Endpoint, HttpAnswer, HttpReply};
pub use error_message::error_message;
pub use handshake::{ClientIce, Handshake, Query};
pub use member_metadata::{MetadataError, decode_member, encode_member};
pub use output::{ClientFrame, FirstFrameTimeout, SessionOutput, WebhookRequest};
pub use resume::{KeepSession, ResumeError, ResumeRequest};
pub use settings::{
    DialectSetting, DialectSettings, SECS_MAX, SettingConflict, SettingError, SettingValue,
};
pub use table::{DialectNameError, DialectTable};

/// The dialects of this crate. A server can have more of them: see [`DialectTable`]. Where several share a path, the
/// first one in this order that [recognizes](Dialect::recognizes) the first frame is chosen.
pub static ALL: &[&dyn Dialect] = &[
    // Second line of a dialect:
    &p2p::P2p,
    &lightstream::Lightstream,
    &singo::Singo,
    &mesh::Mesh,
    &ayame::Ayame,
    &matchbox::Matchbox,
    &peerjs::PeerJs,
    &y_webrtc::YWebrtc,
];

/// The dialect of this crate with this name, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Dialect> {
    ALL.iter()
        .copied()
        .find(|dialect| dialect.traits().name == name)
}

/// One wire protocol.
pub trait Dialect: Sync + fmt::Debug {
    /// The properties of the dialect that the core needs.
    fn traits(&self) -> &'static DialectTraits;

    /// The base paths under which the dialect is served, unless the configuration sets others.
    fn paths(&self) -> &'static [&'static str];

    /// The endpoints under a base path. The default is one endpoint for WebSocket connections at the base.
    fn endpoints(&self, base: &str) -> Vec<Endpoint> {
        vec![Endpoint::new(base, "", Endpoint::MAIN, Accepts::Sockets)]
    }

    /// The base path on a listener that serves only this dialect. With it, the endpoints have the paths of the
    /// original server. The default is the first of [`Dialect::paths`].
    fn standalone_path(&self) -> &'static str {
        self.paths().first().copied().unwrap_or("/")
    }

    /// Answers a plain HTTP request at the endpoint with this name. No state is kept between requests:
    /// each has its own handshake.
    fn respond(&self, _endpoint: &'static str, _handshake: &Handshake) -> HttpAnswer {
        HttpAnswer::Ready(HttpReply::not_found())
    }

    /// Whether plain HTTP requests at the endpoint with this name are answered without a credential, because the answer
    /// discloses nothing about rooms and clients: a health check, for example.
    fn is_public(&self, _endpoint: &'static str) -> bool {
        false
    }

    /// The query parameter in which the dialect has a credential of its own. With access control it is read if the
    /// request has no credential in a place that all dialects have.
    fn credential_parameter(&self, _settings: &DialectSettings) -> Option<&'static str> {
        None
    }

    /// Whether the first frame of a client may carry its credential. A connection without a credential is then accepted,
    /// and has no powers until that frame. The session must not join or claim anything when it opens.
    fn has_credential_in_first_frame(&self) -> bool {
        false
    }

    /// The credential in a first frame, if [`Dialect::has_credential_in_first_frame`]. By default it is the field
    /// `token`, which the session never gets.
    fn first_frame_credential<'f>(&self, first: &json::JsonObject<'f>) -> Option<Cow<'f, str>> {
        first.text("token").ok().flatten()
    }

    /// The key of a frame that names its type. A client renews its access by a frame of the type `authenticate` with
    /// the field `token`, if the session rejects that type as [`ErrorCode::UnknownType`].
    fn type_key(&self) -> &'static str {
        "type"
    }

    /// The settings of the dialect, which are in the section of the configuration that has its name.
    fn settings(&self) -> &'static [DialectSetting] {
        &[]
    }

    /// Warnings for the operator: the key of each setting whose current value has a side effect, and that effect.
    fn warnings(&self, _settings: &DialectSettings) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// The settings of the dialect that contradict each other or the limits.
    fn conflicts(&self, _settings: &DialectSettings, _limits: &Limits) -> Vec<SettingConflict> {
        Vec::new()
    }

    /// Whether a client that sends this first frame on a shared path uses this dialect.
    fn recognizes(&self, _first: &json::JsonObject<'_>) -> bool {
        false
    }

    /// Whether [`Dialect::recognizes`] can return true. If it cannot, the dialect cannot share a path.
    fn is_recognizable(&self) -> bool {
        false
    }

    /// Opens the session of a client that connects. Its first frames and commands go to `output`.
    fn open(&self, handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session>;

    /// The aliases in a frame: the ids of the sender and the receiver that their clients have made for themselves.
    /// `frame` is the frame of a [`switchboard_core::RelayedMessage`] of this dialect. A node calls this for a message
    /// from another node, because the messages between nodes do not contain the aliases.
    fn aliases(&self, _frame: &str) -> Aliases {
        Aliases::default()
    }

    /// The content of a frame, if other dialects can express it. `frame` is the frame of a
    /// [`switchboard_core::RelayedMessage`] of this dialect.
    fn parse_content<'a>(&self, frame: &'a str) -> Option<Content<'a>>;
}

/// The protocol state of one client of a dialect.
pub trait Session: Send {
    /// Handles a frame from the client.
    ///
    /// # Errors
    /// If the frame is rejected. The caller passes the error to [`Session::on_event`] as [`Event::RequestFailed`],
    /// and the session reports it to the client there.
    fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError>;

    /// Handles an event from a hub: adds the frames that inform the client.
    fn on_event(&mut self, event: &Event, output: &mut SessionOutput);

    /// Called once in each interval that the session has set with [`SessionOutput::tick`].
    fn on_tick(&mut self, _output: &mut SessionOutput) {}

    /// Handles the response to [`SessionOutput::webhook`]: the body, or `None` if the status was not 200 or
    /// the response was late. Between the request and its response no other method is called, except
    /// [`Session::on_event`] with [`Event::Evicted`], after which the connection ends.
    fn on_webhook_response(&mut self, _reply: Option<&str>, _output: &mut SessionOutput) {}

    /// Called when a new connection continues the session. The frames in `output` precede those that the client has
    /// missed, and have no numbers.
    fn on_resumed(&mut self, _output: &mut SessionOutput) {}

    /// Called when the session that [`SessionOutput::resume`] names cannot be resumed. This session goes on.
    fn on_resume_refused(&mut self, _error: ResumeError, _output: &mut SessionOutput) {}

    /// Called after the connection has ended. Returns a last webhook request; its response is ignored.
    fn on_end(&mut self) -> Option<WebhookRequest> {
        None
    }
}
