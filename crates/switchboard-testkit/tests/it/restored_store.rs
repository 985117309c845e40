//! Synchronisation of a node with a store that was restored from a backup: the node sends its memberships, and the
//! store returns those that it has now.

use switchboard_cluster::store::{
    Lease, LogEvent, LogVersion, MemberSpec, StoreRequest, StoreResponse, StoredChange,
};
use switchboard_core::{Address, LeaveCause, LogId, NodeId, PeerId, Position};
use switchboard_testkit::{InMemoryStore, cluster::room};

fn ann() -> PeerId {
    PeerId::from_random([1; 16])
}

/// A node with one member in a room, and its store.
struct SyncingNode {
    store: InMemoryStore,
    now: u64,
    known_version: LogVersion,
    since: Option<Position>,
}

impl SyncingNode {
    fn new() -> Self {
        Self {
            store: InMemoryStore::default(),
            now: 1_000,
            known_version: LogVersion::default(),
            since: None,
        }
    }

    /// Synchronises the member, and returns its position and the changes that other nodes observe.
    fn sync(&mut self) -> (Position, Vec<StoredChange>) {
        self.now += 1_000;
        let request = StoreRequest::Sync {
            log: LogId::Room(room("red")),
            lease: Lease {
                node: NodeId::from(1),
                epoch: 1,
            },
            known_version: self.known_version,
            wanted: vec![MemberSpec {
                peer: ann(),
                address: Address::parse("ann", 0).expect("an address"),
                since: self.since,
                metadata: Vec::new(),
            }],
            members_max: 0,
        };
        let (response, events) = self.store.execute(&request, self.now);
        let StoreResponse::Synced { snapshot, .. } = response else {
            panic!("{response:?}");
        };
        let snapshot = snapshot.expect("the log has a member");
        let changes = events
            .into_iter()
            .map(|(_, event): (_, LogEvent)| event.change);
        (snapshot.members[0].since, changes.collect())
    }

    fn sync_and_learn(&mut self) -> Position {
        let (since, _) = self.sync();
        self.since = Some(since);
        since
    }
}

/// A node may know the membership that is in the backup, or the later one. Both are replaced by a new one, of which all
/// nodes are told.
#[test]
fn a_membership_that_is_newer_than_the_restored_one_is_replaced_for_all_nodes() {
    let mut node = SyncingNode::new();
    node.sync_and_learn();
    let backup = node.store.clone();
    // The store loses its data without a backup, and the member joins at a new position.
    node.store.wipe();
    node.since = None;
    let later = node.sync_and_learn();

    node.store.restore(&backup);
    let (since, changes) = node.sync();
    assert!(since > later, "{since:?}");
    let [
        StoredChange::Leave(peer, LeaveCause::NodeLost),
        StoredChange::Join(member),
    ] = &changes[..]
    else {
        panic!("{changes:?}");
    };
    assert_eq!((*peer, member.peer, member.since), (ann(), ann(), since));

    // The same request again, sent before the node received the response.
    assert_eq!(node.sync(), (since, Vec::new()));
}

#[test]
fn a_restored_membership_that_the_node_knows_is_kept() {
    let mut node = SyncingNode::new();
    let since = node.sync_and_learn();
    let backup = node.store.clone();
    node.store.restore(&backup);
    assert_eq!(node.sync(), (since, Vec::new()));
}
