//! Where a dialect is met: the paths under its base, and plain requests on them.

use std::sync::Arc;

use switchboard_core::{Member, RoomName, RoomScope};

use crate::DialectSetting;

/// One path of a dialect.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The path; a segment may be a parameter, `/rooms/{room}`, and the last one the rest, `/{*path}`.
    pub path: String,
    /// What the dialect calls it. Several doors may have one name.
    pub name: &'static str,
    /// What it is for.
    pub accepts: Accepts,
    /// The pages of other origins that may read its answers.
    pub cors: CorsPolicy,
}

/// The pages of other origins that may read the answers of a door (Fetch standard, section 3.2). The answers,
/// refusals included, carry `Access-Control-…` headers, and `OPTIONS` is answered 204. Credentials are
/// never allowed.
#[derive(Clone, Copy, Debug, Default)]
pub enum CorsPolicy {
    /// No page: there are no such headers.
    #[default]
    SameOrigin,
    /// The pages of every origin.
    AnyOrigin,
    /// The pages of the origins that this setting of the dialect lists, separated by commas; `*` for any.
    Listed(&'static DialectSetting),
}

impl CorsPolicy {
    /// Whether this is a list of origins, each a scheme, a host and perhaps a port; `null`; or `*`.
    #[must_use]
    pub fn is_list(origins: &str) -> bool {
        let is_origin = |origin: &str| {
            let origin = origin.trim().trim_end_matches('/');
            let host = origin.split_once("://").map(|(_, host)| host);
            let is_host = |host: &str| {
                !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace())
            };
            matches!(origin, "*" | "null") || host.is_some_and(is_host)
        };
        origins.trim().is_empty() || origins.split(',').all(is_origin)
    }
}

/// What a door is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// WebSocket connections: each is a session.
    Sockets,
    /// Plain requests: GET and HEAD, answered by [`crate::Dialect::respond`].
    Requests,
    /// A request to upgrade begins a session, any other GET is answered.
    Both,
    /// Nothing: every request is answered 404. Clients that try a path of an older protocol first can read
    /// that, if [`Endpoint::cors`] allows it.
    Nothing,
}

impl Accepts {
    /// Whether a session can begin here.
    #[must_use]
    pub fn accepts_sockets(self) -> bool {
        match self {
            Self::Sockets | Self::Both => true,
            Self::Requests | Self::Nothing => false,
        }
    }
}

impl Endpoint {
    /// The name of the door that a dialect has unless it says otherwise.
    pub const MAIN: &'static str = "";

    /// A door at `rest` under `base`: `/` and `/peerjs` are `/peerjs`, and without a rest it is the
    /// base itself.
    #[must_use]
    pub fn new(base: &str, rest: &str, name: &'static str, opens: Accepts) -> Self {
        let path = if rest.is_empty() {
            base.to_owned()
        } else {
            format!("{}{rest}", base.trim_end_matches('/'))
        };
        Self {
            path,
            name,
            accepts: opens,
            cors: CorsPolicy::SameOrigin,
        }
    }

    /// The same door with this policy.
    #[must_use]
    pub fn with_cors(self, cors: CorsPolicy) -> Self {
        Self { cors, ..self }
    }

    /// This door, and the one of the same path with a slash at its end, as routers that are not strict
    /// have it.
    #[must_use]
    pub fn and_with_slash(self) -> [Self; 2] {
        let path = format!("{}/", self.path.trim_end_matches('/'));
        let with_slash = Self { path, ..self };
        [self, with_slash]
    }
}

/// What a dialect answers to a plain request.
#[derive(Clone, Debug)]
pub enum HttpAnswer {
    /// It is known at once.
    Ready(HttpReply),
    /// It depends on the members of a room of the client's space.
    Members {
        /// The room.
        room: RoomName,
        /// The dialects that can enter it.
        scope: RoomScope,
        /// The answer, made of its members.
        reply: fn(&[Arc<Member>]) -> HttpReply,
    },
}

/// An answer to a plain request, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl HttpReply {
    /// There is nothing here.
    #[must_use]
    pub fn not_found() -> Self {
        Self {
            status: 404,
            content_type: "text/plain; charset=utf-8",
            body: "There is nothing here.\n".to_owned(),
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
            let door = Endpoint::new(base, rest, Endpoint::MAIN, Accepts::Sockets);
            assert_eq!(door.path, path, "{base} {rest}");
        }
    }

    #[test]
    fn a_list_of_origins_names_schemes_and_hosts() {
        for origins in [
            "",
            "*",
            "null",
            "https://a.example",
            "https://a.example:8443/, capacitor://localhost",
        ] {
            assert!(CorsPolicy::is_list(origins), "{origins}");
        }
        for origins in [
            "a.example",
            "https://",
            "https://a.example/path",
            "*,",
            "https://a b",
        ] {
            assert!(!CorsPolicy::is_list(origins), "{origins}");
        }
    }

    #[test]
    fn a_path_ends_with_one_slash_or_none() {
        for (base, rest, paths) in [
            ("/", "", ["/", "/"]),
            ("/x", "", ["/x", "/x/"]),
            ("/", "/{key}/id", ["/{key}/id", "/{key}/id/"]),
        ] {
            let door = Endpoint::new(base, rest, Endpoint::MAIN, Accepts::Requests);
            assert_eq!(door.and_with_slash().map(|door| door.path), paths);
        }
    }
}
