//! The route table: the dialects and endpoints on each path.

use std::collections::BTreeMap;

use switchboard_core::DialectName;
use switchboard_dialects::{Accepts, CorsPolicy, Dialect, Endpoint};
use thiserror::Error;

/// A path of one router, with its endpoint and its dialects.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) accepts: Accepts,
    /// The name by which its dialects know the endpoint.
    pub(crate) endpoint: &'static str,
    /// The pages of other origins that may read the responses.
    pub(crate) cors: CorsPolicy,
    /// The dialects on this path. If there are several, the first frame selects one.
    pub(crate) dialects: Vec<&'static dyn Dialect>,
}

impl Route {
    /// The dialect, if the path has only one.
    pub(crate) fn only(&self) -> Option<&'static dyn Dialect> {
        match self.dialects[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether the path has this dialect.
    pub(crate) fn has_dialect(&self, dialect: DialectName) -> bool {
        self.dialects.iter().any(|here| name_of(*here) == dialect)
    }

    /// The names of the dialects on this path.
    fn dialect_names(&self) -> Vec<DialectName> {
        self.dialects.iter().map(|here| name_of(*here)).collect()
    }

    fn is_for_endpoint(&self, endpoint: &Endpoint) -> bool {
        (self.accepts, self.endpoint) == (endpoint.accepts, endpoint.name)
    }
}

/// An endpoint that cannot be served on its path.
#[derive(Clone, Debug)]
pub(crate) struct RouteConflict {
    /// The dialect of the endpoint.
    pub(crate) dialect: DialectName,
    /// The dialects whose paths conflict with it; empty if the conflict is with a path of the server itself, or the
    /// path is invalid.
    pub(crate) others: Vec<DialectName>,
    pub(crate) error: RouteError,
}

/// The reason why an endpoint cannot be served on its path.
#[derive(Clone, Debug, Error)]
pub(crate) enum RouteError {
    #[error("{path:?} is a path of the server")]
    Reserved { path: String },
    #[error("{path:?} is the path of another endpoint")]
    Used { path: String },
    #[error("{path:?} matches the same requests as {other:?}")]
    SameRequests { path: String, other: String },
    #[error("{path:?} is not a valid path")]
    Invalid {
        path: String,
        source: matchit::InsertError,
    },
    #[error("{path:?} is a path of several dialects, and no first frame identifies this one")]
    Unrecognizable { path: String },
}

/// The paths of one router. No request matches two of them.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    by_path: BTreeMap<String, Route>,
    matcher: matchit::Router<String>,
    conflicts: Vec<RouteConflict>,
}

impl RouteTable {
    /// Builds the table from the endpoints of these dialects under these base paths. A reserved path is one that the
    /// server answers itself. There, an endpoint for HTTP requests is left out: clients of the dialect can connect
    /// without it. An endpoint for WebSockets is a conflict.
    pub(crate) fn new(
        bases: &[(&'static dyn Dialect, Vec<String>)],
        is_reserved: impl Fn(&str) -> bool,
    ) -> Self {
        let mut table = Self::default();
        for (dialect, paths) in bases {
            for endpoint in paths.iter().flat_map(|base| dialect.endpoints(base)) {
                match is_reserved(&endpoint.path) {
                    false => table.add_endpoint(*dialect, endpoint),
                    true if endpoint.accepts.accepts_sockets() => {
                        let path = endpoint.path;
                        table.add_conflict(*dialect, Vec::new(), RouteError::Reserved { path });
                    }
                    true => {}
                }
            }
        }
        table.check_recognizable();
        table
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_path.values()
    }

    pub(crate) fn conflicts(&self) -> &[RouteConflict] {
        &self.conflicts
    }

    /// The route that a request for this path matches.
    pub(crate) fn at(&self, path: &str) -> Option<&Route> {
        self.by_path.get(self.matcher.at(path).ok()?.value)
    }

    fn add_endpoint(&mut self, dialect: &'static dyn Dialect, endpoint: Endpoint) {
        if let Some(route) = self.by_path.get_mut(&endpoint.path) {
            let has_dialect = route.has_dialect(name_of(dialect));
            match route.is_for_endpoint(&endpoint) {
                true if has_dialect => {}
                true if endpoint.accepts == Accepts::Sockets => route.dialects.push(dialect),
                _ => {
                    let others = route.dialect_names();
                    let path = endpoint.path;
                    self.add_conflict(dialect, others, RouteError::Used { path });
                }
            }
            return;
        }
        let path = endpoint.path.clone();
        if let Err(source) = self.matcher.insert(path.clone(), path.clone()) {
            let (error, others) = if let matchit::InsertError::Conflict { with: other } = source {
                let others = self.by_path.get(&other).map(Route::dialect_names);
                (RouteError::SameRequests { path, other }, others)
            } else {
                (RouteError::Invalid { path, source }, None)
            };
            return self.add_conflict(dialect, others.unwrap_or_default(), error);
        }
        let route = Route {
            path: endpoint.path.clone(),
            accepts: endpoint.accepts,
            endpoint: endpoint.name,
            cors: endpoint.cors,
            dialects: vec![dialect],
        };
        self.by_path.insert(endpoint.path, route);
    }

    /// Adds a conflict for each dialect that shares a path and cannot be recognized by a client's first frame.
    fn check_recognizable(&mut self) {
        let shared = self.by_path.values().filter(|e| e.dialects.len() > 1);
        let conflicts = shared.flat_map(|route| {
            let unrecognizable = route.dialects.iter().filter(|d| !d.is_recognizable());
            unrecognizable.map(|dialect| RouteConflict {
                dialect: name_of(*dialect),
                others: route.dialect_names(),
                error: RouteError::Unrecognizable {
                    path: route.path.clone(),
                },
            })
        });
        let conflicts: Vec<_> = conflicts.collect();
        self.conflicts.extend(conflicts);
    }

    fn add_conflict(&mut self, dialect: &dyn Dialect, others: Vec<DialectName>, error: RouteError) {
        self.conflicts.push(RouteConflict {
            dialect: name_of(dialect),
            others,
            error,
        });
    }
}

fn name_of(dialect: &dyn Dialect) -> DialectName {
    dialect.traits().name
}

/// The endpoint for a client that selects this dialect (by `?dialect=` or subprotocol) on a path of other dialects: the
/// first that accepts WebSockets.
pub(crate) fn main_endpoint(dialect: &dyn Dialect) -> &'static str {
    let mut endpoints = dialect.endpoints(dialect.standalone_path()).into_iter();
    let endpoint = endpoints.find(|endpoint| endpoint.accepts.accepts_sockets());
    endpoint.map_or(Endpoint::MAIN, |endpoint| endpoint.name)
}

#[cfg(test)]
mod tests {
    use switchboard_core::{DialectTraits, OfferPolicy};
    use switchboard_dialects::{Content, Handshake, Session, SessionOutput};

    use super::*;

    /// A dialect that consists only of endpoints.
    #[derive(Debug)]
    struct TestDialect {
        traits: DialectTraits,
        endpoints: &'static [(&'static str, &'static str, Accepts)],
        is_recognizable: bool,
    }

    impl Dialect for TestDialect {
        fn traits(&self) -> &'static DialectTraits {
            static ALL: [DialectTraits; 4] = [
                traits("peers"),
                traits("rooms"),
                traits("any"),
                traits("plain"),
            ];
            let mut all = ALL.iter();
            let own = all.find(|traits| traits.name == self.traits.name);
            own.expect("one of the four")
        }

        fn paths(&self) -> &'static [&'static str] {
            &["/"]
        }

        fn endpoints(&self, base: &str) -> Vec<Endpoint> {
            let endpoints = self.endpoints.iter();
            endpoints
                .map(|(rest, name, accepts)| Endpoint::new(base, rest, name, *accepts))
                .collect()
        }

        fn is_recognizable(&self) -> bool {
            self.is_recognizable
        }

        fn open(&self, _handshake: &Handshake, _output: &mut SessionOutput) -> Box<dyn Session> {
            unreachable!("no test opens a session")
        }

        fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
            None
        }
    }

    const fn traits(name: DialectName) -> DialectTraits {
        DialectTraits {
            name,
            offer_policy: OfferPolicy::Unspecified,
            signals: false,
            messages: false,
            ..DialectTraits::DEFAULT
        }
    }

    const fn dialect(
        name: DialectName,
        endpoints: &'static [(&'static str, &'static str, Accepts)],
    ) -> TestDialect {
        TestDialect {
            traits: traits(name),
            endpoints,
            is_recognizable: false,
        }
    }

    static PEERS: TestDialect = dialect(
        "peers",
        &[
            ("/peers", "socket", Accepts::Sockets),
            ("/{key}/id", "id", Accepts::Requests),
            ("", "info", Accepts::Requests),
        ],
    );
    static ROOMS: TestDialect = dialect(
        "rooms",
        &[
            ("/{room}", "room", Accepts::Sockets),
            ("/health", "health", Accepts::Requests),
        ],
    );
    static ANY: TestDialect = dialect(
        "any",
        &[
            ("", "any", Accepts::Both),
            ("/{*path}", "any", Accepts::Both),
        ],
    );
    static PLAIN: TestDialect = dialect("plain", &[("", Endpoint::MAIN, Accepts::Sockets)]);

    fn route_table(bases: &[(&'static dyn Dialect, &[&str])]) -> RouteTable {
        let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
        let bases: Vec<_> = bases.iter().map(|(d, p)| (*d, paths(p))).collect();
        RouteTable::new(&bases, |path| ["/", "/healthz"].contains(&path))
    }

    fn conflicts(bases: &[(&'static dyn Dialect, &[&str])]) -> Vec<(DialectName, String)> {
        let found = route_table(bases);
        let conflicts = found.conflicts().iter();
        conflicts
            .map(|c| (c.dialect, c.error.to_string()))
            .collect()
    }

    #[test]
    fn endpoint_on_a_reserved_path_is_left_out_for_requests_and_a_conflict_for_sockets() {
        let found = route_table(&[(&PEERS, &["/", "/x"])]);
        let paths: Vec<_> = found.iter().map(|e| e.path.as_str()).collect();
        let expected = ["/peers", "/x", "/x/peers", "/x/{key}/id", "/{key}/id"];
        assert_eq!(paths, expected);
        assert!(found.conflicts().is_empty());
        for (dialect, path) in [(&PLAIN, "/"), (&PLAIN, "/healthz"), (&ANY, "/")] {
            let message = format!("{path:?} is a path of the server");
            let name = dialect.traits().name;
            assert_eq!(conflicts(&[(dialect, &[path])]), [(name, message)]);
        }
    }

    #[test]
    fn ambiguous_paths_are_conflicts() {
        let found = conflicts(&[(&ROOMS, &["/m"]), (&ANY, &["/m"])]);
        let message = "\"/m/{*path}\" matches the same requests as \"/m/{room}\"".to_owned();
        assert_eq!(found, [("any", message)]);
        let found = conflicts(&[(&ROOMS, &["/"]), (&PLAIN, &["/health"])]);
        let message = "\"/health\" is the path of another endpoint".to_owned();
        assert_eq!(found, [("plain", message)]);
        assert_eq!(conflicts(&[(&ROOMS, &["/"]), (&PEERS, &["/"])]), []);
    }

    #[test]
    fn dialects_share_a_path_only_if_each_is_recognizable() {
        static ONE: TestDialect = TestDialect {
            is_recognizable: true,
            ..dialect("peers", &[("", Endpoint::MAIN, Accepts::Sockets)])
        };
        static TWO: TestDialect = TestDialect {
            is_recognizable: true,
            ..dialect("any", &[("", Endpoint::MAIN, Accepts::Sockets)])
        };
        let found = route_table(&[(&ONE, &["/ws"]), (&TWO, &["/ws"])]);
        assert!(found.conflicts().is_empty());
        assert!(found.iter().all(|route| route.only().is_none()));
        let found = conflicts(&[(&ONE, &["/ws"]), (&PLAIN, &["/ws"])]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "plain");
    }

    #[test]
    fn repeated_endpoint_is_added_once() {
        let found = route_table(&[(&ROOMS, &["/m", "/m/"])]);
        assert!(found.conflicts().is_empty());
        assert_eq!(found.iter().count(), 2);
    }

    #[test]
    fn path_parameter_matches_any_segment() {
        let found = route_table(&[(&ROOMS, &["/m"])]);
        assert!(found.at("/m/healthz").is_some() && found.at("/m/health").is_some());
        assert!(found.at("/m").is_none() && found.at("/healthz").is_none());
    }

    #[test]
    fn main_endpoint_is_the_first_that_accepts_sockets() {
        assert_eq!(main_endpoint(&PEERS), "socket");
        assert_eq!(main_endpoint(&PLAIN), Endpoint::MAIN);
    }
}
