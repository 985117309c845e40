//! Values of the host program's own types, one for each connection.

use std::{any::Any, collections::HashMap, fmt, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use switchboard_core::PeerId;

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
#[derive(Debug, Default)]
pub(crate) struct Contexts(Mutex<HashMap<PeerId, HostContext>>);

impl Contexts {
    /// Keeps a context until the returned guard is dropped.
    pub(crate) fn keep(self: &Arc<Self>, peer: PeerId, context: HostContext) -> ContextGuard {
        let contexts = context.0.is_some().then(|| self.clone());
        if contexts.is_some() {
            self.lock().insert(peer, context);
        }
        ContextGuard { contexts, peer }
    }

    /// The context of a connection; empty if it has none.
    pub(crate) fn get(&self, peer: PeerId) -> HostContext {
        self.lock().get(&peer).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, HostContext>> {
        // A panic does not poison this mutex. Each change is one call of the map, so the map is consistent then too.
        self.0.lock()
    }
}

/// Removes the context of a connection when it is dropped.
#[derive(Debug)]
pub(crate) struct ContextGuard {
    contexts: Option<Arc<Contexts>>,
    peer: PeerId,
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        if let Some(contexts) = &self.contexts {
            contexts.lock().remove(&self.peer);
        }
    }
}
