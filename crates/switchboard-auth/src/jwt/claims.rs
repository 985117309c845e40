//! The claims of a token (RFC 7519, section 4), and the principal that they describe.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use switchboard_core::{Grants, SpaceName};

use super::{JwtConfig, token::present};
use crate::{AuthError, Principal};

/// The bytes of `sub` and `name`.
const TEXT_BYTES_MAX: usize = 256;

/// The bytes of `metadata`, as JSON text.
const METADATA_BYTES_MAX: usize = 4 * 1024;

/// The bytes of `space`.
const SPACE_BYTES_MAX: usize = 256;

/// The claims that the server reads, unchecked. Repeated ones are an error, others are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Claims {
    #[serde(deserialize_with = "present")]
    iss: Option<Value>,
    #[serde(deserialize_with = "present")]
    aud: Option<Value>,
    #[serde(deserialize_with = "present")]
    exp: Option<Value>,
    #[serde(deserialize_with = "present")]
    nbf: Option<Value>,
    #[serde(deserialize_with = "present")]
    sub: Option<Value>,
    #[serde(deserialize_with = "present")]
    name: Option<Value>,
    #[serde(deserialize_with = "present")]
    space: Option<Value>,
    #[serde(deserialize_with = "present")]
    grants: Option<Value>,
    #[serde(deserialize_with = "present")]
    metadata: Option<Value>,
}

impl Claims {
    /// Parses the middle part of a token.
    pub(crate) fn parse(part: &str) -> Result<Self, AuthError> {
        let error = "its claims are not base64url of a JSON object without repeated claims";
        let text = URL_SAFE_NO_PAD.decode(part).ok();
        let text = text.filter(|text| text.trim_ascii_start().starts_with(b"{"));
        let claims = text.and_then(|text| serde_json::from_slice(&text).ok());
        claims.ok_or(AuthError::Invalid(error))
    }

    /// The issuer, or an empty text.
    pub(crate) fn issuer_text(&self) -> &str {
        let issuer = self.iss.as_ref();
        issuer.and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the token names another issuer than this one.
    pub(crate) fn is_of_other_issuer(&self, issuer: &str) -> bool {
        let named = self.iss.as_ref().and_then(Value::as_str);
        !issuer.is_empty() && named.is_some_and(|named| named != issuer)
    }

    /// The principal of a token whose signature is valid.
    ///
    /// # Errors
    /// If a claim is missing, has another type, or does not hold.
    pub(crate) fn principal(self, config: &JwtConfig, now: u64) -> Result<Principal, AuthError> {
        self.check_issuer(&config.issuer)?;
        self.check_audience(&config.audience)?;
        let expires_at = self.check_times(config.leeway, now)?;
        let grants = match &self.grants {
            Some(value) => parsed_grants(value)?,
            None => config.default_grants.clone(),
        };
        let principal = Principal {
            subject: text(
                self.sub.as_ref(),
                "the claim sub is not a text of 1 to 256 bytes",
            )?,
            display_name: text(
                self.name.as_ref(),
                "the claim name is not a text of 1 to 256 bytes",
            )?,
            space: self.space()?,
            expires_at: Some(expires_at),
            metadata: self.metadata()?,
            ..Principal::anonymous(grants)
        };
        Ok(principal)
    }

    fn check_issuer(&self, issuer: &str) -> Result<(), AuthError> {
        match &self.iss {
            Some(Value::String(named)) if issuer.is_empty() || named == issuer => Ok(()),
            None if issuer.is_empty() => Ok(()),
            None => Err(AuthError::Invalid("the claim iss is missing")),
            Some(_) => Err(AuthError::Invalid("the claim iss is not the issuer's name")),
        }
    }

    /// A token with an audience is only for those (RFC 7519, section 4.1.3).
    fn check_audience(&self, audience: &[String]) -> Result<(), AuthError> {
        let named: Vec<&str> = match &self.aud {
            None if audience.is_empty() => return Ok(()),
            None => return Err(AuthError::Invalid("the claim aud is missing")),
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => {
                let names = names.iter().map(Value::as_str).collect::<Option<_>>();
                names.ok_or(AuthError::Invalid(
                    "the claim aud has items that are not texts",
                ))?
            }
            Some(_) => {
                let error = "the claim aud is neither a text nor a list of texts";
                return Err(AuthError::Invalid(error));
            }
        };
        let is_for_this = audience.iter().any(|name| named.contains(&&**name));
        is_for_this
            .then_some(())
            .ok_or(AuthError::Invalid(match audience.is_empty() {
                true => "it is for an audience (aud), and the server has no access.jwt.audience",
                false => "it is for another audience (aud)",
            }))
    }

    /// Checks `exp` and `nbf`. Returns the time at which the token ends, with the leeway.
    fn check_times(&self, leeway: u64, now: u64) -> Result<u64, AuthError> {
        let expires = self.exp.as_ref();
        let expires = expires.ok_or(AuthError::Invalid("the claim exp is missing"))?;
        let expires = seconds(expires);
        let expires =
            expires.ok_or(AuthError::Invalid("the claim exp is not a time in seconds"))?;
        let end = expires.saturating_add(leeway);
        if let Some(from) = &self.nbf {
            let error = AuthError::Invalid("the claim nbf is not a time in seconds");
            if seconds(from).ok_or(error)? > now.saturating_add(leeway) {
                return Err(AuthError::Invalid("it is not valid yet (nbf)"));
            }
        }
        match end <= now {
            true => Err(AuthError::Expired),
            false => Ok(end),
        }
    }

    fn space(&self) -> Result<SpaceName, AuthError> {
        let Some(value) = &self.space else {
            return Ok(SpaceName::default());
        };
        let space = value.as_str();
        let space = space.and_then(|space| SpaceName::parse(space, SPACE_BYTES_MAX).ok());
        space.ok_or(AuthError::Invalid(
            "the claim space is not the name of a space",
        ))
    }

    fn metadata(&self) -> Result<Option<Arc<str>>, AuthError> {
        let text = self.metadata.as_ref().map(Value::to_string);
        match text
            .as_ref()
            .is_some_and(|text| text.len() > METADATA_BYTES_MAX)
        {
            true => Err(AuthError::Invalid(
                "the claim metadata has more than 4096 bytes",
            )),
            false => Ok(text.map(Arc::from)),
        }
    }
}

/// A `NumericDate`: seconds since 1970, perhaps with a fraction, which is cut.
fn seconds(value: &Value) -> Option<u64> {
    let whole = value.as_u64();
    whole.or_else(|| {
        let seconds = value.as_f64()?;
        // A greater number is not exact, and no time of this universe.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked"
        )]
        (0.0..=9_007_199_254_740_992.0)
            .contains(&seconds)
            .then_some(seconds as u64)
    })
}

fn text(value: Option<&Value>, error: &'static str) -> Result<Option<Arc<str>>, AuthError> {
    let Some(value) = value else {
        return Ok(None);
    };
    let text = value.as_str();
    let text = text.filter(|text| (1..=TEXT_BYTES_MAX).contains(&text.len()));
    text.map(|text| Some(text.into()))
        .ok_or(AuthError::Invalid(error))
}

fn parsed_grants(value: &Value) -> Result<Arc<Grants>, AuthError> {
    let error = AuthError::Invalid("the claim grants is not a list of grants like \"join:team-*\"");
    let texts = value.as_array().and_then(|items| {
        let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>()
    });
    let grants = texts.and_then(|texts| Grants::parse(&texts).ok());
    grants.map(Arc::new).ok_or(error)
}
