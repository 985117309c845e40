//! Checks the syntax of JSON (RFC 8259) in one pass, and finds where its values begin and end.

use std::borrow::Cow;

use super::{
    block::SpecialBytes,
    raw::{Escapes, RawJson},
};

/// A position in a JSON text. Each function moves it past what it reads, and returns `None` if the syntax is wrong
/// there.
pub(super) struct Scanner<'a> {
    text: &'a str,
    position: usize,
    special: SpecialBytes,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            position: 0,
            special: SpecialBytes::default(),
        }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Whether `token` is next after whitespace.
    pub(super) fn is_next(&mut self, token: u8) -> bool {
        self.skip_whitespace();
        self.peek() == Some(token)
    }

    /// The object, array, number or literal from `start` to this position.
    pub(super) fn value_from(&self, start: usize) -> Option<RawJson<'a>> {
        let json = self.text.get(start..self.position)?;
        Some(RawJson::new(json, Escapes::None))
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.position += 1;
        Some(byte)
    }

    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.position += 1;
        }
    }

    /// The next byte after whitespace.
    pub(super) fn next_token(&mut self) -> Option<u8> {
        self.skip_whitespace();
        self.next()
    }

    pub(super) fn expect(&mut self, token: u8) -> Option<()> {
        (self.next_token()? == token).then_some(())
    }

    /// Moves past `token` if it is next after whitespace, and returns whether it is.
    pub(super) fn skip_if(&mut self, token: u8) -> bool {
        let is_next = self.is_next(token);
        self.position += usize::from(is_next);
        is_next
    }

    /// The end of the text.
    pub(super) fn end(&mut self) -> Option<()> {
        self.skip_whitespace();
        (self.position == self.text.len()).then_some(())
    }

    /// The key of a field, and the colon. The inner `None` if the key has a surrogate that is not one of a pair.
    pub(super) fn key(&mut self) -> Option<Option<Cow<'a, str>>> {
        self.expect(b'"')?;
        let start = self.position;
        let key = match self.string()? {
            Escapes::None => self.text.get(start..self.position - 1).map(Cow::Borrowed),
            escapes @ (Escapes::Short | Escapes::Unicode) => {
                RawJson::new(self.text.get(start - 1..self.position)?, escapes).text()
            }
        };
        self.expect(b':')?;
        Some(key)
    }

    /// A value of any kind.
    pub(super) fn value(&mut self) -> Option<RawJson<'a>> {
        self.skip_whitespace();
        let start = self.position;
        let escapes = match self.next()? {
            b'"' => self.string()?,
            b'{' | b'[' => {
                self.position = start;
                self.nested()?;
                Escapes::None
            }
            first => {
                self.scalar(first)?;
                Escapes::None
            }
        };
        let json = self.text.get(start..self.position)?;
        Some(RawJson::new(json, escapes))
    }

    /// An object or array. It may be nested to any depth: this function does not call itself.
    fn nested(&mut self) -> Option<()> {
        let mut open = OpenBrackets::default();
        loop {
            match self.next_token()? {
                b'"' => {
                    self.string()?;
                }
                b'{' if !self.skip_if(b'}') => {
                    open.push(Bracket::Object);
                    self.skip_key()?;
                    continue;
                }
                b'[' if !self.skip_if(b']') => {
                    open.push(Bracket::Array);
                    continue;
                }
                b'{' | b'[' => {}
                first => self.scalar(first)?,
            }
            if self.close(&mut open)? {
                return Some(());
            }
        }
    }

    /// Reads the text between a value within brackets and the next value. Returns whether all brackets are closed.
    fn close(&mut self, open: &mut OpenBrackets) -> Option<bool> {
        while let Some(bracket) = open.last() {
            match (self.next_token()?, bracket) {
                (b',', Bracket::Object) => {
                    self.skip_key()?;
                    return Some(false);
                }
                (b',', Bracket::Array) => return Some(false),
                (b'}', Bracket::Object) | (b']', Bracket::Array) => open.pop(),
                _ => return None,
            }
        }
        Some(true)
    }

    fn skip_key(&mut self) -> Option<()> {
        self.expect(b'"')?;
        self.string()?;
        self.expect(b':')
    }

    /// The rest of a string, after its first quote. A surrogate in an escape may be alone: such a string can be passed
    /// on, but not be decoded.
    fn string(&mut self) -> Option<Escapes> {
        let bytes = self.text.as_bytes();
        let mut special = self.special;
        special.skip_to(self.position);
        let mut escapes = Escapes::None;
        loop {
            let position = special.peek(bytes)?;
            let rest = bytes.get(position..)?;
            match rest.first()? {
                b'"' => {
                    special.skip();
                    (self.position, self.special) = (position + 1, special);
                    return Some(escapes);
                }
                b'\\' if rest.first_chunk() == Some(SDP_LINE_END) => {
                    special.skip_bytes::<{ SDP_LINE_END.len() }>();
                }
                b'\\' => match ESCAPES[usize::from(*rest.get(1)?)] {
                    Escape::Short => special.skip_bytes::<2>(),
                    Escape::Unicode => {
                        special.skip_to(position + unicode_escape_length(rest)?);
                        escapes = Escapes::Unicode;
                    }
                    Escape::Invalid => return None,
                },
                _ => return None,
            }
            if escapes == Escapes::None {
                escapes = Escapes::Short;
            }
        }
    }

    /// The rest of a number, `true`, `false` or `null`, after its first byte.
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b't' => self.literal("rue"),
            b'f' => self.literal("alse"),
            b'n' => self.literal("ull"),
            b'-' => {
                let first = self.next()?;
                self.number(first)
            }
            _ => self.number(first),
        }
    }

    fn literal(&mut self, rest: &str) -> Option<()> {
        let bytes = self.text.as_bytes().get(self.position..)?;
        self.position += rest.len();
        bytes.starts_with(rest.as_bytes()).then_some(())
    }

    /// The rest of a number, after its sign and its first digit.
    fn number(&mut self, first: u8) -> Option<()> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let start = self.position;
        self.skip_digits();
        (self.position > start).then_some(())
    }

    fn skip_digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
    }
}

/// The kinds of bytes after a backslash.
#[derive(Clone, Copy)]
enum Escape {
    Invalid,
    /// One letter.
    Short,
    /// `u` and four hexadecimal digits.
    Unicode,
}

static ESCAPES: [Escape; 256] = {
    let mut escapes = [Escape::Invalid; 256];
    let short = b"\"\\/bfnrt";
    let mut index = 0;
    while index < short.len() {
        escapes[short[index] as usize] = Escape::Short;
        index += 1;
    }
    escapes[b'u' as usize] = Escape::Unicode;
    escapes
};

/// The end of a line of SDP in a JSON string. Most escapes stand in these, so both of them are skipped at once.
const SDP_LINE_END: &[u8; 4] = br"\r\n";

/// The length of the escape `\u` at the beginning of `bytes`.
fn unicode_escape_length(bytes: &[u8]) -> Option<usize> {
    let digits = bytes.get(2..6)?;
    let is_valid = digits.iter().all(u8::is_ascii_hexdigit);
    is_valid.then_some(6)
}

#[derive(Clone, Copy)]
enum Bracket {
    Object,
    Array,
}

/// The brackets that are open, with one bit for each.
#[derive(Default)]
struct OpenBrackets {
    depth: usize,
    /// The innermost brackets, up to 64, the last one in the lowest bit: 1 for an object.
    last: u64,
    /// The brackets around them, 64 in each.
    outer: Vec<u64>,
}

impl OpenBrackets {
    const WORD: usize = 64;

    fn push(&mut self, bracket: Bracket) {
        if self.depth > 0 && self.depth.is_multiple_of(Self::WORD) {
            self.outer.push(self.last);
        }
        self.depth += 1;
        self.last = (self.last << 1) | u64::from(matches!(bracket, Bracket::Object));
    }

    fn last(&self) -> Option<Bracket> {
        let is_object = self.last & 1 == 1;
        let bracket = if is_object {
            Bracket::Object
        } else {
            Bracket::Array
        };
        (self.depth > 0).then_some(bracket)
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.last >>= 1;
        if self.depth.is_multiple_of(Self::WORD) {
            self.last = self.outer.pop().unwrap_or_default();
        }
    }
}
