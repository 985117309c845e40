//! Bans: identities and networks that may not connect, or may not join a room.
//!
//! Every node has all bans. A ban is sent to all nodes when it is made, and nodes exchange their tables from time to
//! time ([`BanTable::merge`]), so that a node that was away or is new gets them. A removed ban is kept as removed until
//! it would have expired, so that no node brings it back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ipnet::IpNet;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use switchboard_core::RoomId;
use utoipa::ToSchema;

use crate::types::RoomRef;

/// The bans that a node keeps, removed ones included.
pub const BANS_MAX: usize = 10_000;

/// The longest time of a ban: a year.
pub const TTL_SECS_MAX: u64 = 366 * 24 * 3600;

/// A ban of some clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ban {
    /// The id of the ban.
    pub id: String,
    /// The clients that are banned.
    #[serde(flatten)]
    pub target: BanTarget,
    /// The only room that they may not join; absent if they may not connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomRef>,
    /// The reason, which the client is told.
    pub reason: String,
    /// The principal that has made it.
    pub by: String,
    /// The time at which it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// The time at which it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Whether it was removed before its end.
    #[serde(default)]
    pub removed: bool,
}

/// The clients of a ban.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BanTarget {
    /// The authenticated identity of clients.
    Identity(String),
    /// The network of clients, as `2001:db8::/64`; an address is a network of its own.
    #[schema(value_type = String)]
    Network(IpNet),
}

/// The reason why a table takes no more bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {BANS_MAX} bans; remove some first, and wait until they would have ended")]
pub struct TooManyBans;

/// The bans of a node.
#[derive(Debug, Default)]
pub struct BanTable {
    /// Whether there is a ban, so that a server without bans takes no lock.
    has_bans: AtomicBool,
    state: RwLock<BanState>,
}

#[derive(Debug, Default)]
struct BanState {
    bans: BTreeMap<String, Arc<Ban>>,
    index: BanIndex,
}

/// The bans in force, by their targets.
#[derive(Debug, Default)]
struct BanIndex {
    by_target: BTreeMap<BanTarget, Vec<RoomBan>>,
    /// The prefix lengths of banned networks.
    lengths: BTreeSet<(bool, u8)>,
}

/// A ban, and the only room that it is about.
type RoomBan = (Option<RoomId>, Arc<Ban>);

/// A client that wants to connect or join.
#[derive(Clone, Copy, Debug)]
pub struct BannedClient<'a> {
    /// Its authenticated identity.
    pub identity: Option<&'a str>,
    /// Its address, if it is known.
    pub address: Option<IpAddr>,
    /// The room that it wants to join; `None` if it connects.
    pub room: Option<&'a RoomId>,
}

impl BanTable {
    /// Whether there is no ban at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_bans.load(Ordering::Relaxed)
    }

    /// The ban that keeps a client out.
    #[must_use]
    pub fn find(&self, client: BannedClient<'_>, now_ms: u64) -> Option<Arc<Ban>> {
        if self.is_empty() {
            return None;
        }
        let state = self.state.read();
        state.index.find(client, now_ms)
    }

    /// Adds a ban.
    ///
    /// # Errors
    /// If the table is full.
    pub fn add(&self, ban: Ban, now_ms: u64) -> Result<(), TooManyBans> {
        let mut state = self.state.write();
        state.forget_expired(now_ms);
        if state.bans.len() >= BANS_MAX {
            return Err(TooManyBans);
        }
        state.bans.insert(ban.id.clone(), Arc::new(ban));
        self.index(&mut state);
        Ok(())
    }

    /// The ban with this id, if it is in force.
    #[must_use]
    pub fn get(&self, id: &str, now_ms: u64) -> Option<Arc<Ban>> {
        let state = self.state.read();
        let ban = state.bans.get(id)?;
        is_in_force(ban, now_ms).then(|| ban.clone())
    }

    /// Removes a ban. Returns whether it was in force.
    pub fn remove(&self, id: &str, now_ms: u64) -> bool {
        let mut state = self.state.write();
        let Some(ban) = state.bans.get_mut(id) else {
            return false;
        };
        let was_in_force = is_in_force(ban, now_ms);
        Arc::make_mut(ban).removed = true;
        self.index(&mut state);
        was_in_force
    }

    /// The bans in force, oldest first.
    #[must_use]
    pub fn list(&self, now_ms: u64) -> Vec<Ban> {
        let state = self.state.read();
        let in_force = state.bans.values().filter(|ban| is_in_force(ban, now_ms));
        let mut bans: Vec<Ban> = in_force.map(|ban| Ban::clone(ban)).collect();
        bans.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        bans
    }

    /// All bans with those that were removed, for another node.
    #[must_use]
    pub fn snapshot(&self, now_ms: u64) -> Vec<Ban> {
        let mut state = self.state.write();
        state.forget_expired(now_ms);
        state.bans.values().map(|ban| Ban::clone(ban)).collect()
    }

    /// A number that is equal for equal tables.
    #[must_use]
    pub fn digest(&self, now_ms: u64) -> u64 {
        let mut state = self.state.write();
        state.forget_expired(now_ms);
        let entries = state.bans.values();
        entries.fold(0, |sum: u64, ban| {
            sum.wrapping_add(fnv(&ban.id).wrapping_mul(1 + u64::from(ban.removed)))
        })
    }

    /// Adds the bans of another node, and removes those that are removed there. Returns whether the table has changed.
    pub fn merge(&self, bans: Vec<Ban>, now_ms: u64) -> bool {
        let mut state = self.state.write();
        state.forget_expired(now_ms);
        let mut has_changed = false;
        for ban in bans.into_iter().filter(|ban| ban.expires_ms > now_ms) {
            let is_full = state.bans.len() >= BANS_MAX;
            has_changed |= match state.bans.get_mut(&ban.id) {
                Some(known) if ban.removed && !known.removed => {
                    Arc::make_mut(known).removed = true;
                    true
                }
                Some(_) => false,
                None if is_full => false,
                None => {
                    state.bans.insert(ban.id.clone(), Arc::new(ban));
                    true
                }
            };
        }
        if has_changed {
            self.index(&mut state);
        }
        has_changed
    }

    fn index(&self, state: &mut BanState) {
        state.index = BanIndex::new(state.bans.values());
        let has_bans = !state.index.by_target.is_empty();
        self.has_bans.store(has_bans, Ordering::Relaxed);
    }
}

impl BanState {
    fn forget_expired(&mut self, now_ms: u64) {
        self.bans.retain(|_, ban| ban.expires_ms > now_ms);
    }
}

impl BanIndex {
    fn new<'a>(bans: impl Iterator<Item = &'a Arc<Ban>>) -> Self {
        let mut index = Self::default();
        for ban in bans.filter(|ban| !ban.removed) {
            let room = ban.room.as_ref().map(RoomRef::to_room_id);
            // A room that cannot exist bans from nothing.
            if room == Some(None) {
                continue;
            }
            if let BanTarget::Network(net) = &ban.target {
                index
                    .lengths
                    .insert((net.addr().is_ipv4(), net.prefix_len()));
            }
            let of_target = index.by_target.entry(ban.target.clone()).or_default();
            of_target.push((room.flatten(), ban.clone()));
        }
        index
    }

    fn find(&self, client: BannedClient<'_>, now_ms: u64) -> Option<Arc<Ban>> {
        let identity = client.identity;
        let identity = identity.map(|name| BanTarget::Identity(name.to_owned()));
        let address = client.address.map(|address| address.to_canonical());
        let networks = self.lengths.iter().filter_map(|&(is_ipv4, length)| {
            let address = address.filter(|address| address.is_ipv4() == is_ipv4)?;
            let net = IpNet::new(address, length).ok()?;
            Some(BanTarget::Network(net.trunc()))
        });
        let targets = identity.into_iter().chain(networks);
        let mut bans = targets
            .filter_map(|target| self.by_target.get(&target))
            .flatten();
        let keeps_out = |(room, ban): &&RoomBan| {
            let concerns = room.is_none() || room.as_ref() == client.room;
            concerns && is_in_force(ban, now_ms)
        };
        bans.find(keeps_out).map(|(_, ban)| ban.clone())
    }
}

fn is_in_force(ban: &Ban, now_ms: u64) -> bool {
    !ban.removed && ban.expires_ms > now_ms
}

/// The FNV-1a hash of a text, which is the same in all versions.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use switchboard_core::{RoomName, SpaceName};

    use super::*;

    fn ban(id: &str, target: BanTarget, expires_ms: u64) -> Ban {
        Ban {
            id: id.to_owned(),
            target,
            room: None,
            reason: String::new(),
            by: "ops".to_owned(),
            created_ms: 0,
            expires_ms,
            removed: false,
        }
    }

    fn network(text: &str) -> BanTarget {
        BanTarget::Network(text.parse().expect("a network"))
    }

    fn found(
        table: &BanTable,
        identity: Option<&str>,
        address: &str,
        now_ms: u64,
    ) -> Option<String> {
        let client = BannedClient {
            identity,
            address: address.parse().ok(),
            room: None,
        };
        Some(table.find(client, now_ms)?.id.clone())
    }

    #[test]
    fn identities_addresses_and_networks_are_kept_out_until_the_ban_ends() {
        let table = BanTable::default();
        for (id, target) in [
            ("a", BanTarget::Identity("eve".to_owned())),
            ("b", network("192.0.2.7/32")),
            ("c", network("2001:db8:1:2::/64")),
        ] {
            assert_eq!(table.add(ban(id, target, 100), 0), Ok(()));
        }
        for (identity, address, id) in [
            (Some("eve"), "", Some("a")),
            (Some("eve2"), "", None),
            (None, "192.0.2.7", Some("b")),
            (None, "::ffff:192.0.2.7", Some("b")),
            (None, "192.0.2.8", None),
            (None, "2001:db8:1:2:3::4", Some("c")),
            (None, "2001:db8:1:3::", None),
            (None, "", None),
        ] {
            assert_eq!(
                found(&table, identity, address, 99).as_deref(),
                id,
                "{address}"
            );
            assert_eq!(found(&table, identity, address, 100), None);
        }
    }

    #[test]
    fn ban_from_a_room_does_not_keep_out_of_others() {
        let table = BanTable::default();
        let room = |name| {
            RoomId::shared(
                SpaceName::default(),
                RoomName::parse(name, 0).expect("a name"),
            )
        };
        let scoped = Ban {
            room: Some(RoomRef::of(&room("team"))),
            ..ban("a", BanTarget::Identity("eve".to_owned()), 100)
        };
        assert_eq!(table.add(scoped, 0), Ok(()));
        let find = |room: Option<&RoomId>| {
            let client = BannedClient {
                identity: Some("eve"),
                address: None,
                room,
            };
            table.find(client, 0).is_some()
        };
        assert!(find(Some(&room("team"))));
        assert!(!find(Some(&room("lobby"))));
        assert!(!find(None));
    }

    #[test]
    fn nodes_agree_on_bans_and_removals_in_any_order() {
        let (one, two) = (BanTable::default(), BanTable::default());
        assert_eq!(one.add(ban("a", network("192.0.2.1/32"), 100), 0), Ok(()));
        assert_eq!(two.add(ban("b", network("192.0.2.2/32"), 100), 0), Ok(()));
        assert_ne!(one.digest(0), two.digest(0));
        assert!(two.merge(one.snapshot(0), 0));
        assert!(one.merge(two.snapshot(0), 0));
        assert_eq!(one.digest(0), two.digest(0));
        assert!(one.remove("a", 0) && !one.remove("a", 0));
        assert!(
            !one.merge(two.snapshot(0), 0),
            "a removed ban does not come back"
        );
        assert!(two.merge(one.snapshot(0), 0));
        assert_eq!(found(&two, None, "192.0.2.1", 0), None);
        assert_eq!(one.digest(0), two.digest(0));
        assert_eq!(two.list(0).len(), 1);
        assert!(two.snapshot(100).is_empty(), "expired bans are forgotten");
    }

    #[test]
    fn table_is_bounded() {
        let table = BanTable::default();
        let bans = (0..BANS_MAX + 1)
            .map(|id| ban(&id.to_string(), BanTarget::Identity(id.to_string()), 100));
        table.merge(bans.collect(), 0);
        assert_eq!(table.list(0).len(), BANS_MAX);
        let more = ban("more", BanTarget::Identity("more".to_owned()), 100);
        assert_eq!(table.add(more.clone(), 0), Err(TooManyBans));
        assert_eq!(
            table.add(
                Ban {
                    expires_ms: 300,
                    ..more
                },
                200
            ),
            Ok(())
        );
    }
}
