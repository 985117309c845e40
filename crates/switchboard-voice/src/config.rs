//! Settings of voice calls and rooms.

use std::{ops::RangeInclusive, time::Duration};

use switchboard_audio::{Latency, MixSettings};

use crate::signaling::{CallLimits, VoiceRoomLimits};

/// The milliseconds of audio that may be gathered for a listener before they are sent.
pub const LISTENER_LATENCY_MILLIS: RangeInclusive<u64> = Latency::MILLIS_MIN..=Latency::MILLIS_MAX;

/// The settings of voice.
#[derive(Clone, Debug, Default)]
pub struct VoiceConfig {
    /// The settings of the dialect `gostream`.
    pub gostream: Gostream,
    /// The settings of the mixer and its encoders.
    pub mix: MixSettings,
    /// Limits of calls between two users.
    pub call: CallLimits,
    /// Limits of voice rooms.
    pub room: VoiceRoomLimits,
}

/// The authentication of voice users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VoiceIdentity {
    /// Users are P-256 public keys and sign for themselves.
    #[default]
    Keys,
    /// A website authenticates its users by tokens.
    Site,
    /// Voice is not served.
    Off,
}

/// The settings of the dialect `gostream`.
#[derive(Clone, Debug)]
pub struct Gostream {
    /// The authentication of users.
    pub identity: VoiceIdentity,
    /// Maximum open event streams per user and network. 0 is no limit.
    pub event_streams: usize,
    /// Maximum bytes of audio per second of one source at 48 kHz. The limit is lower at lower sample rates, but never
    /// below the rate of real time. 0 is no limit.
    pub audio_bytes_per_second: u32,
    /// Settings for [`VoiceIdentity::Site`].
    pub site: SiteConfig,
    /// Settings for [`VoiceIdentity::Keys`].
    pub keys: KeysConfig,
}

impl Default for Gostream {
    fn default() -> Self {
        Self {
            identity: VoiceIdentity::default(),
            event_streams: 8,
            audio_bytes_per_second: 400_000,
            site: SiteConfig::default(),
            keys: KeysConfig::default(),
        }
    }
}

/// The website that authenticates voice users.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// The base URL of the website, without a slash at the end.
    pub url: String,
    /// The origin of its pages (scheme, host, port), as browsers send it. Empty: the origin of `url`.
    pub origin: String,
    /// Time for which the user of a token is cached.
    pub cache_ttl: Duration,
    /// Time that the website has to answer a request.
    pub timeout: Duration,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            origin: String::new(),
            cache_ttl: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
        }
    }
}

impl Gostream {
    /// The value of `Access-Control-Allow-Origin`: the origin of the website, or `*` where keys authenticate users and
    /// no cookie does.
    #[must_use]
    pub fn origin(&self) -> String {
        let site = &self.site;
        if !site.origin.is_empty() {
            return site.origin.clone();
        }
        if self.identity != VoiceIdentity::Site {
            return "*".to_owned();
        }
        let path = site.url.find("://").map_or(0, |scheme| scheme + 3);
        let end = site.url[path..]
            .find('/')
            .map_or(site.url.len(), |slash| path + slash);
        site.url[..end].to_owned()
    }
}

/// Settings for users that are public keys.
#[derive(Clone, Copy, Debug)]
pub struct KeysConfig {
    /// Time for which a ticket, a challenge that the server issues, is valid after its last use.
    pub challenge_ttl: Duration,
    /// Whether an event stream, too, is opened only with a signature over a ticket.
    pub require_proof: bool,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            challenge_ttl: Duration::from_secs(600),
            require_proof: false,
        }
    }
}
