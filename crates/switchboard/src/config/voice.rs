//! Settings of voice calls and rooms.

use std::time::Duration;

use switchboard_audio::MixSettings;
use switchboard_core::{CallLimits, VoiceRoomLimits};

/// How voice is served.
#[derive(Clone, Debug, Default)]
pub struct VoiceConfig {
    /// The dialect `gostream`.
    pub gostream: Gostream,
    /// The mixer and its encoders.
    pub mix: MixSettings,
    /// Bounds of calls between two.
    pub call: CallLimits,
    /// Bounds of voice rooms.
    pub room: VoiceRoomLimits,
}

/// Who vouches for the users of voice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VoiceIdentity {
    /// Users are P-256 public keys and sign for themselves.
    #[default]
    Keys,
    /// A website knows its users by tokens.
    Site,
    /// Nobody: voice is not served.
    Off,
}

/// The dialect `gostream`.
#[derive(Clone, Debug)]
pub struct Gostream {
    /// Who vouches for users.
    pub identity: VoiceIdentity,
    /// Event streams one user may have open.
    pub event_streams: usize,
    /// Bytes of audio per second that one source may send at 48 kHz; fewer at lower rates, and always
    /// enough for real time. 0: no limit.
    pub audio_bytes_per_second: u32,
    /// Where users are a website's.
    pub site: SiteConfig,
    /// Where users are keys.
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

/// The website that vouches for users.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// Where it answers, without a slash at the end.
    pub url: String,
    /// Where its pages come from, as browsers say it; empty for the origin of `url`.
    pub origin: String,
    /// How long its word on who a token is holds.
    pub cache_ttl: Duration,
    /// How long it may take to answer.
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
    /// What `Access-Control-Allow-Origin` says: the site's pages, or anybody's where keys prove
    /// who somebody is and no cookie does.
    pub(crate) fn origin(&self) -> String {
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

/// Users that are public keys.
#[derive(Clone, Copy, Debug)]
pub struct KeysConfig {
    /// How long after its last use a server challenge may be signed.
    pub challenge_ttl: Duration,
    /// Whether the event stream wants a signature too.
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
