//! The fields of an object and of the objects in it, found in one pass.

use smallvec::SmallVec;

use super::{
    raw::{Escapes, RawJson, unescaped},
    scan::{Range, Scanner, Value},
};

/// How many levels of objects below the outer one have their fields listed. Objects below those are skipped as values.
const LEVELS: u8 = 2;

/// One more than the most fields that are listed for one value, with those of the objects in it. The fields of a larger
/// one are found when it is read.
const INNER_FIELDS_MAX: usize = 16;

/// A field of an object, or of an object in it, as places in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    tag: Tag,
    /// The key without its quotes.
    name: Range,
    value: Range,
    /// The escapes in the key. `None` if it cannot be decoded: it has an unpaired surrogate.
    name_escapes: Option<Escapes>,
    value_escapes: Escapes,
    /// Whether the value is an object whose fields are listed after this one.
    is_listed: bool,
    /// Whether the key is one of those that were looked up.
    pub(super) is_known: bool,
}

/// The level of a field, and the first two letters of its key. Nearly all keys that differ have other tags, so most
/// are told apart by one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    /// The letters of keys that have an escape, or begin with letters outside ASCII.
    const UNUSUAL: u32 = 0xffff;

    /// The tag of the key at the start of `name`, which goes on beyond the key: the second letter of a one-letter key
    /// is its closing quote.
    #[inline(always)]
    fn of(level: u8, name: &[u8]) -> Self {
        let letters = name.first_chunk::<2>().copied().unwrap_or([0x80; 2]);
        Self(u32::from(level) << 16 | Self::letters(letters))
    }

    /// The first two letters in lower case. Some other ASCII characters collide, so equal numbers prove nothing.
    #[inline(always)]
    const fn letters(letters: [u8; 2]) -> u32 {
        let letters = u16::from_be_bytes(letters) as u32;
        match letters & 0x8080 {
            0 => letters | 0x2020,
            _ => Self::UNUSUAL,
        }
    }

    /// The letters, if the field is at this level. Otherwise a number that no key has.
    #[inline(always)]
    fn letters_at(self, level: u8) -> u32 {
        self.0 ^ (u32::from(level) << 16)
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'k> {
    name: &'k str,
    letters: u32,
}

/// The result of a comparison with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    None,
    /// The key is spelled exactly so.
    Exact,
    /// The key is spelled in another case.
    Folded,
}

impl<'k> Key<'k> {
    #[inline(always)]
    pub(super) const fn new(name: &'k str) -> Self {
        let letters = match name.as_bytes() {
            [first, second, ..] => Tag::letters([*first, *second]),
            [letter] => Tag::letters([*letter, b'"']),
            [] => Tag::UNUSUAL,
        };
        Self { name, letters }
    }

    #[inline(always)]
    pub(super) fn name(self) -> &'k str {
        self.name
    }

    /// Whether this is the key of a field at `level`, ignoring case. Two letters outside ASCII (`ſ` and the Kelvin
    /// sign) match `s` and `k` too, because a receiver may use the simple case folding of Unicode.
    #[inline(always)]
    pub(super) fn compare(self, field: &Field, level: u8, text: &str) -> Match {
        let letters = field.tag.letters_at(level);
        if letters != self.letters && letters != Tag::UNUSUAL {
            return Match::None;
        }
        let name = field.name.bytes(text);
        match name == self.name.as_bytes() {
            true => Match::Exact,
            // A letter outside ASCII, and an escape, take more bytes than the letter that they match.
            false if name.len() >= self.name.len() => compare_folded(field.name(text), self.name),
            false => Match::None,
        }
    }
}

/// Compares a key, which may have escapes, with `key`.
#[inline(never)]
fn compare_folded(name: &str, key: &str) -> Match {
    let folded = unescaped(name).map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    if !folded.eq(key.chars().map(|letter| letter.to_ascii_lowercase())) {
        return Match::None;
    }
    match unescaped(name).eq(key.chars()) {
        true => Match::Exact,
        false => Match::Folded,
    }
}

/// Whether a key with escapes can be decoded. Not if it has an unpaired surrogate.
#[cold]
fn is_decodable(name: Value, text: &str) -> bool {
    let quoted = name.range.start as usize - 1..name.range.end as usize + 1;
    let quoted = text.get(quoted).unwrap_or_default();
    RawJson::new(quoted, name.escapes).is_text()
}

impl Field {
    /// A field whose value is not read yet.
    #[inline(always)]
    fn with_key(name: Value, level: u8, text: &str) -> Option<Self> {
        let tag = match name.escapes {
            Escapes::None => Tag::of(level, text.as_bytes().get(name.range.start as usize..)?),
            Escapes::Short | Escapes::Unicode => Tag::unusual(level),
        };
        let is_decodable = name.escapes != Escapes::Unicode || is_decodable(name, text);
        Some(Self {
            tag,
            name: name.range,
            value: Range::default(),
            name_escapes: is_decodable.then_some(name.escapes),
            value_escapes: Escapes::None,
            is_listed: false,
            is_known: false,
        })
    }

    #[inline]
    pub(super) fn level(&self) -> u8 {
        self.tag.level()
    }

    /// Whether the field is one of an object at this level.
    #[inline(always)]
    pub(super) fn is_at(&self, level: u8) -> bool {
        self.tag.letters_at(level) <= Tag::UNUSUAL
    }

    /// The name of the field as it is spelled in the text, without the quotes.
    #[inline]
    pub(super) fn name<'a>(&self, text: &'a str) -> &'a str {
        self.name.text(text)
    }

    pub(super) fn name_escapes(&self) -> Escapes {
        self.name_escapes.unwrap_or_default()
    }

    #[inline]
    pub(super) fn value<'a>(&self, text: &'a str) -> RawJson<'a> {
        RawJson::new(self.value.text(text), self.value_escapes)
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
    has_decodable_keys(&fields, 0).then_some(fields)
}

/// The fields of the object that is the value of field `index`; their levels still count from the outer object. `None`
/// if they are not listed, `Some(None)` if a key of that object itself cannot be decoded.
pub(super) fn listed(fields: &Fields, index: usize) -> Option<Option<Fields>> {
    let (parent, below) = fields.get(index..)?.split_first()?;
    if !parent.is_listed {
        return None;
    }
    let is_below = |field: &&Field| field.level() > parent.level();
    let count = below.iter().take_while(is_below).count();
    let inner = Fields::from_slice(below.get(..count)?);
    Some(has_decodable_keys(&inner, parent.level() + 1).then_some(inner))
}

/// Whether the value of a field is an object whose fields are listed and whose keys can all be decoded.
pub(super) fn is_listed(fields: &Fields, index: usize) -> bool {
    let Some((parent, below)) = fields.get(index..).and_then(<[Field]>::split_first) else {
        return false;
    };
    let is_below = |field: &&Field| field.level() > parent.level();
    let has_decodable_key = |field: &Field| field.name_escapes.is_some();
    parent.is_listed && below.iter().take_while(is_below).all(has_decodable_key)
}

/// The fields of the value of a field, if it is an object whose fields are listed and whose keys can all be decoded.
pub(super) fn below(fields: &mut Fields, index: usize) -> Option<&mut [Field]> {
    let (parent, below) = fields.get_mut(index..)?.split_first_mut()?;
    let is_below = |field: &&Field| field.level() > parent.level();
    let below_count = below.iter().take_while(is_below).count();
    let below = below.get_mut(..below_count)?;
    let has_decodable_keys = below.iter().all(|field| field.name_escapes.is_some());
    (parent.is_listed && has_decodable_keys).then_some(below)
}

/// Whether the keys of all fields at `level` can be decoded.
fn has_decodable_keys(fields: &Fields, level: u8) -> bool {
    fields
        .iter()
        .all(|field| field.name_escapes.is_some() || field.level() != level)
}

fn read(text: &str, fields: &mut Fields) -> Option<()> {
    let mut scanner = Scanner::new(text)?;
    // The indices of the fields whose values are being read: one for each level.
    let mut parents = [0_usize; LEVELS as usize];
    let mut level = 0_u8;
    scanner.expect(b'{')?;
    let mut token = scanner.next_token()?;
    loop {
        if token == b'"' {
            let mut field = Field::with_key(scanner.key()?, level, text)?;
            let first = scanner.next_token()?;
            if first == b'{' && level < LEVELS {
                field.value.start = scanner.position() as u32 - 1;
                parents[usize::from(level)] = fields.len();
                fields.push(field);
                level += 1;
                token = scanner.next_token()?;
                continue;
            }
            let value = scanner.value_after(first)?;
            (field.value, field.value_escapes) = (value.range, value.escapes);
            fields.push(field);
            token = scanner.next_token()?;
        } else if token != b'}' {
            return None;
        }
        while token == b'}' {
            let Some(parent) = level.checked_sub(1) else {
                return scanner.end();
            };
            level = parent;
            close(fields, parents[usize::from(parent)], scanner.position())?;
            token = scanner.next_token()?;
        }
        if token != b',' {
            return None;
        }
        token = scanner.next_token()?;
        if token != b'"' {
            return None;
        }
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
