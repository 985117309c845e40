//! Checks that no committed file contains an absolute path of one machine, or the host of a package registry. Both
//! would not work on other machines.

/// Top-level folders of user files, each with whether a user name follows.
const HOMES: &[(&str, bool)] = &[
    ("work", false),
    ("root", false),
    ("home", true),
    ("Users", true),
];

/// Hosts of registries, split into domain and name, so that this file passes its own check.
const REGISTRIES: &[(&str, &str)] = &[
    ("crates.io", "index"),
    ("crates.io", "static"),
    ("npmjs.org", "registry"),
    ("yarnpkg.com", "registry"),
    ("org", "pypi"),
    ("pythonhosted.org", "files"),
    ("debian.org", "deb"),
    ("debian.org", "security"),
    ("debian.org", "snapshot"),
    ("golang.org", "proxy"),
    ("maven.org", "repo1"),
];

/// Checks one file and returns the errors, each with its line.
pub(crate) fn check(path: &str, text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(folder) = machine_path(line) {
            errors.push(format!(
                "{path}:{}: `{folder}` is a folder of one machine; use a relative path",
                index + 1
            ));
        }
        if let Some(host) = registry(line) {
            errors.push(format!(
                "{path}:{}: `{host}` is the host of a package registry; name only the package",
                index + 1
            ));
        }
    }
    errors
}

fn machine_path(line: &str) -> Option<String> {
    HOMES.iter().find_map(|&(folder, has_user)| {
        let start = format!("/{folder}/");
        line.match_indices(&start).find_map(|(at, _)| {
            // `src/work/mod.rs` and `$HOME/work/` are not absolute paths.
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || "._-*~})>".contains(c)) {
                return None;
            }
            if !has_user {
                return Some(start.clone());
            }
            let rest = &line[at + start.len()..];
            let user: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || "._-".contains(*c))
                .collect();
            (!user.is_empty() && rest[user.len()..].starts_with('/'))
                .then(|| format!("{start}{user}/"))
        })
    })
}

fn registry(line: &str) -> Option<String> {
    REGISTRIES.iter().find_map(|&(domain, name)| {
        if !line.contains(domain) {
            return None;
        }
        let host = format!("{name}.{domain}");
        let is_whole = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-');
        line.match_indices(&host)
            .any(|(at, _)| is_whole(at))
            .then_some(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joins parts of a path with slashes. The parts are separate, so that this file passes its own check.
    fn path(parts: &[&str]) -> String {
        parts.join("/")
    }

    #[test]
    fn absolute_paths_are_reported_with_their_line() {
        for folder in [
            path(&["", "work", "main"]),
            path(&["\"", "root", ".cargo\""]),
            path(&["file://", "home", "ann", "x.rs"]),
            path(&["(", "Users", "ann", "x)"]),
        ] {
            let errors = check("README.md", &format!("fine\nsee {folder}\n"));
            assert_eq!(errors.len(), 1, "{folder}");
            assert!(errors[0].starts_with("README.md:2: "), "{errors:?}");
        }
    }

    #[test]
    fn relative_paths_urls_and_placeholders_are_allowed() {
        for line in [
            path(&["src", "work", "mod.rs"]),
            path(&["..", "work", "x"]),
            path(&["$HOME", "work", "x"]),
            path(&["https:", "", "example.org", "work", "x"]),
            path(&["", "home", "<name>", "x"]),
            path(&["", "home", ""]),
            path(&["", "network", "x"]),
            path(&["", "home"]),
        ] {
            assert!(check("README.md", &line).is_empty(), "{line}");
        }
    }

    #[test]
    fn hosts_of_registries_are_reported() {
        for &(domain, name) in REGISTRIES {
            let host = format!("{name}.{domain}");
            assert_eq!(
                check("a.json", &format!("\"https://{host}/x\"")).len(),
                1,
                "{host}"
            );
        }
    }

    #[test]
    fn source_line_of_a_cargo_lock_is_allowed() {
        let line = r#"source = "registry+https://github.com/rust-lang/crates.io-index""#;
        assert!(check("Cargo.lock", line).is_empty());
    }
}
