//! The wire dialects of Switchboard: frames in, commands out; events in, frames out.
//!
//! A [`Dialect`] is one wire protocol, described once; a [`Session`] is one client speaking it.
//! Neither knows a socket or a clock. A [`Conversation`] joins a session to the peer's rights in
//! the core and finds out the dialect where a path serves several.
//!
//! To add a dialect: one new file, the two lines marked below, and its transcripts.
#![warn(missing_docs)]

use std::fmt;

use switchboard_core::{Aliases, Event, Limits, Refused, Tongue};

mod alias;
mod close;
mod content;
mod conversation;
mod door;
pub mod gostream;
mod handshake;
pub mod ice;
pub mod json;
mod out;
mod settings;
mod webidl;
mod words;

// A dialect's first line:
mod ayame;
mod lightstream;
mod matchbox;
mod mesh;
mod p2p;
mod peerjs;
mod singo;
mod y_webrtc;

pub use close::Close;
pub use content::{Candidate, Content, HOST};
pub use conversation::{Conversation, Turn};
pub use door::{Answer, CorsPolicy, Door, Opens, Reply};
pub use handshake::{ClientIce, Handshake, Query};
pub use out::{FirstFrame, Frame, Out, Post};
pub use settings::{SECS_MAX, Setting, SettingConflict, Settings, Value};
pub use words::words;

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
        .find(|dialect| dialect.tongue().name == name)
}

/// One wire protocol.
pub trait Dialect: Sync + fmt::Debug {
    /// What the core must know of it.
    fn tongue(&self) -> &'static Tongue;

    /// The base paths it is served under unless the configuration says otherwise.
    fn paths(&self) -> &'static [&'static str];

    /// What is served under a base path. By default connections at the base itself.
    fn doors(&self, base: &str) -> Vec<Door> {
        vec![Door::new(base, "", Door::MAIN, Opens::Sockets)]
    }

    /// The base path on a listener of its own, where it answers as its original server did. By
    /// default the first of [`Dialect::paths`].
    fn home(&self) -> &'static str {
        self.paths().first().copied().unwrap_or("/")
    }

    /// Answers a plain request at one of its doors. Nothing of it is kept: each has a handshake of
    /// its own.
    fn answer(&self, _door: &'static str, _handshake: &Handshake) -> Answer {
        Answer::Now(Reply::not_found())
    }

    /// Settings of its own, as in the configuration's section of its name.
    fn settings(&self) -> &'static [Setting] {
        &[]
    }

    /// Settings that do more than their names say, which the operator should know: the key of each, and
    /// the effect of its value.
    fn warnings(&self, _settings: &Settings) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// The settings of the dialect that are of no use with each other or with the limits.
    fn conflicts(&self, _settings: &Settings, _limits: &Limits) -> Vec<SettingConflict> {
        Vec::new()
    }

    /// Whether a client that sends this first on a shared path speaks it.
    fn recognizes(&self, _first: &json::Object<'_>) -> bool {
        false
    }

    /// Whether [`Dialect::recognizes`] can ever say yes: else no other dialect may be on its path.
    fn is_recognizable(&self) -> bool {
        false
    }

    /// Begins a session. What is to be sent or asked at once goes to `out`.
    fn open(&self, handshake: &Handshake, out: &mut Out) -> Box<dyn Session>;

    /// The ids of the clients' own that a frame of this dialect names. `frame` is one that a session of
    /// this dialect has put into a [`switchboard_core::Relay`]; another node asks for it.
    fn aliases(&self, _frame: &str) -> Aliases {
        Aliases::default()
    }

    /// What a frame of this dialect says that others can be told. `frame` is one that a session
    /// of this dialect has put into a [`switchboard_core::Relay`].
    fn read<'a>(&self, frame: &'a str) -> Option<Content<'a>>;
}

/// One client speaking a dialect.
pub trait Session: Send {
    /// Takes a frame from the client. An error is told to the client by [`Session::on_event`] as
    /// [`Event::Refused`].
    fn on_frame(&mut self, frame: Frame<'_>, out: &mut Out) -> Result<(), Refused>;

    /// Tells the client what has happened.
    fn on_event(&mut self, event: &Event, out: &mut Out);

    /// The time asked for with [`Out::tick`] is over, again.
    fn on_tick(&mut self, _out: &mut Out) {}

    /// The request of [`Out::post`] is answered: the body, if the status was 200 and it came in time.
    /// Nothing else of the connection happens between the request and this.
    fn on_reply(&mut self, _reply: Option<&str>, _out: &mut Out) {}

    /// The connection is gone. What this gives is sent, and nobody waits for the answer.
    fn on_end(&mut self) -> Option<Post> {
        None
    }
}
