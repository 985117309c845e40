//! The identity of the local user, and the identities of other users.
//!
//! Two kinds of challenges exist and must not be confused: tickets of the server are letters, challenges of
//! users are digits. Signing one kind as the other would allow an attacker to impersonate the local user to
//! the server or to another user.

use anyhow::Context as _;
use rand::RngExt as _;
use switchboard::{PublicKey, SecretKey};

/// Number of digits of a challenge: the maximum that the voice page signs.
const CHALLENGE_DIGITS: usize = 16;

/// Maximum length of a challenge in bytes; a signature does not cover further bytes.
const CHALLENGE_MAX: usize = 32;

/// The credential of the local user.
#[derive(Clone)]
pub(super) enum CliIdentity {
    Key(SecretKey),
    /// The session token of a website.
    Token(String),
}

/// Another user, by the name that the server has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallUser {
    name: String,
    key: Option<PublicKey>,
}

impl CliIdentity {
    /// Signs a ticket of the server. Empty for users of a website; `None` if the ticket is invalid.
    pub(super) fn sign_for_server(&self, ticket: &str) -> Option<String> {
        self.sign(ticket, |byte| byte.is_ascii_alphabetic())
    }

    /// Signs the challenge of a user. Empty for users of a website; `None` if the challenge is invalid.
    pub(super) fn sign_for_user(&self, challenge: &str) -> Option<String> {
        self.sign(challenge, |byte| byte.is_ascii_digit())
    }

    fn sign(&self, challenge: &str, is_of_kind: fn(&u8) -> bool) -> Option<String> {
        let Self::Key(key) = self else {
            return Some(String::new());
        };
        let is_expected = (1..=CHALLENGE_MAX).contains(&challenge.len())
            && challenge.as_bytes().iter().all(is_of_kind);
        is_expected.then(|| key.sign(challenge)).flatten()
    }

    /// Parses a user's name: a public key, or a number for users of a website.
    pub(super) fn user(&self, text: &str) -> Option<CallUser> {
        match self {
            Self::Key(_) => PublicKey::parse(text).map(|key| CallUser {
                name: key.to_string(),
                key: Some(key),
            }),
            Self::Token(_) => text
                .parse::<u64>()
                .ok()
                .filter(|number| *number > 0)
                .map(|number| CallUser {
                    name: number.to_string(),
                    key: None,
                }),
        }
    }

    /// Parses a user's name like [`CliIdentity::user`], with an error message if it is invalid.
    pub(super) fn parse_user(&self, text: &str) -> anyhow::Result<CallUser> {
        let expected = match self {
            Self::Key(_) => "a public key (66 hex digits, as `switchboard voice key` prints them)",
            Self::Token(_) => "a user's number",
        };
        self.user(text)
            .with_context(|| format!("{text:?} is not {expected}"))
    }

    /// The name of the local user, as far as it is known.
    pub(super) fn own_name(&self) -> String {
        match self {
            Self::Key(key) => key.public().to_string(),
            Self::Token(_) => "the user of this token".to_owned(),
        }
    }

    /// Whether users are keys, which sign challenges.
    pub(super) fn has_key(&self) -> bool {
        matches!(self, Self::Key(_))
    }
}

impl CallUser {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the user has signed the challenge. Always true for users of a website.
    pub(super) fn has_signed(&self, challenge: &str, signature: &str) -> bool {
        self.key
            .as_ref()
            .is_none_or(|key| key.verifies(challenge, signature))
    }
}

impl std::fmt::Display for CallUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Creates a random challenge for another user to sign.
pub(super) fn challenge() -> String {
    let mut random = rand::rng();
    (0..CHALLENGE_DIGITS)
        .map(|_| char::from(b'0' + random.random_range(0..10_u8)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenge_is_digits_like_those_of_the_voice_page() {
        let (first, second) = (challenge(), challenge());
        assert_ne!(first, second);
        assert_eq!(first.len(), 16);
        assert!(first.bytes().all(|byte| byte.is_ascii_digit()));
    }

    #[test]
    fn tickets_and_challenges_are_not_confused() {
        let key = CliIdentity::Key(SecretKey::generate());
        assert!(key.sign_for_user("12345678").is_some());
        assert!(key.sign_for_server("abcdefgh").is_some());
        for challenge in ["abcdefgh", "", "12 34", "1234a", &"1".repeat(33)] {
            assert!(key.sign_for_user(challenge).is_none(), "{challenge}");
        }
        for ticket in ["12345678", "", "ab cd", &"a".repeat(33)] {
            assert!(key.sign_for_server(ticket).is_none(), "{ticket}");
        }
    }

    #[test]
    fn users_are_keys_or_numbers() {
        let secret = SecretKey::generate();
        let name = secret.public().to_string();
        let key = CliIdentity::Key(secret);
        assert_eq!(key.user(&name.to_uppercase()).unwrap().name(), name);
        assert!(key.user("12").is_none());
        let token = CliIdentity::Token("t".to_owned());
        assert_eq!(token.user("12").unwrap().name(), "12");
        for text in ["0", "-1", "", &name] {
            assert!(token.user(text).is_none(), "{text}");
        }
    }
}
