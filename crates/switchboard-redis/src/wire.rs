//! Decodes the data in Redis and the replies of Redis. A packed record holds each field as its
//! length, a colon and its bytes. Data in any other format than that of the scripts is an error.

use std::str::FromStr;

use redis::Value;
use switchboard_core::{
    Address, EvictionReason, LeaveCause, LeaveKind, LogId, NodeId, PeerId, Position,
};

use super::{DATA_FORMAT, StoreError, keys};
use switchboard_cluster::store::{
    ChangeOutcome, JoinRejection, Lease, LogEvent, LogVersion, NodeStatus, Snapshot, StoredChange,
    StoredMember,
};

/// The texts of leave causes in events. They must not change, because nodes of other releases read them.
const LEAVE_CAUSES: &[(&str, LeaveCause)] = &[
    ("aloud", LeaveCause::Requested(LeaveKind::Announced)),
    ("quiet", LeaveCause::Requested(LeaveKind::Silent)),
    ("dropped", LeaveCause::Requested(LeaveKind::ConnectionLost)),
    ("ghost", LeaveCause::Evicted(EvictionReason::Unresponsive)),
    ("replaced", LeaveCause::Evicted(EvictionReason::Replaced)),
    ("kicked", LeaveCause::Evicted(EvictionReason::Kicked)),
    ("lost", LeaveCause::NodeLost),
];

pub(super) fn leave_cause_text(cause: LeaveCause) -> &'static str {
    match cause {
        LeaveCause::Requested(LeaveKind::Announced) => "aloud",
        LeaveCause::Requested(LeaveKind::Silent) => "quiet",
        LeaveCause::Requested(LeaveKind::ConnectionLost) => "dropped",
        LeaveCause::Evicted(EvictionReason::Unresponsive) => "ghost",
        LeaveCause::Evicted(EvictionReason::Replaced) => "replaced",
        LeaveCause::Evicted(EvictionReason::Kicked) => "kicked",
        LeaveCause::NodeLost => "lost",
    }
}

/// Decodes an event from the channel of a log.
pub(super) fn log_event(packed: &[u8]) -> Result<LogEvent, StoreError> {
    let mut fields = PackedFields::new("event", packed);
    let version = fields.text("version")?;
    if version != DATA_FORMAT {
        let version = version.to_owned();
        return Err(StoreError::EventVersion { version });
    }
    let log_version = LogVersion {
        generation: fields.parse("generation")?,
        head: Position::from(fields.parse::<u64>("head")?),
    };
    let change = match fields.text("change")? {
        "join" => StoredChange::Join(stored_member(fields.bytes("member")?)?),
        "leave" => StoredChange::Leave(fields.peer()?, fields.cause()?),
        _ => return Err(fields.error("change")),
    };
    fields.end()?;
    Ok(LogEvent {
        version: log_version,
        change,
    })
}

fn stored_member(packed: &[u8]) -> Result<StoredMember, StoreError> {
    let mut fields = PackedFields::new("member", packed);
    let member = StoredMember {
        peer: fields.peer()?,
        address: {
            let address = fields.text("address")?;
            Address::parse(address, 0).map_err(|_| fields.error("address"))?
        },
        lease: Lease {
            node: parse_node(fields.text("node")?)?,
            epoch: fields.parse("epoch")?,
        },
        since: Position::from(fields.parse::<u64>("since")?),
        metadata: fields.bytes("metadata")?.to_owned(),
    };
    fields.end()?;
    Ok(member)
}

/// Decodes the reply of `HGETALL` on the node list: a map if the command was sent directly, an array if a script has
/// sent it.
pub(super) fn nodes(value: &Value) -> Result<Vec<NodeStatus>, StoreError> {
    let fields: Vec<_> = if let Value::Map(fields) = value {
        let both = fields.iter().flat_map(|(name, value)| [name, value]);
        both.collect()
    } else if let Value::Array(fields) = value {
        fields.iter().collect()
    } else {
        return Err(StoreError::expected("the node list"));
    };
    let (pairs, []) = fields.as_chunks::<2>() else {
        return Err(StoreError::expected("the node list"));
    };
    let entries = pairs
        .iter()
        .map(|[name, entry]| node_status(text(name)?, bytes(entry)?));
    let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| entry.lease);
    Ok(entries)
}

fn node_status(name: &str, packed: &[u8]) -> Result<NodeStatus, StoreError> {
    let mut fields = PackedFields::new("node", packed);
    let status = NodeStatus {
        lease: Lease {
            node: parse_node(name)?,
            epoch: fields.parse("epoch")?,
        },
        heartbeat: fields.parse("heartbeat")?,
        is_fenced: match fields.text("fenced")? {
            "0" => false,
            "1" => true,
            _ => return Err(fields.error("fenced")),
        },
        status: fields.text("status")?.to_owned(),
    };
    fields.end()?;
    Ok(status)
}

/// Decodes a set of subscribed logs.
pub(super) fn logs(value: &Value) -> Result<Vec<LogId>, StoreError> {
    let (Value::Set(members) | Value::Array(members)) = value else {
        return Err(StoreError::expected("a set of logs"));
    };
    let parse = |member| keys::parse_log(text(member)?).ok_or(StoreError::expected("a log id"));
    let mut logs = members.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    logs.sort();
    Ok(logs)
}

pub(super) fn snapshot(value: &Value) -> Result<Option<Snapshot>, StoreError> {
    if *value == Value::Nil {
        return Ok(None);
    }
    let [generation, head, members] = array(value)?;
    let Value::Array(members) = members else {
        return Err(StoreError::expected("members"));
    };
    let members = members.iter().map(|packed| stored_member(bytes(packed)?));
    let mut members = members.collect::<Result<Vec<_>, _>>()?;
    members.sort_by_key(|member| (member.since, member.peer));
    Ok(Some(Snapshot {
        version: log_version(generation, head)?,
        members,
    }))
}

pub(super) fn outcome(value: &Value) -> Result<ChangeOutcome, StoreError> {
    let Value::Array(values) = value else {
        return Err(StoreError::expected("an outcome"));
    };
    let [kind, values @ ..] = values.as_slice() else {
        return Err(StoreError::expected("an outcome"));
    };
    match (text(kind)?, values) {
        ("at", [generation, head]) => Ok(ChangeOutcome::Applied(log_version(generation, head)?)),
        ("present", [since]) => Ok(ChangeOutcome::AlreadyMember(number::<u64>(since)?.into())),
        ("fenced", []) => Ok(ChangeOutcome::Fenced),
        ("absent", []) => Ok(ChangeOutcome::NotAMember),
        (reason, []) => join_rejection(reason).map(ChangeOutcome::Rejected),
        _ => Err(StoreError::expected("an outcome")),
    }
}

pub(super) fn rejected_joins(value: &Value) -> Result<Vec<(PeerId, JoinRejection)>, StoreError> {
    let Value::Array(values) = value else {
        return Err(StoreError::expected("rejected joins"));
    };
    let (pairs, []) = values.as_chunks::<2>() else {
        return Err(StoreError::expected("rejected joins"));
    };
    let parse = |[peer, reason]: &[Value; 2]| {
        let peer = text(peer)?.parse();
        let peer = peer.map_err(|_| StoreError::expected("a peer"))?;
        Ok((peer, join_rejection(text(reason)?)?))
    };
    pairs.iter().map(parse).collect()
}

fn join_rejection(reason: &str) -> Result<JoinRejection, StoreError> {
    match reason {
        "taken" => Ok(JoinRejection::Taken),
        "full" => Ok(JoinRejection::Full),
        _ => Err(StoreError::expected("a reason of a rejected join")),
    }
}

fn log_version(generation: &Value, head: &Value) -> Result<LogVersion, StoreError> {
    Ok(LogVersion {
        generation: number(generation)?,
        head: number::<u64>(head)?.into(),
    })
}

/// Parses a node id. Other spellings than that of `NodeId::to_string` are malformed.
fn parse_node(text: &str) -> Result<NodeId, StoreError> {
    let node = text.parse().ok();
    node.filter(|node: &NodeId| node.to_string() == text)
        .ok_or(StoreError::expected("a node"))
}

/// Returns the reply, or its error if it is an error reply.
pub(super) fn require_no_error(reply: &Value) -> Result<&Value, StoreError> {
    if let Value::ServerError(error) = reply {
        return Err(StoreError::of_reply(error));
    }
    Ok(reply)
}

/// Decodes an array of exactly `N` values.
pub(super) fn array<const N: usize>(value: &Value) -> Result<&[Value; N], StoreError> {
    let values = if let Value::Array(values) = value {
        values.as_slice().try_into().ok()
    } else {
        None
    };
    values.ok_or_else(|| StoreError::expected(format!("{N} values")))
}

pub(super) fn bytes(value: &Value) -> Result<&[u8], StoreError> {
    let Value::BulkString(bytes) = value else {
        return Err(StoreError::expected("bytes"));
    };
    Ok(bytes)
}

pub(super) fn text(value: &Value) -> Result<&str, StoreError> {
    if let Value::SimpleString(text) | Value::VerbatimString { text, .. } = value {
        return Ok(text);
    }
    str::from_utf8(bytes(value)?).map_err(|_| StoreError::expected("text"))
}

pub(super) fn number<N: FromStr>(value: &Value) -> Result<N, StoreError> {
    text(value)?
        .parse()
        .map_err(|_| StoreError::expected("a number"))
}

pub(super) fn count(value: &Value) -> Result<u64, StoreError> {
    let count = if let Value::Int(count) = value {
        u64::try_from(*count).ok()
    } else {
        None
    };
    count.ok_or(StoreError::expected("a count"))
}

pub(super) fn flag(value: &Value) -> Result<bool, StoreError> {
    match count(value)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(StoreError::expected("0 or 1")),
    }
}

/// The fields of a packed record that are not decoded yet.
struct PackedFields<'a> {
    /// The name of the record, for errors.
    record: &'static str,
    rest: &'a [u8],
}

impl<'a> PackedFields<'a> {
    fn new(record: &'static str, packed: &'a [u8]) -> Self {
        Self {
            record,
            rest: packed,
        }
    }

    fn error(&self, field: &'static str) -> StoreError {
        let record = self.record;
        StoreError::CorruptField { record, field }
    }

    fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], StoreError> {
        let (value, rest) = split_field(self.rest).ok_or_else(|| self.error(field))?;
        self.rest = rest;
        Ok(value)
    }

    fn text(&mut self, field: &'static str) -> Result<&'a str, StoreError> {
        str::from_utf8(self.bytes(field)?).map_err(|_| self.error(field))
    }

    fn parse<N: FromStr>(&mut self, field: &'static str) -> Result<N, StoreError> {
        self.text(field)?.parse().map_err(|_| self.error(field))
    }

    fn peer(&mut self) -> Result<PeerId, StoreError> {
        self.parse("peer")
    }

    /// A cause that only later releases know counts as an announced leave: the member has left for certain.
    fn cause(&mut self) -> Result<LeaveCause, StoreError> {
        let text = self.text("leave cause")?;
        let entry = LEAVE_CAUSES.iter().find(|(name, _)| *name == text);
        let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase());
        match entry {
            Some((_, cause)) => Ok(*cause),
            None if is_word => Ok(LeaveCause::Requested(LeaveKind::Announced)),
            None => Err(self.error("leave cause")),
        }
    }

    fn end(&self) -> Result<(), StoreError> {
        self.rest
            .is_empty()
            .then_some(())
            .ok_or_else(|| self.error("end"))
    }
}

/// Splits off the first packed field; also returns the bytes after it.
fn split_field(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = packed.iter().position(|byte| *byte == b':')?;
    let length = str::from_utf8(&packed[..colon]).ok()?.parse().ok()?;
    packed[colon + 1..].split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(fields: &[&str]) -> Vec<u8> {
        let fields = fields
            .iter()
            .map(|field| format!("{}:{field}", field.len()));
        fields.collect::<String>().into_bytes()
    }

    /// The cause after this one, in an order that visits all. The match has no wildcard arm, so the compiler demands an
    /// arm for each new variant.
    fn next(cause: LeaveCause) -> Option<LeaveCause> {
        Some(match cause {
            LeaveCause::Requested(LeaveKind::Announced) => LeaveCause::Requested(LeaveKind::Silent),
            LeaveCause::Requested(LeaveKind::Silent) => {
                LeaveCause::Requested(LeaveKind::ConnectionLost)
            }
            LeaveCause::Requested(LeaveKind::ConnectionLost) => {
                LeaveCause::Evicted(EvictionReason::Unresponsive)
            }
            LeaveCause::Evicted(EvictionReason::Unresponsive) => {
                LeaveCause::Evicted(EvictionReason::Replaced)
            }
            LeaveCause::Evicted(EvictionReason::Replaced) => {
                LeaveCause::Evicted(EvictionReason::Kicked)
            }
            LeaveCause::Evicted(EvictionReason::Kicked) => LeaveCause::NodeLost,
            LeaveCause::NodeLost => return None,
        })
    }

    #[test]
    fn every_leave_cause_is_decoded_from_its_text() {
        let first = LeaveCause::Requested(LeaveKind::Announced);
        let all: Vec<_> = std::iter::successors(Some(first), |cause| next(*cause)).collect();
        for cause in &all {
            let packed = packed(&[leave_cause_text(*cause)]);
            assert_eq!(PackedFields::new("event", &packed).cause(), Ok(*cause));
        }
        assert_eq!(all.len(), LEAVE_CAUSES.len());
    }

    #[test]
    fn a_cause_of_a_later_release_is_an_announced_leave() {
        let cause = |text| PackedFields::new("event", &packed(&[text])).cause();
        let announced = LeaveCause::Requested(LeaveKind::Announced);
        assert_eq!(cause("teleported"), Ok(announced));
        for malformed in ["", "Kicked", "a b"] {
            assert!(cause(malformed).is_err(), "{malformed}");
        }
    }

    #[test]
    fn an_event_of_another_format_names_its_version() {
        let event = packed(&["2", "3", "5", "leave"]);
        let error = log_event(&event).expect_err("another format").to_string();
        assert!(error.contains("version `2`"), "{error}");
    }

    #[test]
    fn errors_name_the_record_and_the_field() {
        let malformed_event = packed(&["1", "3", "head"]);
        let error = log_event(&malformed_event).unwrap_err().to_string();
        assert_eq!(
            error,
            "corrupt data in Redis: field `head` of `event` is malformed"
        );
    }

    #[test]
    fn truncated_and_corrupt_events_are_rejected() {
        let peer = PeerId::from_random([7; 16]);
        let valid_event = packed(&["1", "3", "5", "leave", &peer.to_string(), "quiet"]);
        let expected = LogEvent {
            version: LogVersion {
                generation: 3,
                head: 5.into(),
            },
            change: StoredChange::Leave(peer, LeaveCause::Requested(LeaveKind::Silent)),
        };
        assert_eq!(log_event(&valid_event), Ok(expected));
        for end in 0..valid_event.len() {
            assert!(log_event(&valid_event[..end]).is_err(), "cut at {end}");
        }
        for index in 0..valid_event.len() {
            let mut malformed_event = valid_event.clone();
            malformed_event[index] = 0xFF;
            assert!(log_event(&malformed_event).is_err(), "corrupt at {index}");
        }
        assert!(log_event(&[valid_event, packed(&["more"])].concat()).is_err());
        assert!(log_event(b"99999999999999999999:1").is_err());
        assert!(log_event(b"18446744073709551615:1").is_err());
    }
}
