//! Suggests a known name for a misspelled one.

/// The known name with the smallest edit distance to `given`, if at most a third of the characters differ (or one).
pub(super) fn closest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let given = comparable(given);
    let distance_max = (given.chars().count() / 3).max(1);
    let distances = known
        .into_iter()
        .map(|name| (strsim::osa_distance(&given, &comparable(name)), name));
    let near = distances.filter(|(distance, _)| *distance <= distance_max);
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The suggestion of this name for the end of an error message; empty without a name.
pub(super) fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

/// Whether two names differ only in case and separators, like `site_url` and `site.url`.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    comparable(one) == comparable(other)
}

/// The name without separators and in lower case, for comparisons.
fn comparable(name: &str) -> String {
    name.chars()
        .filter(|letter| !['_', '-', '.'].contains(letter))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelled_name_is_suggested_and_unrelated_name_is_not() {
        let known = ["connections", "frame_bytes", "port", "addr"];
        for (given, meant) in [
            ("conections", Some("connections")),
            ("max_connections", Some("connections")),
            ("frame-bytes", Some("frame_bytes")),
            ("FrameBytes", Some("frame_bytes")),
            ("prot", Some("port")),
            ("adress", None),
            ("timeout", None),
            ("", None),
        ] {
            assert_eq!(closest(given, known), meant, "{given}");
        }
    }
}
