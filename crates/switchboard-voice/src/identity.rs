//! Identification and authentication of the callers of voice requests.

use std::{num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};

use axum::http::StatusCode;
use bytestring::ByteString;
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Interval, interval},
};

use crate::{
    answer::VoiceError,
    clock,
    config::{Gostream, VoiceIdentity},
    gostream::UserEncoding,
    id::User,
    keys::{ChallengeStore, Proof, PublicKey, is_valid_challenge, verify},
    parameters::RequestParameters,
    site::{Site, SiteError, SiteUrlError},
};

/// Authenticates users: as owners of public keys, or by a website.
#[derive(Debug)]
pub(crate) enum IdentityProvider {
    Keys(Arc<KeyIdentity>),
    Site(Arc<Site>),
}

/// Identifies users by public keys, which sign challenges.
#[derive(Debug)]
pub(crate) struct KeyIdentity {
    pub(crate) tickets: ChallengeStore,
    challenge_ttl: Duration,
    require_proof: bool,
    /// Bounds concurrent signature checks.
    check_permits: Semaphore,
}

impl KeyIdentity {
    fn new(config: &Gostream) -> Self {
        Self {
            tickets: ChallengeStore::new(config.keys.challenge_ttl),
            challenge_ttl: config.keys.challenge_ttl,
            require_proof: config.keys.require_proof,
            check_permits: Semaphore::new(available_parallelism().map_or(1, NonZero::get)),
        }
    }

    /// Finds the ticket of the key that the request's signature signs.
    async fn check(self: &Arc<Self>, key: &PublicKey, params: &RequestParameters) -> Option<Proof> {
        let signature = params.signature()?.to_owned();
        let (keys, key) = (self.clone(), key.clone());
        self.run_blocking(move || keys.tickets.check(&key, &signature, clock::now()))
            .await
    }

    /// Finds the challenge that the signature signs.
    async fn find_signed(
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

    /// Runs a signature check on the blocking pool, with bounded concurrency. A wrong signature costs up to
    /// eight verifications, more than 1 ms, which would delay requests and audio on the async workers.
    async fn run_blocking<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let _permit = self.check_permits.acquire().await.ok()?;
        spawn_blocking(check).await.ok()?
    }
}

/// The caller of a request.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) user: User,
    pub(crate) credential: Credential,
}

/// The credential that the caller presented.
#[derive(Debug)]
pub(crate) enum Credential {
    /// A key, and the server challenge that was signed with it, if any.
    Key(PublicKey, Option<Proof>),
    /// A session token that the website has confirmed.
    Token(String),
}

impl Caller {
    /// Whether the caller is authenticated.
    pub(crate) fn is_proven(&self) -> bool {
        match &self.credential {
            Credential::Key(_, proof) => proof.is_some(),
            Credential::Token(_) => true,
        }
    }
}

impl IdentityProvider {
    /// Returns `None` if voice is off.
    ///
    /// # Errors
    /// If the website's URL cannot be used.
    pub(crate) fn new(config: &Gostream) -> Result<Option<Self>, SiteUrlError> {
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

    /// A provider of the same kind without issued challenges. A website and its session cache are shared.
    pub(crate) fn with_fresh_state(&self, config: &Gostream) -> Self {
        match self {
            Self::Keys(_) => Self::Keys(Arc::new(KeyIdentity::new(config))),
            Self::Site(site) => Self::Site(site.clone()),
        }
    }

    pub(crate) fn users(&self) -> UserEncoding {
        match self {
            Self::Keys(_) => UserEncoding::Keys,
            Self::Site(_) => UserEncoding::Numbers,
        }
    }

    pub(crate) fn keys(&self) -> Result<&KeyIdentity, VoiceError> {
        match self {
            Self::Keys(keys) => Ok(keys),
            Self::Site(_) => Err(VoiceError::not_found(
                "Not available: users of this server are accounts of a website and have no keys.",
            )),
        }
    }

    pub(crate) fn site(&self) -> Result<&Site, VoiceError> {
        match self {
            Self::Site(site) => Ok(site),
            Self::Keys(_) => Err(VoiceError::not_found(
                "Not available: users of this server are keys and have no tokens.",
            )),
        }
    }

    /// Identifies the caller: by a key, without proof, or by a token that the website confirms.
    pub(crate) async fn identify(&self, params: &RequestParameters) -> Result<Caller, VoiceError> {
        match self {
            Self::Keys(_) => {
                let key = key(params)?;
                Ok(Caller {
                    user: user_of_key(&key),
                    credential: Credential::Key(key, None),
                })
            }
            Self::Site(site) => {
                let token = params.token().ok_or(SiteError::NoSession)?;
                let number = site.user(token).await?;
                Ok(Caller {
                    user: user_of_number(number),
                    credential: Credential::Token(token.to_owned()),
                })
            }
        }
    }

    /// Identifies the caller with proof: a key's signature over a challenge of this server, or a token that the
    /// website confirms.
    pub(crate) async fn authenticate(
        &self,
        params: &RequestParameters,
    ) -> Result<Caller, VoiceError> {
        let mut caller = self.identify(params).await?;
        if let (Self::Keys(keys), Credential::Key(key, proof)) = (self, &mut caller.credential) {
            let Some(found) = keys.check(key, params).await else {
                return Err(VoiceError::forbidden(
                    "The signature is not valid for any current ticket of this key. Request one with /getCallTicket.",
                ));
            };
            *proof = Some(found);
        }
        Ok(caller)
    }

    /// Identifies the caller of an event stream. A key must prove itself only if the configuration says so,
    /// or if it sends a signature.
    pub(crate) async fn identify_listener(
        &self,
        params: &RequestParameters,
    ) -> Result<Caller, VoiceError> {
        match self {
            Self::Keys(keys) if keys.require_proof || params.signature().is_some() => {
                self.authenticate(params).await
            }
            Self::Keys(_) | Self::Site(_) => self.identify(params).await,
        }
    }

    /// Refreshes the key's tickets while an event stream is open. `None` for users of a website.
    pub(crate) fn ticket_keep_alive(&self, credential: Credential) -> Option<TicketKeepAlive> {
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

    /// The user that the request is about (parameter `Destination`).
    pub(crate) fn destination(&self, params: &RequestParameters) -> Result<User, VoiceError> {
        let text = params.destination().unwrap_or_default();
        let user = match self {
            Self::Keys(_) => PublicKey::parse(text).map(|key| user_of_key(&key)),
            Self::Site(_) => number(text).map(user_of_number),
        };
        user.ok_or_else(|| match self {
            Self::Keys(_) => {
                VoiceError::bad("`Destination` must be a compressed P-256 key in hex (66 digits).")
            }
            Self::Site(_) => VoiceError::bad("`Destination` must be the number of a user."),
        })
    }

    /// The challenge for the other user to sign; empty for users of a website.
    pub(crate) fn challenge(&self, params: &RequestParameters) -> Result<ByteString, VoiceError> {
        let Self::Keys(_) = self else {
            return Ok(ByteString::new());
        };
        let challenge = params.challenge().unwrap_or_default();
        if looks_like_ticket(challenge) {
            return Err(VoiceError::bad(
                "`challenge` must not have the form of a ticket of this server (24 letters).",
            ));
        }
        if is_valid_challenge(challenge) {
            return Ok(challenge.into());
        }
        Err(VoiceError::bad(
            "`challenge` must be 1-32 bytes and must not start with a zero byte.",
        ))
    }

    /// Verifies that the caller has signed one of the challenges that it was sent. Returns the signature and the
    /// challenge; both are empty for users of a website, which sign nothing.
    pub(crate) async fn signature(
        &self,
        caller: &Caller,
        sent: Vec<ByteString>,
        params: &RequestParameters,
    ) -> Result<(ByteString, ByteString), VoiceError> {
        let (Self::Keys(keys), Credential::Key(key, _)) = (self, &caller.credential) else {
            return Ok(Default::default());
        };
        let signature = params.signature().unwrap_or_default();
        let signed = keys.find_signed(key, signature, sent).await;
        let signed = signed.ok_or(VoiceError::forbidden(
            "The signature is not valid for any challenge sent to this key.",
        ))?;
        Ok((signature.into(), signed))
    }

    /// Checks that the website allows the call. Keys may call each other without restriction.
    pub(crate) async fn check_may_call(
        &self,
        caller: &Caller,
        destination: &User,
    ) -> Result<(), VoiceError> {
        let (Self::Site(site), Credential::Token(token)) = (self, &caller.credential) else {
            return Ok(());
        };
        let destination = number(destination.as_str()).unwrap_or_default();
        if site.may_call(destination, token).await? {
            return Ok(());
        }
        Err(VoiceError::forbidden("You may not call this user."))
    }
}

/// Keeps a key's tickets from expiring while an event stream is open. Clients of the reference server (the original
/// implementation) request a ticket when they connect, and may sign it hours later, when they call or are called.
#[derive(Debug)]
pub(crate) struct TicketKeepAlive {
    keys: Arc<KeyIdentity>,
    key: PublicKey,
    due: Interval,
}

impl TicketKeepAlive {
    /// Waits until the next refresh is due, then refreshes the tickets.
    pub(crate) async fn when_due(&mut self) {
        self.due.tick().await;
        self.keys.tickets.refresh(&self.key, clock::now());
    }
}

/// Responds with the status of the website error.
impl From<SiteError> for VoiceError {
    fn from(error: SiteError) -> Self {
        Self::new(error.status(), &error.to_string())
    }
}

/// Reads the caller's key from the parameter `PKey`.
pub(crate) fn key(params: &RequestParameters) -> Result<PublicKey, VoiceError> {
    let key = params.key().and_then(PublicKey::parse);
    key.ok_or_else(|| {
        VoiceError::new(
            StatusCode::FORBIDDEN,
            "`PKey` must be a compressed P-256 key in hex (66 digits).",
        )
    })
}

/// Whether a challenge has the form of a ticket. A callee signs the challenge of its caller: if that were a ticket of
/// the callee, the caller could use the signature to authenticate as the callee.
fn looks_like_ticket(challenge: &str) -> bool {
    challenge.len() == ChallengeStore::LETTERS
        && challenge.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Reads the number of a website's user or room; it is greater than 0.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|number| *number > 0)
}

fn user_of_key(key: &PublicKey) -> User {
    user(&key.to_string())
}

fn user_of_number(number: u64) -> User {
    user(&number.to_string())
}

fn user(name: &str) -> User {
    User::parse(name).expect("a key's hex and a number are not empty")
}
