//! Checks the dependencies between the crates of the workspace, and that some crates link no I/O or format crates.

use crate::{Result, cargo, output};

/// Each crate of the workspace with the workspace crates that it may depend on. Tests may also depend on the transitive
/// dependencies of these.
#[rustfmt::skip]
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("switchboard-core", &[]),
    ("switchboard-audio", &[]),
    ("switchboard-admin", &["switchboard-core"]),
    ("switchboard-auth", &["switchboard-core"]),
    ("switchboard-dialects", &["switchboard-core"]),
    ("switchboard-cluster", &["switchboard-core"]),
    ("switchboard-redis", &["switchboard-cluster", "switchboard-core"]),
    ("switchboard-session", &["switchboard-dialects", "switchboard-core"]),
    ("switchboard-transport", &["switchboard-auth", "switchboard-session", "switchboard-dialects", "switchboard-core"]),
    ("switchboard-voice", &["switchboard-transport", "switchboard-dialects", "switchboard-core", "switchboard-audio"]),
    ("switchboard-testkit", &["switchboard-core", "switchboard-dialects", "switchboard-session", "switchboard-cluster"]),
    ("switchboard", &["switchboard-admin", "switchboard-auth", "switchboard-transport", "switchboard-session", "switchboard-dialects", "switchboard-redis", "switchboard-cluster", "switchboard-core", "switchboard-voice"]),
    ("switchboard-bench", &[]),
    ("switchboard-cli", &["switchboard", "switchboard-bench"]),
    ("xtask", &[]),
];

/// The crate with the suites and simulations that the tests of other crates use.
const TEST_SUPPORT: &str = "switchboard-testkit";

const SOCKETS: &[&str] = &["tokio", "mio", "socket2", "axum", "hyper", "tungstenite"];
const FORMATS: &[&str] = &["serde"];

/// For each of these crates, the crates that must not be linked into it, directly or transitively, with any features. A
/// name stands for its family: `hyper` also for `hyper-util`, `serde` also for `serde_json`.
const BANNED_LINKS: &[(&str, &[&[&str]])] = &[
    ("switchboard-core", &[SOCKETS, FORMATS]),
    ("switchboard-audio", &[SOCKETS, FORMATS]),
    ("switchboard-dialects", &[SOCKETS]),
    ("switchboard-session", &[SOCKETS]),
];

/// The errors in the dependencies of this workspace.
pub(crate) fn check() -> Result<Vec<String>> {
    let mut errors = Vec::new();
    for kind in ["normal,build", "dev"] {
        let (mut from, edges) = (String::new(), format!("--edges={kind}"));
        for (depth, name) in tree(&["--workspace", "--depth=1", &edges])? {
            if depth == "0" {
                from = name;
                errors.extend(missing_row(&from));
            } else {
                errors.extend(forbidden(&from, &name, kind == "dev"));
            }
        }
    }
    for (name, banned) in BANNED_LINKS {
        let linked = tree(&["--package", name, "--edges=normal,build,no-proc-macro"])?;
        for (_, linked) in linked
            .iter()
            .filter(|(_, linked)| is_banned(linked, banned))
        {
            errors.push(format!(
                "{name} must not link {linked}; `cargo tree -p {name} -i {linked}` shows the path"
            ));
        }
    }
    Ok(errors)
}

/// The packages that `cargo tree` lists with any features, each with its depth.
fn tree(arguments: &[&str]) -> Result<Vec<(String, String)>> {
    let all = ["tree", "--all-features", "--target=all", "--prefix=depth"];
    let lines = output(cargo(&all).arg("--format= {p}").args(arguments))?;
    let words = lines.lines().map(|line| line.split(' '));
    let pair =
        |mut words: std::str::Split<'_, char>| Some((words.next()?.into(), words.next()?.into()));
    Ok(words.filter_map(pair).collect())
}

fn missing_row(name: &str) -> Option<String> {
    allowed(name).is_none().then(|| {
        format!("crate {name} is missing in xtask/src/dependencies.rs: add the workspace crates that it may depend on")
    })
}

fn forbidden(from: &str, to: &str, is_dev: bool) -> Option<String> {
    let direct = allowed(from)?;
    let permitted = if is_dev {
        reachable(from)
    } else {
        direct.to_vec()
    };
    // Tests may use the test support, unless it depends on their crate.
    if is_dev && to == TEST_SUPPORT && !reachable(to).contains(&from) {
        return None;
    }
    (allowed(to).is_some() && from != to && !permitted.contains(&to)).then(|| {
        format!("{from} must not depend on {to}, only on {permitted:?}: pass the value or trait object from a crate that may depend on both")
    })
}

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    let row = ALLOWED_DEPENDENCIES.iter().find(|(from, _)| *from == name);
    row.map(|(_, allowed)| *allowed)
}

/// All workspace crates that this one may depend on, directly or transitively.
fn reachable(name: &str) -> Vec<&'static str> {
    let direct = allowed(name).unwrap_or_default().iter();
    direct
        .flat_map(|next| [vec![*next], reachable(next)].concat())
        .collect()
}

fn is_banned(name: &str, banned: &[&[&str]]) -> bool {
    let mut banned = banned.iter().copied().flatten();
    banned.any(|family| match name.strip_prefix(family) {
        Some(rest) => rest.is_empty() || rest.starts_with(['-', '_']),
        None => name.ends_with(&format!("-{family}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dependencies_in_the_table_are_allowed() {
        let is_error = |from, to, is_dev| forbidden(from, to, is_dev).is_some();
        assert!(!is_error("switchboard-dialects", "switchboard-core", false));
        assert!(!is_error("switchboard-dialects", "serde", false));
        assert!(is_error("switchboard-core", "switchboard-dialects", false));
        assert!(is_error("switchboard-cli", "switchboard-core", false));
        assert!(!is_error("switchboard-cli", "switchboard-core", true));
        assert!(is_error("switchboard-cluster", "switchboard", true));
        assert!(!is_error("switchboard-redis", TEST_SUPPORT, true));
        assert!(is_error("switchboard-cluster", TEST_SUPPORT, true));
        assert!(missing_row("switchboard-new").is_some());
        assert!(
            ["tokio-util", "tokio-tungstenite"]
                .iter()
                .all(|name| is_banned(name, &[SOCKETS]))
        );
        assert!(
            !["tokiox", "serde_json"]
                .iter()
                .any(|name| is_banned(name, &[SOCKETS]))
        );
    }
}
