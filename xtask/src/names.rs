//! Checks that no type name is defined twice.

use std::collections::{BTreeMap, BTreeSet};

/// Type names that are always written with their module.
const QUALIFIED_TYPES: &[&str] = &["Error", "Result"];

/// Checks the type names of the crates.
pub(crate) fn doubled_types(
    files: &[String],
    text: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut types: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let is_library = |file: &&String| file.starts_with("crates/") && file.contains("/src/");
    for file in files
        .iter()
        .filter(is_library)
        .filter(|file| file.ends_with(".rs"))
    {
        for name in text(file).unwrap_or_default().lines().filter_map(type_name) {
            types.entry(name.to_owned()).or_default().insert(file);
        }
    }
    types.retain(|name, files| files.len() > 1 && !QUALIFIED_TYPES.contains(&name.as_str()));
    let error = |(name, files): (&String, &BTreeSet<&str>)| {
        let files: Vec<&str> = files.iter().copied().collect();
        format!("type {name} is defined in {}", files.join(", "))
    };
    types.iter().map(error).collect()
}

/// The name of the type or trait that this line defines. An associated type has its trait beside it, and is indented.
fn type_name(line: &str) -> Option<&str> {
    let is_indented = line.starts_with(' ');
    let is_prefix =
        |word: &&str| word.starts_with("pub") || *word == "unsafe" || word.ends_with(')');
    let mut words = line.split_whitespace().skip_while(is_prefix);
    let keyword = words.next()?;
    let defines =
        matches!(keyword, "struct" | "enum" | "trait") || (keyword == "type" && !is_indented);
    let name = words.next()?.split(|c: char| !c.is_alphanumeric()).next()?;
    (defines && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_in_two_modules_are_errors() {
        let files = ["crates/a/src/a.rs", "crates/b/src/b.rs"].map(str::to_owned);
        let texts = [
            "pub(crate) struct Room<T> {\n  type Item = u8;\npub enum Error {",
            "  enum Room {\n  type Item = u8;\npub struct Error;",
        ];
        let text = |file: &str| Some(texts[usize::from(file == files[1])].to_owned());
        let expected = ["type Room is defined in crates/a/src/a.rs, crates/b/src/b.rs"];
        assert_eq!(doubled_types(&files, text), expected);
    }
}
