//! The decisions of the webhook. A decision that is not exactly as documented is an error, and so admits nobody.

use std::sync::Arc;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;
use switchboard_core::{Grants, SpaceName};
use thiserror::Error;

use crate::{AuthError, Principal};

/// Bytes of a reason for the client. A longer one is cut.
const REASON_BYTES_MAX: usize = 512;

/// Bytes of a subject and of a display name.
const NAME_BYTES_MAX: usize = 256;

/// The number of grants in a decision.
const GRANTS_MAX: usize = 256;

/// Bytes of metadata as JSON text.
const METADATA_BYTES_MAX: usize = 4096;

/// The reason why a decision of the webhook cannot be used.
#[derive(Debug, Error)]
pub enum DecisionError {
    /// The body is no decision.
    #[error("the response is no decision: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A field has a value that it must not have.
    #[error("the field {field:?} of the decision {rule}")]
    Field {
        /// The name of the field.
        field: &'static str,
        /// The rule that the value breaks.
        rule: String,
    },
}

impl DecisionError {
    fn new(field: &'static str, rule: impl Into<String>) -> Self {
        let rule = rule.into();
        Self::Field { field, rule }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectResponse {
    allowed: bool,
    reason: Option<String>,
    subject: Option<String>,
    name: Option<String>,
    space: Option<String>,
    grants: Option<Vec<String>>,
    expires_at: Option<u64>,
    ttl: Option<u64>,
    #[serde(alias = "authzMetadata")]
    metadata: Option<Value>,
    /// A field of Ayame, which has no meaning here.
    #[serde(rename = "iceServers")]
    _ice_servers: Option<IgnoredAny>,
}

/// The decision about a client that connects.
#[derive(Debug)]
pub enum ConnectDecision {
    /// The client is admitted.
    Admit(Principal),
    /// The client is refused.
    Deny(AuthError),
}

impl ConnectDecision {
    /// Parses the body of a response. `unix_secs` is the current time.
    ///
    /// # Errors
    /// If it is not exactly as documented.
    pub fn parse(body: &[u8], unix_secs: u64) -> Result<Self, DecisionError> {
        let response: ConnectResponse = serde_json::from_slice(body)?;
        if !response.allowed {
            return Ok(Self::Deny(AuthError::Denied(reason(response.reason))));
        }
        let expires_at = expiry(&response, unix_secs)?;
        if expires_at.is_some_and(|at| at <= unix_secs) {
            return Ok(Self::Deny(AuthError::Expired));
        }
        Ok(Self::Admit(Principal {
            subject: short_text("subject", response.subject)?,
            display_name: short_text("name", response.name)?,
            space: space(response.space)?,
            expires_at,
            metadata: metadata(response.metadata)?,
            ..Principal::anonymous(grants(response.grants)?)
        }))
    }
}

fn expiry(response: &ConnectResponse, unix_secs: u64) -> Result<Option<u64>, DecisionError> {
    match (response.expires_at, response.ttl) {
        (Some(_), Some(_)) => Err(DecisionError::new(
            "ttl",
            "must not be sent with expires_at",
        )),
        (Some(at), None) => Ok(Some(at)),
        (None, Some(ttl)) => Ok(Some(unix_secs.saturating_add(ttl))),
        (None, None) => Ok(None),
    }
}

fn reason(text: Option<String>) -> Option<Arc<str>> {
    let text = text.filter(|text| !text.is_empty())?;
    Some(text[..text.floor_char_boundary(REASON_BYTES_MAX)].into())
}

fn short_text(
    field: &'static str,
    text: Option<String>,
) -> Result<Option<Arc<str>>, DecisionError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        let rule = format!("must have at most {NAME_BYTES_MAX} bytes and no control characters");
        return Err(DecisionError::new(field, rule));
    }
    Ok(Some(text.into()))
}

fn space(text: Option<String>) -> Result<SpaceName, DecisionError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(SpaceName::default());
    };
    let parsed = SpaceName::parse(&text, 0);
    parsed.map_err(|_| DecisionError::new("space", "must be the name of a namespace of rooms"))
}

fn grants(texts: Option<Vec<String>>) -> Result<Arc<Grants>, DecisionError> {
    let Some(texts) = texts else {
        return Ok(Grants::participant());
    };
    if texts.len() > GRANTS_MAX {
        let rule = format!("must have at most {GRANTS_MAX} items");
        return Err(DecisionError::new("grants", rule));
    }
    let parsed = Grants::parse(&texts);
    let parsed = parsed.map_err(|error| DecisionError::new("grants", format!("is wrong: {error}")));
    Ok(Arc::new(parsed?))
}

fn metadata(value: Option<Value>) -> Result<Option<Arc<str>>, DecisionError> {
    let Some(value) = value else { return Ok(None) };
    let text = value.to_string();
    match text.len() > METADATA_BYTES_MAX {
        true => {
            let rule = format!("must have at most {METADATA_BYTES_MAX} bytes");
            Err(DecisionError::new("metadata", rule))
        }
        false => Ok(Some(text.into())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinResponse {
    allowed: bool,
    reason: Option<String>,
    /// Fields of Ayame, which have no meaning here.
    #[serde(rename = "iceServers")]
    _ice_servers: Option<IgnoredAny>,
    #[serde(rename = "authzMetadata")]
    _authz_metadata: Option<IgnoredAny>,
}

/// The decision about a client that joins a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinDecision {
    /// The client may join.
    Allow,
    /// The client may not join. The text is for the client.
    Deny(Option<Arc<str>>),
}

impl JoinDecision {
    /// Parses the body of a response.
    ///
    /// # Errors
    /// If it is not exactly as documented.
    pub fn parse(body: &[u8]) -> Result<Self, DecisionError> {
        let response: JoinResponse = serde_json::from_slice(body)?;
        Ok(match response.allowed {
            true => Self::Allow,
            false => Self::Deny(reason(response.reason)),
        })
    }
}

#[cfg(test)]
mod tests {
    use switchboard_core::{Power, RoomName};

    use super::*;

    fn admit(body: &str) -> Principal {
        match ConnectDecision::parse(body.as_bytes(), 1000) {
            Ok(ConnectDecision::Admit(principal)) => principal,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn decision_becomes_a_principal() {
        let principal = admit(
            r#"{"allowed":true,"subject":"ada","name":"Ada","space":"s","grants":["join:team-*"],"ttl":60,"metadata":{"a":[1]}}"#,
        );
        assert_eq!(principal.subject.as_deref(), Some("ada"));
        assert_eq!(principal.display_name.as_deref(), Some("Ada"));
        assert_eq!(principal.space.as_str(), "s");
        assert_eq!(principal.expires_at, Some(1060));
        assert_eq!(principal.metadata.as_deref(), Some(r#"{"a":[1]}"#));
        let room = |name| RoomName::parse(name, 0).expect("a name");
        assert!(principal.grants.allows(Power::Join, &room("team-a")));
        assert!(!principal.grants.allows(Power::Join, &room("other")));
        assert!(!principal.grants.has(Power::Signal));
    }

    #[test]
    fn decision_without_grants_gives_those_of_a_participant() {
        let ayame =
            r#"{"allowed":true,"iceServers":[{"urls":["stun:a"]}],"authzMetadata":{"b":2}}"#;
        let principal = admit(ayame);
        assert!(principal.grants.has(Power::Join) && principal.grants.has(Power::PublishAudio));
        assert!(!principal.grants.has(Power::Moderate) && !principal.grants.has(Power::Admin));
        assert_eq!(principal.metadata.as_deref(), Some(r#"{"b":2}"#));
        assert_eq!((principal.subject, principal.expires_at), (None, None));
    }

    #[test]
    fn refusal_and_past_expiry_are_denied() {
        let deny = |body: &str| match ConnectDecision::parse(body.as_bytes(), 1000) {
            Ok(ConnectDecision::Deny(error)) => error,
            other => panic!("{body}: {other:?}"),
        };
        let denied = deny(r#"{"allowed":false,"reason":"banned"}"#);
        assert_eq!(denied, AuthError::Denied(Some("banned".into())));
        assert_eq!(deny(r#"{"allowed":false}"#), AuthError::Denied(None));
        assert_eq!(
            deny(r#"{"allowed":true,"expires_at":1000}"#),
            AuthError::Expired
        );
        assert_eq!(deny(r#"{"allowed":true,"ttl":0}"#), AuthError::Expired);
        let long = format!(r#"{{"allowed":false,"reason":"{}"}}"#, "é".repeat(300));
        let AuthError::Denied(Some(text)) = deny(&long) else {
            panic!("no text");
        };
        assert_eq!(text.len(), REASON_BYTES_MAX);
    }

    #[test]
    fn anything_else_is_an_error() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for body in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"allowed":"true"}"#.to_owned(),
            r#"{"allowed":1}"#.to_owned(),
            r#"{"allowed":false,"allowed":true}"#.to_owned(),
            r#"{"allowed":true,"grant":["join"]}"#.to_owned(),
            r#"{"allowed":true,"grants":"join"}"#.to_owned(),
            r#"{"allowed":true,"grants":["fly"]}"#.to_owned(),
            r#"{"allowed":true,"expires_at":-1}"#.to_owned(),
            r#"{"allowed":true,"expires_at":2000,"ttl":1}"#.to_owned(),
            format!(r#"{{"allowed":true,"subject":"{long}"}}"#),
            r#"{"allowed":true,"name":"a\nb"}"#.to_owned(),
            format!(
                r#"{{"allowed":true,"metadata":"{}"}}"#,
                "x".repeat(METADATA_BYTES_MAX)
            ),
            format!(
                r#"{{"allowed":true,"grants":[{}"join"]}}"#,
                r#""join","#.repeat(GRANTS_MAX)
            ),
            r#"{"allowed":true} {}"#.to_owned(),
            "[".repeat(10_000),
        ] {
            let parsed = ConnectDecision::parse(body.as_bytes(), 1000);
            assert!(parsed.is_err(), "{body}: {parsed:?}");
        }
    }

    #[test]
    fn join_is_allowed_or_denied() {
        let parse = |body: &str| JoinDecision::parse(body.as_bytes()).ok();
        assert_eq!(parse(r#"{"allowed":true}"#), Some(JoinDecision::Allow));
        let denied = parse(r#"{"allowed":false,"reason":"full"}"#);
        assert_eq!(denied, Some(JoinDecision::Deny(Some("full".into()))));
        assert_eq!(parse(r#"{"allowed":true,"grants":["*"]}"#), None);
        assert_eq!(parse("yes"), None);
    }
}
