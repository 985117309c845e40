//! The frames at which the listeners of a stream get their next pages.

use crate::{AudioSink, listener::MixListener};

/// Number of slots: more than the frames of the longest page.
const SLOTS: u64 = 64;

/// The listeners of a stream, by the frame of their next page (a timer wheel). The pages of long duration are spread
/// over the frames, so that no frame has the work of all listeners, and a frame costs nothing for the others.
#[derive(Debug)]
pub(crate) struct PageSchedule<O> {
    slots: Vec<Vec<Box<MixListener<O>>>>,
}

impl<O: AudioSink> PageSchedule<O> {
    pub(crate) fn new() -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { slots }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.iter().all(Vec::is_empty)
    }

    pub(crate) fn listeners(&self) -> impl Iterator<Item = &MixListener<O>> {
        self.slots.iter().flatten().map(AsRef::as_ref)
    }

    /// Inserts a listener whose next page is due with frame `due`, less than [`SLOTS`] frames ahead.
    pub(crate) fn insert(&mut self, due: u64, listener: Box<MixListener<O>>) {
        self.slot(due).push(listener);
    }

    /// Removes and returns the listeners that are due with this frame. [`PageSchedule::reuse`] takes back the memory.
    pub(crate) fn take_due(&mut self, frame: u64) -> Vec<Box<MixListener<O>>> {
        std::mem::take(self.slot(frame))
    }

    /// Lets the slot of this frame reuse the memory of `empty`, a list without listeners.
    pub(crate) fn reuse(&mut self, frame: u64, mut empty: Vec<Box<MixListener<O>>>) {
        let slot = self.slot(frame);
        if slot.is_empty() {
            empty.clear();
            *slot = empty;
        }
    }

    /// The frame with the fewest due listeners of the `frames` frames after `frame`; the last one, if several have the
    /// fewest.
    pub(crate) fn least_loaded(&mut self, frame: u64, frames: u64) -> u64 {
        let after = (frame + 1..=frame + frames).rev();
        after
            .min_by_key(|due| self.slot(*due).len())
            .unwrap_or(frame + 1)
    }

    /// Removes the listeners for which `predicate` is true, and returns them.
    pub(crate) fn extract_if(
        &mut self,
        mut predicate: impl FnMut(&mut MixListener<O>) -> bool,
    ) -> Vec<Box<MixListener<O>>> {
        let mut extracted = Vec::new();
        for slot in &mut self.slots {
            extracted.extend(slot.extract_if(.., |listener| predicate(listener)));
        }
        extracted
    }

    fn slot(&mut self, frame: u64) -> &mut Vec<Box<MixListener<O>>> {
        let slots = self.slots.len();
        // `SLOTS` is a small number.
        &mut self.slots[(frame % SLOTS) as usize % slots]
    }
}
