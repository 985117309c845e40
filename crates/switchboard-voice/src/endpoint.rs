//! The HTTP endpoints of voice: paths, methods and parameters.

use axum::http::Method;

use crate::parameters::ParameterName;

/// The kind of mix that a microphone or a listener attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AudioTarget {
    Call,
    Room,
}

/// An HTTP endpoint of voice.
#[derive(Clone, Copy, Debug)]
pub(crate) enum VoiceEndpoint {
    Messages,
    Ticket,
    TokenCheck,
    KeyExchange,
    NewCall,
    Answer,
    /// `/answer2`: the caller has signed the callee's challenge and sends another one.
    Answer2,
    Accept,
    Reject,
    HangUp,
    ListRooms,
    ListMembers,
    Mode,
    DisplayName,
    Publish(AudioTarget),
    Subscribe(AudioTarget),
}

/// The path of each endpoint. The voice page is served by another module.
pub(crate) const ENDPOINTS: [(&str, VoiceEndpoint); 18] = [
    ("/messages", VoiceEndpoint::Messages),
    ("/getCallTicket", VoiceEndpoint::Ticket),
    ("/tokenCheck", VoiceEndpoint::TokenCheck),
    ("/keyXCHG", VoiceEndpoint::KeyExchange),
    ("/newCall", VoiceEndpoint::NewCall),
    ("/answer", VoiceEndpoint::Answer),
    ("/answer2", VoiceEndpoint::Answer2),
    ("/acceptCall", VoiceEndpoint::Accept),
    ("/rejectCall", VoiceEndpoint::Reject),
    ("/hangupCall", VoiceEndpoint::HangUp),
    ("/listRoom", VoiceEndpoint::ListRooms),
    ("/listMembers", VoiceEndpoint::ListMembers),
    ("/voice/mode", VoiceEndpoint::Mode),
    ("/voice/name", VoiceEndpoint::DisplayName),
    ("/upCall", VoiceEndpoint::Publish(AudioTarget::Call)),
    ("/upRoom", VoiceEndpoint::Publish(AudioTarget::Room)),
    ("/joinCall", VoiceEndpoint::Subscribe(AudioTarget::Call)),
    ("/joinRoom", VoiceEndpoint::Subscribe(AudioTarget::Room)),
];

impl VoiceEndpoint {
    pub(crate) fn methods(self) -> &'static [Method] {
        match self {
            Self::Messages
            | Self::Ticket
            | Self::TokenCheck
            | Self::ListRooms
            | Self::ListMembers
            | Self::Mode => &[Method::GET, Method::HEAD],
            // GET is for media players that accept a URL only.
            Self::Subscribe(_) | Self::KeyExchange => &[Method::POST, Method::GET, Method::HEAD],
            Self::Publish(_) => &[Method::GET, Method::HEAD, Method::POST, Method::PUT],
            Self::NewCall
            | Self::Answer
            | Self::Answer2
            | Self::Accept
            | Self::Reject
            | Self::HangUp
            | Self::DisplayName => &[Method::POST],
        }
    }

    /// The parameters that the endpoint reads, except those that identify the caller.
    pub(crate) fn parameters(self) -> &'static [ParameterName] {
        match self {
            Self::Messages
            | Self::Ticket
            | Self::TokenCheck
            | Self::KeyExchange
            | Self::ListRooms
            | Self::Mode
            | Self::DisplayName => &[],
            Self::NewCall
            | Self::Answer
            | Self::Answer2
            | Self::Accept
            | Self::Reject
            | Self::HangUp => &[ParameterName::Destination],
            Self::ListMembers => &[ParameterName::Room],
            Self::Publish(AudioTarget::Call) => &[
                ParameterName::Destination,
                ParameterName::Rate,
                ParameterName::Channels,
            ],
            Self::Publish(AudioTarget::Room) => &[
                ParameterName::Room,
                ParameterName::Rate,
                ParameterName::Channels,
            ],
            Self::Subscribe(AudioTarget::Call) => {
                &[ParameterName::Destination, ParameterName::Format]
            }
            Self::Subscribe(AudioTarget::Room) => &[ParameterName::Room, ParameterName::Format],
        }
    }
}

/// The paths of the voice endpoints.
pub fn paths() -> impl Iterator<Item = &'static str> {
    ENDPOINTS.iter().map(|(path, _)| *path)
}

/// Whether a path belongs to a voice endpoint. The path of the voice page, `/voice`, does not.
#[must_use]
pub fn is_reserved_path(path: &str) -> bool {
    ENDPOINTS.iter().any(|(reserved, _)| *reserved == path)
}
