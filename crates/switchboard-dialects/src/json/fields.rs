//! The fields of an object and of the objects in it, found in one pass.

use smallvec::SmallVec;

use super::{
    raw::{Escapes, RawJson, unescaped},
    scan::{Scanner, Value},
};

/// The levels of objects below the outer one whose fields are listed. This bounds the recursion.
const LEVELS: u8 = 2;

/// The largest number of fields that are listed for one value. The fields of a larger one are found when it is read.
const INNER_FIELDS_MAX: usize = 16;

/// A field of an object, or of an object in it, as places in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    tag: Tag,
    /// The key without its quotes.
    name: Value,
    /// Whether the key can be decoded: it has no surrogate that is not one of a pair.
    has_name: bool,
    value: Value,
    /// Whether the value is an object whose fields are listed after this one.
    is_listed: bool,
}

/// The level of a field, and the first two letters of its key. Nearly all keys that differ have other tags, so most
/// are told apart by one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    /// The letters of keys that have an escape, or begin with letters outside ASCII.
    const UNUSUAL: u32 = 0xffff;

    /// The tag of a key and the quote after it. The letters are in lower case; other ASCII characters may become the same
    /// number.
    #[inline(always)]
    fn of(level: u8, name: &[u8]) -> Self {
        let letters = name.first_chunk::<2>().copied().unwrap_or([0x80; 2]);
        let letters = u32::from(u16::from_be_bytes(letters));
        match letters & 0x8080 {
            0 => Self(u32::from(level) << 16 | letters | 0x2020),
            _ => Self::unusual(level),
        }
    }

    #[inline(always)]
    fn unusual(level: u8) -> Self {
        Self(u32::from(level) << 16 | Self::UNUSUAL)
    }

    #[inline]
    fn level(self) -> u8 {
        (self.0 >> 16) as u8
    }
}

/// A key that is looked up: ASCII, and not empty.
#[derive(Clone, Copy)]
pub(super) struct Key<'k> {
    name: &'k str,
    tag: Tag,
    unusual: Tag,
}

impl<'k> Key<'k> {
    #[inline]
    pub(super) fn new(name: &'k str, level: u8) -> Self {
        Self {
            name,
            tag: match name.as_bytes() {
                [letter] => Tag::of(level, &[*letter, b'"']),
                letters => Tag::of(level, letters),
            },
            unusual: Tag::unusual(level),
        }
    }

    /// Whether this is the key of a field, in any case. Two letters outside ASCII (`ſ` and the Kelvin sign) match `s`
    /// and `k` too, because a receiver may use the simple case folding of Unicode.
    #[inline]
    pub(super) fn matches(self, field: &Field, text: &str) -> bool {
        if field.tag != self.tag && field.tag != self.unusual {
            return false;
        }
        let name = field.name.text(text);
        // A letter outside ASCII, and an escape, take more bytes than the letter that they match.
        name == self.name || (name.len() >= self.name.len() && is_folded_key(name, self.name))
    }

    /// Whether this is exactly the key of a field.
    #[inline]
    pub(super) fn equals(self, field: &Field, text: &str) -> bool {
        if field.tag != self.tag && field.tag != self.unusual {
            return false;
        }
        let name = field.name.text(text);
        name == self.name || (name.len() > self.name.len() && unescaped(name).eq(self.name.chars()))
    }
}

/// Whether a key with escapes can be decoded. Not if it has a surrogate that is not one of a pair.
#[cold]
fn is_decodable(name: Value, text: &str) -> bool {
    let quoted = name.start as usize - 1..name.end as usize + 1;
    let quoted = text.get(quoted).unwrap_or_default();
    RawJson::new(quoted, name.escapes).is_text()
}

/// Whether a key, which may have escapes, matches `key` case-insensitively.
#[inline(never)]
fn is_folded_key(name: &str, key: &str) -> bool {
    let folded = unescaped(name).map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    folded.eq(key.chars().map(|letter| letter.to_ascii_lowercase()))
}

impl Field {
    /// A field whose value is not read yet.
    #[inline(always)]
    fn with_key(name: Value, level: u8, text: &str) -> Option<Self> {
        let (tag, has_name) = match name.escapes {
            Escapes::None => {
                let rest = text.as_bytes().get(name.start as usize..)?;
                (Tag::of(level, rest), true)
            }
            Escapes::Short => (Tag::unusual(level), true),
            Escapes::Unicode => (Tag::unusual(level), is_decodable(name, text)),
        };
        Some(Self {
            tag,
            name,
            has_name,
            value: Value::default(),
            is_listed: false,
        })
    }

    #[inline]
    pub(super) fn level(&self) -> u8 {
        self.tag.level()
    }

    /// The name of the field as it is spelled in the text, without the quotes.
    #[inline]
    pub(super) fn name<'a>(&self, text: &'a str) -> &'a str {
        self.name.text(text)
    }

    pub(super) fn name_escapes(&self) -> Escapes {
        self.name.escapes
    }

    #[inline]
    pub(super) fn value<'a>(&self, text: &'a str) -> RawJson<'a> {
        RawJson::new(self.value.text(text), self.value.escapes)
    }

    /// The field as it stands in the text, from the first quote of the key to the end of the value.
    #[inline]
    pub(super) fn whole<'a>(&self, text: &'a str) -> &'a str {
        let (start, end) = (self.name.start as usize - 1, self.value.end as usize);
        text.get(start..end).unwrap_or_default()
    }
}

/// The fields of an object in the order of the text. The fields of a value follow the field that has it.
pub(super) type Fields = SmallVec<[Field; 12]>;

/// Reads the fields of a text with one object. `None` if the text is no object.
pub(super) fn parse(text: &str) -> Option<Fields> {
    let mut fields = Fields::new();
    read(text, &mut fields)?;
    has_names(&fields, 0).then_some(fields)
}

/// The fields of the value of a field, with the level that they have here, if they are listed. The inner `None` if an
/// object with these fields is not valid.
pub(super) fn listed(fields: &Fields, index: usize) -> Option<Option<Fields>> {
    let (parent, below) = fields.get(index..)?.split_first()?;
    if !parent.is_listed {
        return None;
    }
    let is_below = |field: &&Field| field.level() > parent.level();
    let count = below.iter().take_while(is_below).count();
    let inner = Fields::from_slice(below.get(..count)?);
    Some(has_names(&inner, parent.level() + 1).then_some(inner))
}

fn has_names(fields: &Fields, level: u8) -> bool {
    fields
        .iter()
        .all(|field| field.has_name || field.level() != level)
}

fn read(text: &str, fields: &mut Fields) -> Option<()> {
    let mut scanner = Scanner::new(text)?;
    // The indices of the fields whose values are being read. The bits of `level` are the last index plus one.
    let mut parents = [0_usize; LEVELS as usize];
    let mut level = 0_u8;
    scanner.expect(b'{')?;
    let mut is_empty = scanner.skip_if(b'}');
    loop {
        while is_empty {
            let Some(parent) = level.checked_sub(1) else {
                return scanner.end();
            };
            level = parent;
            close(fields, parents[usize::from(parent)], scanner.position())?;
            is_empty = match scanner.next_token()? {
                b',' => false,
                b'}' => true,
                _ => return None,
            };
        }
        let mut field = Field::with_key(scanner.key()?, level, text)?;
        if level < LEVELS && scanner.skip_if(b'{') {
            field.value.start = scanner.position() as u32 - 1;
            parents[usize::from(level)] = fields.len();
            fields.push(field);
            level += 1;
            is_empty = scanner.skip_if(b'}');
            continue;
        }
        field.value = scanner.value()?;
        fields.push(field);
        is_empty = match scanner.next_token()? {
            b',' => false,
            b'}' => true,
            _ => return None,
        };
    }
}

/// Ends the object that is the value of a field.
fn close(fields: &mut Fields, index: usize, end: usize) -> Option<()> {
    let is_listed = fields.len() - index <= INNER_FIELDS_MAX;
    if !is_listed {
        fields.truncate(index + 1);
    }
    let field = fields.get_mut(index)?;
    field.is_listed = is_listed;
    field.value.end = end as u32;
    Some(())
}
