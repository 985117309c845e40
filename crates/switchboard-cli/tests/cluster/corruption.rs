//! Ears that hear wrong, to show that the judge notices.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::record::ObservedEvent;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Corruption {
    #[default]
    None,
    /// Somebody who left is not seen to leave.
    Ghost,
    /// Somebody who came is not seen to come.
    Unknown,
    /// An arrival is told twice.
    ComesTwice,
    /// The order to call somebody is told twice.
    CallsTwice,
    /// The order to call is taken for an arrival.
    NobodyCalls,
    /// An arrival is taken for the order to call.
    BothCall,
    /// A signal is lost.
    Deaf,
    /// A signal comes twice.
    Echo,
    /// A signal comes in another's name.
    Mask,
}

impl Corruption {
    pub(crate) const ALL: [Self; 10] = [
        Self::None,
        Self::Ghost,
        Self::Unknown,
        Self::ComesTwice,
        Self::CallsTwice,
        Self::NobodyCalls,
        Self::BothCall,
        Self::Deaf,
        Self::Echo,
        Self::Mask,
    ];

    /// What the judge says of it, among other things.
    pub(crate) fn gives(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Ghost => Some("who are not there"),
            Self::Unknown => Some("and not [\""),
            Self::ComesTwice => Some("come, who has been there"),
            Self::CallsTwice => Some("times to call"),
            Self::NobodyCalls => Some("neither"),
            Self::BothCall => Some("are both told to call"),
            Self::Deaf => Some("neither arrived nor was refused"),
            Self::Echo => Some("of the same sender"),
            Self::Mask => Some("somebody"),
        }
    }
}

/// Tells a client what it was told, with a lie now and then.
#[derive(Debug, Default)]
pub(crate) struct CorruptedRecorder {
    lie: Corruption,
    told: AtomicUsize,
}

/// One of so many chances to lie is taken: often enough that some of those who are lied to stay until
/// they are judged.
const RARITY: usize = 3;

impl CorruptedRecorder {
    pub(crate) fn new(lie: Corruption) -> Self {
        Self {
            lie,
            told: AtomicUsize::new(0),
        }
    }

    pub(crate) fn tell(&self, what: ObservedEvent) -> Vec<ObservedEvent> {
        let Some(twisted) = self.twist(&what) else {
            return vec![what];
        };
        let chance = self.told.fetch_add(1, Ordering::Relaxed);
        if chance % RARITY == RARITY - 1 {
            twisted
        } else {
            vec![what]
        }
    }

    /// What is told instead, if this is something to lie about.
    fn twist(&self, what: &ObservedEvent) -> Option<Vec<ObservedEvent>> {
        match (self.lie, what) {
            (Corruption::Ghost, ObservedEvent::Left(_))
            | (Corruption::Unknown, ObservedEvent::Came(_))
            | (Corruption::Deaf, ObservedEvent::Heard { .. }) => Some(Vec::new()),
            (Corruption::ComesTwice, ObservedEvent::Came(_))
            | (Corruption::CallsTwice, ObservedEvent::Call(_))
            | (Corruption::Echo, ObservedEvent::Heard { .. }) => {
                Some(vec![what.clone(), what.clone()])
            }
            (Corruption::NobodyCalls, ObservedEvent::Call(name)) => {
                Some(vec![ObservedEvent::Came(name.clone())])
            }
            (Corruption::BothCall, ObservedEvent::Came(name)) => {
                Some(vec![ObservedEvent::Call(name.clone())])
            }
            (Corruption::Mask, ObservedEvent::Heard { serial, .. }) => {
                Some(vec![ObservedEvent::Heard {
                    from: "somebody".into(),
                    serial: *serial,
                }])
            }
            _ => None,
        }
    }
}
