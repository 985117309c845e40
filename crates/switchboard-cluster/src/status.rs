//! The state of a node in the cluster: what it shows its operators, and the status reports that
//! nodes exchange.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use switchboard_core::NodeId;

use crate::envelope;

/// Maximum length of the URL and the version in a status report, in bytes; longer values are
/// discarded.
const TEXT_BYTES_MAX: usize = 256;

/// The state of this node in the cluster. "The engine" is the store that the nodes share, such as Redis. The
/// `Debug` output omits the secret.
#[derive(Clone)]
pub struct Status {
    /// The id of this node.
    pub node: NodeId,
    /// The number of leases that this node has had, from 1. It grows each time the other nodes have declared
    /// this node dead.
    pub epoch: u32,
    /// The URL under which the other nodes reach it, as `http://HOST:PORT`.
    pub url: String,
    /// For how long the engine has not answered; `None` while it answers.
    pub down_for: Option<Duration>,
    /// The error of the last connection loss; empty if there was none.
    pub last_error: String,
    /// All nodes, this one included, as of the last answer of the engine.
    pub nodes: Vec<NodeLine>,
    /// The number of requests and messages queued for the engine.
    pub queue: usize,
    /// The duration of the last round trip to the engine.
    pub lag: Duration,
    /// Joins and frames refused since the start because the engine was disconnected or overloaded.
    pub unavailable_total: u64,
    /// Times since the start that messages of another node were discarded, because they were malformed
    /// or of another format version.
    pub discarded_total: u64,
    /// Connections to the engine that were lost since the start.
    pub reconnects_total: u64,
    /// The secret that all nodes of the cluster share. The first node generates it and the engine
    /// stores it. `None` until the engine has answered.
    pub secret: Option<String>,
}

impl Status {
    /// Whether the engine answers.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.down_for.is_none()
    }

    /// The live nodes that cannot read the messages of this node, because their release has another format.
    pub fn incompatible_nodes(&self) -> impl Iterator<Item = &NodeLine> {
        let is_incompatible =
            |line: &&NodeLine| line.is_alive && !line.reads_format(envelope::VERSION);
        self.nodes.iter().filter(is_incompatible)
    }

    /// The entry of this node in the node list.
    #[must_use]
    pub fn own_line(&self) -> Option<&NodeLine> {
        self.nodes.iter().find(|line| line.node == self.node)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("node", &self.node)
            .field("epoch", &self.epoch)
            .field("url", &self.url)
            .field("down_for", &self.down_for)
            .field("last_error", &self.last_error)
            .field("nodes", &self.nodes)
            .field("queue", &self.queue)
            .field("lag", &self.lag)
            .finish_non_exhaustive()
    }
}

/// One entry of the node list: the identity of a node as the engine knows it, and the status that
/// the node reports.
///
/// Serialised, it is one line of `switchboard cluster --json`. A node sends [`NodeLine::to_report`]
/// with its heartbeat, and [`NodeLine::from_report`] reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeLine {
    /// The id of the node.
    #[serde(serialize_with = "as_text")]
    pub node: NodeId,
    /// The latest epoch of the node: see [`Status::epoch`].
    pub epoch: u32,
    /// Whether the lease of the node is valid.
    pub is_alive: bool,
    /// Milliseconds since its last heartbeat, if known.
    pub beat_age_ms: Option<u64>,
    /// The URL under which the other nodes reach it, as `http://HOST:PORT`.
    pub url: String,
    /// The number of rooms in which it has members.
    pub rooms: usize,
    /// The number of its members in all rooms; a client in two rooms counts twice.
    pub members: usize,
    /// The number of requests and messages queued for the engine.
    pub queue: usize,
    /// The duration of its last round trip to the engine, in milliseconds.
    pub lag_ms: u64,
    /// The version of Switchboard that the node runs.
    pub version: String,
    /// The format version of the messages that the node sends and reads; 0 if the node has not reported it.
    pub message_format: u8,
}

/// The status report of a node. Nodes of different versions read each other: a missing field has
/// its default, an unknown field is skipped.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StatusReport {
    url: String,
    rooms: usize,
    members: usize,
    queue: usize,
    lag_ms: u64,
    version: String,
    message_format: u8,
}

impl NodeLine {
    /// The entry of a live node of this version without members.
    #[must_use]
    pub fn new(node: NodeId, epoch: u32, url: &str) -> Self {
        let report = StatusReport {
            url: url.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            message_format: envelope::VERSION,
            ..StatusReport::default()
        };
        Self::of(node, epoch, true, report)
    }

    /// The status report that the node sends with its heartbeat, as JSON. It does not contain the
    /// id or the liveness of the node, which the engine knows.
    #[must_use]
    pub fn to_report(&self) -> String {
        let report = StatusReport {
            url: self.url.clone(),
            rooms: self.rooms,
            members: self.members,
            queue: self.queue,
            lag_ms: self.lag_ms,
            version: self.version.clone(),
            message_format: self.message_format,
        };
        // The serialization of strings and numbers cannot fail.
        serde_json::to_string(&report).unwrap_or_default()
    }

    /// Reads a report that a node made with [`to_report`](Self::to_report). Malformed reports and
    /// values count as empty; the node stays on the list.
    #[must_use]
    pub fn from_report(node: NodeId, epoch: u32, is_alive: bool, report: &str) -> Self {
        let mut report: StatusReport = serde_json::from_str(report).unwrap_or_default();
        for text in [&mut report.url, &mut report.version] {
            if text.len() > TEXT_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                text.clear();
            }
        }
        Self::of(node, epoch, is_alive, report)
    }

    /// The same entry, with this time since the last heartbeat.
    #[must_use]
    pub fn with_age(self, age: Duration) -> Self {
        Self {
            beat_age_ms: Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            ..self
        }
    }

    /// Whether the node reads messages in this format. True if the node has not reported its format.
    pub(crate) fn reads_format(&self, format: u8) -> bool {
        self.message_format == 0 || self.message_format == format
    }

    fn of(node: NodeId, epoch: u32, is_alive: bool, report: StatusReport) -> Self {
        Self {
            node,
            epoch,
            is_alive,
            beat_age_ms: None,
            url: report.url,
            rooms: report.rooms,
            members: report.members,
            queue: report.queue,
            lag_ms: report.lag_ms,
            version: report.version,
            message_format: report.message_format,
        }
    }
}

fn as_text<S: serde::Serializer>(node: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> NodeLine {
        NodeLine {
            rooms: 3,
            members: 7,
            queue: 1,
            lag_ms: 2,
            ..NodeLine::new(NodeId::from(0xab), 2, "http://10.0.0.1:8080")
        }
    }

    #[test]
    fn a_report_that_is_read_gives_the_entry_that_wrote_it() {
        let report = line().to_report();
        assert_eq!(
            NodeLine::from_report(NodeId::from(0xab), 2, true, &report),
            line()
        );
        assert!(
            !report.contains("node") && !report.contains("alive"),
            "{report}"
        );
    }

    #[test]
    fn reports_of_other_versions_and_malformed_reports_are_accepted() {
        let parse = |report: &str| NodeLine::from_report(NodeId::from(1), 1, false, report);
        let newer = parse(r#"{"url":"http://h:1","rooms":2,"mood":"good","is_alive":true}"#);
        assert_eq!((newer.url.as_str(), newer.rooms), ("http://h:1", 2));
        assert!(
            !newer.is_alive,
            "liveness comes from the engine, not from the report"
        );
        for malformed in ["", "[]", "7", "{", r#"{"rooms":-1}"#, r#"{"url":7}"#] {
            assert_eq!(parse(malformed), parse("{}"), "{malformed}");
        }
    }

    #[test]
    fn unprintable_or_long_texts_of_a_report_are_dropped() {
        let long = "u".repeat(TEXT_BYTES_MAX + 1);
        for bad in ["\\u001b[2J", "a b", "\\n", "\u{202e}x", &long] {
            let report = format!(r#"{{"url":"{bad}","version":"{bad}","rooms":1}}"#);
            let line = NodeLine::from_report(NodeId::from(1), 1, true, &report);
            assert_eq!((line.url.as_str(), line.version.as_str()), ("", ""));
            assert_eq!(line.rooms, 1);
        }
    }

    #[test]
    fn an_entry_is_serialised_with_every_field() {
        let json = serde_json::to_value(line().with_age(Duration::from_millis(1500)));
        let expected = serde_json::json!({
            "node": "00000000000000ab", "epoch": 2, "is_alive": true, "beat_age_ms": 1500,
            "url": "http://10.0.0.1:8080", "rooms": 3, "members": 7, "queue": 1, "lag_ms": 2,
            "version": env!("CARGO_PKG_VERSION"), "message_format": envelope::VERSION,
        });
        assert_eq!(json.expect("JSON"), expected);
    }

    #[test]
    fn debug_output_of_a_status_omits_the_secret() {
        let status = Status {
            node: NodeId::from(0xab),
            epoch: 2,
            url: String::new(),
            down_for: None,
            last_error: String::new(),
            nodes: vec![line()],
            queue: 0,
            lag: Duration::ZERO,
            unavailable_total: 0,
            discarded_total: 0,
            reconnects_total: 0,
            secret: Some("WHISPERED".to_owned()),
        };
        assert!(!format!("{status:?}").contains("WHISPERED"));
        assert_eq!(status.own_line(), Some(&line()));
    }
}
