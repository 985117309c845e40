//! Placeholders of a transcript for values that the server generates: `$name`. `$name.upper` is the value in upper
//! case, and `$name.plain` is the value without hyphens.

use std::collections::BTreeMap;

use serde_json::Value;

/// The known placeholders and their values.
#[derive(Debug, Default)]
pub(super) struct Placeholders(BTreeMap<String, String>);

impl Placeholders {
    pub(super) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }

    /// Replaces every known `$name` in `text` by its value.
    pub(super) fn fill_in(&self, text: &str) -> String {
        let mut parts = text.split('$');
        let mut output = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            match self.value_of(part) {
                Some((value, rest)) => output.extend([value.as_str(), rest]),
                None => output.extend(["$", part]),
            }
        }
        output
    }

    /// Whether `actual` matches `expected`. An unknown `$name` in `expected` gets its value from `actual`.
    pub(super) fn matches(&mut self, expected: &Value, actual: &Value) -> bool {
        match (expected, actual) {
            (Value::String(expected), Value::String(actual)) => self.matches_text(expected, actual),
            (Value::Array(expected), Value::Array(actual)) => {
                expected.len() == actual.len()
                    && expected.iter().zip(actual).all(|(e, a)| self.matches(e, a))
            }
            (Value::Object(expected), Value::Object(actual)) => {
                expected.len() == actual.len()
                    && expected
                        .iter()
                        .all(|(key, e)| actual.get(key).is_some_and(|a| self.matches(e, a)))
            }
            _ => expected == actual,
        }
    }

    fn matches_text(&mut self, expected: &str, actual: &str) -> bool {
        let new = expected
            .strip_prefix('$')
            .filter(|name| name.chars().all(is_name_char) && !self.0.contains_key(*name));
        if let Some(name) = new {
            self.set(name, actual.to_owned());
            return true;
        }
        self.fill_in(expected) == actual
    }

    /// The value of the name at the start of `text`, and the rest of `text`.
    fn value_of<'t>(&self, text: &'t str) -> Option<(String, &'t str)> {
        let end = text.find(|c| !is_name_char(c)).unwrap_or(text.len());
        let value = self.0.get(&text[..end])?;
        let rest = &text[end..];
        Some(if let Some(rest) = rest.strip_prefix(".upper") {
            (value.to_uppercase(), rest)
        } else if let Some(rest) = rest.strip_prefix(".plain") {
            (value.replace('-', ""), rest)
        } else {
            (value.clone(), rest)
        })
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
