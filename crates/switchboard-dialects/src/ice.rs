//! The STUN and TURN servers that are sent to clients (W3C WebRTC, section 4.2.4; URLs: RFC 7064 and RFC 7065).

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sha1::Sha1;

/// One `RTCIceServer`. Its debug output has `***` for the credential.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct IceServer {
    /// The addresses of the server, as `stun:HOST:PORT` or `turn:HOST:PORT?transport=udp`.
    pub urls: Vec<String>,
    /// The username for TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password for TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .field("username", &self.username)
            .field("credential", &self.credential.as_ref().map(|_| "***"))
            .finish()
    }
}

/// A TURN server that shares a secret with this server, such as coturn with `use-auth-secret`. Its debug
/// output has `***` for the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnServer {
    /// The addresses of the TURN server; empty if none is configured.
    pub urls: Vec<String>,
    /// The shared secret.
    pub secret: String,
    /// The time for which a credential is valid.
    pub ttl: Duration,
}

impl Default for TurnServer {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            secret: String::new(),
            ttl: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = if self.secret.is_empty() { "" } else { "***" };
        f.debug_struct("TurnServer")
            .field("urls", &self.urls)
            .field("secret", &secret)
            .field("ttl", &self.ttl)
            .finish()
    }
}

/// The configured STUN and TURN servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceServers {
    /// The servers that are sent to every client unchanged.
    pub servers: Vec<IceServer>,
    /// The TURN server for which every client gets credentials of its own.
    pub turn: TurnServer,
}

impl IceServers {
    /// Whether no server is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.turn.urls.is_empty()
    }

    /// The servers for one client. `user` distinguishes its TURN credentials from those of other clients and
    /// must not contain a colon. The credentials are valid for [`TurnServer::ttl`] from `unix_secs` on.
    #[must_use]
    pub fn for_client(&self, user: &str, unix_secs: u64) -> Vec<IceServer> {
        let mut servers = self.servers.clone();
        if !self.turn.urls.is_empty() {
            let expiry = unix_secs.saturating_add(self.turn.ttl.as_secs());
            let username = format!("{expiry}:{user}");
            servers.push(IceServer {
                urls: self.turn.urls.clone(),
                credential: Some(turn_credential(&self.turn.secret, &username)),
                username: Some(username),
            });
        }
        servers
    }
}

/// The password of `username`, which is `EXPIRY:USER`, at a TURN server with this secret: the base64 of
/// HMAC-SHA1 (draft-uberti-behave-turn-rest-00, section 2.2).
#[must_use]
pub fn turn_credential(secret: &str, username: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes a key of any length (RFC 2104, section 2)");
    mac.update(username.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_turn() -> IceServers {
        IceServers {
            servers: vec![IceServer {
                urls: vec!["stun:stun.example".to_owned()],
                ..IceServer::default()
            }],
            turn: TurnServer {
                urls: vec!["turn:turn.example".to_owned()],
                secret: "GEHEIM".to_owned(),
                ttl: Duration::from_secs(60),
            },
        }
    }

    #[test]
    fn credential_is_base64_of_hmac_sha1() {
        // RFC 2202, section 3, test case 2.
        let credential = turn_credential("Jefe", "what do ya want for nothing?");
        assert_eq!(credential, "7/zfauXrL6LSdBbV8YTfnCWafHk=");
        let credential = turn_credential("north", "1700086400:ada");
        assert_eq!(credential, "Qw2wNnXeN+K01UaLeSEb7cOAs5c=");
    }

    #[test]
    fn turn_username_is_expiry_and_user() {
        let servers = with_turn().for_client("ada", 1_000);
        assert_eq!(servers[0], with_turn().servers[0]);
        assert_eq!(servers[1].urls, ["turn:turn.example"]);
        assert_eq!(servers[1].username.as_deref(), Some("1060:ada"));
        let credential = turn_credential("GEHEIM", "1060:ada");
        assert_eq!(servers[1].credential, Some(credential));
        assert_eq!(servers.len(), 2);
    }

    #[test]
    fn expiry_does_not_overflow() {
        let servers = with_turn().for_client("ada", u64::MAX);
        assert_eq!(
            servers[1].username,
            Some(format!("{}:ada", u64::MAX)),
            "the largest time"
        );
    }

    #[test]
    fn without_turn_urls_no_credential_is_made() {
        let ice = IceServers::default();
        assert!(ice.is_empty());
        assert_eq!(ice.for_client("ada", 1), []);
    }

    #[test]
    fn absent_fields_are_left_out_of_json() {
        let json = serde_json::to_string(&with_turn().servers).expect("JSON");
        assert_eq!(json, r#"[{"urls":["stun:stun.example"]}]"#);
    }

    #[test]
    fn secrets_are_absent_from_debug_output() {
        let mut ice = with_turn();
        ice.servers[0].credential = Some("GEHEIM".to_owned());
        let shown = format!("{ice:?}");
        assert!(!shown.contains("GEHEIM"), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }
}
