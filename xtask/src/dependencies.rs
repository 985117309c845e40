//! Checks the dependencies between the crates of the workspace, and that some crates link no I/O or format crates.

use std::collections::BTreeSet;

use crate::failure::Result;
use crate::workspace::{Kind, Package, Workspace, cargo, output};

/// Each crate of the workspace with the workspace crates that it may depend on. Tests may also depend on the transitive
/// dependencies of these.
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("switchboard-core", &[]),
    ("switchboard-audio", &[]),
    ("switchboard-dialects", &["switchboard-core"]),
    ("switchboard-cluster", &["switchboard-core"]),
    (
        "switchboard-redis",
        &["switchboard-cluster", "switchboard-core"],
    ),
    (
        "switchboard-transport",
        &["switchboard-dialects", "switchboard-core"],
    ),
    (
        "switchboard-testkit",
        &[
            "switchboard-core",
            "switchboard-dialects",
            "switchboard-cluster",
        ],
    ),
    (
        "switchboard",
        &[
            "switchboard-transport",
            "switchboard-dialects",
            "switchboard-redis",
            "switchboard-cluster",
            "switchboard-core",
            "switchboard-audio",
        ],
    ),
    ("switchboard-cli", &["switchboard"]),
    ("xtask", &[]),
];

/// The crate with the suites and simulations that the tests of other crates use.
const TEST_SUPPORT: &str = "switchboard-testkit";

/// Crates that must not be linked into a crate, directly or transitively, with any features. A name stands for its
/// family: `hyper` also for `hyper-util`, `serde` also for `serde_json`.
const BANNED_LINKS: &[(&str, &[&[&str]], &str)] = &[
    (
        "switchboard-core",
        &[SOCKETS, FORMATS],
        "the domain uses no socket, clock, runtime or wire format",
    ),
    (
        "switchboard-audio",
        &[SOCKETS, FORMATS],
        "the mixer turns samples into streams, and uses no socket, clock or runtime",
    ),
    (
        "switchboard-dialects",
        &[SOCKETS],
        "a dialect turns frames into commands and events into frames, and uses no socket or runtime",
    ),
];

const SOCKETS: &[&str] = &["tokio", "mio", "socket2", "axum", "hyper", "tungstenite"];
const FORMATS: &[&str] = &["serde"];

const THIS_FILE: &str = "xtask/src/dependencies.rs";

/// Checks the dependencies of this workspace and returns the errors.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut errors = check_dependencies(&workspace.packages);
    for &(name, banned, reason) in BANNED_LINKS {
        errors.extend(banned_links(
            name,
            banned,
            reason,
            &linked_into(workspace, name)?,
        ));
    }
    Ok(errors)
}

fn check_dependencies(packages: &[Package]) -> Vec<String> {
    let members: BTreeSet<&str> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut errors = Vec::new();
    for package in packages {
        let Some(allowed) = allowed_for(&package.name) else {
            errors.push(format!(
                "crate {}: is missing in {THIS_FILE}; add a row with the workspace crates that it may depend on",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let (from, to) = (package.name.as_str(), dependency.name.as_str());
            if from == to || !members.contains(to) {
                continue;
            }
            let is_allowed = match dependency.kind {
                Kind::Normal | Kind::Build => allowed.contains(&to),
                Kind::Dev => {
                    transitive_dependencies(from).contains(to) || is_test_support(from, to)
                }
            };
            if !is_allowed {
                errors.push(forbidden_dependency(from, to, dependency.kind, allowed));
            }
        }
    }
    errors
}

/// Whether the tests of `from` may use the test support: it must not depend on `from`.
fn is_test_support(from: &str, to: &str) -> bool {
    to == TEST_SUPPORT && !transitive_dependencies(TEST_SUPPORT).contains(from)
}

fn forbidden_dependency(from: &str, to: &str, kind: Kind, allowed: &[&str]) -> String {
    let table = match kind {
        Kind::Normal => "[dependencies]",
        Kind::Build => "[build-dependencies]",
        Kind::Dev => "[dev-dependencies]",
    };
    let may = match kind {
        Kind::Normal | Kind::Build if allowed.is_empty() => "no workspace crate".to_owned(),
        Kind::Normal | Kind::Build => format!("only {}", allowed.join(", ")),
        Kind::Dev => "only its transitive dependencies, in tests too".to_owned(),
    };
    let advice = if transitive_dependencies(to).contains(from) {
        format!(
            "{to} depends on {from}, so this dependency would be circular: move the shared code into {from}"
        )
    } else {
        format!(
            "pass the needed value or trait object from a crate that may depend on both {from} and {to}"
        )
    };
    format!("dependency {from} → {to} in {table} is not allowed: {from} may use {may}; {advice}")
}

fn banned_links(
    name: &str,
    banned: &[&[&str]],
    reason: &str,
    linked: &BTreeSet<String>,
) -> Vec<String> {
    linked
        .iter()
        .filter(|linked| is_banned(linked, banned))
        .map(|linked| {
            format!("{name} links {linked}: {reason} (`cargo tree -p {name} {EDGES} -i {linked}` shows the path)")
        })
        .collect()
}

const EDGES: &str = "--all-features --target all --edges normal,build,no-proc-macro";

/// All crates that may be linked into this one if it is built alone, without features that other crates enable.
fn linked_into(workspace: &Workspace, name: &str) -> Result<BTreeSet<String>> {
    let mut tree = cargo(&workspace.root);
    tree.args(["tree", "--package", name]);
    tree.args(EDGES.split(' '));
    tree.args(["--prefix", "none", "--format", "{p}"]);
    Ok(output(&mut tree)?
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(ToOwned::to_owned)
        .collect())
}

fn is_banned(name: &str, banned: &[&[&str]]) -> bool {
    let mut banned = banned.iter().copied().flatten();
    banned.any(|family| match name.strip_prefix(family) {
        Some(rest) => rest.is_empty() || rest.starts_with(['-', '_']),
        None => name.ends_with(&format!("-{family}")),
    })
}

fn allowed_for(name: &str) -> Option<&'static [&'static str]> {
    ALLOWED_DEPENDENCIES
        .iter()
        .find(|(from, _)| *from == name)
        .map(|(_, allowed)| *allowed)
}

/// All workspace crates that this one may depend on, directly or transitively.
fn transitive_dependencies(name: &str) -> BTreeSet<&'static str> {
    let mut reached = BTreeSet::new();
    let mut pending = allowed_for(name).unwrap_or_default().to_vec();
    while let Some(next) = pending.pop() {
        if reached.insert(next) {
            pending.extend(allowed_for(next).unwrap_or_default());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[(&str, Kind)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|&(name, kind)| Dependency {
                name: name.to_owned(),
                kind,
            })
            .collect();
        Package {
            name: name.to_owned(),
            dependencies,
        }
    }

    /// The errors in a workspace with all crates, of which one has these dependencies.
    fn errors_about(name: &str, dependencies: &[(&str, Kind)]) -> Vec<String> {
        let packages: Vec<_> = ALLOWED_DEPENDENCIES
            .iter()
            .map(|&(crate_name, _)| {
                package(
                    crate_name,
                    if crate_name == name {
                        dependencies
                    } else {
                        &[]
                    },
                )
            })
            .collect();
        check_dependencies(&packages)
    }

    #[test]
    fn allowed_dependencies_are_no_errors() {
        for (name, allowed) in ALLOWED_DEPENDENCIES {
            let dependencies: Vec<_> = allowed.iter().map(|to| (*to, Kind::Normal)).collect();
            assert!(errors_about(name, &dependencies).is_empty(), "{name}");
        }
    }

    #[test]
    fn table_has_no_cycle_and_no_unknown_name() {
        for (name, allowed) in ALLOWED_DEPENDENCIES {
            assert!(
                !transitive_dependencies(name).contains(name),
                "{name} depends on itself"
            );
            assert!(
                allowed.iter().all(|to| allowed_for(to).is_some()),
                "{name} may use an unknown crate"
            );
        }
    }

    #[test]
    fn circular_dependency_is_an_error() {
        let errors = errors_about(
            "switchboard-core",
            &[("switchboard-dialects", Kind::Normal)],
        );
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].contains("switchboard-core → switchboard-dialects in [dependencies]"),
            "{errors:?}"
        );
        assert!(
            errors[0].contains("switchboard-core may use no workspace crate"),
            "{errors:?}"
        );
        assert!(errors[0].contains("would be circular"), "{errors:?}");
    }

    #[test]
    fn error_for_a_forbidden_dependency_lists_the_allowed_ones() {
        let errors = errors_about(
            "switchboard-dialects",
            &[("switchboard-cluster", Kind::Build)],
        );
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("[build-dependencies]"), "{errors:?}");
        assert!(
            errors[0].contains("may use only switchboard-core;"),
            "{errors:?}"
        );
    }

    #[test]
    fn tests_of_the_binary_may_use_the_crates_below_the_library() {
        assert_eq!(
            errors_about("switchboard-cli", &[("switchboard-core", Kind::Normal)]).len(),
            1
        );
        assert!(errors_about("switchboard-cli", &[("switchboard-core", Kind::Dev)]).is_empty());
    }

    #[test]
    fn tests_may_use_the_test_support_unless_it_depends_on_their_crate() {
        let dependency = [("switchboard-testkit", Kind::Dev)];
        assert!(errors_about("switchboard-redis", &dependency).is_empty());
        assert_eq!(errors_about("switchboard-cluster", &dependency).len(), 1);
        let dependency = [("switchboard-testkit", Kind::Normal)];
        assert_eq!(errors_about("switchboard-redis", &dependency).len(), 1);
    }

    #[test]
    fn test_dependency_on_a_dependent_crate_is_an_error() {
        let errors = errors_about("switchboard-cluster", &[("switchboard", Kind::Dev)]);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("[dev-dependencies]"), "{errors:?}");
    }

    #[test]
    fn banned_name_includes_its_family() {
        let banned = [SOCKETS, FORMATS];
        for name in [
            "tokio",
            "tokio-util",
            "serde_core",
            "serde_json",
            "tokio-tungstenite",
            "tungstenite",
        ] {
            assert!(is_banned(name, &banned), "{name}");
        }
        for name in ["tokiox", "uuid", "deserde"] {
            assert!(!is_banned(name, &banned), "{name}");
        }
        assert!(!is_banned("serde_json", &[SOCKETS]));
    }

    #[test]
    fn error_for_a_transitive_link_has_the_command_that_shows_its_path() {
        let linked = ["bytestring", "tokio-util"].map(ToOwned::to_owned).into();
        let errors = banned_links("switchboard-core", &[SOCKETS], "because", &linked);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains("-i tokio-util"), "{errors:?}");
    }

    #[test]
    fn crate_that_is_missing_in_the_table_is_an_error() {
        let errors = check_dependencies(&[package("switchboard-new", &[])]);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains(THIS_FILE), "{errors:?}");
    }
}
