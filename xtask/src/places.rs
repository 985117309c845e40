//! No committed file names a folder of somebody's machine, or the host of a package registry: what holds only there
//! breaks elsewhere.

/// Folders at the root under which people keep their files; each with whether a user's name follows.
const HOMES: &[(&str, bool)] = &[
    ("work", false),
    ("root", false),
    ("home", true),
    ("Users", true),
];

/// Hosts of registries, as domain and name, so that this file does not hold what it looks for.
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

/// The complaints about one file, each with its line.
pub(crate) fn check(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(place) = home(line) {
            complaints.push(format!(
                "{path}:{}: `{place}` is a folder of one machine; write a relative path",
                index + 1
            ));
        }
        if let Some(host) = registry(line) {
            complaints.push(format!(
                "{path}:{}: `{host}` is the host of a package registry; name the package, its client knows where",
                index + 1
            ));
        }
    }
    complaints
}

fn home(line: &str) -> Option<String> {
    HOMES.iter().find_map(|&(folder, has_user)| {
        let start = format!("/{folder}/");
        line.match_indices(&start).find_map(|(at, _)| {
            // `src/work/mod.rs` and `$HOME/work/` are other folders.
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

    /// Joins with slashes: the words stand apart here, so that this file passes its own check.
    fn path(words: &[&str]) -> String {
        words.join("/")
    }

    #[test]
    fn folders_of_a_machine_are_found_with_their_line() {
        for place in [
            path(&["", "work", "main"]),
            path(&["\"", "root", ".cargo\""]),
            path(&["file://", "home", "ann", "x.rs"]),
            path(&["(", "Users", "ann", "x)"]),
        ] {
            let complaints = check("README.md", &format!("fine\nsee {place}\n"));
            assert_eq!(complaints.len(), 1, "{place}");
            assert!(complaints[0].starts_with("README.md:2: "), "{complaints:?}");
        }
    }

    #[test]
    fn relative_paths_urls_and_placeholders_are_fine() {
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
    fn hosts_of_registries_are_found() {
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
    fn the_source_line_of_a_cargo_lock_is_no_host() {
        let line = r#"source = "registry+https://github.com/rust-lang/crates.io-index""#;
        assert!(check("Cargo.lock", line).is_empty());
    }
}
