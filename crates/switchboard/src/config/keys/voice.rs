//! The settings of voice calls and rooms.

use std::time::Duration;

use switchboard_dialect::SECS_MAX;

use super::{SettingDef, narrow, one_of, quoted, row, within};
use crate::config::VoiceIdentity;

/// Milliseconds that a jitter buffer may hold, at most.
const LATENCY_MILLIS_MAX: u64 = 10_000;

const IDENTITIES: [(&str, VoiceIdentity); 3] = [
    ("keys", VoiceIdentity::Keys),
    ("site", VoiceIdentity::Site),
    ("off", VoiceIdentity::Off),
];

pub(super) fn rows() -> Vec<SettingDef> {
    let mut rows = Vec::from(gostream());
    rows.extend(site());
    rows.extend(keys());
    rows.extend(mix());
    rows.extend(call());
    rows.extend(room());
    rows
}

fn gostream() -> [SettingDef; 3] {
    [
        row(
            "gostream",
            "identity",
            "Who vouches for voice users: \"keys\" (they sign for themselves), \"site\" (a website), or \"off\" for no voice.",
            |config, given| {
                one_of(given, &IDENTITIES).map(|identity| config.voice.gostream.identity = identity)
            },
            |config| {
                let current = config.voice.gostream.identity;
                let name = IDENTITIES.iter().find(|(_, identity)| *identity == current);
                quoted(name.map_or("keys", |(name, _)| name))
            },
        ),
        int!(
            "gostream",
            "event_streams",
            "Event streams one user may have open from one IPv4 address or IPv6 /64; more are answered 429.",
            voice.gostream.event_streams
        ),
        int!(
            "gostream",
            "audio_bytes_per_second",
            "Bytes of audio per second from one source at 48 kHz, fewer at lower rates, and always enough for real time; a WebSocket over it, after eight seconds' worth at once, is closed (1008), a request body waits; 0 is no limit.",
            voice.gostream.audio_bytes_per_second
        ),
    ]
}

macro_rules! text {
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+, $check:expr) => {
        row($section, $key, $doc,
            |config, given| {
                let text = given.text()?;
                $check(text)?;
                text.clone_into(&mut config.$($field).+);
                Ok(())
            },
            |config| quoted(&config.$($field).+))
    };
}

fn site() -> [SettingDef; 4] {
    [
        text!(
            "gostream.site",
            "url",
            "Where the website answers that vouches for users, like \"http://localhost:8081\".",
            voice.gostream.site.url,
            web_address
        ),
        text!(
            "gostream.site",
            "origin",
            "The origin of the pages that may use voice; empty for the origin of url (identity site) or any (identity keys).",
            voice.gostream.site.origin,
            origin
        ),
        secs!(
            "gostream.site",
            "cache_ttl",
            "Seconds that the website's word on who a token is holds; 0 asks every time.",
            voice.gostream.site.cache_ttl,
            0..=SECS_MAX
        ),
        secs!(
            "gostream.site",
            "timeout",
            "Seconds the website has to answer.",
            voice.gostream.site.timeout,
            1..=SECS_MAX
        ),
    ]
}

fn keys() -> [SettingDef; 2] {
    [
        secs!(
            "gostream.keys",
            "challenge_ttl",
            "Seconds after its last use that a server challenge may be signed; while the key's events are heard, it does not expire.",
            voice.gostream.keys.challenge_ttl,
            1..=SECS_MAX
        ),
        flag!(
            "gostream.keys",
            "require_proof",
            "Whether /messages wants a signature too. The reference's clients send none.",
            voice.gostream.keys.require_proof
        ),
    ]
}

fn mix() -> [SettingDef; 5] {
    [
        row(
            "mix",
            "max_latency",
            "Milliseconds of audio that may wait for one source's turn; older audio is dropped.",
            |config, given| {
                let millis = within(given.int()?, 40..=LATENCY_MILLIS_MAX)?;
                config.voice.mix.latency_max = Duration::from_millis(millis);
                Ok(())
            },
            |config| config.voice.mix.latency_max.as_millis().to_string(),
        ),
        flag!(
            "mix",
            "echo_self",
            "Whether one hears oneself.",
            voice.mix.echo_self
        ),
        int!(
            "mix",
            "opus_bitrate",
            "Bits per second of an Opus stream.",
            voice.mix.opus_bitrate,
            6_000..=256_000
        ),
        int!(
            "mix",
            "opus_complexity",
            "How hard the Opus encoder works, 0 to 10.",
            voice.mix.opus_complexity,
            0..=10
        ),
        row(
            "mix",
            "vorbis_quality",
            "The quality of a Vorbis stream, 0 to 10. Below 3, single tones come out too low.",
            |config, given| {
                let tenths: u8 = narrow(within(given.int()?, 0..=10)?)?;
                config.voice.mix.vorbis_quality = f32::from(tenths) / 10.0;
                Ok(())
            },
            |config| format!("{:.0}", config.voice.mix.vorbis_quality * 10.0),
        ),
    ]
}

fn call() -> [SettingDef; 4] {
    [
        int!(
            "call",
            "per_user",
            "Calls one user may be in, ringing ones included; 0 is no limit.",
            voice.call.calls_per_user
        ),
        int!(
            "call",
            "rings_per_address",
            "Callers at one IPv4 address or IPv6 /64 that may ring one user at the same time; more are answered 429, or take the place of one without an event stream; 0 is no limit.",
            voice.call.rings_per_address
        ),
        secs!(
            "call",
            "ring",
            "Seconds until a call that nobody answers ends.",
            voice.call.ring,
            1..=SECS_MAX
        ),
        secs!(
            "call",
            "linger",
            "Seconds a call goes on with both sides away.",
            voice.call.linger,
            1..=SECS_MAX
        ),
    ]
}

fn room() -> [SettingDef; 4] {
    [
        int!(
            "room",
            "rooms",
            "Voice rooms there may be; 0 is no limit.",
            voice.room.rooms
        ),
        int!(
            "room",
            "sources",
            "Microphones in one voice room; 0 is no limit.",
            voice.room.sources
        ),
        int!(
            "room",
            "listeners",
            "Listeners in one voice room; 0 is no limit.",
            voice.room.listeners
        ),
        secs!(
            "room",
            "linger",
            "Seconds until a voice room that everybody has left is gone.",
            voice.room.linger,
            1..=SECS_MAX
        ),
    ]
}

fn web_address(text: &str) -> Result<(), String> {
    let is_sound = ["http://", "https://"].iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || (is_sound && is_plain) {
        return Ok(());
    }
    Err(format!(
        "{text:?} is not an address like \"http://localhost:8081\""
    ))
}

fn origin(text: &str) -> Result<(), String> {
    web_address(text)?;
    let host = text.split_once("://").map_or("", |(_, host)| host);
    if host.contains('/') {
        return Err(format!("{text:?} has a path; an origin has none"));
    }
    Ok(())
}
