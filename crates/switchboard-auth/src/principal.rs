//! The principal: the user or program that a session belongs to.

use std::sync::Arc;

use switchboard_core::{Grants, Identity, RoomPolicy, SpaceName};

/// The user or program that a session belongs to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Principal {
    /// The name under which the authenticator knows it; `None` for an anonymous client.
    pub subject: Option<Arc<str>>,
    /// The name for people, if the authenticator knows one.
    pub display_name: Option<Arc<str>>,
    /// The namespace of its rooms.
    pub space: SpaceName,
    /// Its powers.
    pub grants: Arc<Grants>,
    /// The policy for all rooms that it joins, in addition to the policies of the rooms.
    pub room_policy: Option<Arc<RoomPolicy>>,
    /// The time in seconds since 1970 at which its sessions end; `None` if they do not.
    pub expires_at: Option<u64>,
    /// Data of the operator's application, as JSON text.
    pub metadata: Option<Arc<str>>,
}

impl Principal {
    /// A client that is not authenticated, with these grants, in the default namespace.
    #[must_use]
    pub fn anonymous(grants: Arc<Grants>) -> Self {
        Self {
            subject: None,
            display_name: None,
            space: SpaceName::default(),
            grants,
            room_policy: None,
            expires_at: None,
            metadata: None,
        }
    }

    /// A client that is authenticated under this name, with these grants, in the default namespace.
    #[must_use]
    pub fn named(subject: impl Into<Arc<str>>, grants: Arc<Grants>) -> Self {
        Self {
            subject: Some(subject.into()),
            ..Self::anonymous(grants)
        }
    }

    /// The identity of its sessions.
    #[must_use]
    pub fn identity(&self) -> Identity {
        let subject = self.subject.clone();
        subject.map_or(Identity::Claimed, Identity::Proven)
    }
}
