//! The opening handshake of WebSocket connections (RFC 6455, section 4.2).

use std::fmt;

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts,
    },
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use sha1::{Digest as _, Sha1};
use thiserror::Error;

use switchboard_auth::TOKEN_SUBPROTOCOL;

use crate::{Socket, upgraded_stream::UpgradedStream};

/// The constant that is hashed after the client's key (section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version of the protocol (section 4.1).
const VERSION: HeaderValue = HeaderValue::from_static("13");

const WEBSOCKET: &str = "websocket";

/// Whether a request asks for an upgrade to WebSocket. The handshake may still be invalid.
#[must_use]
pub fn is_requested(headers: &HeaderMap) -> bool {
    has_element(headers, &header::UPGRADE, WEBSOCKET)
}

/// A valid WebSocket handshake, which can be accepted.
pub struct Upgrade {
    /// The value of `Sec-WebSocket-Accept` in the response.
    accept: HeaderValue,
    /// The subprotocols that the client offers.
    offers: Vec<String>,
    /// The subprotocol of the response.
    chosen: Option<HeaderValue>,
    upgrading: OnUpgrade,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade")
            .field("offers", &self.offers)
            .field("chosen", &self.chosen)
            .finish_non_exhaustive()
    }
}

impl Upgrade {
    /// Checks the handshake of a request.
    ///
    /// # Errors
    /// If it is not a valid handshake, or the connection cannot be upgraded.
    pub fn from_parts(parts: &mut Parts) -> Result<Self, HandshakeError> {
        check_request(&parts.method, parts.version)?;
        let accept = accept_of(&parts.headers)?;
        let upgrading = parts.extensions.remove::<OnUpgrade>();
        Ok(Self {
            accept,
            offers: offers(&parts.headers),
            chosen: None,
            upgrading: upgrading.ok_or(HandshakeError::NotUpgradable)?,
        })
    }

    /// The subprotocols that the client offers, in its order. An offer that carries a token is left out, so that no
    /// response repeats it.
    #[must_use]
    pub fn offers(&self) -> &[String] {
        &self.offers
    }

    /// Chooses one of the subprotocols that the client offers. A browser that has offered some fails
    /// the connection if none is chosen.
    #[must_use]
    pub fn choose(mut self, offer: &str) -> Self {
        self.chosen = HeaderValue::from_str(offer).ok();
        self
    }

    /// Chooses the first offer, if there is one.
    #[must_use]
    pub fn choose_first(self) -> Self {
        match self.offers.first().cloned() {
            Some(first) => self.choose(&first),
            None => self,
        }
    }

    /// Returns the response to the request, and the connection to come: its socket is available after the response
    /// was sent. A message may have `message_bytes_max` bytes (0: no limit).
    pub fn accept(self, message_bytes_max: usize) -> (Response, Connecting) {
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static(WEBSOCKET)),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept),
        ];
        let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
        if let Some(chosen) = self.chosen {
            let headers = response.headers_mut();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        let connecting = Connecting {
            upgrading: self.upgrading,
            message_bytes_max,
        };
        (response, connecting)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = HandshakeError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HandshakeError> {
        Self::from_parts(parts)
    }
}

/// A connection whose handshake response is being sent.
#[derive(Debug)]
pub struct Connecting {
    upgrading: OnUpgrade,
    message_bytes_max: usize,
}

impl Connecting {
    /// Waits for the connection. `None` if the client has disconnected.
    pub async fn socket(self) -> Option<Socket> {
        match self.upgrading.await {
            Ok(upgraded) => {
                let (stream, unread) = UpgradedStream::of(upgraded);
                Some(Socket::new(stream, &unread, self.message_bytes_max))
            }
            Err(error) => {
                tracing::debug!(%error, "client disconnected during the WebSocket handshake");
                None
            }
        }
    }
}

/// The reason why a request is not a valid WebSocket handshake.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{}", self.text().trim_end())]
#[non_exhaustive]
pub enum HandshakeError {
    /// The method is not GET.
    Method,
    /// The HTTP version is too old.
    HttpVersion,
    /// `Connection` has no element `upgrade`.
    Connection,
    /// `Upgrade` has no element `websocket`.
    Upgrade,
    /// The version of WebSocket is missing or unknown.
    Version,
    /// The key is missing, repeated, or not 16 bytes in base64.
    Key,
    /// The connection does not support an upgrade.
    NotUpgradable,
}

impl HandshakeError {
    fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HttpVersion | Self::Connection | Self::Upgrade | Self::Key => {
                StatusCode::BAD_REQUEST
            }
            Self::Version | Self::NotUpgradable => StatusCode::UPGRADE_REQUIRED,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Method => "A WebSocket handshake has the method GET.\n",
            Self::HttpVersion => "A WebSocket handshake needs HTTP/1.1.\n",
            Self::Connection => {
                "This is a WebSocket endpoint: the header `Connection: Upgrade` is missing. Does a proxy remove it?\n"
            }
            Self::Upgrade => {
                "This is a WebSocket endpoint: the header `Upgrade: websocket` is missing. Does a proxy remove it?\n"
            }
            Self::Version => "`Sec-WebSocket-Version` must be 13.\n",
            Self::Key => "`Sec-WebSocket-Key` must be given once: 16 bytes in base64.\n",
            Self::NotUpgradable => "This connection cannot be upgraded to WebSocket.\n",
        }
    }

    fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Method => Some((header::ALLOW, HeaderValue::from_static("GET"))),
            Self::Version => Some((header::SEC_WEBSOCKET_VERSION, VERSION)),
            Self::HttpVersion
            | Self::Connection
            | Self::Upgrade
            | Self::Key
            | Self::NotUpgradable => None,
        }
    }
}

impl IntoResponse for HandshakeError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.text()).into_response();
        response.headers_mut().extend(self.header());
        response
    }
}

fn check_request(method: &Method, version: Version) -> Result<(), HandshakeError> {
    if method != Method::GET {
        return Err(HandshakeError::Method);
    }
    if version < Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    Ok(())
}

/// Checks the headers of a handshake. Returns the value of `Sec-WebSocket-Accept`.
fn accept_of(headers: &HeaderMap) -> Result<HeaderValue, HandshakeError> {
    if !has_element(headers, &header::CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if !is_requested(headers) {
        return Err(HandshakeError::Upgrade);
    }
    if single_value(headers, &header::SEC_WEBSOCKET_VERSION) != Some(VERSION.as_bytes()) {
        return Err(HandshakeError::Version);
    }
    let key = single_value(headers, &header::SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?;
    if !is_key(key) {
        return Err(HandshakeError::Key);
    }
    let hash = Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX);
    let accept = BASE64.encode(hash.finalize());
    HeaderValue::from_maybe_shared(Bytes::from(accept)).map_err(|_| HandshakeError::Key)
}

/// Whether the key is 16 bytes in base64. The unused bits of the last character may have any value.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let digits = key.strip_suffix(b"==");
    digits.is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
}

/// The offered subprotocols that are valid HTTP tokens.
fn offers(headers: &HeaderMap) -> Vec<String> {
    let elements = elements(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    let offers = elements.filter(|offer| offer.bytes().all(is_token_byte));
    let chosen = offers.filter(|offer| !offer.starts_with(TOKEN_SUBPROTOCOL));
    chosen.map(str::to_owned).collect()
}

/// The value of a header that occurs exactly once.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let single = values.next().filter(|_| values.next().is_none());
    single.map(|value| value.as_bytes().trim_ascii())
}

fn has_element(headers: &HeaderMap, name: &HeaderName, expected: &str) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(expected))
}

/// The elements of a list that may be split over several headers (RFC 9110, sections 5.3 and 5.6.1).
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let elements = values.flat_map(|value| value.split(','));
    elements
        .map(str::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether a byte is allowed in a token (RFC 9110, section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
