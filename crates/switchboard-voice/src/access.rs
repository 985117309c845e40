//! Grants in voice requests: the check before a request is handled, the end of streams when the grants expire, and the
//! header that carries them to the voice leader.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode},
    response::Response,
};
use futures_util::StreamExt as _;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use switchboard_core::{Grants, Power, RoomName};
use tokio::time::sleep_until;

use crate::{
    answer::VoiceError,
    clock,
    endpoint::{AudioTarget, VoiceEndpoint},
    id::VoiceRoomId,
    parameters::RequestParameters,
    service::VoiceService,
    signaling::RoomKey,
};

/// The characters of grants that are encoded in the header, besides those that are not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b',').add(b'%').add(b' ');

/// The access of the client that sends a request.
#[derive(Clone, Debug)]
pub struct RequestAccess {
    /// The powers of the client.
    pub grants: Arc<Grants>,
    /// The time in seconds since 1970 at which the grants end; `None` if they do not.
    pub expires_at: Option<u64>,
}

impl RequestAccess {
    /// The time at which the streams of the request end.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let left = self.expires_at?.saturating_sub(clock::unix_secs());
        clock::now().checked_add(Duration::from_secs(left))
    }

    /// The value of the header with which a node tells the voice leader the access of its client: the expiry (or
    /// nothing), then the grants, percent-encoded, all separated by commas.
    pub(crate) fn to_header(&self) -> HeaderValue {
        let expiry = self.expires_at.map(|at| at.to_string());
        let grants = self.grants.to_texts().into_iter();
        let encoded = grants.map(|grant| utf8_percent_encode(&grant, ENCODED).to_string());
        let parts: Vec<_> = [expiry.unwrap_or_default()]
            .into_iter()
            .chain(encoded)
            .collect();
        HeaderValue::try_from(parts.join(",")).expect("no control characters")
    }

    /// Reads the header of a forwarded request. A header that cannot be read grants nothing.
    pub(crate) fn from_header(value: Option<&HeaderValue>) -> Self {
        let text = value.and_then(|value| value.to_str().ok());
        text.and_then(Self::parse).unwrap_or_else(|| Self {
            grants: Grants::none(),
            expires_at: None,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let expiry = parts.next()?;
        let decoded = parts.map(|part| percent_decode_str(part).decode_utf8());
        let grants = decoded.collect::<Result<Vec<_>, _>>().ok()?;
        Some(Self {
            grants: Arc::new(Grants::parse(&grants).ok()?),
            expires_at: match expiry {
                "" => None,
                expiry => Some(expiry.parse().ok()?),
            },
        })
    }
}

/// Waits until `deadline`, or forever without one.
pub(crate) async fn expired(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Ends the body of a response at `deadline`.
pub(crate) fn end_at(deadline: Option<Instant>, response: Response) -> Response {
    if deadline.is_none() {
        return response;
    }
    response.map(|body| {
        let end = Box::pin(expired(deadline));
        Body::from_stream(body.into_data_stream().take_until(end))
    })
}

impl VoiceService {
    /// Checks that the client has the grants that a request needs.
    ///
    /// # Errors
    /// 403 with the missing power.
    pub(crate) fn check_grants(
        &self,
        endpoint: VoiceEndpoint,
        grants: &Grants,
        params: &RequestParameters,
    ) -> Result<(), VoiceError> {
        match endpoint {
            VoiceEndpoint::NewCall
            | VoiceEndpoint::Answer
            | VoiceEndpoint::Answer2
            | VoiceEndpoint::Accept
            | VoiceEndpoint::Publish(AudioTarget::Call)
            | VoiceEndpoint::Subscribe(AudioTarget::Call) => require(Power::Call, grants),
            VoiceEndpoint::Publish(AudioTarget::Room) => {
                self.require_in_room(Power::PublishAudio, grants, params)
            }
            VoiceEndpoint::Subscribe(AudioTarget::Room) => {
                self.require_in_room(Power::ListenAudio, grants, params)
            }
            VoiceEndpoint::ListRooms | VoiceEndpoint::ListMembers => require(Power::List, grants),
            // The events are about calls and rooms.
            VoiceEndpoint::Messages => {
                let powers = [Power::Call, Power::ListenAudio, Power::PublishAudio];
                match powers.into_iter().any(|power| grants.has(power)) {
                    true => Ok(()),
                    false => require(Power::Call, grants),
                }
            }
            // They tell nothing about others, or end what the caller has begun.
            VoiceEndpoint::Ticket
            | VoiceEndpoint::TokenCheck
            | VoiceEndpoint::KeyExchange
            | VoiceEndpoint::Mode
            | VoiceEndpoint::DisplayName
            | VoiceEndpoint::Reject
            | VoiceEndpoint::HangUp => Ok(()),
        }
    }

    fn require_in_room(
        &self,
        power: Power,
        grants: &Grants,
        params: &RequestParameters,
    ) -> Result<(), VoiceError> {
        // The handler reads the room again, after it has authenticated the user, and reports the error then.
        let Ok(room) = self.room(params) else {
            return Ok(());
        };
        let room = name_of(&room);
        match grants.allows(power, &room) {
            true => Ok(()),
            false => Err(missing(power, &format!(" in the room {room:?}"))),
        }
    }
}

/// The name of a voice room. Grants, hooks and policies know rooms by their names.
pub(crate) fn name_of(room: &RoomKey) -> RoomName {
    match room {
        RoomKey::Named(name) => name.clone(),
        RoomKey::Numbered(number) => VoiceRoomId::from(*number).to_name(),
    }
}

fn require(power: Power, grants: &Grants) -> Result<(), VoiceError> {
    match grants.has(power) {
        true => Ok(()),
        false => Err(missing(power, "")),
    }
}

fn missing(power: Power, place: &str) -> VoiceError {
    let text = format!("You do not have the grant {:?}{place}.", power.as_str());
    VoiceError::new(StatusCode::FORBIDDEN, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_survives_the_header() {
        for expires_at in [None, Some(1_900_000_000)] {
            let texts = ["*:team-*", "call", "join:a, b;\"ü%\n"];
            let grants = Arc::new(Grants::parse(&texts).expect("grants"));
            let access = RequestAccess { grants, expires_at };
            let read = RequestAccess::from_header(Some(&access.to_header()));
            assert_eq!(
                (&read.grants, read.expires_at),
                (&access.grants, expires_at)
            );
        }
    }

    #[test]
    fn unreadable_header_grants_nothing() {
        for value in ["", "x,call", ",jion", ",call,", ",%ff"] {
            let value = HeaderValue::from_static(value);
            let access = RequestAccess::from_header(Some(&value));
            assert_eq!(access.grants, Grants::none(), "{value:?}");
        }
        assert_eq!(RequestAccess::from_header(None).grants, Grants::none());
    }
}
