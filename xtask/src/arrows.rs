//! Which crate may use which, and which crates stay pure.

use std::collections::BTreeSet;

use crate::failure::Result;
use crate::workspace::{Kind, Package, Workspace, cargo, output};

/// Each crate of ours with those of ours that it may use. Tests may use whatever lies below as well.
const ARROWS: &[(&str, &[&str])] = &[
    ("switchboard-core", &[]),
    ("switchboard-audio", &[]),
    ("switchboard-dialect", &["switchboard-core"]),
    ("switchboard-engine", &["switchboard-core"]),
    (
        "switchboard-transport",
        &["switchboard-dialect", "switchboard-core"],
    ),
    (
        "switchboard-sim",
        &[
            "switchboard-core",
            "switchboard-dialect",
            "switchboard-engine",
        ],
    ),
    (
        "switchboard",
        &[
            "switchboard-transport",
            "switchboard-dialect",
            "switchboard-engine",
            "switchboard-core",
            "switchboard-audio",
        ],
    ),
    ("switchboard-cli", &["switchboard"]),
    ("xtask", &[]),
];

/// What must not be linked into a crate, directly or through others, whatever its features. A name stands for its
/// family: `hyper` for `hyper-util` too, `serde` for `serde_json`.
const PURE: &[(&str, &[&[&str]], &str)] = &[
    (
        "switchboard-core",
        &[SOCKETS, FORMATS],
        "the domain knows no socket, clock, runtime or wire format",
    ),
    (
        "switchboard-audio",
        &[SOCKETS, FORMATS],
        "the mixer turns samples into streams, and knows no socket, clock or runtime",
    ),
    (
        "switchboard-dialect",
        &[SOCKETS],
        "a dialect turns frames into commands and events into frames, and knows no socket or runtime",
    ),
];

const SOCKETS: &[&str] = &["tokio", "mio", "socket2", "axum", "hyper", "tungstenite"];
const FORMATS: &[&str] = &["serde"];

const THIS_FILE: &str = "xtask/src/arrows.rs";

/// The complaints about the dependencies of this workspace.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut complaints = arrows(&workspace.packages);
    for &(name, banned, why) in PURE {
        complaints.extend(impurities(
            name,
            banned,
            why,
            &linked_into(workspace, name)?,
        ));
    }
    Ok(complaints)
}

fn arrows(packages: &[Package]) -> Vec<String> {
    let members: BTreeSet<&str> = packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut complaints = Vec::new();
    for package in packages {
        let Some(allowed) = allowed_for(&package.name) else {
            complaints.push(format!(
                "crate {}: {THIS_FILE} does not know it; add a row that says which of our crates it may use",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let (from, to) = (package.name.as_str(), dependency.name.as_str());
            if from == to || !members.contains(to) {
                continue;
            }
            let fine = match dependency.kind {
                Kind::Normal | Kind::Build => allowed.contains(&to),
                Kind::Dev => below(from).contains(to),
            };
            if !fine {
                complaints.push(wrong_arrow(from, to, dependency.kind, allowed));
            }
        }
    }
    complaints
}

fn wrong_arrow(from: &str, to: &str, kind: Kind, allowed: &[&str]) -> String {
    let table = match kind {
        Kind::Normal => "[dependencies]",
        Kind::Build => "[build-dependencies]",
        Kind::Dev => "[dev-dependencies]",
    };
    let may = match kind {
        Kind::Normal | Kind::Build if allowed.is_empty() => "no crate of ours".to_owned(),
        Kind::Normal | Kind::Build => format!("only {}", allowed.join(", ")),
        Kind::Dev => "only what lies below it, in tests too".to_owned(),
    };
    let why = if below(to).contains(from) {
        format!(
            "{to} is built on {from}, so this arrow would close a circle: move what is shared down into {from}"
        )
    } else {
        format!(
            "hand what it needs in as an argument or a trait, from the crate that may see both {from} and {to}"
        )
    };
    format!("arrow {from} → {to} in {table} is wrong: {from} may use {may}; {why}")
}

fn impurities(name: &str, banned: &[&[&str]], why: &str, linked: &BTreeSet<String>) -> Vec<String> {
    linked
        .iter()
        .filter(|linked| is_banned(linked, banned))
        .map(|linked| {
            format!("{name} has {linked} linked into it: {why} (`cargo tree -p {name} {EDGES} -i {linked}` shows through whom)")
        })
        .collect()
}

const EDGES: &str = "--all-features --target all --edges normal,build,no-proc-macro";

/// Every crate that may end up in this one when it is built alone, so that no other crate's features count.
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
    ARROWS
        .iter()
        .find(|(from, _)| *from == name)
        .map(|(_, allowed)| *allowed)
}

/// Every crate of ours that the arrows lead to from this one.
fn below(name: &str) -> BTreeSet<&'static str> {
    let mut reached = BTreeSet::new();
    let mut waiting = allowed_for(name).unwrap_or_default().to_vec();
    while let Some(next) = waiting.pop() {
        if reached.insert(next) {
            waiting.extend(allowed_for(next).unwrap_or_default());
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

    /// A workspace with all crates, in which one of them has these dependencies.
    fn complaints_about(name: &str, dependencies: &[(&str, Kind)]) -> Vec<String> {
        let packages: Vec<_> = ARROWS
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
        arrows(&packages)
    }

    #[test]
    fn the_allowed_arrows_are_no_complaint() {
        for (name, allowed) in ARROWS {
            let dependencies: Vec<_> = allowed.iter().map(|to| (*to, Kind::Normal)).collect();
            assert!(complaints_about(name, &dependencies).is_empty(), "{name}");
        }
    }

    #[test]
    fn the_table_has_no_circle_and_no_unknown_name() {
        for (name, allowed) in ARROWS {
            assert!(!below(name).contains(name), "{name} is below itself");
            assert!(
                allowed.iter().all(|to| allowed_for(to).is_some()),
                "{name} may use an unknown crate"
            );
        }
    }

    #[test]
    fn an_arrow_upwards_names_the_circle() {
        let complaints =
            complaints_about("switchboard-core", &[("switchboard-dialect", Kind::Normal)]);
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].contains("switchboard-core → switchboard-dialect in [dependencies]"),
            "{complaints:?}"
        );
        assert!(
            complaints[0].contains("switchboard-core may use no crate of ours"),
            "{complaints:?}"
        );
        assert!(complaints[0].contains("close a circle"), "{complaints:?}");
    }

    #[test]
    fn an_arrow_sideways_says_what_is_allowed() {
        let complaints = complaints_about(
            "switchboard-dialect",
            &[("switchboard-engine", Kind::Build)],
        );
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].contains("[build-dependencies]"),
            "{complaints:?}"
        );
        assert!(
            complaints[0].contains("may use only switchboard-core;"),
            "{complaints:?}"
        );
    }

    #[test]
    fn the_binary_goes_through_the_library_but_its_tests_may_look_below() {
        assert_eq!(
            complaints_about("switchboard-cli", &[("switchboard-core", Kind::Normal)]).len(),
            1
        );
        assert!(complaints_about("switchboard-cli", &[("switchboard-core", Kind::Dev)]).is_empty());
    }

    #[test]
    fn a_test_may_not_look_upwards() {
        let complaints = complaints_about("switchboard-engine", &[("switchboard", Kind::Dev)]);
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].contains("[dev-dependencies]"),
            "{complaints:?}"
        );
    }

    #[test]
    fn a_name_stands_for_its_family() {
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
    fn what_comes_in_through_others_is_named_with_the_way_to_find_it() {
        let linked = ["bytestring", "tokio-util"].map(ToOwned::to_owned).into();
        let complaints = impurities("switchboard-core", &[SOCKETS], "because", &linked);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].contains("-i tokio-util"), "{complaints:?}");
    }

    #[test]
    fn a_new_crate_must_be_placed() {
        let complaints = arrows(&[package("switchboard-new", &[])]);
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].contains(THIS_FILE), "{complaints:?}");
    }
}
