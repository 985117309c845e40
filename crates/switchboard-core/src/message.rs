//! What one member sends to others: the frame, as a receiver of the sender's own dialect gets it.

use std::sync::{Mutex, OnceLock, PoisonError};

use bytestring::ByteString;

use crate::{alias::Aliases, id::DialectName, introduction::DialectTraits};

/// What a relayed frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A session description that asks for a call.
    Offer,
    /// A session description that answers one.
    Answer,
    /// An ICE candidate.
    Candidate,
    /// Text for people.
    Message,
    /// Something only the sender's own dialect understands.
    Opaque,
}

impl MessageKind {
    /// Whether it is a session description.
    #[must_use]
    pub fn is_description(self) -> bool {
        match self {
            Self::Offer | Self::Answer => true,
            Self::Candidate | Self::Message | Self::Opaque => false,
        }
    }
}

/// A frame under way between members.
///
/// `frame` is complete: the sender's session has put the real sender into it, so receivers of
/// the same dialect get these bytes. Others read it with the sender's dialect and write their own.
#[derive(Debug)]
pub struct RelayedMessage {
    /// The dialect of `frame`.
    pub origin: DialectName,
    /// What it is about.
    pub kind: MessageKind,
    /// The text.
    pub frame: ByteString,
    /// The ids of the clients' own that the frame names. A broadcast that names its receiver goes only to
    /// the members that have announced this id, the sender among them if it has; to all members, the
    /// sender included, if none has.
    pub aliases: Aliases,
    reads: fn(DialectName, &str) -> bool,
    readable: OnceLock<bool>,
    translations: Mutex<Vec<(DialectName, Option<ByteString>)>>,
}

impl RelayedMessage {
    /// A frame in the dialect `origin`. `reads` says whether a frame of a dialect has what `kind` promises,
    /// in a form that can be said in another dialect; it is asked only where somebody speaks one.
    #[must_use]
    pub fn new(
        origin: DialectName,
        kind: MessageKind,
        frame: ByteString,
        reads: fn(DialectName, &str) -> bool,
    ) -> Self {
        Self {
            origin,
            kind,
            frame,
            aliases: Aliases::default(),
            reads,
            readable: OnceLock::new(),
            translations: Mutex::default(),
        }
    }

    /// The same, naming these ids.
    #[must_use]
    pub fn with_aliases(self, aliases: Aliases) -> Self {
        Self { aliases, ..self }
    }

    /// Whether a member that speaks `tongue` can be told this.
    #[must_use]
    pub fn is_understood_by(&self, tongue: &DialectTraits) -> bool {
        if self.origin == tongue.name {
            return true;
        }
        let readable = || {
            *self
                .readable
                .get_or_init(|| (self.reads)(self.origin, &self.frame))
        };
        match self.kind {
            MessageKind::Offer | MessageKind::Answer | MessageKind::Candidate => {
                tongue.signals && readable()
            }
            MessageKind::Message => tongue.messages && readable(),
            MessageKind::Opaque => false,
        }
    }

    /// Whether a member of another dialect was not sent this frame because it cannot be translated.
    #[must_use]
    pub fn is_untranslatable(&self) -> bool {
        self.readable.get() == Some(&false)
    }

    /// This frame in the dialect `name`, made once by `translate` however many receive it.
    /// Only for translations that are the same for every receiver.
    pub fn translated_once(
        &self,
        name: DialectName,
        translate: impl FnOnce() -> Option<ByteString>,
    ) -> Option<ByteString> {
        // The list is only ever appended to, so a panic elsewhere leaves it whole.
        let mut translations = self
            .translations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = translations.iter().find(|(made, _)| *made == name) {
            return frame.clone();
        }
        let frame = translate();
        translations.push((name, frame.clone()));
        frame
    }
}
