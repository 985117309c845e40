//! The credentials of a request, and the places where they travel.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderMap, Uri, header};
use thiserror::Error;

/// The bytes of a token. Tokens with many claims have about 2 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The query parameter of a token (RFC 6750, section 2.3).
const QUERY_PARAMETER: &str = "access_token";

/// The prefix of a WebSocket subprotocol that carries a token. The server never selects it.
pub const TOKEN_SUBPROTOCOL: &str = "switchboard.token.";

/// The place of a token in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialPlace {
    /// The header `Authorization: Bearer`.
    Header,
    /// The query parameter `access_token`.
    Query,
    /// The WebSocket subprotocol `switchboard.token.TOKEN`.
    Subprotocol,
    /// The cookie of `access.cookie`.
    Cookie,
    /// The place that the dialect of the client has for it.
    Dialect,
}

/// The text of a credential: a key or a token.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The text of the token.
    pub text: Arc<str>,
    /// The place where it was found.
    pub place: CredentialPlace,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// The reason why the credentials of a request cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CredentialError {
    /// The request has different tokens.
    #[error("the request has different access tokens; send one")]
    Ambiguous,
    /// The token is too long.
    #[error("the access token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
}

/// The credentials that a client presents when it connects or sends a request.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Credentials {
    /// The token, if there is one.
    pub token: Option<AccessToken>,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// The path and query of the request.
    pub uri: Uri,
    /// The headers of the request.
    pub headers: HeaderMap,
    /// Whether it is a voice request.
    pub is_voice: bool,
    /// The query parameters, besides that of every dialect, in which the dialect of the client or voice has credentials.
    pub own_parameters: Vec<&'static str>,
}

impl fmt::Debug for Credentials {
    /// Leaves out the URI and the headers, which may contain the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("token", &self.token)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the token of a request from the places that every dialect has. `cookie` is the name of the cookie that
    /// carries one; empty if none does.
    ///
    /// # Errors
    /// If the request has different tokens, or one that cannot be read.
    pub fn of_request(
        uri: &Uri,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        cookie: &str,
    ) -> Result<Self, CredentialError> {
        let mut credentials = Self {
            token: None,
            address,
            uri: uri.clone(),
            headers: headers.clone(),
            is_voice: false,
            own_parameters: Vec::new(),
        };
        for (text, place) in general_tokens(uri, headers, cookie) {
            credentials.add(&text, place)?;
        }
        Ok(credentials)
    }

    /// Adds the token from the dialect's own place. A token from a general place has precedence.
    ///
    /// # Errors
    /// If it is too long.
    pub fn add_of_dialect(&mut self, text: &str) -> Result<(), CredentialError> {
        match self.token {
            Some(_) => Ok(()),
            None => self.add(text, CredentialPlace::Dialect),
        }
    }

    /// Whether the query parameter of this name carries a credential. Voice ignores the case of names.
    #[must_use]
    pub fn is_credential_parameter(&self, name: &str) -> bool {
        let mut own = self.own_parameters.iter();
        name == QUERY_PARAMETER || own.any(|own| name.eq_ignore_ascii_case(own))
    }

    fn add(&mut self, text: &str, place: CredentialPlace) -> Result<(), CredentialError> {
        if text.is_empty() {
            return Ok(());
        }
        if text.len() > TOKEN_BYTES_MAX {
            return Err(CredentialError::TooLong);
        }
        match &self.token {
            Some(token) if *token.text != *text => return Err(CredentialError::Ambiguous),
            Some(_) => {}
            None => {
                let text = text.into();
                self.token = Some(AccessToken { text, place });
            }
        }
        Ok(())
    }
}

/// The tokens in the places that every dialect has.
fn general_tokens(uri: &Uri, headers: &HeaderMap, cookie: &str) -> Vec<(String, CredentialPlace)> {
    let mut tokens = Vec::new();
    for header in headers.get_all(header::AUTHORIZATION) {
        // Other schemes are left to reverse proxies, which forward the header.
        let text = header.to_str().ok().and_then(bearer);
        tokens.extend(text.map(|text| (text.to_owned(), CredentialPlace::Header)));
    }
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let of_query = query.filter(|(key, _)| key == QUERY_PARAMETER);
    tokens.extend(of_query.map(|(_, text)| (text.into_owned(), CredentialPlace::Query)));
    let offers = items(headers, &header::SEC_WEBSOCKET_PROTOCOL, ',');
    let of_offers = offers.filter_map(|offer| offer.strip_prefix(TOKEN_SUBPROTOCOL));
    tokens.extend(of_offers.map(|text| (text.to_owned(), CredentialPlace::Subprotocol)));
    if !cookie.is_empty() {
        let pairs = items(headers, &header::COOKIE, ';').filter_map(|pair| pair.split_once('='));
        let named = pairs.filter(|(name, _)| *name == cookie);
        tokens.extend(named.map(|(_, text)| {
            let text = text.trim_matches('"').to_owned();
            (text, CredentialPlace::Cookie)
        }));
    }
    tokens
}

/// The token of the header `Authorization` (RFC 6750, section 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, text) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| text.trim_start())
}

/// The items of a header that is a list.
fn items<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
    separator: char,
) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(move |text| text.split(separator).map(str::trim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
        let headers = headers.iter().map(|(name, value)| {
            let name: header::HeaderName = name.parse().expect("a name");
            (name, value.parse().expect("a value"))
        });
        headers.collect()
    }

    fn parsed(uri: &str) -> Uri {
        uri.parse().expect("a URI")
    }

    fn read(uri: &str, headers: &[(&str, &str)]) -> Result<Option<AccessToken>, CredentialError> {
        let read = Credentials::of_request(&parsed(uri), &header_map(headers), None, "session");
        read.map(|credentials| credentials.token)
    }

    #[test]
    fn token_is_read_from_each_place() {
        let bearer = ("authorization", "bearer abc");
        let offers = ("sec-websocket-protocol", "x, switchboard.token.abc");
        let cookie = ("cookie", "a=b; session=abc");
        for (uri, headers, place) in [
            ("/", &[bearer][..], CredentialPlace::Header),
            ("/?access_token=abc", &[], CredentialPlace::Query),
            ("/", &[offers], CredentialPlace::Subprotocol),
            ("/", &[cookie], CredentialPlace::Cookie),
            (
                "/?access_token=abc",
                &[bearer, offers],
                CredentialPlace::Header,
            ),
        ] {
            let token = read(uri, headers).expect("one token").expect("a token");
            assert_eq!((&*token.text, token.place), ("abc", place));
        }
        assert_eq!(read("/?token=abc", &[]), Ok(None));
    }

    #[test]
    fn ambiguous_and_long_tokens_are_errors() {
        let bearer = ("authorization", "Bearer abc");
        let both = read("/?access_token=abd", &[bearer]);
        assert_eq!(both, Err(CredentialError::Ambiguous));
        let twice = read("/?access_token=a&access_token=b", &[]);
        assert_eq!(twice, Err(CredentialError::Ambiguous));
        let long = format!("/?access_token={}", "a".repeat(TOKEN_BYTES_MAX + 1));
        assert_eq!(read(&long, &[]), Err(CredentialError::TooLong));
        assert_eq!(read("/", &[("authorization", "Basic YTpi")]), Ok(None));
    }

    #[test]
    fn place_of_the_dialect_comes_last() {
        let mut credentials = Credentials::default();
        credentials.add_of_dialect("own").expect("short");
        assert_eq!(&*credentials.token.expect("a token").text, "own");
        let uri = "/?access_token=general".parse().expect("a URI");
        let general = Credentials::of_request(&uri, &HeaderMap::new(), None, "");
        let mut credentials = general.expect("one token");
        credentials.add_of_dialect("own").expect("short");
        assert_eq!(&*credentials.token.expect("a token").text, "general");
    }

    #[test]
    fn debug_output_of_a_token_does_not_show_it() {
        let token = AccessToken {
            text: "secret".into(),
            place: CredentialPlace::Query,
        };
        assert!(!format!("{token:?}").contains("secret"));
    }
}
