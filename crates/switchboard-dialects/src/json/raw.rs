//! A value in JSON.

use std::borrow::Cow;

use super::scan::Scanner;

/// A JSON value as it stands in a frame, without whitespace around it. Its syntax has been checked.
#[derive(Clone, Copy, Debug)]
pub struct RawJson<'a> {
    json: &'a str,
    /// Whether this is a string with escapes.
    has_escape: bool,
}

impl<'a> RawJson<'a> {
    /// Checks the syntax of a text with one value. Values may be nested to any depth. `None` if the text is not JSON.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text);
        let value = scanner.value()?;
        scanner.end()?;
        Some(value)
    }

    pub(super) fn new(json: &'a str, has_escape: bool) -> Self {
        Self { json, has_escape }
    }

    /// The value as JSON.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.json
    }

    /// Whether this is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.json == "null"
    }

    /// The content of a string. `None` for other values, and for a string with a surrogate that is not one of a pair.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        if self.has_escape {
            return serde_json::from_str(self.json).ok().map(Cow::Owned);
        }
        let inner = self.json.strip_prefix('"')?.strip_suffix('"')?;
        Some(Cow::Borrowed(inner))
    }

    /// The elements of an array. `None` for other values.
    #[must_use]
    pub fn elements(self) -> Option<Vec<Self>> {
        let mut scanner = Scanner::new(self.json);
        scanner.expect(b'[')?;
        let mut elements = Vec::new();
        if scanner.skip_if(b']') {
            return Some(elements);
        }
        loop {
            elements.push(scanner.value()?);
            match scanner.next_token()? {
                b',' => {}
                _ => return Some(elements),
            }
        }
    }
}
