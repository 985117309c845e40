//! Values of the host program's own types, one for each connection.

use std::{
    any::Any,
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};
use switchboard_core::{PeerId, RoomId};

/// A value of the host program's own type that belongs to one connection, from
/// [`Admission::with_context`](crate::Admission::with_context). Cheap to clone; all clones are the same value.
#[derive(Clone, Default)]
pub struct HostContext(Option<Arc<dyn Any + Send + Sync>>);

impl HostContext {
    pub(crate) fn new<C: Any + Send + Sync>(context: C) -> Self {
        Self(Some(Arc::new(context)))
    }

    /// The value, if the connection has one and it is of this type. Members on other nodes have none.
    #[must_use]
    pub fn get<C: Any + Send + Sync>(&self) -> Option<&C> {
        self.0.as_ref()?.downcast_ref()
    }
}

impl fmt::Debug for HostContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostContext")
            .field(&self.0.is_some())
            .finish()
    }
}

/// The contexts of the connections of this node. Connections without a context take no space.
///
/// A value is never dropped under the lock, because the host program's `Drop` may do anything.
#[derive(Debug, Default)]
pub(crate) struct Contexts(Mutex<HashMap<PeerId, KeptContext>>);

/// The context of a connection, and the reasons for which it is kept.
#[derive(Debug)]
struct KeptContext {
    context: HostContext,
    is_connected: bool,
    /// The rooms that the connection leaves, each until the leave is committed. In a cluster, the connection may end
    /// before that.
    leaving: HashSet<RoomId>,
}

impl Contexts {
    /// Keeps a context until the returned guard is dropped and the leaves of the connection are committed.
    /// `None` if it is empty.
    pub(crate) fn keep(
        self: &Arc<Self>,
        peer: PeerId,
        context: HostContext,
    ) -> Option<ContextGuard> {
        context.0.is_some().then(|| {
            let kept = KeptContext {
                context,
                is_connected: true,
                leaving: HashSet::new(),
            };
            let replaced = self.lock().insert(peer, kept);
            drop(replaced);
            let contexts = self.clone();
            ContextGuard { contexts, peer }
        })
    }

    /// The context of a connection; empty if it has none.
    pub(crate) fn get(&self, peer: PeerId) -> HostContext {
        let contexts = self.lock();
        let kept = contexts.get(&peer);
        kept.map(|kept| kept.context.clone()).unwrap_or_default()
    }

    /// Records whether the connection is leaving this room: its leave is proposed and not committed yet. Returns the
    /// context if there is no more reason to keep it; the caller must drop it without holding a lock.
    pub(crate) fn set_leaving(
        &self,
        peer: PeerId,
        room: &RoomId,
        is_leaving: bool,
    ) -> Option<HostContext> {
        self.update(peer, |kept| {
            if is_leaving {
                kept.leaving.insert(room.clone());
            } else {
                kept.leaving.remove(room);
            }
        })
    }

    /// Changes the reasons for which a context is kept. Returns the context if none is left.
    fn update(&self, peer: PeerId, change: impl FnOnce(&mut KeptContext)) -> Option<HostContext> {
        let mut contexts = self.lock();
        let kept = contexts.get_mut(&peer)?;
        change(kept);
        if kept.is_connected || !kept.leaving.is_empty() {
            return None;
        }
        contexts.remove(&peer).map(|kept| kept.context)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, KeptContext>> {
        // A panic does not poison this mutex. Each change is one call of a map or set, so a panic between two changes
        // leaves the map and its sets consistent.
        self.0.lock()
    }
}

/// Removes the context of a connection when it is dropped.
#[derive(Debug)]
pub(crate) struct ContextGuard {
    contexts: Arc<Contexts>,
    peer: PeerId,
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        let contexts = &self.contexts;
        // The value is dropped at the end of this function, when the lock is released.
        let _released = contexts.update(self.peer, |kept| kept.is_connected = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value whose drop uses the contexts.
    struct UsesContexts(Arc<Contexts>);

    impl Drop for UsesContexts {
        fn drop(&mut self) {
            let contexts = self.0.0.try_lock();
            assert!(contexts.is_some(), "a context is dropped under the lock");
        }
    }

    #[test]
    fn a_context_is_dropped_after_the_lock_is_released() {
        let contexts = Arc::<Contexts>::default();
        let (peer, other) = (PeerId::from_random([1; 16]), PeerId::from_random([2; 16]));
        let context = || HostContext::new(UsesContexts(contexts.clone()));
        drop(contexts.keep(peer, context()));
        assert!(contexts.lock().is_empty());

        let room = crate::room("r").expect("a name");
        let guard = contexts.keep(other, context());
        assert!(contexts.set_leaving(other, &room, true).is_none());
        drop(guard);
        assert!(contexts.get(other).0.is_some(), "the client is leaving");
        let released = contexts.set_leaving(other, &room, false);
        assert!(released.is_some());
        assert!(contexts.lock().is_empty());
    }
}
