//! Orders of operators about the joins of rooms. An order overrides the policy of the room in the settings.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::RwLock;
use switchboard_admin::{ApiError, ApiErrorCode, RoomLock, RoomRef};
use switchboard_core::RoomId;

/// The rooms with an order.
const LOCKS_MAX: usize = 10_000;

/// The rooms that operators have locked or unlocked on this node. Each node has all of them.
#[derive(Debug, Default)]
pub(crate) struct RoomLocks {
    /// Whether there is an order, so that a server without one takes no lock.
    has_orders: AtomicBool,
    orders: RwLock<BTreeMap<RoomId, LockOrder>>,
}

/// An order, and the time at which it was given.
#[derive(Clone, Copy, Debug)]
struct LockOrder {
    /// `None`: the order before was withdrawn.
    locked: Option<bool>,
    changed_ms: u64,
}

impl RoomLocks {
    /// Whether an operator has locked the room (true) or unlocked it (false). `None`: the settings decide.
    pub(crate) fn state(&self, room: &RoomId) -> Option<bool> {
        if !self.has_orders.load(Ordering::Relaxed) {
            return None;
        }
        self.orders.read().get(room)?.locked
    }

    /// Takes an order over, unless there is a later one about the room.
    pub(crate) fn set(&self, lock: &RoomLock) -> Result<(), ApiError> {
        let room = lock.room.to_room_id();
        let room =
            room.ok_or_else(|| ApiError::new(ApiErrorCode::BadRequest, "no such room name"))?;
        let mut orders = self.orders.write();
        if orders
            .get(&room)
            .is_some_and(|order| order.changed_ms >= lock.changed_ms)
        {
            return Ok(());
        }
        if orders.len() >= LOCKS_MAX && !orders.contains_key(&room) {
            forget_oldest_withdrawn(&mut orders)?;
        }
        let order = LockOrder {
            locked: lock.locked,
            changed_ms: lock.changed_ms,
        };
        orders.insert(room, order);
        self.has_orders.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// All orders, with those that were withdrawn.
    pub(crate) fn list(&self) -> Vec<RoomLock> {
        let orders = self.orders.read();
        let locks = orders.iter().map(|(room, order)| RoomLock {
            room: RoomRef::of(room),
            locked: order.locked,
            changed_ms: order.changed_ms,
        });
        locks.collect()
    }
}

/// Makes room for one order.
fn forget_oldest_withdrawn(orders: &mut BTreeMap<RoomId, LockOrder>) -> Result<(), ApiError> {
    let withdrawn = orders.iter().filter(|(_, order)| order.locked.is_none());
    let oldest = withdrawn.min_by_key(|(_, order)| order.changed_ms);
    let oldest = oldest.map(|(room, _)| room.clone());
    let oldest = oldest.ok_or_else(|| {
        let text = format!("{LOCKS_MAX} rooms are locked or unlocked; withdraw some orders first");
        ApiError::new(ApiErrorCode::LimitReached, text)
    })?;
    orders.remove(&oldest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(name: &str, locked: Option<bool>, changed_ms: u64) -> RoomLock {
        RoomLock {
            room: RoomRef {
                space: String::new(),
                name: name.to_owned(),
                dialect: None,
            },
            locked,
            changed_ms,
        }
    }

    #[test]
    fn later_order_holds_whatever_the_order_of_arrival() {
        let locks = RoomLocks::default();
        let room = crate::room("team").expect("a name");
        assert_eq!(locks.state(&room), None);
        assert_eq!(locks.set(&lock("team", Some(true), 5)), Ok(()));
        assert_eq!(locks.set(&lock("team", Some(false), 4)), Ok(()));
        assert_eq!(locks.state(&room), Some(true));
        assert_eq!(locks.set(&lock("team", None, 6)), Ok(()));
        assert_eq!(locks.state(&room), None);
        assert_eq!(locks.state(&crate::room("lobby").expect("a name")), None);
        assert!(locks.set(&lock("", Some(true), 7)).is_err());
    }

    #[test]
    fn orders_are_bounded() {
        let locks = RoomLocks::default();
        for number in 0..LOCKS_MAX {
            let order = lock(&number.to_string(), (number != 7).then_some(true), 1);
            assert_eq!(locks.set(&order), Ok(()));
        }
        assert_eq!(
            locks.set(&lock("more", Some(true), 2)),
            Ok(()),
            "a withdrawn order makes room"
        );
        assert!(locks.set(&lock("too many", Some(true), 2)).is_err());
        assert_eq!(locks.list().len(), LOCKS_MAX);
    }
}
