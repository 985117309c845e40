//! A node of a release with another format of the messages between nodes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_cluster::{
    Node, NodeEffect, NodeInput, NodeSettings,
    store::{Lease, NodeStatus, StoreRequest, StoreResponse},
};
use switchboard_core::{
    Address, Change, DialectTraits, LogId, Member, NodeId, NodeMessage, NodeMessageBody, PeerId,
};
use switchboard_testkit::{
    InMemoryStore,
    cluster::{SimDialects, room},
};

/// The node list as a heartbeat of this node returns it, with another node whose messages have this format.
fn with_other_node(response: StoreResponse, other: NodeId, format: u8) -> StoreResponse {
    let StoreResponse::Heartbeat {
        valid,
        was_listed,
        mut nodes,
    } = response
    else {
        return response;
    };
    nodes.push(NodeStatus {
        lease: Lease {
            node: other,
            epoch: 1,
        },
        heartbeat: 1,
        is_fenced: false,
        status: format!(r#"{{"message_format":{format},"version":"9.0.0"}}"#),
    });
    StoreResponse::Heartbeat {
        valid,
        was_listed,
        nodes,
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to get an Instant; only differences to it are used"
)]
fn a_message_for_a_node_with_another_format_is_returned_to_its_sender() {
    let (now, other) = (Instant::now(), NodeId::from(2));
    let settings = NodeSettings {
        node: NodeId::from(1),
        lease: Duration::from_secs(10),
        limits: Arc::default(),
        policies: switchboard_core::SharedRoomPolicies::default(),
    };
    let mut node = Node::new(settings, Arc::new(SimDialects), now);
    let mut store = InMemoryStore::default();
    let log = LogId::Room(room("red"));
    let address = Address::parse("ann", 0).expect("an address");
    let ann = Member::new(PeerId::from([1; 16]), address, &DialectTraits::DEFAULT);
    node.handle(
        NodeInput::Propose(log.clone(), Change::Join(ann.into())),
        now,
    );
    node.handle(NodeInput::Connected, now);
    let mut execute = |node: &mut Node| {
        let mut posted = 0;
        loop {
            let batch = node.next_batch();
            if batch.is_empty() {
                return posted;
            }
            posted += batch
                .iter()
                .filter(|request| matches!(request, StoreRequest::Post(..)))
                .count();
            let responses = batch.iter().map(|request| store.execute(request, 1).0);
            let responses = responses.map(|response| with_other_node(response, other, 200));
            node.handle(NodeInput::Responses(responses.collect()), now);
        }
    };
    execute(&mut node);
    let effects: Vec<_> = std::iter::from_fn(|| node.poll_effect()).collect();
    let reported = effects.iter().find_map(|effect| match effect {
        NodeEffect::OtherFormat(line) => Some((line.node, line.message_format)),
        NodeEffect::Committed(..)
        | NodeEffect::Rejected(..)
        | NodeEffect::NodeMessage(..)
        | NodeEffect::Undeliverable(_)
        | NodeEffect::Discarded { .. }
        | NodeEffect::StoreLost => None,
    });
    assert_eq!(reported, Some((other, 200)), "{effects:?}");

    let body = NodeMessageBody::Probe(PeerId::from([7; 16]));
    let message = NodeMessage { log, body };
    for (to, expected_posts) in [(other, 0), (NodeId::from(3), 1)] {
        node.handle(NodeInput::Send(to, message.clone()), now);
        let is_returned = matches!(node.poll_effect(), Some(NodeEffect::Undeliverable(_)));
        assert_eq!(is_returned, to == other);
        assert_eq!(execute(&mut node), expected_posts);
    }
}
