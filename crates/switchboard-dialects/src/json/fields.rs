//! The fields of an object and of the objects in it, found in one pass.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{raw::RawJson, scan::Scanner};

/// The levels of objects below the outer one whose fields are listed. This bounds the recursion.
const LEVELS: u8 = 2;

/// The largest number of fields that are listed for one value. The fields of a larger one are found when it is read.
const INNER_FIELDS_MAX: usize = 16;

/// A field of an object, or of an object in it.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    /// `None` if the key has a surrogate that is not one of a pair.
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) value: RawJson<'a>,
    /// 0 for a field of the object itself, 1 for a field of an object that is one of its values, and so on.
    pub(super) level: u8,
    /// Whether the value is an object whose fields are listed after this one.
    pub(super) is_listed: bool,
}

/// The fields of an object in the order of the text. The fields of a value follow the field that has it.
pub(super) type Fields<'a> = SmallVec<[Field<'a>; 8]>;

/// Reads the fields of a text with one object. `None` if the text is no object.
pub(super) fn parse(text: &str) -> Option<Fields<'_>> {
    let mut scanner = Scanner::new(text);
    let mut fields = Fields::new();
    read_object(&mut scanner, 0, &mut fields)?;
    scanner.end()?;
    has_names(&fields).then_some(fields)
}

/// The fields of `object`, if it is one of the values of these fields and its fields are listed. The inner `None` if
/// an object with these fields is not valid.
pub(super) fn listed<'a>(fields: &Fields<'a>, object: RawJson<'a>) -> Option<Option<Fields<'a>>> {
    let is_object =
        |field: &Field<'_>| field.is_listed && std::ptr::eq(field.value.as_str(), object.as_str());
    let index = fields.iter().position(is_object)?;
    let (parent, below) = fields.get(index..)?.split_first()?;
    let below = below.iter().take_while(|field| field.level > parent.level);
    let inner: Fields<'a> = below
        .map(|field| Field {
            level: field.level - parent.level - 1,
            ..field.clone()
        })
        .collect();
    Some(has_names(&inner).then_some(inner))
}

fn has_names(fields: &Fields<'_>) -> bool {
    let mut own = fields.iter().filter(|field| field.level == 0);
    own.all(|field| field.name.is_some())
}

fn read_object<'a>(scanner: &mut Scanner<'a>, level: u8, fields: &mut Fields<'a>) -> Option<()> {
    scanner.expect(b'{')?;
    if scanner.skip_if(b'}') {
        return Some(());
    }
    loop {
        let name = scanner.key()?;
        read_value(scanner, name, level, fields)?;
        match scanner.next_token()? {
            b',' => {}
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

fn read_value<'a>(
    scanner: &mut Scanner<'a>,
    name: Option<Cow<'a, str>>,
    level: u8,
    fields: &mut Fields<'a>,
) -> Option<()> {
    let is_listed = level < LEVELS && scanner.is_next(b'{');
    if !is_listed {
        let value = scanner.value()?;
        fields.push(Field {
            name,
            value,
            level,
            is_listed,
        });
        return Some(());
    }
    let (start, index) = (scanner.position(), fields.len());
    let value = RawJson::NULL;
    fields.push(Field {
        name,
        value,
        level,
        is_listed,
    });
    read_object(scanner, level + 1, fields)?;
    if fields.len() - index > INNER_FIELDS_MAX {
        fields.truncate(index + 1);
        fields[index].is_listed = false;
    }
    fields[index].value = scanner.value_from(start)?;
    Some(())
}
