//! The settings of voice calls and rooms.

use std::time::Duration;

use switchboard_dialects::SECS_MAX;
use switchboard_voice::config::LISTENER_LATENCY_MILLIS;

use super::{SettingDef, one_of, quoted, row, to_field_type, within};
use crate::config::{VoiceIdentity, reason::Reason};

/// Maximum milliseconds of audio in a jitter buffer.
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
            "The authentication of voice users: \"keys\" (users sign with their own keys), \"site\" (a website authenticates them), or \"off\" for no voice.",
            |config, raw| {
                one_of(raw, &IDENTITIES).map(|identity| config.voice.gostream.identity = identity)
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
            "Maximum open event streams of one user from one IPv4 address or IPv6 /64; further ones are answered 429.",
            voice.gostream.event_streams
        ),
        int!(
            "gostream",
            "audio_bytes_per_second",
            "Maximum bytes of audio per second from one source at 48 kHz; less at lower sample rates, but never below real time. A burst may hold eight seconds' worth. Beyond it a WebSocket is closed (1008), and a request body is read more slowly. 0 is no limit.",
            voice.gostream.audio_bytes_per_second
        ),
    ]
}

macro_rules! text {
    ($section:literal, $key:literal, $doc:literal, $($field:ident).+, $check:expr) => {
        row($section, $key, $doc,
            |config, raw| {
                let text = raw.text()?;
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
            "The URL of the website that authenticates users, like \"http://localhost:8081\".",
            voice.gostream.site.url,
            web_address
        ),
        text!(
            "gostream.site",
            "origin",
            "The origin of the pages that may use voice; empty for the origin of url (identity \"site\") or any origin (identity \"keys\").",
            voice.gostream.site.origin,
            origin
        ),
        secs!(
            "gostream.site",
            "cache_ttl",
            "Seconds that the user of a token is cached after the website was asked; with 0 it is asked every time.",
            voice.gostream.site.cache_ttl,
            0..=SECS_MAX
        ),
        secs!(
            "gostream.site",
            "timeout",
            "Seconds that the website has to answer a request.",
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
            "Seconds after its last use that a server challenge is valid; it does not expire while the key has an open event stream.",
            voice.gostream.keys.challenge_ttl,
            1..=SECS_MAX
        ),
        boolean!(
            "gostream.keys",
            "require_proof",
            "Whether /messages requires a signature too. The clients of the reference implementation send none.",
            voice.gostream.keys.require_proof
        ),
    ]
}

fn mix() -> [SettingDef; 6] {
    [
        row(
            "mix",
            "max_latency",
            "Maximum milliseconds of audio buffered for one source; older audio is dropped.",
            |config, raw| {
                let millis = within(raw.int()?, 40..=LATENCY_MILLIS_MAX)?;
                config.voice.mix.latency_max = Duration::from_millis(millis);
                Ok(())
            },
            |config| config.voice.mix.latency_max.as_millis().to_string(),
        ),
        row(
            "mix",
            "listener_latency",
            "Milliseconds of audio gathered before they are sent to a listener without an open microphone, 20 to 1000, unless it requests a `latency`: at 200 a listener costs about 40 % of the CPU time, and hears up to 140 ms later. 0 is 60 for Ogg and 20 for WAV, as for listeners with a microphone.",
            |config, raw| {
                let millis = match raw.int()? {
                    0 => 0,
                    millis => within(millis, LISTENER_LATENCY_MILLIS)?,
                };
                config.voice.mix.listener_latency = Duration::from_millis(millis);
                Ok(())
            },
            |config| config.voice.mix.listener_latency.as_millis().to_string(),
        ),
        boolean!(
            "mix",
            "echo_self",
            "Whether speakers hear their own audio.",
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
            "The complexity of the Opus encoder, 0 to 10; higher values need more CPU time.",
            voice.mix.opus_complexity,
            0..=10
        ),
        row(
            "mix",
            "vorbis_quality",
            "The quality of a Vorbis stream, 0 to 10. Below 3, single tones come out too low.",
            |config, raw| {
                let tenths: u8 = to_field_type(raw.int()?, 0..=10)?;
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
            "Maximum calls of one user, ringing ones included; 0 is no limit.",
            voice.call.calls_per_user
        ),
        int!(
            "call",
            "rings_per_address",
            "Maximum callers at one IPv4 address or IPv6 /64 that may ring one user at the same time; a further one is answered 429, or replaces a caller without an event stream; 0 is no limit.",
            voice.call.rings_per_address
        ),
        secs!(
            "call",
            "ring",
            "Seconds after which an unanswered call ends.",
            voice.call.ring,
            1..=SECS_MAX
        ),
        secs!(
            "call",
            "linger",
            "Seconds after which a call ends if both users are disconnected.",
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
            "Maximum voice rooms; 0 is no limit.",
            voice.room.rooms
        ),
        int!(
            "room",
            "sources",
            "Maximum audio sources in one voice room; 0 is no limit.",
            voice.room.sources
        ),
        int!(
            "room",
            "listeners",
            "Maximum listeners in one voice room; 0 is no limit.",
            voice.room.listeners
        ),
        secs!(
            "room",
            "linger",
            "Seconds after which an empty voice room is removed.",
            voice.room.linger,
            1..=SECS_MAX
        ),
    ]
}

fn web_address(text: &str) -> Result<(), Reason> {
    let is_sound = ["http://", "https://"].iter().any(|scheme| {
        text.strip_prefix(scheme)
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    });
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || (is_sound && is_plain) {
        return Ok(());
    }
    let expected = "an address like \"http://localhost:8081\"";
    Err(Reason::unexpected(text, expected))
}

fn origin(text: &str) -> Result<(), Reason> {
    web_address(text)?;
    let host = text.split_once("://").map_or("", |(_, host)| host);
    if host.contains('/') {
        return Err(Reason::OriginPath(text.to_owned()));
    }
    Ok(())
}
