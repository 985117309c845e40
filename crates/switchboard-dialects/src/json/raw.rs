//! A value in JSON.

use std::{borrow::Cow, iter, str::Chars};

use super::scan::Scanner;

/// A JSON value as it stands in a frame, without whitespace around it. Its syntax has been checked.
#[derive(Clone, Copy, Debug)]
pub struct RawJson<'a> {
    json: &'a str,
    escapes: Escapes,
}

/// The escapes in a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Escapes {
    /// No escapes, or no string.
    #[default]
    None,
    /// Only escapes of one letter.
    Short,
    /// Escapes with a code, which may be invalid.
    Unicode,
}

impl<'a> RawJson<'a> {
    /// Checks the syntax of a text with one value. Values may be nested to any depth. `None` if the text is not JSON.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(text)?;
        let value = scanner.value()?;
        scanner.end()?;
        Some(Self::new(value.range.text(text), value.escapes))
    }

    pub(super) const fn new(json: &'a str, escapes: Escapes) -> Self {
        Self { json, escapes }
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

    /// The content of a string. `None` for other values, and for a string with an unpaired surrogate.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        if self.escapes != Escapes::None {
            return serde_json::from_str(self.json).ok().map(Cow::Owned);
        }
        if !self.is_string() {
            return None;
        }
        self.json.get(1..self.json.len() - 1).map(Cow::Borrowed)
    }

    /// Whether [`RawJson::text`] returns a text. This is faster if the text is long.
    #[must_use]
    pub fn is_text(self) -> bool {
        match self.escapes {
            Escapes::None | Escapes::Short => self.is_string(),
            Escapes::Unicode => self.text().is_some(),
        }
    }

    fn is_string(self) -> bool {
        self.json.as_bytes().first() == Some(&b'"')
    }

    /// The elements of an array. `None` for other values.
    #[must_use]
    pub fn elements(self) -> Option<Vec<Self>> {
        let mut scanner = Scanner::new(self.json)?;
        scanner.expect(b'[')?;
        let mut elements = Vec::new();
        if scanner.skip_if(b']') {
            return Some(elements);
        }
        loop {
            let value = scanner.value()?;
            elements.push(Self::new(value.range.text(self.json), value.escapes));
            match scanner.next_token()? {
                b',' => {}
                _ => return Some(elements),
            }
        }
    }
}

/// The letters of a string whose syntax has been checked, without its quotes. The code points that need two escapes are
/// replaced: no key has one.
pub(super) fn unescaped(text: &str) -> impl Iterator<Item = char> {
    let mut letters = text.chars();
    iter::from_fn(move || match letters.next()? {
        '\\' => escaped(&mut letters),
        letter => Some(letter),
    })
}

/// The letter of an escape, after its backslash.
fn escaped(letters: &mut Chars<'_>) -> Option<char> {
    Some(match letters.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let digits = letters.as_str().get(..4)?;
            *letters = letters.as_str().get(4..)?.chars();
            let code = u32::from_str_radix(digits, 16).ok()?;
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        other => other,
    })
}
