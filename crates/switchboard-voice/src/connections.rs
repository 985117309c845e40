//! The connections of the users' microphones and headphones. A user has at most one of each in a call or room: the
//! newest connection has the *hold*; an older one loses it and is closed.

use std::collections::HashMap;

use bytestring::ByteString;
use tokio_util::sync::CancellationToken;

use crate::{
    id::{MixId, User},
    signaling::Direction,
};

/// The key of a hold: a microphone or headphones of one user in one call or room.
type ConnectionKey = (MixId, User, Direction);

/// The connections that hold a microphone or headphones, by user, mix and direction.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    held: HashMap<ConnectionKey, HeldConnection>,
    /// Number of connections so far; the last one has this id.
    count: u64,
}

#[derive(Debug)]
struct HeldConnection {
    id: u64,
    /// The name that the client gave the connection; empty if it gave none.
    name: ByteString,
    replaced: CancellationToken,
}

/// The hold of one connection on a microphone or headphones.
#[derive(Debug)]
pub(crate) struct ConnectionHold {
    id: u64,
    /// Cancelled when a newer connection has taken over.
    pub(crate) replaced: CancellationToken,
}

impl Connections {
    /// Gives the hold to a new connection, which its client calls `name`. Also returns the name of the connection that
    /// loses the hold, if any, so that its client can be notified. `None` if both have the same name, not empty: it is
    /// the same player, which requests its stream again.
    pub(crate) fn take_over(
        &mut self,
        key: ConnectionKey,
        name: ByteString,
    ) -> (ConnectionHold, Option<ByteString>) {
        self.count += 1;
        let replaced = CancellationToken::new();
        let hold = ConnectionHold {
            id: self.count,
            replaced: replaced.clone(),
        };
        let is_same_name = |previous: &ByteString| !name.is_empty() && *previous == name;
        let previous = self.held.get(&key).map(|previous| previous.name.clone());
        let lost = previous.filter(|previous| !is_same_name(previous));
        let held = HeldConnection {
            id: self.count,
            name,
            replaced,
        };
        if let Some(previous) = self.held.insert(key, held) {
            previous.replaced.cancel();
        }
        (hold, lost)
    }

    /// Ends the connections of a user. Each is closed as if a newer one had taken over. Returns their number.
    #[expect(
        clippy::disallowed_methods,
        reason = "the order of the ends is not observable"
    )]
    pub(crate) fn end_user(&mut self, user: &User) -> usize {
        let held = self.held.iter().filter(|((_, of, _), _)| of == user);
        held.map(|(_, held)| held.replaced.cancel()).count()
    }

    /// Releases a hold. Returns false if a newer connection has it.
    pub(crate) fn release(&mut self, key: &ConnectionKey, hold: &ConnectionHold) -> bool {
        let is_current = self.held.get(key).is_some_and(|held| held.id == hold.id);
        if is_current {
            self.held.remove(key);
        }
        is_current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_connection_takes_over_and_the_older_one_cannot_release_the_hold() {
        let mut connections = Connections::default();
        let user = User::parse("1").unwrap();
        let key = |direction| (MixId::Room(7.into()), user.clone(), direction);
        let (first, previous) = connections.take_over(key(Direction::Publish), "a".into());
        assert_eq!(previous, None);
        let (other_direction, previous) =
            connections.take_over(key(Direction::Subscribe), "b".into());
        assert_eq!(previous, None);
        let (again, previous) = connections.take_over(key(Direction::Publish), "a".into());
        assert_eq!(previous, None);
        assert!(first.replaced.is_cancelled());
        let (second, previous) = connections.take_over(key(Direction::Publish), "c".into());
        assert_eq!(previous, Some("a".into()));
        assert!(again.replaced.is_cancelled());
        assert!(first.replaced.is_cancelled());
        assert!(!second.replaced.is_cancelled() && !other_direction.replaced.is_cancelled());
        assert!(!connections.release(&key(Direction::Publish), &first));
        assert!(connections.release(&key(Direction::Publish), &second));
        assert!(!connections.release(&key(Direction::Publish), &second));
        assert!(connections.release(&key(Direction::Subscribe), &other_direction));
        assert!(connections.held.is_empty());
    }
}
