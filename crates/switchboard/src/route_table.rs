//! Which dialect is met on which path.

use std::collections::BTreeMap;

use switchboard_core::DialectName;
use switchboard_dialect::{Accepts, CorsPolicy, Dialect, Endpoint};

/// A path of one router, and what is met there.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) path: String,
    pub(crate) accepts: Accepts,
    /// What those who are met here call this door.
    pub(crate) name: &'static str,
    /// The pages of other origins that may read the answers.
    pub(crate) cors: CorsPolicy,
    /// One; or several, among whom the first frame decides.
    pub(crate) dialects: Vec<&'static dyn Dialect>,
}

impl Route {
    /// The dialect, where there is no choice.
    pub(crate) fn only(&self) -> Option<&'static dyn Dialect> {
        match self.dialects[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether this dialect is met here.
    pub(crate) fn has(&self, dialect: DialectName) -> bool {
        self.dialects.iter().any(|here| name(*here) == dialect)
    }

    /// The dialects here.
    fn names(&self) -> Vec<DialectName> {
        self.dialects.iter().map(|here| name(*here)).collect()
    }

    fn is(&self, door: &Endpoint) -> bool {
        (self.accepts, self.name) == (door.accepts, door.name)
    }
}

/// A door that cannot be where it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteConflict {
    /// Whose.
    pub(crate) dialect: DialectName,
    /// The dialects whose paths are in its way; none if the server's own are.
    pub(crate) others: Vec<DialectName>,
    /// Why not.
    pub(crate) message: String,
}

/// The paths of one router. No two of them can be taken for each other.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    by_path: BTreeMap<String, Route>,
    matcher: matchit::Router<String>,
    conflicts: Vec<RouteConflict>,
}

impl RouteTable {
    /// The doors of these dialects under these base paths. A door for requests on a path that the
    /// server answers itself is left out.
    pub(crate) fn new(
        bases: &[(&'static dyn Dialect, Vec<String>)],
        is_taken: impl Fn(&str) -> bool,
    ) -> Self {
        let mut entrances = Self::default();
        for (dialect, paths) in bases {
            for door in paths.iter().flat_map(|base| dialect.endpoints(base)) {
                match is_taken(&door.path) {
                    false => entrances.add_endpoint(*dialect, door),
                    true if door.accepts.accepts_sockets() => {
                        let words = format!("{:?} is served already", door.path);
                        entrances.add_conflict(*dialect, Vec::new(), words);
                    }
                    true => {}
                }
            }
        }
        entrances.check_recognizable();
        entrances
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_path.values()
    }

    pub(crate) fn conflicts(&self) -> &[RouteConflict] {
        &self.conflicts
    }

    /// Where a request for this path comes to.
    pub(crate) fn at(&self, path: &str) -> Option<&Route> {
        self.by_path.get(self.matcher.at(path).ok()?.value)
    }

    fn add_endpoint(&mut self, dialect: &'static dyn Dialect, door: Endpoint) {
        if let Some(entrance) = self.by_path.get_mut(&door.path) {
            let is_theirs = entrance.has(name(dialect));
            match entrance.is(&door) {
                true if is_theirs => {}
                true if door.accepts == Accepts::Sockets => entrance.dialects.push(dialect),
                _ => {
                    let others = entrance.names();
                    let words = format!("{:?} is another door already", door.path);
                    self.add_conflict(dialect, others, words);
                }
            }
            return;
        }
        if let Err(error) = self.matcher.insert(door.path.clone(), door.path.clone()) {
            let (words, other) = if let matchit::InsertError::Conflict { with } = &error {
                let words = format!("{:?} cannot be told from {with:?}", door.path);
                (words, self.by_path.get(with))
            } else {
                (format!("{:?} is no path: {error}", door.path), None)
            };
            let others = other.map(Route::names).unwrap_or_default();
            return self.add_conflict(dialect, others, words);
        }
        let entrance = Route {
            path: door.path.clone(),
            accepts: door.accepts,
            name: door.name,
            cors: door.cors,
            dialects: vec![dialect],
        };
        self.by_path.insert(door.path, entrance);
    }

    /// Where dialects share a path, a first frame must tell of each that it is its own.
    fn check_recognizable(&mut self) {
        let shared = self.by_path.values().filter(|e| e.dialects.len() > 1);
        let silent = shared.flat_map(|entrance| {
            let silent = entrance.dialects.iter().filter(|d| !d.is_recognizable());
            silent.map(|dialect| RouteConflict {
                dialect: name(*dialect),
                others: entrance.names(),
                message: format!(
                    "{:?} is another dialect's too, and no first frame tells that it is this one's",
                    entrance.path
                ),
            })
        });
        let silent: Vec<_> = silent.collect();
        self.conflicts.extend(silent);
    }

    fn add_conflict(&mut self, dialect: &dyn Dialect, others: Vec<DialectName>, words: String) {
        self.conflicts.push(RouteConflict {
            dialect: name(dialect),
            others,
            message: words,
        });
    }
}

fn name(dialect: &dyn Dialect) -> DialectName {
    dialect.traits().name
}

/// The name of the door where a client is taken to stand that asks for this dialect elsewhere.
pub(crate) fn main_endpoint(dialect: &dyn Dialect) -> &'static str {
    let mut doors = dialect.endpoints(dialect.standalone_path()).into_iter();
    let door = doors.find(|door| door.accepts.accepts_sockets());
    door.map_or(Endpoint::MAIN, |door| door.name)
}

#[cfg(test)]
mod tests {
    use switchboard_core::{DialectTraits, OfferPolicy};
    use switchboard_dialect::{Content, Handshake, Session, SessionOutput};

    use super::*;

    /// A dialect that has nothing but doors.
    #[derive(Debug)]
    struct Rooms {
        tongue: DialectTraits,
        doors: &'static [(&'static str, &'static str, Accepts)],
        is_recognizable: bool,
    }

    impl Dialect for Rooms {
        fn traits(&self) -> &'static DialectTraits {
            static TONGUES: [DialectTraits; 4] = [
                tongue("peers"),
                tongue("rooms"),
                tongue("any"),
                tongue("plain"),
            ];
            let mut tongues = TONGUES.iter();
            let mine = tongues.find(|tongue| tongue.name == self.tongue.name);
            mine.expect("one of the four")
        }

        fn paths(&self) -> &'static [&'static str] {
            &["/"]
        }

        fn endpoints(&self, base: &str) -> Vec<Endpoint> {
            let doors = self.doors.iter();
            doors
                .map(|(rest, name, opens)| Endpoint::new(base, rest, name, *opens))
                .collect()
        }

        fn is_recognizable(&self) -> bool {
            self.is_recognizable
        }

        fn open(&self, _handshake: &Handshake, _out: &mut SessionOutput) -> Box<dyn Session> {
            unreachable!("nobody comes")
        }

        fn read<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
            None
        }
    }

    const fn tongue(name: DialectName) -> DialectTraits {
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
        doors: &'static [(&'static str, &'static str, Accepts)],
    ) -> Rooms {
        Rooms {
            tongue: tongue(name),
            doors,
            is_recognizable: false,
        }
    }

    static PEERS: Rooms = dialect(
        "peers",
        &[
            ("/peers", "socket", Accepts::Sockets),
            ("/{key}/id", "id", Accepts::Requests),
            ("", "info", Accepts::Requests),
        ],
    );
    static ROOMS: Rooms = dialect(
        "rooms",
        &[
            ("/{room}", "room", Accepts::Sockets),
            ("/health", "health", Accepts::Requests),
        ],
    );
    static ANY: Rooms = dialect(
        "any",
        &[
            ("", "any", Accepts::Both),
            ("/{*path}", "any", Accepts::Both),
        ],
    );
    static PLAIN: Rooms = dialect("plain", &[("", Endpoint::MAIN, Accepts::Sockets)]);

    fn entrances(bases: &[(&'static dyn Dialect, &[&str])]) -> RouteTable {
        let paths = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
        let bases: Vec<_> = bases.iter().map(|(d, p)| (*d, paths(p))).collect();
        RouteTable::new(&bases, |path| ["/", "/healthz"].contains(&path))
    }

    fn clashes(bases: &[(&'static dyn Dialect, &[&str])]) -> Vec<(DialectName, String)> {
        let found = entrances(bases);
        let clashes = found.conflicts().iter();
        clashes.map(|c| (c.dialect, c.message.clone())).collect()
    }

    #[test]
    fn a_door_for_requests_yields_to_the_server_and_one_for_sockets_is_a_mistake() {
        let found = entrances(&[(&PEERS, &["/", "/x"])]);
        let paths: Vec<_> = found.iter().map(|e| e.path.as_str()).collect();
        let expected = ["/peers", "/x", "/x/peers", "/x/{key}/id", "/{key}/id"];
        assert_eq!(paths, expected);
        assert_eq!(found.conflicts(), []);
        for (dialect, path) in [(&PLAIN, "/"), (&PLAIN, "/healthz"), (&ANY, "/")] {
            let words = format!("{path:?} is served already");
            let name = dialect.traits().name;
            assert_eq!(clashes(&[(dialect, &[path])]), [(name, words)]);
        }
    }

    #[test]
    fn paths_that_cannot_be_told_apart_are_named() {
        let found = clashes(&[(&ROOMS, &["/m"]), (&ANY, &["/m"])]);
        let words = "\"/m/{*path}\" cannot be told from \"/m/{room}\"".to_owned();
        assert_eq!(found, [("any", words)]);
        let found = clashes(&[(&ROOMS, &["/"]), (&PLAIN, &["/health"])]);
        let words = "\"/health\" is another door already".to_owned();
        assert_eq!(found, [("plain", words)]);
        assert_eq!(clashes(&[(&ROOMS, &["/"]), (&PEERS, &["/"])]), []);
    }

    #[test]
    fn a_path_is_shared_by_those_whom_a_first_frame_tells_apart() {
        static ONE: Rooms = Rooms {
            is_recognizable: true,
            ..dialect("peers", &[("", Endpoint::MAIN, Accepts::Sockets)])
        };
        static TWO: Rooms = Rooms {
            is_recognizable: true,
            ..dialect("any", &[("", Endpoint::MAIN, Accepts::Sockets)])
        };
        let found = entrances(&[(&ONE, &["/ws"]), (&TWO, &["/ws"])]);
        assert_eq!(found.conflicts(), []);
        assert!(found.iter().all(|entrance| entrance.only().is_none()));
        let found = clashes(&[(&ONE, &["/ws"]), (&PLAIN, &["/ws"])]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "plain");
    }

    #[test]
    fn one_door_twice_is_one() {
        let found = entrances(&[(&ROOMS, &["/m", "/m/"])]);
        assert_eq!(found.conflicts(), []);
        assert_eq!(found.iter().count(), 2);
    }

    #[test]
    fn what_a_parameter_stands_for_comes_to_its_door() {
        let found = entrances(&[(&ROOMS, &["/m"])]);
        assert!(found.at("/m/healthz").is_some() && found.at("/m/health").is_some());
        assert!(found.at("/m").is_none() && found.at("/healthz").is_none());
    }

    #[test]
    fn who_asks_for_a_dialect_elsewhere_stands_at_its_first_door_for_sockets() {
        assert_eq!(main_endpoint(&PEERS), "socket");
        assert_eq!(main_endpoint(&PLAIN), Endpoint::MAIN);
    }
}
