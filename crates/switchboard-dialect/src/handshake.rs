//! What is known of a client before its first frame.

use std::sync::Arc;

use rand::{RngExt, SeedableRng, distr::Alphanumeric, rngs::StdRng};
use switchboard_core::{Identity, Limits, PeerId};

use crate::{DialectSettings, ice::IceServer};

/// Letters and digits of the user in a TURN username.
const TURN_USER_LENGTH: usize = 16;

/// Parameters of a request's address, decoded.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The first value of this parameter.
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

/// A request that begins a session, or a plain one.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The id made for the peer.
    pub peer: PeerId,
    /// Who the client is, and how we know.
    pub identity: Identity,
    /// The name of the [`Endpoint`](crate::Endpoint) it came to.
    pub endpoint: &'static str,
    /// The parameters in the door's path. None of them, if the dialect was asked for on a path of
    /// another.
    pub params: Query,
    /// The request's query.
    pub query: Query,
    /// Chance, drawn by the driver, for names that the dialect makes.
    pub random: [u8; 32],
    /// What time it is, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The bounds in force.
    pub limits: Arc<Limits>,
    /// The dialects' own settings in force.
    pub settings: Arc<DialectSettings>,
}

/// The STUN and TURN servers for one client. TURN credentials are made when they are asked for.
#[derive(Clone, Debug)]
pub struct ClientIce {
    settings: Arc<DialectSettings>,
    /// The user in the TURN username.
    user: String,
}

impl ClientIce {
    /// The servers, with TURN credentials that are valid from `unix_secs` on.
    #[must_use]
    pub fn servers(&self, unix_secs: u64) -> Vec<IceServer> {
        let servers = self.settings.ice_servers();
        servers.for_client(&self.user, unix_secs)
    }
}

impl Handshake {
    /// A random text of letters and digits. The same each time for one handshake.
    #[must_use]
    pub fn random_text(&self, length: usize) -> String {
        StdRng::from_seed(self.random)
            .sample_iter(Alphanumeric)
            .take(length)
            .map(char::from)
            .collect()
    }

    /// The STUN and TURN servers for this client, for as long as it is connected. The TURN username is random, so
    /// that a TURN server can tell clients apart and learns nothing else of them.
    #[must_use]
    pub fn client_ice(&self) -> ClientIce {
        ClientIce {
            settings: self.settings.clone(),
            user: self.random_text(TURN_USER_LENGTH),
        }
    }

    /// The STUN and TURN servers for this client, with TURN credentials that are valid from now on.
    #[must_use]
    pub fn ice_servers(&self) -> Vec<IceServer> {
        self.client_ice().servers(self.unix_ms / 1000)
    }
}

#[cfg(test)]
impl Handshake {
    /// One at this door, with these parameters of the path and of the query.
    pub(crate) fn at(door: &'static str, params: &[(&str, &str)], query: &[(&str, &str)]) -> Self {
        let pairs = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        Self {
            peer: PeerId::from_random([7; 16]),
            identity: Identity::Claimed,
            endpoint: door,
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
            let user = username.strip_prefix("87400:").expect("the expiry");
            assert!(user.bytes().all(|byte| byte.is_ascii_alphanumeric()));
            assert_eq!(user.len(), TURN_USER_LENGTH);
        }
        assert_ne!(usernames[0], usernames[1]);
    }
}
