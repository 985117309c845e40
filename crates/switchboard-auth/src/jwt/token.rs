//! The compact form of a token (RFC 7515, section 3.1) and its header.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{JwtAlgorithm, claims::Claims};
use crate::AuthError;

/// The bytes of a key ID.
const KEY_ID_BYTES_MAX: usize = 256;

/// The members of a header that carry or name a key. Only configured keys verify tokens.
const KEY_MEMBERS: &str = "it brings its own key (jwk, jku, x5u or x5c), and only keys of the server's settings are trusted";

/// A token whose signature is not verified.
pub(crate) struct SignedToken<'a> {
    header: Header,
    pub(crate) claims: Claims,
    /// The bytes that are signed.
    pub(crate) message: &'a [u8],
    pub(crate) signature: Vec<u8>,
}

/// The members of a header that the server reads. Repeated ones are an error.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Header {
    #[serde(deserialize_with = "present")]
    alg: Option<Value>,
    #[serde(deserialize_with = "present")]
    kid: Option<Value>,
    #[serde(deserialize_with = "present")]
    typ: Option<Value>,
    #[serde(deserialize_with = "present")]
    crit: Option<Value>,
    #[serde(deserialize_with = "present")]
    b64: Option<Value>,
    #[serde(deserialize_with = "present")]
    jwk: Option<Value>,
    #[serde(deserialize_with = "present")]
    jku: Option<Value>,
    #[serde(deserialize_with = "present")]
    x5u: Option<Value>,
    #[serde(deserialize_with = "present")]
    x5c: Option<Value>,
}

/// Reads a value that is there, also `null`.
pub(crate) fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl<'a> SignedToken<'a> {
    /// Parses a token. `None` if the text is not a JSON Web Token with a signature.
    ///
    /// # Errors
    /// If its header or its claims cannot be read.
    pub(crate) fn parse(text: &'a str) -> Option<Result<Self, AuthError>> {
        let (message, signature) = text.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        let header = URL_SAFE_NO_PAD.decode(header).ok()?;
        let members: serde_json::Map<String, Value> = serde_json::from_slice(&header).ok()?;
        members.contains_key("alg").then(|| {
            let header = serde_json::from_slice(&header);
            Ok(Self {
                header: header.map_err(|_| AuthError::Invalid("its header repeats a member"))?,
                claims: Claims::parse(claims)?,
                message: message.as_bytes(),
                signature: URL_SAFE_NO_PAD
                    .decode(signature)
                    .map_err(|_| AuthError::Invalid("its signature is not base64url"))?,
            })
        })
    }

    /// The key ID, or an empty text.
    pub(crate) fn key_id_text(&self) -> &str {
        let id = self.header.kid.as_ref();
        id.and_then(Value::as_str).unwrap_or_default()
    }

    /// The algorithm and the key ID.
    ///
    /// # Errors
    /// If the algorithm is not allowed, or if the header asks for something that the server does not do.
    pub(crate) fn checked_header(
        &self,
        allowed: &[JwtAlgorithm],
    ) -> Result<(JwtAlgorithm, Option<&str>), AuthError> {
        let header = &self.header;
        let keys = [&header.jwk, &header.jku, &header.x5u, &header.x5c];
        if keys.into_iter().any(Option::is_some) {
            return Err(AuthError::Invalid(KEY_MEMBERS));
        }
        if header.crit.is_some() || header.b64.is_some() {
            return Err(AuthError::Invalid(
                "its header has an extension (crit, b64)",
            ));
        }
        self.check_type()?;
        let name = header.alg.as_ref().and_then(Value::as_str);
        let name = name.ok_or(AuthError::Invalid("its alg is not a text"))?;
        let algorithm = JwtAlgorithm::of_name(name).filter(|algorithm| allowed.contains(algorithm));
        let algorithm = algorithm.ok_or(match name.eq_ignore_ascii_case("none") {
            true => AuthError::Invalid("it is not signed (alg none)"),
            false => AuthError::Invalid("its algorithm is not allowed"),
        })?;
        Ok((algorithm, self.key_id()?))
    }

    /// Tokens for other purposes have other types (RFC 8725, section 3.11).
    fn check_type(&self) -> Result<(), AuthError> {
        let Some(value) = &self.header.typ else {
            return Ok(());
        };
        let name = value.as_str().unwrap_or_default().to_ascii_lowercase();
        let name = name.strip_prefix("application/").unwrap_or(&name);
        match ["jwt", "at+jwt"].contains(&name) {
            true => Ok(()),
            false => Err(AuthError::Invalid("its typ is neither JWT nor at+jwt")),
        }
    }

    fn key_id(&self) -> Result<Option<&str>, AuthError> {
        let Some(value) = &self.header.kid else {
            return Ok(None);
        };
        let id = value.as_str().filter(|id| id.len() <= KEY_ID_BYTES_MAX);
        let error = "its kid is not a text of at most 256 bytes";
        id.map(Some).ok_or(AuthError::Invalid(error))
    }
}

/// The header and the issuer of a token that is not verified, for a message to its owner.
#[derive(Clone, Debug)]
pub struct TokenHeader {
    algorithm: Option<String>,
    key_id: Option<String>,
    issuer: Option<String>,
}

impl TokenHeader {
    /// Those of a JSON Web Token; `None` for another text.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let token = SignedToken::parse(text)?.ok()?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let issuer = token.claims.issuer_text();
        Some(Self {
            algorithm: text(token.header.alg.as_ref()),
            key_id: text(token.header.kid.as_ref()),
            issuer: (!issuer.is_empty()).then(|| issuer.to_owned()),
        })
    }
}

impl fmt::Display for TokenHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str, value: &Option<String>| match value {
            Some(value) => format!("{name} {value:?}"),
            None => format!("no {name}"),
        };
        let (algorithm, key_id) = (shown("alg", &self.algorithm), shown("kid", &self.key_id));
        write!(f, "{algorithm}, {key_id}, {}", shown("iss", &self.issuer))
    }
}
