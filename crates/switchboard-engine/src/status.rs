//! How a node stands among the others: what it knows for its operators, and what the nodes say of
//! themselves to each other.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use switchboard_core::NodeId;

/// Bytes of another node's address or version; longer ones are not believed.
const TEXT_BYTES_MAX: usize = 256;

/// How this node stands. Shown by `{:?}`, it has no secret.
#[derive(Clone)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its epoch, from 1: how often it has had to begin anew because its lease had lapsed.
    pub epoch: u32,
    /// Where the other nodes reach it, as `http://HOST:PORT`.
    pub url: String,
    /// For how long the engine has not answered; none while it does.
    pub down_for: Option<Duration>,
    /// Why it did not the last time; empty if it always has.
    pub last_error: String,
    /// All nodes as they were when the engine last answered, this one included.
    pub nodes: Vec<NodeLine>,
    /// What waits to be sent to the engine.
    pub queue: usize,
    /// How long the engine took to answer the last time.
    pub lag: Duration,
    /// Joins and frames refused because the engine was away or had too much to do, since the start.
    pub unavailable_total: u64,
    /// Connections to the engine that were lost and made again, since the start.
    pub reconnects_total: u64,
    /// What all nodes know and nobody else: the first one drew it, the engine keeps it. None until
    /// the engine has answered.
    pub secret: Option<String>,
}

impl Status {
    /// Whether the engine answers.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.down_for.is_none()
    }

    /// What this node says of itself.
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
            .field("why", &self.last_error)
            .field("nodes", &self.nodes)
            .field("queue", &self.queue)
            .field("lag", &self.lag)
            .finish_non_exhaustive()
    }
}

/// One node: who it is as the engine knows it, and how it is in its own words.
///
/// Serialised, it is a line for programs (`switchboard cluster --json`). What a node sends with its
/// beat is [`NodeLine::to_report`], and [`NodeLine::from_report`] reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeLine {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub node: NodeId,
    /// Its latest epoch.
    pub epoch: u32,
    /// Whether its lease holds.
    pub is_alive: bool,
    /// Milliseconds since it last said so, where that is known.
    pub beat_age_ms: Option<u64>,
    /// Where the other nodes reach it, as `http://HOST:PORT`.
    pub url: String,
    /// Rooms that it has members in.
    pub rooms: usize,
    /// Its members of all rooms; who is in two rooms counts twice.
    pub members: usize,
    /// What waits to be sent to the engine.
    pub queue: usize,
    /// Milliseconds that the engine took to answer it the last time.
    pub lag_ms: u64,
    /// The version of Switchboard that it runs.
    pub version: String,
}

/// What a node says of itself. Nodes of several versions read each other: what one does not say is
/// nothing, what another does not know is skipped.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StatusReport {
    url: String,
    rooms: usize,
    members: usize,
    queue: usize,
    lag_ms: u64,
    version: String,
}

impl NodeLine {
    /// The line of a node that runs this version, is alive and has nobody yet.
    #[must_use]
    pub fn new(node: NodeId, epoch: u32, url: &str) -> Self {
        let said = StatusReport {
            url: url.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..StatusReport::default()
        };
        Self::of(node, epoch, true, said)
    }

    /// What the node says of itself with its beat, as JSON. Who it is and whether it lives is not
    /// for it to say.
    #[must_use]
    pub fn to_report(&self) -> String {
        let said = StatusReport {
            url: self.url.clone(),
            rooms: self.rooms,
            members: self.members,
            queue: self.queue,
            lag_ms: self.lag_ms,
            version: self.version.clone(),
        };
        // Texts and numbers always have a form in JSON.
        serde_json::to_string(&said).unwrap_or_default()
    }

    /// Reads what a node has reported with [`to_report`](Self::to_report). Of what nobody can read, nothing is believed:
    /// the node is there all the same.
    #[must_use]
    pub fn from_report(node: NodeId, epoch: u32, is_alive: bool, said: &str) -> Self {
        let mut said: StatusReport = serde_json::from_str(said).unwrap_or_default();
        for text in [&mut said.url, &mut said.version] {
            if text.len() > TEXT_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                text.clear();
            }
        }
        Self::of(node, epoch, is_alive, said)
    }

    /// The same, last heard of so long ago.
    #[must_use]
    pub fn with_age(self, age: Duration) -> Self {
        Self {
            beat_age_ms: Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            ..self
        }
    }

    fn of(node: NodeId, epoch: u32, is_alive: bool, said: StatusReport) -> Self {
        Self {
            node,
            epoch,
            is_alive,
            beat_age_ms: None,
            url: said.url,
            rooms: said.rooms,
            members: said.members,
            queue: said.queue,
            lag_ms: said.lag_ms,
            version: said.version,
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
    fn what_a_node_says_is_heard() {
        let said = line().to_report();
        assert_eq!(
            NodeLine::from_report(NodeId::from(0xab), 2, true, &said),
            line()
        );
        assert!(!said.contains("node") && !said.contains("alive"), "{said}");
    }

    #[test]
    fn nodes_of_other_versions_and_garbage_are_heard_too() {
        let heard = |said: &str| NodeLine::from_report(NodeId::from(1), 1, false, said);
        let newer = heard(r#"{"url":"http://h:1","rooms":2,"mood":"good","is_alive":true}"#);
        assert_eq!((newer.url.as_str(), newer.rooms), ("http://h:1", 2));
        assert!(!newer.is_alive, "the engine knows, not the node");
        for garbage in ["", "[]", "7", "{", r#"{"rooms":-1}"#, r#"{"url":7}"#] {
            assert_eq!(heard(garbage), heard("{}"), "{garbage}");
        }
    }

    #[test]
    fn a_node_writes_nothing_into_an_operators_terminal() {
        let long = "u".repeat(TEXT_BYTES_MAX + 1);
        for bad in ["\\u001b[2J", "a b", "\\n", "\u{202e}x", &long] {
            let said = format!(r#"{{"url":"{bad}","version":"{bad}","rooms":1}}"#);
            let line = NodeLine::from_report(NodeId::from(1), 1, true, &said);
            assert_eq!((line.url.as_str(), line.version.as_str()), ("", ""));
            assert_eq!(line.rooms, 1);
        }
    }

    #[test]
    fn a_line_for_programs_has_every_field() {
        let json = serde_json::to_value(line().with_age(Duration::from_millis(1500)));
        let expected = serde_json::json!({
            "node": "00000000000000ab", "epoch": 2, "is_alive": true, "beat_age_ms": 1500,
            "url": "http://10.0.0.1:8080", "rooms": 3, "members": 7, "queue": 1, "lag_ms": 2,
            "version": env!("CARGO_PKG_VERSION"),
        });
        assert_eq!(json.expect("JSON"), expected);
    }

    #[test]
    fn a_status_does_not_show_the_secret() {
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
            reconnects_total: 0,
            secret: Some("WHISPERED".to_owned()),
        };
        assert!(!format!("{status:?}").contains("WHISPERED"));
        assert_eq!(status.own_line(), Some(&line()));
    }
}
