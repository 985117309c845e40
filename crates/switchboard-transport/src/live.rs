//! A value that a reload of the settings replaces while it is in use.

use std::sync::Arc;

use parking_lot::RwLock;

/// A shared value that can be replaced. A user keeps the value that it has got.
#[derive(Debug, Default)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// Begins with this value.
    #[must_use]
    pub fn new(value: Arc<T>) -> Self {
        Self(RwLock::new(value))
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        self.0.read().clone()
    }

    /// Replaces the value for later users.
    pub fn set(&self, value: Arc<T>) {
        let before = std::mem::replace(&mut *self.0.write(), value);
        // The old value may be large: it is dropped without the lock.
        drop(before);
    }
}
