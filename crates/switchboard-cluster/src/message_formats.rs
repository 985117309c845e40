//! The message formats of the other nodes. During an upgrade the nodes of a cluster may run releases with different
//! formats of the messages between nodes. A node does not send what the receiver cannot read: the sender of the message
//! gets an error at once.

use std::collections::BTreeMap;

use switchboard_core::NodeId;

use crate::{NodeLine, envelope, store::NodeStatus};

/// The nodes whose message format is not that of this node.
#[derive(Debug, Default)]
pub(super) struct MessageFormats {
    others: BTreeMap<NodeId, u8>,
}

impl MessageFormats {
    /// Reads the status reports of the node list. Returns the entries of the nodes whose format is another one and was
    /// not known before.
    pub(super) fn observe<'a>(
        &mut self,
        nodes: impl Iterator<Item = &'a NodeStatus>,
    ) -> Vec<NodeLine> {
        let mut others = BTreeMap::new();
        let mut new = Vec::new();
        for node in nodes {
            let (id, epoch) = (node.lease.node, node.lease.epoch);
            let line = NodeLine::from_report(id, epoch, !node.is_fenced, &node.status);
            if line.reads_format(envelope::VERSION) {
                continue;
            }
            others.insert(id, line.message_format);
            if self.others.get(&id) != Some(&line.message_format) {
                new.push(line);
            }
        }
        self.others = others;
        new
    }

    /// Whether the node can read the messages of this node. True for a node that is not on the list.
    pub(super) fn can_send_to(&self, node: NodeId) -> bool {
        !self.others.contains_key(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Lease;

    fn status(id: u64, status: &str) -> NodeStatus {
        NodeStatus {
            lease: Lease {
                node: NodeId::from(id),
                epoch: 1,
            },
            heartbeat: 1,
            is_fenced: false,
            status: status.to_owned(),
        }
    }

    #[test]
    fn nodes_with_another_format_are_reported_once_and_get_no_messages() {
        let mut formats = MessageFormats::default();
        let newer = status(2, r#"{"message_format":200,"version":"9.0.0"}"#);
        let same = status(3, &format!(r#"{{"message_format":{}}}"#, envelope::VERSION));
        // The report of a node that has not sent one yet.
        let unknown = status(4, "");
        let nodes = [newer, same, unknown];
        let reported = formats.observe(nodes.iter());
        let reported: Vec<_> = reported
            .iter()
            .map(|line| (line.node, line.message_format, line.version.as_str()))
            .collect();
        assert_eq!(reported, [(NodeId::from(2), 200, "9.0.0")]);
        for (node, can_send) in [(2, false), (3, true), (4, true), (5, true)] {
            assert_eq!(formats.can_send_to(NodeId::from(node)), can_send, "{node}");
        }
        assert_eq!(formats.observe(nodes.iter()), []);

        let upgraded = status(2, &format!(r#"{{"message_format":{}}}"#, envelope::VERSION));
        assert_eq!(formats.observe([&upgraded].into_iter()), []);
        assert!(formats.can_send_to(NodeId::from(2)));
    }
}
