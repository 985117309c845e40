//! Checks the syntax of JSON (RFC 8259) in one pass, and finds where its values begin and end.

use fearless_simd::{Level, Simd, dispatch};

use super::{block::SpecialBytes, raw::Escapes};

/// A position in a JSON text. Each function moves it past what it reads, and returns `None` if the syntax is wrong
/// there.
///
/// The short functions are inlined, and the long ones get and return a copy: so the position is in registers, and not
/// in memory, while fields are read.
#[derive(Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    position: usize,
    /// The next quotes, backslashes and control characters, found one block of bytes at a time.
    special: SpecialBytes,
}

/// A range of bytes in a text of less than 4 GiB.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Range {
    #[inline(always)]
    pub(super) fn bytes(self, text: &str) -> &[u8] {
        let range = self.start as usize..self.end as usize;
        text.as_bytes().get(range).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn text(self, text: &str) -> &str {
        let range = self.start as usize..self.end as usize;
        text.get(range).unwrap_or_default()
    }
}

/// The place of a value or key, and the escapes in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) range: Range,
    pub(super) escapes: Escapes,
}

impl Value {
    #[inline]
    fn new(start: usize, end: usize, escapes: Escapes) -> Self {
        let (start, end) = (start as u32, end as u32);
        Self {
            range: Range { start, end },
            escapes,
        }
    }
}

impl<'a> Scanner<'a> {
    /// `None` if the text has 4 GiB or more.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        u32::try_from(text.len()).ok()?;
        Some(Self {
            text,
            position: 0,
            special: SpecialBytes::default(),
        })
    }

    #[inline]
    pub(super) fn position(&self) -> usize {
        self.position
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.position += 1;
        Some(byte)
    }

    /// The next byte after whitespace.
    #[inline(always)]
    pub(super) fn next_token(&mut self) -> Option<u8> {
        let token = self.next()?;
        if token > b' ' {
            return Some(token);
        }
        let (token, position) = after_whitespace(self.text.as_bytes(), self.position - 1)?;
        self.position = position;
        Some(token)
    }

    #[inline(always)]
    pub(super) fn expect(&mut self, token: u8) -> Option<()> {
        (self.next_token()? == token).then_some(())
    }

    /// Moves past `token` if it is next after whitespace, and returns whether it is.
    #[inline(always)]
    pub(super) fn skip_if(&mut self, token: u8) -> bool {
        let mut next = *self;
        let is_next = next.next_token() == Some(token);
        if is_next {
            *self = next;
        }
        is_next
    }

    /// `Some` if only whitespace is left.
    pub(super) fn end(&mut self) -> Option<()> {
        self.next_token().is_none().then_some(())
    }

    /// The rest of the key of a field after its first quote, and the colon. The place is without the quotes.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Option<Value> {
        let start = self.position;
        let escapes = self.string()?;
        let key = Value::new(start, self.position - 1, escapes);
        self.expect(b':')?;
        Some(key)
    }

    /// A value of any kind.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Option<Value> {
        let first = self.next_token()?;
        self.value_after(first)
    }

    /// The value that begins with the byte `first`, which is before this position.
    #[inline(always)]
    pub(super) fn value_after(&mut self, first: u8) -> Option<Value> {
        let start = self.position - 1;
        let escapes = match first {
            b'"' => self.string()?,
            first => {
                *self = self.other_value(first)?;
                Escapes::None
            }
        };
        Some(Value::new(start, self.position, escapes))
    }

    /// A value that is no string, after its first byte.
    #[inline(never)]
    fn other_value(mut self, first: u8) -> Option<Self> {
        match first {
            b'{' | b'[' => {
                self.position -= 1;
                self.nested()?;
            }
            _ => self.scalar(first)?,
        }
        Some(self)
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

    /// The rest of a string, after its first quote. It may have an unpaired surrogate in an escape: such a string can
    /// be passed on, but not be decoded.
    #[inline(always)]
    fn string(&mut self) -> Option<Escapes> {
        self.special.skip_to(self.position);
        // Most strings are short: their end is the next special byte, and in the current block.
        if let Some(end) = self.special.peek_in_block()
            && self.text.as_bytes().get(end) == Some(&b'"')
        {
            self.special.skip();
            self.position = end + 1;
            return Some(Escapes::None);
        }
        let (escapes, special) = long_string(self.text.as_bytes(), self.special)?;
        self.special = special;
        self.position = self.special.peek_in_block()? + 1;
        self.special.skip();
        Some(escapes)
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

/// The first byte after the whitespace at `position`, and the position after it.
#[cold]
#[inline(never)]
fn after_whitespace(text: &[u8], position: usize) -> Option<(u8, usize)> {
    let rest = text.get(position..)?;
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    let offset = rest.iter().position(|byte| !is_space(byte))?;
    Some((*rest.get(offset)?, position + offset + 1))
}

/// Reads a string up to its last quote, which is not skipped.
#[inline(never)]
fn long_string(bytes: &[u8], special: SpecialBytes) -> Option<(Escapes, SpecialBytes)> {
    dispatch!(Level::new(), simd => string_end(simd, bytes, special))
}

#[inline(always)]
fn string_end<S: Simd>(
    simd: S,
    bytes: &[u8],
    mut special: SpecialBytes,
) -> Option<(Escapes, SpecialBytes)> {
    let mut escapes = Escapes::None;
    loop {
        let position = special.peek(simd, bytes)?;
        let rest = bytes.get(position..)?;
        if rest.first_chunk() == Some(SDP_LINE_END) {
            special.skip_bytes::<{ SDP_LINE_END.len() }>();
            escapes = escapes.max(Escapes::Short);
            continue;
        }
        match rest.first()? {
            b'"' => return Some((escapes, special)),
            b'\\' => match ESCAPES[usize::from(*rest.get(1)?)] {
                Escape::Short => {
                    special.skip_bytes::<2>();
                    escapes = escapes.max(Escapes::Short);
                }
                Escape::Unicode => {
                    special.skip_to(position + unicode_escape_length(rest)?);
                    escapes = Escapes::Unicode;
                }
                Escape::Invalid => return None,
            },
            _ => return None,
        }
    }
}

/// The kinds of bytes after a backslash.
#[derive(Clone, Copy)]
enum Escape {
    Invalid,
    /// The escape is one letter.
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

/// The end of a line of SDP in a JSON string. Most escapes are in these, so the two of one line end are skipped at
/// once.
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
