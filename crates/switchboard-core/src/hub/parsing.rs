//! Inputs whose frame must be parsed before the hub can handle them.

use std::sync::Arc;

use super::Hub;
use crate::{command::Input, message::RelayedMessage, room::Membership};

/// An input whose frame must be parsed before the hub can handle it, because a receiver has another dialect.
#[derive(Debug)]
pub struct UnparsedInput<L> {
    input: Input<L>,
    message: Arc<RelayedMessage>,
}

impl<L> UnparsedInput<L> {
    /// Parses the frame with its dialect, once for all receivers, and returns the input. A long frame takes hundreds
    /// of microseconds, so a driver must not call this under a lock.
    #[must_use]
    pub fn parse(self) -> Input<L> {
        self.message.parse();
        self.input
    }
}

impl<L: Clone> Hub<L> {
    /// Makes [`Hub::try_handle`] return this input. The input is handled again from the start when its frame is parsed,
    /// so the caller must not have done anything that must not happen twice.
    pub(super) fn return_unparsed(&mut self, message: Arc<RelayedMessage>, input: Input<L>) {
        self.unparsed = Some(UnparsedInput { input, message });
    }
}

/// Whether the frame must be parsed before it is relayed to these members.
pub(super) fn must_parse_for<'a, L: 'a>(
    memberships: impl IntoIterator<Item = &'a Membership<L>>,
    message: &RelayedMessage,
) -> bool {
    let needs_content = |other: &Membership<L>| message.needs_content_for(other.member.dialect);
    message.is_unparsed() && memberships.into_iter().any(needs_content)
}
