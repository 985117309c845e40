//! Who one is to a server, and who the others are.
//!
//! Two kinds of challenges exist and must not be taken for each other: a server's are letters,
//! people's are digits. Who could have us sign one kind through the other's door could speak to the
//! server, or to a friend, in our name.

use rand::RngExt as _;
use switchboard::{PublicKey, SecretKey};

/// Digits of a challenge: as many as the page in the browser signs, at most.
const CHALLENGE_DIGITS: usize = 16;

/// Beyond these many bytes a signature binds nothing.
const CHALLENGE_MAX: usize = 32;

/// How one proves who one is.
#[derive(Clone)]
pub(super) enum CliIdentity {
    Key(SecretKey),
    /// A website vouches for whoever has this.
    Token(String),
}

/// Somebody, by the name that the server has for him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CallUser {
    name: String,
    key: Option<PublicKey>,
}

impl CliIdentity {
    /// Our signature over a ticket of the server's; empty where a website vouches.
    pub(super) fn sign_for_server(&self, ticket: &str) -> Option<String> {
        self.sign(ticket, |byte| byte.is_ascii_alphabetic())
    }

    /// Our signature over the challenge of a person; empty where a website vouches. None for what
    /// no honest program asks for.
    pub(super) fn sign_for_person(&self, challenge: &str) -> Option<String> {
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

    /// Reads somebody's name: a public key, or a number where a website vouches.
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

    /// As [`CliIdentity::user`], in words if it is nobody's name.
    pub(super) fn user_or_words(&self, text: &str) -> Result<CallUser, String> {
        let what = match self {
            Self::Key(_) => "a public key (66 hex digits, as `switchboard voice key` prints them)",
            Self::Token(_) => "a user's number",
        };
        self.user(text)
            .ok_or_else(|| format!("{text:?} is not {what}"))
    }

    /// What others call us, as far as it is known here.
    pub(super) fn own_name(&self) -> String {
        match self {
            Self::Key(key) => key.public().to_string(),
            Self::Token(_) => "the user of this token".to_owned(),
        }
    }

    /// Whether people sign for themselves.
    pub(super) fn has_key(&self) -> bool {
        matches!(self, Self::Key(_))
    }
}

impl CallUser {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether he has signed this. Where a website vouches nobody signs.
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

/// A challenge for somebody to sign.
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
    fn a_challenge_is_digits_as_the_browser_wants_them() {
        let (first, second) = (challenge(), challenge());
        assert_ne!(first, second);
        assert_eq!(first.len(), 16);
        assert!(first.bytes().all(|byte| byte.is_ascii_digit()));
    }

    #[test]
    fn nobody_gets_a_signature_through_the_wrong_door() {
        let key = CliIdentity::Key(SecretKey::generate());
        assert!(key.sign_for_person("12345678").is_some());
        assert!(key.sign_for_server("abcdefgh").is_some());
        for challenge in ["abcdefgh", "", "12 34", "1234a", &"1".repeat(33)] {
            assert!(key.sign_for_person(challenge).is_none(), "{challenge}");
        }
        for ticket in ["12345678", "", "ab cd", &"a".repeat(33)] {
            assert!(key.sign_for_server(ticket).is_none(), "{ticket}");
        }
    }

    #[test]
    fn people_are_keys_or_numbers() {
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
