//! Checks that the messages of each sender arrive without a gap and in order.

use std::collections::BTreeMap;

use crate::stamp::Stamp;

/// The last sequence number that a receiver has got from each sender.
#[derive(Debug)]
pub(crate) struct ReceivedSequences {
    last: BTreeMap<u32, u64>,
    is_late: bool,
}

/// The place of a message in the sequence of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Next,
    /// This number of messages is missing before it.
    AfterGap(u64),
    /// It, or a later message, was received before.
    Repeated,
}

impl ReceivedSequences {
    /// For a receiver that gets all messages from the first one, which has the number 1.
    pub(crate) fn from_start() -> Self {
        Self {
            last: BTreeMap::new(),
            is_late: false,
        }
    }

    /// For a receiver that joined later: its first message of a sender may have any number.
    pub(crate) fn from_any() -> Self {
        Self {
            is_late: true,
            ..Self::from_start()
        }
    }

    /// The last number from a sender; `None` before the first message.
    pub(crate) fn last(&self, sender: u32) -> Option<u64> {
        self.last.get(&sender).copied()
    }

    /// Notes a message, and returns its place.
    pub(crate) fn receive(&mut self, stamp: &Stamp) -> Place {
        let before_first = if self.is_late {
            stamp.sequence.saturating_sub(1)
        } else {
            0
        };
        let last = self.last.entry(stamp.from).or_insert(before_first);
        if stamp.sequence <= *last {
            return Place::Repeated;
        }
        let missing = stamp.sequence - *last - 1;
        *last = stamp.sequence;
        if missing == 0 {
            Place::Next
        } else {
            Place::AfterGap(missing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(from: u32, sequence: u64) -> Stamp {
        Stamp {
            from,
            to: 0,
            slot: 0,
            sequence,
            due_nanos: 0,
        }
    }

    #[test]
    fn gaps_and_repetitions_of_each_sender_are_found() {
        let mut received = ReceivedSequences::from_start();
        for (from, sequence, place) in [
            (7, 1, Place::Next),
            (8, 1, Place::Next),
            (7, 2, Place::Next),
            (7, 5, Place::AfterGap(2)),
            (7, 4, Place::Repeated),
            (7, 5, Place::Repeated),
            (7, 6, Place::Next),
            (8, 2, Place::Next),
            (9, 2, Place::AfterGap(1)),
        ] {
            assert_eq!(
                received.receive(&stamp(from, sequence)),
                place,
                "{from} {sequence}"
            );
        }
    }

    #[test]
    fn sequence_of_a_late_receiver_begins_with_any_number() {
        let mut received = ReceivedSequences::from_any();
        assert_eq!(received.receive(&stamp(7, 40)), Place::Next);
        assert_eq!(received.receive(&stamp(7, 42)), Place::AfterGap(1));
    }
}
