//! The parameters of a client that are known before its first frame.

use std::sync::Arc;

use rand::{RngExt, SeedableRng, distr::Alphanumeric, rngs::StdRng};
use switchboard_core::{Identity, Limits, PeerId};

use crate::{DialectSettings, ice::IceServer};

/// The length of the user part of a TURN username, in letters and digits.
const TURN_USER_LENGTH: usize = 16;

/// The decoded parameters of the path or the query of a request.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The first value of the parameter, if it is present.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

impl FromIterator<(String, String)> for Query {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// An HTTP request: a WebSocket handshake that opens a session, or a plain request.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The id that the server has generated for the peer.
    pub peer: PeerId,
    /// The identity of the client, and how it was established.
    pub identity: Identity,
    /// The name of the [`Endpoint`](crate::Endpoint) of the request.
    pub endpoint: &'static str,
    /// The parameters in the path of the endpoint. Empty if the client has connected to the path of another dialect
    /// and has selected this one by `?dialect=` or a subprotocol.
    pub params: Query,
    /// The query parameters of the request.
    pub query: Query,
    /// Random bytes, for ids that the dialect generates. They are a parameter, because dialects do no I/O.
    pub random: [u8; 32],
    /// The current time in milliseconds since 1970.
    pub unix_ms: u64,
    /// The configured limits.
    pub limits: Arc<Limits>,
    /// The configured settings of the dialects.
    pub settings: Arc<DialectSettings>,
}

/// The STUN and TURN servers for one client. Each call of [`ClientIce::servers`] makes new TURN credentials.
#[derive(Clone, Debug)]
pub struct ClientIce {
    settings: Arc<DialectSettings>,
    /// The user part of the TURN username.
    user: String,
}

impl ClientIce {
    /// The servers, with TURN credentials whose validity begins at `unix_secs`.
    #[must_use]
    pub fn servers(&self, unix_secs: u64) -> Vec<IceServer> {
        let servers = self.settings.ice_servers();
        servers.for_client(&self.user, unix_secs)
    }
}

impl Handshake {
    /// A random text of `length` letters and digits. Repeated calls for one handshake return the same text.
    #[must_use]
    pub fn random_text(&self, length: usize) -> String {
        StdRng::from_seed(self.random)
            .sample_iter(Alphanumeric)
            .take(length)
            .map(char::from)
            .collect()
    }

    /// The STUN and TURN servers for this client, for the time of its connection. The user part of the TURN
    /// username is random: a TURN server can distinguish clients and learns nothing else about them.
    #[must_use]
    pub fn client_ice(&self) -> ClientIce {
        ClientIce {
            settings: self.settings.clone(),
            user: self.random_text(TURN_USER_LENGTH),
        }
    }

    /// The STUN and TURN servers for this client, with TURN credentials whose validity begins now.
    #[must_use]
    pub fn ice_servers(&self) -> Vec<IceServer> {
        self.client_ice().servers(self.unix_ms / 1000)
    }
}

#[cfg(test)]
impl Handshake {
    /// A handshake at this endpoint with these path and query parameters.
    pub(crate) fn at(
        endpoint: &'static str,
        params: &[(&str, &str)],
        query: &[(&str, &str)],
    ) -> Self {
        let pairs = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        Self {
            peer: PeerId::from_random([7; 16]),
            identity: Identity::Claimed,
            endpoint,
            params: pairs(params),
            query: pairs(query),
            random: [7; 32],
            unix_ms: 0,
            limits: Arc::default(),
            settings: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Endpoint,
        ice::{IceServers, TurnServer},
    };

    #[test]
    fn turn_credentials_are_valid_from_the_handshake_on_and_differ_between_clients() {
        let mut settings = DialectSettings::default();
        settings.set_ice_servers(IceServers {
            turn: TurnServer {
                urls: vec!["turn:turn.example".to_owned()],
                secret: "GEHEIM".to_owned(),
                ..TurnServer::default()
            },
            ..IceServers::default()
        });
        let usernames = [7, 8].map(|byte| {
            let handshake = Handshake {
                random: [byte; 32],
                unix_ms: 1_000_999,
                settings: Arc::new(settings.clone()),
                ..Handshake::at(Endpoint::MAIN, &[], &[])
            };
            let server = handshake.ice_servers().pop().expect("a TURN server");
            server.username.expect("a username")
        });
        for username in &usernames {
            // The time of the handshake, 1000 s, plus the validity of a day.
            let user = username.strip_prefix("87400:").expect("the expiry");
            assert!(user.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_eq!(user.len(), TURN_USER_LENGTH);
        }
        assert_ne!(usernames[0], usernames[1]);
    }
}
