//! Who asks, and how that is known.

use std::{
    num::NonZero,
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use bytestring::ByteString;
use switchboard_core::User;
use switchboard_dialect::gostream::UserEncoding;
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Interval, interval},
};

use super::{
    answer::VoiceError,
    keys::{ChallengeStore, Proof, PublicKey, challenge_is_sound, verify},
    parameters::RequestParameters,
    site::{Site, SiteError},
};
use crate::config::{Gostream, VoiceIdentity};

/// Who vouches for users.
#[derive(Debug)]
pub(super) enum IdentityProvider {
    Keys(Arc<KeyIdentity>),
    Site(Arc<Site>),
}

/// Users that are public keys.
#[derive(Debug)]
pub(super) struct KeyIdentity {
    pub(super) tickets: ChallengeStore,
    challenge_ttl: Duration,
    require_proof: bool,
    /// The right to check a signature.
    checks: Semaphore,
}

impl KeyIdentity {
    fn new(config: &Gostream) -> Self {
        Self {
            tickets: ChallengeStore::new(config.keys.challenge_ttl),
            challenge_ttl: config.keys.challenge_ttl,
            require_proof: config.keys.require_proof,
            checks: Semaphore::new(available_parallelism().map_or(1, NonZero::get)),
        }
    }

    /// Which of the key's tickets the signature is over.
    async fn check(self: &Arc<Self>, key: &PublicKey, asked: &RequestParameters) -> Option<Proof> {
        let signature = asked.signature()?.to_owned();
        let (keys, key) = (self.clone(), key.clone());
        self.run_blocking(move || keys.tickets.check(&key, &signature, Instant::now()))
            .await
    }

    /// Which of these challenges the signature is over.
    async fn find(
        &self,
        key: &PublicKey,
        signature: &str,
        challenges: Vec<ByteString>,
    ) -> Option<ByteString> {
        let (key, signature) = (key.clone(), signature.to_owned());
        let is_signed = move |challenge: &ByteString| verify(&key, challenge, &signature);
        self.run_blocking(move || challenges.into_iter().find(is_signed))
            .await
    }

    /// Checks a signature. A wrong one costs up to eight verifications, more than a millisecond: that
    /// is not done where requests and audio take turns, and only so many at once.
    async fn run_blocking<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let _turn = self.checks.acquire().await.ok()?;
        spawn_blocking(check).await.ok()?
    }
}

/// Somebody who asks for something.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) user: User,
    pub(super) credential: Credential,
}

/// What was shown.
#[derive(Debug)]
pub(super) enum Credential {
    /// A key, and which server challenge was signed with it, if one was.
    Key(PublicKey, Option<Proof>),
    /// A token that the site knows.
    Token(String),
}

impl Caller {
    /// Whether there is more than his word.
    pub(super) fn is_proven(&self) -> bool {
        match &self.credential {
            Credential::Key(_, proof) => proof.is_some(),
            Credential::Token(_) => true,
        }
    }
}

impl IdentityProvider {
    /// None where voice is off.
    ///
    /// # Errors
    /// If the site's address is none, in words for people.
    pub(super) fn new(config: &Gostream) -> Result<Option<Self>, String> {
        match config.identity {
            VoiceIdentity::Off => Ok(None),
            VoiceIdentity::Keys => Ok(Some(Self::Keys(Arc::new(KeyIdentity::new(config))))),
            VoiceIdentity::Site => {
                let site = &config.site;
                let site = Site::new(&site.url, site.cache_ttl, site.timeout)?;
                Ok(Some(Self::Site(Arc::new(site))))
            }
        }
    }

    /// One like this, which has given nobody a challenge yet. What is known of a site stays known.
    pub(super) fn anew(&self, config: &Gostream) -> Self {
        match self {
            Self::Keys(_) => Self::Keys(Arc::new(KeyIdentity::new(config))),
            Self::Site(site) => Self::Site(site.clone()),
        }
    }

    pub(super) fn users(&self) -> UserEncoding {
        match self {
            Self::Keys(_) => UserEncoding::Keys,
            Self::Site(_) => UserEncoding::Numbers,
        }
    }

    pub(super) fn keys(&self) -> Result<&KeyIdentity, VoiceError> {
        match self {
            Self::Keys(keys) => Ok(keys),
            Self::Site(_) => Err(VoiceError::not_found(
                "Users of this server are a website's; they have no keys.",
            )),
        }
    }

    pub(super) fn site(&self) -> Result<&Site, VoiceError> {
        match self {
            Self::Site(site) => Ok(site),
            Self::Keys(_) => Err(VoiceError::not_found(
                "Users of this server are keys; there are no tokens.",
            )),
        }
    }

    /// Who it is by his own word (a key) or the site's (a token).
    pub(super) async fn claimed(&self, asked: &RequestParameters) -> Result<Caller, VoiceError> {
        match self {
            Self::Keys(_) => {
                let key = key(asked)?;
                Ok(Caller {
                    user: user_of_key(&key),
                    credential: Credential::Key(key, None),
                })
            }
            Self::Site(site) => {
                let token = asked.token().ok_or(SiteError::NoSession)?;
                let number = site.user(token).await?;
                Ok(Caller {
                    user: user_of_number(number),
                    credential: Credential::Token(token.to_owned()),
                })
            }
        }
    }

    /// Who it is, proven: a key has signed a challenge of this server's, or the site knows the token.
    pub(super) async fn proven(&self, asked: &RequestParameters) -> Result<Caller, VoiceError> {
        let mut caller = self.claimed(asked).await?;
        if let (Self::Keys(keys), Credential::Key(key, proof)) = (self, &mut caller.credential) {
            let Some(found) = keys.check(key, asked).await else {
                return Err(VoiceError::forbidden(
                    "The signature is not this key's over a challenge that /getCallTicket gave it.",
                ));
            };
            *proof = Some(found);
        }
        Ok(caller)
    }

    /// Who may hear what somebody is told.
    pub(super) async fn listening(&self, asked: &RequestParameters) -> Result<Caller, VoiceError> {
        match self {
            Self::Keys(keys) if keys.require_proof || asked.signature().is_some() => {
                self.proven(asked).await
            }
            Self::Keys(_) | Self::Site(_) => self.claimed(asked).await,
        }
    }

    /// What is to be kept while somebody listens.
    pub(super) fn kept(&self, credential: Credential) -> Option<TicketKeepAlive> {
        let (Self::Keys(keys), Credential::Key(key, _)) = (self, credential) else {
            return None;
        };
        let half = (keys.challenge_ttl / 2).max(Duration::from_millis(1));
        Some(TicketKeepAlive {
            keys: keys.clone(),
            key,
            due: interval(half),
        })
    }

    /// Whom somebody wants to reach.
    pub(super) fn other(&self, asked: &RequestParameters) -> Result<User, VoiceError> {
        let text = asked.destination().unwrap_or_default();
        let user = match self {
            Self::Keys(_) => PublicKey::parse(text).map(|key| user_of_key(&key)),
            Self::Site(_) => number(text).map(user_of_number),
        };
        user.ok_or_else(|| match self {
            Self::Keys(_) => VoiceError::bad("Destination is not a compressed P-256 key in hex."),
            Self::Site(_) => VoiceError::bad("Destination is not a user's number."),
        })
    }

    /// The challenge that the other one is to sign; where a site vouches, there is none.
    pub(super) fn challenge(&self, asked: &RequestParameters) -> Result<ByteString, VoiceError> {
        let Self::Keys(_) = self else {
            return Ok(ByteString::new());
        };
        let challenge = asked.challenge().unwrap_or_default();
        if looks_like_ticket(challenge) {
            return Err(VoiceError::bad(
                "The challenge looks like one of this server's, which nobody signs for another.",
            ));
        }
        if challenge_is_sound(challenge) {
            return Ok(challenge.into());
        }
        Err(VoiceError::bad(
            "The challenge has not from 1 to 32 bytes, or begins with a zero byte: what is beyond is signed by nobody.",
        ))
    }

    /// Checks that the caller has signed one of the challenges he was sent: the signature, and which.
    /// A site's users sign nothing.
    pub(super) async fn signature(
        &self,
        caller: &Caller,
        sent: Vec<ByteString>,
        asked: &RequestParameters,
    ) -> Result<(ByteString, ByteString), VoiceError> {
        let (Self::Keys(keys), Credential::Key(key, _)) = (self, &caller.credential) else {
            return Ok(Default::default());
        };
        let signature = asked.signature().unwrap_or_default();
        let signed = keys.find(key, signature, sent).await;
        let signed = signed.ok_or(VoiceError::forbidden(
            "The signature is not this key's over a challenge it was sent.",
        ))?;
        Ok((signature.into(), signed))
    }

    /// Whether a site lets one call the other. Between keys anybody may ring.
    pub(super) async fn may_call(&self, caller: &Caller, other: &User) -> Result<(), VoiceError> {
        let (Self::Site(site), Credential::Token(token)) = (self, &caller.credential) else {
            return Ok(());
        };
        let destination = number(other.as_str()).unwrap_or_default();
        if site.may_call(destination, token).await? {
            return Ok(());
        }
        Err(VoiceError::forbidden("You may not call this user."))
    }
}

/// A key whose challenges do not expire, because somebody hears its events: the reference's clients
/// ask for one when they come, and may sign it hours later, when they are called.
#[derive(Debug)]
pub(super) struct TicketKeepAlive {
    keys: Arc<KeyIdentity>,
    key: PublicKey,
    due: Interval,
}

impl TicketKeepAlive {
    /// Keeps them, when it is time.
    pub(super) async fn when_due(&mut self) {
        self.due.tick().await;
        self.keys.tickets.keep(&self.key, Instant::now());
    }
}

/// The site's word is no error of the client's.
impl From<SiteError> for VoiceError {
    fn from(error: SiteError) -> Self {
        Self::new(error.status(), &error.to_string())
    }
}

pub(super) fn key(asked: &RequestParameters) -> Result<PublicKey, VoiceError> {
    let key = asked.key().and_then(PublicKey::parse);
    key.ok_or_else(|| {
        VoiceError::new(
            StatusCode::FORBIDDEN,
            "PKey is not a compressed P-256 key in hex.",
        )
    })
}

/// A client signs what it is sent by whoever calls it. Were that a challenge of this server's, the
/// one who called could then speak as it.
fn looks_like_ticket(challenge: &str) -> bool {
    challenge.len() == ChallengeStore::LETTERS
        && challenge.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// A number of a site's users or rooms, above 0.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|number| *number > 0)
}

fn user_of_key(key: &PublicKey) -> User {
    user(&key.to_string())
}

fn user_of_number(number: u64) -> User {
    user(&number.to_string())
}

fn user(name: &str) -> User {
    User::parse(name, 0).expect("a key's hex and a number are not empty")
}
