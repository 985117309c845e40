//! The endpoints of a dialect: paths under its base path, and the answers to plain HTTP requests.

use std::sync::Arc;

use switchboard_core::{Member, RoomName, RoomScope};

use crate::DialectSetting;

/// A path that a dialect serves.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The path pattern. A segment may be a parameter, as in `/rooms/{room}`; the last segment may be a
    /// wildcard for the rest of the path, as in `/{*path}`.
    pub path: String,
    /// The name of the endpoint within its dialect. Several endpoints may have the same name.
    pub name: &'static str,
    /// The kinds of requests that the endpoint accepts.
    pub accepts: Accepts,
    /// The origins whose pages may read the answers.
    pub cors: CorsPolicy,
}

/// The CORS policy of an endpoint (Fetch standard, section 3.2). Unless it is
/// [`SameOrigin`](CorsPolicy::SameOrigin), all answers, errors included, carry `Access-Control-…` headers,
/// and `OPTIONS` is answered with 204. Credentials are never allowed.
#[derive(Clone, Copy, Debug, Default)]
pub enum CorsPolicy {
    /// No other origin: answers carry no CORS headers.
    #[default]
    SameOrigin,
    /// Pages of every origin.
    AnyOrigin,
    /// Pages of the origins that this setting of the dialect lists, separated by commas; `*` for any.
    Listed(&'static DialectSetting),
}

impl CorsPolicy {
    /// Whether the text is a comma-separated list of origins. Each is a scheme, a host and an optional
    /// port; or `null`; or `*`.
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

/// The kinds of requests that an endpoint accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// WebSocket handshakes. Each opens a session.
    Sockets,
    /// Plain GET and HEAD requests, answered by [`crate::Dialect::respond`].
    Requests,
    /// WebSocket handshakes, and plain GET and HEAD requests.
    Both,
    /// No requests: each is answered with 404. Clients that first try a path of an older protocol can read
    /// this answer if [`Endpoint::cors`] allows it.
    Nothing,
}

impl Accepts {
    /// Whether the endpoint accepts WebSocket handshakes.
    #[must_use]
    pub fn accepts_sockets(self) -> bool {
        match self {
            Self::Sockets | Self::Both => true,
            Self::Requests | Self::Nothing => false,
        }
    }
}

impl Endpoint {
    /// The name of the default endpoint of a dialect.
    pub const MAIN: &'static str = "";

    /// An endpoint at the path `rest` below `base`. `/` and `/peerjs` make `/peerjs`; an empty `rest` makes
    /// the base path itself.
    #[must_use]
    pub fn new(base: &str, rest: &str, name: &'static str, accepts: Accepts) -> Self {
        let path = if rest.is_empty() {
            base.to_owned()
        } else {
            format!("{}{rest}", base.trim_end_matches('/'))
        };
        Self {
            path,
            name,
            accepts,
            cors: CorsPolicy::SameOrigin,
        }
    }

    /// Sets the CORS policy of the endpoint.
    #[must_use]
    pub fn with_cors(self, cors: CorsPolicy) -> Self {
        Self { cors, ..self }
    }

    /// This endpoint, and a second one whose path has a trailing slash. Routers without strict matching
    /// serve both.
    #[must_use]
    pub fn and_with_slash(self) -> [Self; 2] {
        let path = format!("{}/", self.path.trim_end_matches('/'));
        let with_slash = Self { path, ..self };
        [self, with_slash]
    }
}

/// The answer of a dialect to a plain HTTP request.
#[derive(Clone, Debug)]
pub enum HttpAnswer {
    /// The complete reply.
    Ready(HttpReply),
    /// A reply made from the members of a room in the client's space.
    Members {
        /// The name of the room.
        room: RoomName,
        /// The dialects that can enter it.
        scope: RoomScope,
        /// Makes the reply from the members.
        reply: fn(&[Arc<Member>]) -> HttpReply,
        /// The reply to a client that the policies of the room do not allow to list it.
        refused: HttpReply,
    },
}

/// An HTTP response to a plain request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// The HTTP status code.
    pub status: u16,
    /// The value of the `Content-Type` header.
    pub content_type: &'static str,
    /// The body of the response.
    pub body: String,
}

impl HttpReply {
    /// The response for a path without content: 404.
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
    fn an_endpoint_path_begins_with_its_base_path() {
        for (base, rest, path) in [
            ("/", "", "/"),
            ("/", "/peerjs", "/peerjs"),
            ("/x", "", "/x"),
            ("/x", "/", "/x/"),
            ("/x", "/{key}/id", "/x/{key}/id"),
            ("/x/", "", "/x/"),
            ("/x/", "/peerjs", "/x/peerjs"),
        ] {
            let endpoint = Endpoint::new(base, rest, Endpoint::MAIN, Accepts::Sockets);
            assert_eq!(endpoint.path, path, "{base} {rest}");
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
    fn with_slash_adds_at_most_one_trailing_slash() {
        for (base, rest, paths) in [
            ("/", "", ["/", "/"]),
            ("/x", "", ["/x", "/x/"]),
            ("/", "/{key}/id", ["/{key}/id", "/{key}/id/"]),
        ] {
            let endpoint = Endpoint::new(base, rest, Endpoint::MAIN, Accepts::Requests);
            assert_eq!(
                endpoint.and_with_slash().map(|endpoint| endpoint.path),
                paths
            );
        }
    }
}
