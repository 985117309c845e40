//! Where a dialect is met: the paths under its base, and plain requests on them.

use std::sync::Arc;

use switchboard_core::{Member, RoomName};

/// One path of a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// The path; a segment may be a parameter, `/rooms/{room}`, and the last one the rest, `/{*path}`.
    pub path: String,
    /// What the dialect calls it. Several doors may have one name.
    pub name: &'static str,
    /// What it is for.
    pub opens: Opens,
}

/// What a door is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// WebSocket connections: each is a session.
    Sockets,
    /// Plain requests: GET and HEAD, answered by [`crate::Dialect::answer`].
    Requests,
    /// A request to upgrade begins a session, any other GET is answered.
    Both,
}

impl Opens {
    /// Whether a session can begin here.
    #[must_use]
    pub fn takes_sockets(self) -> bool {
        self != Self::Requests
    }
}

impl Door {
    /// The name of the door that a dialect has unless it says otherwise.
    pub const MAIN: &'static str = "";

    /// A door at `rest` under `base`: `/` and `/peerjs` are `/peerjs`, and without a rest it is the
    /// base itself.
    #[must_use]
    pub fn new(base: &str, rest: &str, name: &'static str, opens: Opens) -> Self {
        let path = if rest.is_empty() {
            base.to_owned()
        } else {
            format!("{}{rest}", base.trim_end_matches('/'))
        };
        Self { path, name, opens }
    }
}

/// What a dialect answers to a plain request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is known at once.
    Now(Reply),
    /// It depends on who is in this room of the asker's space.
    Members(RoomName, fn(&[Arc<Member>]) -> Reply),
}

/// An answer to a plain request, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
    /// Pages of every origin may read it.
    pub cors: bool,
}

impl Reply {
    /// There is nothing here.
    #[must_use]
    pub fn not_found() -> Self {
        Self {
            status: 404,
            content_type: "text/plain; charset=utf-8",
            body: "There is nothing here.\n".to_owned(),
            cors: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_stands_under_its_base() {
        for (base, rest, path) in [
            ("/", "", "/"),
            ("/", "/peerjs", "/peerjs"),
            ("/x", "", "/x"),
            ("/x", "/", "/x/"),
            ("/x", "/{key}/id", "/x/{key}/id"),
            ("/x/", "", "/x/"),
            ("/x/", "/peerjs", "/x/peerjs"),
        ] {
            let door = Door::new(base, rest, Door::MAIN, Opens::Sockets);
            assert_eq!(door.path, path, "{base} {rest}");
        }
    }
}
