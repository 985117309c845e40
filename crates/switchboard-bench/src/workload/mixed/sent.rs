//! The messages that receivers must have got at the end. A gap before a later message is found without it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::sequence::ReceivedSequences;

/// The time after a join from which a member must get all messages. It is also the time that a message has before its receiver
/// leaves.
pub(super) const SETTLED: Duration = Duration::from_secs(2);

/// A member that gets messages.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) number: u32,
    pub(super) joined: Instant,
    pub(super) received: ReceivedSequences,
}

/// The times of the messages of each speaker. The time at an index is that of the message with the next number.
#[derive(Debug, Default)]
pub(super) struct SentMessages(BTreeMap<u32, Vec<Instant>>);

impl SentMessages {
    /// Notes that a speaker sends its next message now.
    pub(super) fn record(&mut self, speaker: u32, now: Instant) {
        self.0.entry(speaker).or_default().push(now);
    }

    /// The messages that were sent until this time, and are later than all that the receiver has got.
    pub(super) fn missing(&self, receiver: &Receiver, until: Instant) -> u64 {
        let speakers = self.0.iter();
        let others = speakers.filter(|(speaker, _)| **speaker != receiver.number);
        let missing = others.map(|(speaker, times)| {
            let before_first = || sent_until(times, receiver.joined + SETTLED);
            let last = receiver.received.last(*speaker);
            sent_until(times, until).saturating_sub(last.unwrap_or_else(before_first))
        });
        missing.sum()
    }
}

fn sent_until(times: &[Instant], until: Instant) -> u64 {
    times.partition_point(|time| *time <= until) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::{ALL, Stamp};

    const SPEAKER: u32 = 1;

    /// A message each second, the first one at the start.
    fn sent(start: Instant, count: u64) -> SentMessages {
        let mut sent = SentMessages::default();
        for second in 0..count {
            sent.record(SPEAKER, start + Duration::from_secs(second));
        }
        sent
    }

    fn receiver(number: u32, joined: Instant, last: Option<u64>) -> Receiver {
        let mut received = ReceivedSequences::from_any();
        if let Some(sequence) = last {
            received.receive(&Stamp {
                from: SPEAKER,
                to: ALL,
                slot: 0,
                sequence,
                due_nanos: 0,
            });
        }
        Receiver {
            number,
            joined,
            received,
        }
    }

    #[test]
    fn messages_after_the_last_one_of_a_stalled_receiver_are_missing() {
        let start = Instant::now();
        let sent = sent(start, 10);
        let at = |second| start + Duration::from_secs(second);
        let stalled = receiver(2, start, Some(4));
        assert_eq!(sent.missing(&stalled, at(60)), 6);
        assert_eq!(sent.missing(&stalled, at(5)), 2);
        assert_eq!(sent.missing(&stalled, at(1)), 0);
        assert_eq!(sent.missing(&receiver(2, start, Some(10)), at(60)), 0);
    }

    #[test]
    fn receiver_that_never_got_any_misses_those_after_its_join() {
        let start = Instant::now();
        let sent = sent(start, 10);
        let at = |second| start + Duration::from_secs(second);
        assert_eq!(sent.missing(&receiver(2, at(4), None), at(60)), 3);
        assert_eq!(sent.missing(&receiver(2, at(9), None), at(60)), 0);
        assert_eq!(sent.missing(&receiver(SPEAKER, start, None), at(60)), 0);
    }
}
