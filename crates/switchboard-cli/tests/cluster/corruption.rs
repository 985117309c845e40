//! Corruption of the observations, to test that the oracle detects it.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::record::RecordedEvent;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Corruption {
    #[default]
    None,
    /// The leave of a member is lost.
    LeaveLost,
    /// The join of a member is lost.
    JoinLost,
    /// A join is duplicated.
    JoinDuplicated,
    /// A request to offer is duplicated.
    OfferDuplicated,
    /// A request to offer is replaced by a join.
    OfferLost,
    /// A join is replaced by a request to offer.
    OfferOnBothSides,
    /// A signal is lost.
    SignalLost,
    /// A signal is duplicated.
    SignalDuplicated,
    /// A signal has a forged sender.
    SignalSenderForged,
}

impl Corruption {
    pub(crate) const ALL: [Self; 10] = [
        Self::None,
        Self::LeaveLost,
        Self::JoinLost,
        Self::JoinDuplicated,
        Self::OfferDuplicated,
        Self::OfferLost,
        Self::OfferOnBothSides,
        Self::SignalLost,
        Self::SignalDuplicated,
        Self::SignalSenderForged,
    ];

    /// A part of the violation that the oracle must report.
    pub(crate) fn expected_violation(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::LeaveLost => Some("which are not members"),
            Self::JoinLost => Some("and not [\""),
            Self::JoinDuplicated => Some("a member for"),
            Self::OfferDuplicated => Some("must offer 2 times"),
            Self::OfferLost => Some("neither"),
            Self::OfferOnBothSides => Some("must both offer"),
            Self::SignalLost => Some("was neither delivered nor rejected"),
            Self::SignalDuplicated => Some("of the same sender"),
            Self::SignalSenderForged => Some("forged sender"),
        }
    }
}

/// Corrupts some of the events before they are recorded.
#[derive(Debug, Default)]
pub(crate) struct CorruptingRecorder {
    corruption: Corruption,
    /// The number of events so far to which the corruption applies.
    matching: AtomicUsize,
}

/// One of this many matching events is corrupted: often enough that some affected clients stay until the check.
const CORRUPTION_PERIOD: usize = 3;

impl CorruptingRecorder {
    pub(crate) fn new(corruption: Corruption) -> Self {
        Self {
            corruption,
            matching: AtomicUsize::new(0),
        }
    }

    /// The events to record in place of a received one.
    pub(crate) fn apply(&self, event: RecordedEvent) -> Vec<RecordedEvent> {
        let Some(corrupted) = self.corrupt(&event) else {
            return vec![event];
        };
        let count = self.matching.fetch_add(1, Ordering::Relaxed);
        if count % CORRUPTION_PERIOD == CORRUPTION_PERIOD - 1 {
            corrupted
        } else {
            vec![event]
        }
    }

    /// The corrupted events, if the event matches the corruption.
    fn corrupt(&self, event: &RecordedEvent) -> Option<Vec<RecordedEvent>> {
        match (self.corruption, event) {
            (Corruption::LeaveLost, RecordedEvent::Left(_))
            | (Corruption::JoinLost, RecordedEvent::Joined(_))
            | (Corruption::SignalLost, RecordedEvent::Signal { .. }) => Some(Vec::new()),
            (Corruption::JoinDuplicated, RecordedEvent::Joined(_))
            | (Corruption::OfferDuplicated, RecordedEvent::MustOffer(_))
            | (Corruption::SignalDuplicated, RecordedEvent::Signal { .. }) => {
                Some(vec![event.clone(), event.clone()])
            }
            (Corruption::OfferLost, RecordedEvent::MustOffer(name)) => {
                Some(vec![RecordedEvent::Joined(name.clone())])
            }
            (Corruption::OfferOnBothSides, RecordedEvent::Joined(name)) => {
                Some(vec![RecordedEvent::MustOffer(name.clone())])
            }
            (Corruption::SignalSenderForged, RecordedEvent::Signal { serial, .. }) => {
                Some(vec![RecordedEvent::Signal {
                    from: "forged sender".into(),
                    serial: *serial,
                }])
            }
            _ => None,
        }
    }
}
