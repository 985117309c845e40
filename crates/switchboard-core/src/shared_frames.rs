//! Values that are made once for each dialect, as the frames of an event for all its receivers.

use std::{fmt, sync::OnceLock};

use bytestring::ByteString;

use crate::id::DialectName;

/// One value for each dialect that has asked for it. A room has one dialect or few, so this is a list, which needs no
/// memory while it is empty. It only grows, so it is read without a lock.
pub(crate) struct OncePerDialect<T>(OnceLock<Box<DialectEntry<T>>>);

struct DialectEntry<T> {
    dialect: DialectName,
    value: T,
    next: OncePerDialect<T>,
}

impl<T> Default for OncePerDialect<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> fmt::Debug for OncePerDialect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = std::iter::successors(self.0.get(), |entry| entry.next.0.get());
        f.debug_set()
            .entries(entries.map(|entry| entry.dialect))
            .finish()
    }
}

impl<T> OncePerDialect<T> {
    /// The value of this dialect. The first call for a dialect makes it.
    pub(crate) fn get_or_make(&self, dialect: DialectName, make: impl FnOnce() -> T) -> &T {
        let mut make = Some(make);
        let mut list = self;
        loop {
            let entry = list.0.get_or_init(|| {
                let make = make.take().expect("the list ends once");
                Box::new(DialectEntry {
                    dialect,
                    value: make(),
                    next: Self::default(),
                })
            });
            if entry.dialect == dialect {
                return &entry.value;
            }
            list = &entry.next;
        }
    }
}

/// The frames of an event in each dialect. They are encoded once for all receivers of the event.
#[derive(Debug, Default)]
pub struct SharedFrames(OncePerDialect<Box<[ByteString]>>);

impl SharedFrames {
    /// The frames in the dialect `name`. `encode` adds them to a list. It is called once per dialect, for all receivers
    /// of the event, so they must not depend on the receiver.
    pub fn encoded_once(
        &self,
        name: DialectName,
        encode: impl FnOnce(&mut Vec<ByteString>),
    ) -> &[ByteString] {
        self.0.get_or_make(name, || {
            let mut frames = Vec::with_capacity(1);
            encode(&mut frames);
            frames.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn the_frames_of_each_dialect_are_encoded_once() {
        let frames = SharedFrames::default();
        let calls = AtomicUsize::new(0);
        let encoded = |name: DialectName| {
            let frames = frames.encoded_once(name, |frames| {
                calls.fetch_add(1, Ordering::Relaxed);
                frames.push(name.into());
            });
            assert_eq!(frames, [ByteString::from(name)]);
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ["a", "b", "c", "a", "c"].map(encoded));
            }
        });
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        assert_eq!(format!("{frames:?}").matches('"').count(), 6);
    }
}
