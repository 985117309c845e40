//! Validates the settings of JSON Web Tokens.

use switchboard_auth::{AuthenticatorKind, JwtConfig};

use super::{Reason, Validator};

const AUTHENTICATORS: &str = "access.authenticators";

const SECRET: &str = "access.jwt.secret";
const KEYS_FILE: &str = "access.jwt.keys_file";
const JWKS_URL: &str = "access.jwt.jwks_url";

/// The settings of the keys that are set.
fn key_settings(jwt: &JwtConfig) -> Vec<&'static str> {
    let all = [
        (SECRET, jwt.secret.is_some()),
        (KEYS_FILE, jwt.keys_file.is_some()),
        (JWKS_URL, jwt.jwks_url.is_some()),
    ];
    let set = all.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(key, _)| key).collect()
}

impl Validator<'_> {
    /// The authenticator needs one kind of keys, and the algorithms must be those of the keys.
    pub(super) fn jwt(&mut self) {
        let access = &self.config.access;
        let jwt = &access.jwt;
        let is_on = access.authenticators.contains(&AuthenticatorKind::Jwt);
        match *key_settings(jwt) {
            [] if is_on => {
                // A key setting with an error of its own is reported there.
                let keys = [AUTHENTICATORS, SECRET, KEYS_FILE, JWKS_URL];
                let problem = "\"jwt\" needs one of access.jwt.secret, keys_file and jwks_url";
                self.report_together(&keys, problem);
            }
            [] | [_] => {}
            [first, second, ..] => {
                let why = "tokens are verified with one set of keys";
                self.report_pair([first, second], "must be empty with", why);
            }
        }
        let possible = jwt.possible_algorithms();
        let is_impossible = jwt
            .algorithms
            .iter()
            .any(|algorithm| !possible.contains(algorithm));
        if let (true, [keys]) = (is_impossible, &*key_settings(jwt)) {
            let why = "no key there is of that algorithm";
            self.report_pair(["access.jwt.algorithms", keys], "does not fit", why);
        }
    }

    /// Reports keys of tokens that no authenticator reads.
    pub(super) fn unused_jwt(&mut self) {
        let access = &self.config.access;
        if access.authenticators.contains(&AuthenticatorKind::Jwt) {
            return;
        }
        for key in key_settings(&access.jwt) {
            self.report(&[key, AUTHENTICATORS], Reason::UnusedJwt);
        }
    }
}
