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

/// The bytes of the frames of an event in one dialect up to which they are kept. The outboxes count an event of a join or
/// leave as 128 bytes, so what it keeps must be small. Longer frames have long names, and are encoded for each receiver.
const KEPT_BYTES_MAX: usize = 512;

/// The frames of an event in each dialect. Short frames are encoded once for all receivers of the event.
#[derive(Debug, Default)]
pub struct SharedFrames(OncePerDialect<Option<Box<[ByteString]>>>);

impl SharedFrames {
    /// Appends the frames in the dialect `name` to `output`. `encode` adds them to a list; it is called once per dialect,
    /// or for each receiver if they are long, so they must not depend on the receiver.
    pub fn append_to(
        &self,
        output: &mut Vec<ByteString>,
        name: DialectName,
        encode: impl Fn(&mut Vec<ByteString>),
    ) {
        let shared = self.0.get_or_make(name, || {
            let mut frames = Vec::with_capacity(1);
            encode(&mut frames);
            let bytes: usize = frames.iter().map(|frame| frame.len()).sum();
            (bytes <= KEPT_BYTES_MAX).then(|| frames.into())
        });
        match shared {
            Some(frames) => output.extend_from_slice(frames),
            None => encode(output),
        }
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
            let mut output = vec![ByteString::from_static("before")];
            frames.append_to(&mut output, name, |frames| {
                calls.fetch_add(1, Ordering::Relaxed);
                frames.push(name.into());
            });
            assert_eq!(output, ["before", name]);
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ["a", "b", "c", "a", "c"].map(encoded));
            }
        });
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        assert_eq!(format!("{frames:?}").matches('"').count(), 6);
    }

    #[test]
    fn long_frames_are_not_kept() {
        let frames = SharedFrames::default();
        let long = ByteString::from("x".repeat(KEPT_BYTES_MAX + 1));
        let calls = AtomicUsize::new(0);
        for _ in 0..2 {
            let mut output = Vec::new();
            frames.append_to(&mut output, "a", |frames| {
                calls.fetch_add(1, Ordering::Relaxed);
                frames.push(long.clone());
            });
            assert_eq!(output, std::slice::from_ref(&long));
        }
        assert_eq!(
            calls.load(Ordering::Relaxed),
            3,
            "the first receiver encodes twice"
        );
        let kept = frames.0.get_or_make("a", || None);
        assert!(kept.is_none());
    }
}
