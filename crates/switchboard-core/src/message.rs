//! A message between members: a frame in the sender's dialect, and its translations to other dialects.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

use bytestring::ByteString;

use crate::{
    alias::Aliases, id::DialectName, introduction::DialectTraits, shared_frames::OncePerDialect,
};

/// The kind of a relayed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A session description of type `offer`.
    Offer,
    /// A session description of type `answer`.
    Answer,
    /// An ICE candidate.
    Candidate,
    /// A text message for people.
    Message,
    /// Data that only the sender's dialect can read.
    Opaque,
}

impl MessageKind {
    /// Whether the message is a session description.
    #[must_use]
    pub fn is_description(self) -> bool {
        match self {
            Self::Offer | Self::Answer => true,
            Self::Candidate | Self::Message | Self::Opaque => false,
        }
    }
}

/// A message that is relayed between members.
///
/// `frame` is complete: the sender's session has put the true sender into it, so receivers of the same dialect get
/// these bytes. For a receiver of another dialect, its session parses the frame with the sender's dialect and writes a
/// frame of its own dialect.
#[derive(Debug)]
pub struct RelayedMessage {
    /// The dialect of `frame`.
    pub origin: DialectName,
    /// The kind of the message. It decides which other dialects can receive it.
    pub kind: MessageKind,
    /// The text of the frame.
    pub frame: ByteString,
    /// The aliases that the frame contains. A broadcast with a receiver alias goes only to the members that have
    /// announced this alias, including the sender if it has. If no member has announced it, the broadcast goes to
    /// all members, including the sender.
    pub aliases: Aliases,
    is_translatable: fn(DialectName, &str) -> bool,
    /// Whether the frame is translatable, once it is parsed.
    translatable: OnceLock<bool>,
    translations: OncePerDialect<Option<ByteString>>,
}

impl RelayedMessage {
    /// Makes a message from a frame of the dialect `origin`. `is_translatable` gets a dialect and a frame, and tells
    /// whether other dialects can express the frame. It is called only if a receiver has another dialect.
    #[must_use]
    pub fn new(
        origin: DialectName,
        kind: MessageKind,
        frame: ByteString,
        is_translatable: fn(DialectName, &str) -> bool,
    ) -> Self {
        Self {
            origin,
            kind,
            frame,
            aliases: Aliases::default(),
            is_translatable,
            translatable: OnceLock::new(),
            translations: OncePerDialect::default(),
        }
    }

    /// Sets the aliases of the message.
    #[must_use]
    pub fn with_aliases(self, aliases: Aliases) -> Self {
        Self { aliases, ..self }
    }

    /// Whether the frame is one of this dialect.
    #[must_use]
    pub fn is_of_dialect(&self, name: DialectName) -> bool {
        // The name of a dialect is usually one static text, which is found faster than its bytes are compared.
        std::ptr::eq(self.origin, name) || self.origin == name
    }

    /// Whether a member of a dialect with these traits can receive the message. The frame must have been parsed if
    /// the answer depends on its content.
    pub(crate) fn is_understood_by(&self, traits: &DialectTraits) -> bool {
        if !self.needs_content_for(traits) {
            return self.is_of_dialect(traits.name);
        }
        debug_assert!(
            !self.is_unparsed(),
            "the hub returns an input whose frame must be parsed first"
        );
        self.parse()
    }

    /// Whether the frame must be parsed to know if a member of a dialect with these traits can receive it.
    pub(crate) fn needs_content_for(&self, traits: &DialectTraits) -> bool {
        !self.is_of_dialect(traits.name) && self.is_accepted_by(traits)
    }

    /// Whether the frame is not parsed yet. False for opaque frames, which are never parsed.
    pub(crate) fn is_unparsed(&self) -> bool {
        self.kind != MessageKind::Opaque && self.translatable.get().is_none()
    }

    /// Parses the frame with its dialect, once. Returns whether other dialects can express it. A long frame takes
    /// hundreds of microseconds.
    pub(crate) fn parse(&self) -> bool {
        // The dialect may be one of the host program. If it panics, the frame counts as untranslatable: the frames of
        // other nodes are parsed on a thread of the engine, which a panic would end.
        let check = AssertUnwindSafe(|| (self.is_translatable)(self.origin, &self.frame));
        let parse = || catch_unwind(check).unwrap_or(false);
        *self.translatable.get_or_init(parse)
    }

    /// Whether members of another dialect with these traits can receive messages of this kind.
    fn is_accepted_by(&self, traits: &DialectTraits) -> bool {
        match self.kind {
            MessageKind::Offer | MessageKind::Answer | MessageKind::Candidate => traits.signals,
            MessageKind::Message => traits.messages,
            MessageKind::Opaque => false,
        }
    }

    /// The frame in the dialect `name`; `None` if that dialect cannot express it. `translate` is called once per
    /// dialect, for all receivers, so its result must not depend on the receiver.
    pub fn translated_once(
        &self,
        name: DialectName,
        translate: impl FnOnce() -> Option<ByteString>,
    ) -> Option<ByteString> {
        self.translations.get_or_make(name, translate).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_whose_dialect_panics_while_parsing_is_not_translatable() {
        let frame = ByteString::from_static("frame");
        let message = RelayedMessage::new("faulty", MessageKind::Offer, frame, |_, _| {
            panic!("requested by the test")
        });
        assert!(!message.parse());
        assert!(!message.is_unparsed());
    }
}
