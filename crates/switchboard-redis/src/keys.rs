//! The names of the keys and channels in Redis. Names that belong together share a hash tag (the
//! part in braces), so that a Redis Cluster keeps them on one server:
//!
//! * `{PREFIX}:nodes` (the node list), `{PREFIX}:logs:NODE` (the logs to which a node is subscribed), `{PREFIX}:secret`
//!   (which all nodes share), and `{PREFIX}:format` (the format version of all this data, while a node uses it)
//! * `{PREFIX:LOG}:log` (a membership log: the members of a room, the holder of a name or the candidates of an
//!   election, and the version of the log), and the channel `{PREFIX:LOG}:news` (its events)
//! * the channel `{PREFIX:node:NODE}:mail` (messages to a node)
//!
//! `NODE` is a node id. `LOG` is `r:SPACE:ROOM` (a room), `c:DIALECT:SPACE:ROOM` (a room of one dialect only),
//! `n:SPACE:NAME` (a name that a client has claimed, unique in its space), `m:SPACE:ROOM:NAME` (a claimed name that is
//! unique in a room) or `d:ELECTION` (an election, by its name). The parts are percent-encoded except for
//! `A-Z a-z 0-9 _ . -`, so that every text can be a name and no part contains a brace.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use switchboard_core::{
    DisplayName, ElectionId, LogId, NameId, NodeId, RoomId, RoomName, RoomScope, SpaceName,
};

const KEY_CHARACTERS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-');

/// The key and channel names of one cluster, which share its prefix.
#[derive(Clone, Debug)]
pub(super) struct KeyNames {
    prefix: String,
}

impl KeyNames {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: encode(prefix),
        }
    }

    pub(super) fn nodes(&self) -> String {
        format!("{{{}}}:nodes", self.prefix)
    }

    pub(super) fn subscriptions(&self, node: NodeId) -> String {
        format!("{{{}}}:logs:{node}", self.prefix)
    }

    pub(super) fn format(&self) -> String {
        format!("{{{}}}:format", self.prefix)
    }

    pub(super) fn secret(&self) -> String {
        format!("{{{}}}:secret", self.prefix)
    }

    pub(super) fn log(&self, log: &LogId) -> String {
        format!("{{{}:{}}}:log", self.prefix, log_text(log))
    }

    pub(super) fn log_channel(&self, log: &LogId) -> String {
        format!("{{{}:{}}}:news", self.prefix, log_text(log))
    }

    pub(super) fn node_channel(&self, node: NodeId) -> String {
        format!("{{{}:node:{node}}}:mail", self.prefix)
    }

    /// The log whose events are published to this channel.
    pub(super) fn log_of_channel(&self, channel: &str) -> Option<LogId> {
        let rest = channel.strip_prefix('{')?.strip_prefix(&self.prefix)?;
        parse_log(rest.strip_prefix(':')?.strip_suffix("}:news")?)
    }
}

/// The text of a log id in key names and in the subscription sets.
pub(super) fn log_text(log: &LogId) -> String {
    match log {
        LogId::Room(RoomId { space, name, scope }) => {
            let room = format!("{}:{}", encode(space.as_str()), encode(name.as_str()));
            match scope.dialect() {
                None => format!("r:{room}"),
                Some(dialect) => format!("c:{}:{room}", encode(dialect)),
            }
        }
        LogId::Name(NameId { space, room, name }) => {
            let (space, name) = (encode(space.as_str()), encode(name.as_str()));
            match room {
                None => format!("n:{space}:{name}"),
                Some(room) => format!("m:{space}:{}:{name}", encode(room.as_str())),
            }
        }
        LogId::Election(election) => format!("d:{}", encode(election.as_str())),
    }
}

/// Parses a log id. The inverse of [`log_text`]; `None` for any text that it does not produce.
pub(super) fn parse_log(text: &str) -> Option<LogId> {
    let mut parts = text.split(':');
    let kind = parts.next()?;
    let mut name = || percent_decode_str(parts.next()?).decode_utf8().ok();
    let log = match kind {
        "r" => LogId::Room(RoomId {
            scope: RoomScope::Shared,
            space: SpaceName::parse(&name()?, 0).ok()?,
            name: RoomName::parse(&name()?, 0).ok()?,
        }),
        "c" => LogId::Room(RoomId {
            scope: RoomScope::only(&name()?),
            space: SpaceName::parse(&name()?, 0).ok()?,
            name: RoomName::parse(&name()?, 0).ok()?,
        }),
        "n" => LogId::Name(NameId {
            space: SpaceName::parse(&name()?, 0).ok()?,
            room: None,
            name: DisplayName::parse(&name()?, 0).ok()?,
        }),
        "m" => LogId::Name(NameId {
            space: SpaceName::parse(&name()?, 0).ok()?,
            room: Some(RoomName::parse(&name()?, 0).ok()?),
            name: DisplayName::parse(&name()?, 0).ok()?,
        }),
        "d" => LogId::Election(ElectionId::parse(&name()?, 0).ok()?),
        _ => return None,
    };
    (log_text(&log) == text).then_some(log)
}

/// The Redis Cluster slot of a key, one of 16384.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key).as_bytes()) % super::servers::SLOTS
}

/// CRC-16/XMODEM, as the Redis Cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

fn encode(name: &str) -> String {
    utf8_percent_encode(name, KEY_CHARACTERS).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(a: &str, b: &str) -> [LogId; 6] {
        let space = SpaceName::parse(a, 0).expect("a name");
        let room = |scope| {
            LogId::Room(RoomId {
                space: space.clone(),
                name: RoomName::parse(b, 0).expect("a name"),
                scope,
            })
        };
        let name = |room| {
            LogId::Name(NameId {
                space: space.clone(),
                room,
                name: DisplayName::parse(b, 0).expect("a name"),
            })
        };
        [
            room(RoomScope::Shared),
            room(RoomScope::only("mesh")),
            room(RoomScope::only(a)),
            name(None),
            name(Some(RoomName::parse(a, 0).expect("a name"))),
            LogId::Election(ElectionId::parse(b, 0).expect("a name")),
        ]
    }

    #[test]
    fn log_ids_round_trip_through_unique_texts() {
        let names = ["a", "a:b", ":", "}", "{x}", "%3A", "é\n\0", "r", "%", " x"];
        let mut seen = std::collections::BTreeMap::new();
        for a in names {
            for b in names {
                for log in logs(a, b) {
                    let text = log_text(&log);
                    assert_eq!(parse_log(&text).as_ref(), Some(&log), "{text}");
                    let keys = KeyNames::new("{my}:prefix%");
                    assert_eq!(
                        keys.log_of_channel(&keys.log_channel(&log)),
                        Some(log.clone())
                    );
                    assert_eq!(slot(&keys.log_channel(&log)), slot(&keys.log(&log)));
                    if let Some(other) = seen.insert(text, log.clone()) {
                        assert_eq!(other, log);
                    }
                }
            }
        }
    }

    #[test]
    fn malformed_log_texts_are_rejected() {
        for text in [
            "",
            "r",
            "r:a",
            "r:a:b:c",
            "r::b",
            "c:a:b",
            "c:a:b:c:d",
            "c:a::b",
            "x:a:b",
            "d:a:b",
            "d:%41",
            "d:%2f",
            "d:%FF",
        ] {
            assert_eq!(parse_log(text), None, "{text}");
        }
        assert_eq!(KeyNames::new("a").log_of_channel("{ab:d:x}:news"), None);
    }

    #[test]
    fn slots_match_the_redis_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("x{foo}y{bar}"), 12182);
        assert_eq!(slot("{}foo"), crc16(b"{}foo") % 16384);
    }
}
