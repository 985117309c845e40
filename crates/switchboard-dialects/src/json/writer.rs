//! Writing JSON objects field by field.

use std::fmt::Write;

use bytestring::ByteString;
use fearless_simd::{Level, Simd, dispatch};

use super::JsonField;
use super::{
    block::{BLOCK, SpecialBytes, is_plain},
    raw::RawJson,
};

/// A finished text keeps at most this many unused bytes besides its own length.
const SPARE_BYTES_MAX: usize = 1024;

/// The text as a JSON string literal.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut output = String::with_capacity(text.len() + 2);
    push_quoted(&mut output, text);
    output
}

fn push_quoted(output: &mut String, text: &str) {
    output.push('"');
    push_escaped(output, text);
    output.push('"');
}

fn push_escaped(output: &mut String, text: &str) {
    let bytes = text.as_bytes();
    if bytes.len() < BLOCK && is_plain(bytes) {
        return output.push_str(text);
    }
    dispatch!(Level::new(), simd => push_escaped_parts(simd, output, text));
}

#[inline(always)]
fn push_escaped_parts<S: Simd>(simd: S, output: &mut String, text: &str) {
    let bytes = text.as_bytes();
    let mut special = SpecialBytes::default();
    let mut clean_from = 0;
    while let Some(position) = special.peek(simd, bytes) {
        special.skip();
        output.push_str(&text[clean_from..position]);
        clean_from = position + 1;
        push_escape(output, bytes[position]);
    }
    output.push_str(&text[clean_from..]);
}

fn push_escape(output: &mut String, byte: u8) {
    match byte {
        b'"' => output.push_str("\\\""),
        b'\\' => output.push_str("\\\\"),
        b'\n' => output.push_str("\\n"),
        b'\r' => output.push_str("\\r"),
        b'\t' => output.push_str("\\t"),
        _ => output.push_str(&format!("\\u{byte:04x}")),
    }
}

/// Writes a JSON object field by field. The keys are constants that need no escapes.
#[derive(Debug)]
pub struct JsonWriter(String);

impl Default for JsonWriter {
    fn default() -> Self {
        Self::with_capacity(128)
    }
}

impl JsonWriter {
    /// An empty object with a capacity in bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Self(text)
    }

    /// Adds a field whose value is already JSON.
    #[must_use]
    #[inline]
    pub fn raw(mut self, key: &'static str, json: &str) -> Self {
        self.key(key);
        self.0.push_str(json);
        self
    }

    /// Adds a string field.
    #[must_use]
    #[inline]
    pub fn text(mut self, key: &'static str, value: &str) -> Self {
        self.key(key);
        push_quoted(&mut self.0, value);
        self
    }

    /// Adds a string field, if there is a value.
    #[must_use]
    #[inline]
    pub fn maybe_text(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// Adds a number field.
    #[must_use]
    pub fn number(self, key: &'static str, value: u64) -> Self {
        let mut writer = self;
        writer.key(key);
        match u8::try_from(value) {
            Ok(digit @ 0..=9) => writer.0.push(char::from(b'0' + digit)),
            _ => write!(writer.0, "{value}").expect("a text can be written to"),
        }
        writer
    }

    /// Adds an object field.
    #[must_use]
    #[inline]
    pub fn object(mut self, key: &'static str, write: impl FnOnce(Self) -> Self) -> Self {
        self.key(key);
        self.0.push('{');
        let mut inner = write(self);
        inner.0.push('}');
        inner
    }

    /// Adds an array of strings.
    #[must_use]
    pub fn texts(
        mut self,
        key: &'static str,
        values: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        self.key(key);
        self.0.push('[');
        for value in values {
            self.comma();
            push_quoted(&mut self.0, value.as_ref());
        }
        self.0.push(']');
        self
    }

    /// Adds an array of objects.
    #[must_use]
    pub fn objects<T>(
        mut self,
        key: &'static str,
        items: impl IntoIterator<Item = T>,
        write: impl Fn(Self, T) -> Self,
    ) -> Self {
        self.key(key);
        self.0.push('[');
        for item in items {
            self.comma();
            self.0.push('{');
            self = write(self, item);
            self.0.push('}');
        }
        self.0.push(']');
        self
    }

    /// Adds a field whose value is already JSON, if there is a value.
    #[must_use]
    #[inline]
    pub fn maybe_raw(self, key: &'static str, json: Option<RawJson<'_>>) -> Self {
        match json {
            Some(json) => self.raw(key, json.as_str()),
            None => self,
        }
    }

    /// Adds fields of another object unchanged.
    #[must_use]
    pub fn fields<'f>(mut self, fields: impl IntoIterator<Item = JsonField<'f>>) -> Self {
        for field in fields {
            self.comma();
            self.0.push_str(field.as_str());
        }
        self
    }

    /// Closes the object and returns its text.
    #[must_use]
    pub fn finish(mut self) -> ByteString {
        self.0.push('}');
        // A queued frame is counted by its length, so it must not keep much more memory.
        if self.0.capacity() > 2 * self.0.len() + SPARE_BYTES_MAX {
            self.0.shrink_to_fit();
        }
        self.0.into()
    }

    #[inline(always)]
    fn key(&mut self, key: &'static str) {
        debug_assert!(is_plain(key.as_bytes()), "the key {key:?} needs escapes");
        self.comma();
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    /// Adds a comma, unless the text ends with an opening bracket.
    #[inline(always)]
    fn comma(&mut self) {
        if !matches!(self.0.as_bytes().last(), Some(b'{' | b'[')) {
            self.0.push(',');
        }
    }
}
