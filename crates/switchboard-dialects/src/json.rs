//! Reading and writing JSON objects field by field.
//!
//! A frame is parsed once. Field values stay raw JSON until a dialect reads them. So a relayed frame keeps every
//! field, known or not, and its values are copied without being parsed.

mod block;
mod fields;
mod raw;
mod scan;
mod writer;

use std::borrow::Cow;

use switchboard_core::ErrorCode;

use self::{
    fields::{Field, Fields, Key, Match},
    raw::Escapes,
};
pub use self::{
    raw::RawJson,
    writer::{JsonWriter, quote},
};

/// A JSON object whose field values are raw JSON.
///
/// Keys match case-insensitively, and the last of several equal keys wins. The original servers do the same
/// (`encoding/json` of Go). Two letters outside ASCII (`ſ` and the Kelvin sign) match `s` and `k` too, because a receiver
/// may use the simple case folding of Unicode.
///
/// When an object is parsed, the syntax of its values is checked without recursion, so they may be nested to any depth.
/// A value is interpreted only when a dialect reads it; the depth to which this is possible is limited.
#[derive(Debug)]
pub struct JsonObject<'a> {
    /// The text with the fields: this object, or an object that has it as a value.
    text: &'a str,
    fields: Fields,
    /// The level of this object's own fields among `fields`.
    level: u8,
    /// The number of levels below this object that may be interpreted; `None` for no limit.
    levels: Option<usize>,
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub struct JsonField<'a> {
    text: &'a str,
    field: Field,
}

impl<'a> JsonField<'a> {
    /// The key, without escapes.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        let name = self.field.name(self.text);
        match self.field.name_escapes() {
            Escapes::None => Cow::Borrowed(name),
            escapes @ (Escapes::Short | Escapes::Unicode) => {
                let quoted = quoted(self.text, name);
                RawJson::new(quoted, escapes).text().unwrap_or_default()
            }
        }
    }

    /// The value, as it stands in the text.
    #[must_use]
    pub fn value(&self) -> RawJson<'a> {
        self.field.value(self.text)
    }

    /// The field as it stands in the text: the key, the colon and the value.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.field.whole(self.text)
    }
}

/// Keys that are looked up together.
#[derive(Debug)]
pub struct Keys<const N: usize>([Key<'static>; N]);

impl<const N: usize> Keys<N> {
    /// The keys with these names, which are ASCII and not empty.
    #[must_use]
    pub const fn new(names: [&'static str; N]) -> Self {
        let mut keys = [Key::new(""); N];
        let mut index = 0;
        while index < N {
            keys[index] = Key::new(names[index]);
            index += 1;
        }
        Self(keys)
    }
}

/// The fields of a key that was looked up with [`JsonObject::find`].
#[derive(Clone, Copy, Debug)]
pub struct FoundKey<'a> {
    key: &'static str,
    /// The index among the searched fields, and the value, of the last field of the key.
    index: usize,
    last: Option<RawJson<'a>>,
    spelling: Spelling,
}

/// How the keys are spelled that match a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// There is at most one key, and it is spelled exactly so.
    Exact,
    /// There is one key, with another spelling.
    Other,
    /// There are several keys.
    Several,
}

impl<'a> FoundKey<'a> {
    #[inline(always)]
    fn absent(key: Key<'static>) -> Self {
        Self {
            key: key.name(),
            index: 0,
            last: None,
            spelling: Spelling::Exact,
        }
    }

    #[inline(always)]
    fn add(&mut self, index: usize, value: RawJson<'a>, result: Match) {
        self.spelling = match self.last {
            Some(_) => Spelling::Several,
            None if result == Match::Exact => Spelling::Exact,
            None => Spelling::Other,
        };
        (self.index, self.last) = (index, Some(value));
    }

    /// The last value of the key, if it is present.
    #[must_use]
    #[inline]
    pub fn last(&self) -> Option<RawJson<'a>> {
        self.last
    }

    /// The last value of the key, if it is present and not `null`.
    #[must_use]
    #[inline]
    pub fn get(&self) -> Option<RawJson<'a>> {
        self.last.filter(|raw| !raw.is_null())
    }

    /// The string of this key, if it is present and not `null`.
    ///
    /// # Errors
    /// [`ErrorCode::BadField`] if the value is not a string.
    #[inline]
    pub fn text(&self) -> Result<Option<Cow<'a, str>>, ErrorCode> {
        match self.get() {
            Some(raw) => raw.text().map(Some).ok_or(ErrorCode::BadField(self.key)),
            None => Ok(None),
        }
    }

    /// Checks that the value of this key is a string, if it is present and not `null`.
    ///
    /// # Errors
    /// [`ErrorCode::BadField`] if the value is not a string.
    #[inline]
    pub fn check_text(&self) -> Result<(), ErrorCode> {
        let is_valid = self.get().is_none_or(RawJson::is_text);
        is_valid.then_some(()).ok_or(ErrorCode::BadField(self.key))
    }

    /// The value of a key that occurs once, with exactly this spelling. Otherwise `None`: a receiver may read another of
    /// the matching keys than this server.
    #[must_use]
    #[inline]
    pub fn only_exactly(&self) -> Option<RawJson<'a>> {
        self.last.filter(|_| self.spelling == Spelling::Exact)
    }

    /// Whether at most one key matches.
    #[must_use]
    #[inline]
    pub fn is_only(&self) -> bool {
        self.spelling != Spelling::Several
    }
}

impl<'a> JsonObject<'a> {
    /// Parses an object. At most `depth` levels of it may be interpreted (0: no limit).
    ///
    /// # Errors
    /// [`ErrorCode::Malformed`] if the text is not a JSON object, or has 4 GiB.
    pub fn parse(text: &'a str, depth: usize) -> Result<Self, ErrorCode> {
        let fields = fields::parse(text).ok_or(ErrorCode::Malformed)?;
        Ok(Self {
            text,
            fields,
            level: 0,
            levels: depth.checked_sub(1),
        })
    }

    /// The whole text with this object: its own, or that of an object that has it as a value.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// Parses a value of this object as an object.
    ///
    /// # Errors
    /// [`ErrorCode::Malformed`] if it is not an object; [`ErrorCode::TooDeep`] if it is nested too deeply.
    pub fn nested(&self, raw: RawJson<'a>) -> Result<Self, ErrorCode> {
        let is_value = |field: &Field| std::ptr::eq(field.value(self.text).as_str(), raw.as_str());
        match self.fields.iter().position(is_value) {
            Some(index) => self.nested_at(index),
            None => self.nested_text(raw),
        }
    }

    /// Parses the value of a field as an object.
    fn nested_at(&self, index: usize) -> Result<Self, ErrorCode> {
        let Some(fields) = fields::listed(&self.fields, index) else {
            return self.nested_text(self.fields[index].value(self.text));
        };
        Ok(Self {
            text: self.text,
            fields: fields.ok_or(ErrorCode::Malformed)?,
            level: self.level + 1,
            levels: self.levels_below()?,
        })
    }

    fn nested_text(&self, raw: RawJson<'a>) -> Result<Self, ErrorCode> {
        let fields = fields::parse(raw.as_str()).ok_or(ErrorCode::Malformed)?;
        Ok(Self {
            text: raw.as_str(),
            fields,
            level: 0,
            levels: self.levels_below()?,
        })
    }

    /// The number of levels below the objects in this one that may be interpreted.
    fn levels_below(&self) -> Result<Option<usize>, ErrorCode> {
        match self.levels {
            Some(levels) => Ok(Some(levels.checked_sub(1).ok_or(ErrorCode::TooDeep)?)),
            None => Ok(None),
        }
    }

    /// The fields of this key, in the order of the text, with their indices.
    #[inline]
    fn matching<'s>(&'s self, key: &'s str) -> impl Iterator<Item = (usize, &'s Field)> + 's {
        let key = Key::new(key);
        let is_key = move |field: &Field| key.compare(field, self.level, self.text) != Match::None;
        let fields = self.fields.iter().enumerate();
        fields.filter(move |(_, field)| is_key(field))
    }

    /// The last field of this key, if it is present and not `null`.
    #[inline]
    fn field(&self, key: &str) -> Option<(usize, RawJson<'a>)> {
        let (index, field) = self.matching(key).last()?;
        Some((index, field.value(self.text))).filter(|(_, raw)| !raw.is_null())
    }

    /// Looks up several keys in one pass. The fields of other keys are [`JsonObject::others`].
    pub fn find<const N: usize>(&mut self, keys: &'static Keys<N>) -> [FoundKey<'a>; N] {
        find(&mut self.fields, self.level, self.text, keys)
    }

    /// Looks up several keys of an object that is the value of `parent`. `None` if the value is no object, or is nested
    /// too deeply. Faster than to parse the value as an object, if only values without fields are read.
    #[inline]
    pub fn find_in<const N: usize>(
        &mut self,
        parent: &FoundKey<'a>,
        keys: &'static Keys<N>,
    ) -> Option<[FoundKey<'a>; N]> {
        parent.get()?;
        match fields::below(&mut self.fields, parent.index) {
            Some(below) if self.levels != Some(0) => {
                Some(find(below, self.level + 1, self.text, keys))
            }
            _ => Some(self.object_at(parent.index, parent.key).ok()?.find(keys)),
        }
    }

    /// The fields of keys that were not looked up with [`JsonObject::find`].
    #[inline]
    pub fn others(&self) -> impl Iterator<Item = JsonField<'a>> {
        self.own_fields().filter(|own| !own.field.is_known)
    }

    /// All values of this key, in the order of the text.
    #[inline]
    pub fn all<'s>(&'s self, key: &'s str) -> impl Iterator<Item = RawJson<'a>> + 's {
        self.matching(key).map(|(_, field)| field.value(self.text))
    }

    /// The value of this key, if it is present and not `null`.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &str) -> Option<RawJson<'a>> {
        self.field(key).map(|(_, raw)| raw)
    }

    /// The string of this key, if it is present and not `null`.
    ///
    /// # Errors
    /// [`ErrorCode::BadField`] if the value is not a string.
    #[inline]
    pub fn text(&self, key: &'static str) -> Result<Option<Cow<'a, str>>, ErrorCode> {
        match self.get(key) {
            Some(raw) => raw.text().map(Some).ok_or(ErrorCode::BadField(key)),
            None => Ok(None),
        }
    }

    /// The value of `key`, which is `type`. If several keys match it, their values must be the same: otherwise a receiver
    /// could read another one than this server, and take the frame for one of the server's own.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownType`] without a type; [`ErrorCode::BadField`] if the values differ.
    #[inline]
    pub fn only_type(&self, key: &FoundKey<'a>) -> Result<Cow<'a, str>, ErrorCode> {
        let frame_type = key.text().ok().flatten();
        let frame_type = frame_type.ok_or(ErrorCode::UnknownType)?;
        let is_same = |raw: RawJson<'a>| raw.text().as_ref() == Some(&frame_type);
        if key.is_only() || self.all(key.key).all(is_same) {
            Ok(frame_type)
        } else {
            Err(ErrorCode::BadField("type"))
        }
    }

    /// The name under a key, if it is present and neither `null` nor empty. If several keys match, their values
    /// must be the same: otherwise a receiver could read another name than the one used for routing.
    ///
    /// # Errors
    /// [`ErrorCode::BadField`] if a value is not a string, or the values differ.
    #[inline]
    pub fn only_name(&self, key: &FoundKey<'a>) -> Result<Option<Cow<'a, str>>, ErrorCode> {
        if key.is_only() {
            return Ok(key.text()?.filter(|name| !name.is_empty()));
        }
        let key = key.key;
        let name = |raw: RawJson<'a>| match raw.is_null() {
            true => Ok(None),
            false => raw.text().map(Some).ok_or(ErrorCode::BadField(key)),
        };
        let mut spellings = self.all(key).map(name);
        let first = spellings.next().transpose()?.flatten();
        let first = first.filter(|name| !name.is_empty());
        for other in spellings {
            if other?.filter(|name| !name.is_empty()) != first {
                return Err(ErrorCode::BadField(key));
            }
        }
        Ok(first)
    }

    /// Whether there is a key with exactly this spelling.
    #[must_use]
    #[inline]
    pub fn has_exactly(&self, key: &str) -> bool {
        let key = Key::new(key);
        let mut fields = self.fields.iter();
        fields.any(|field| key.compare(field, self.level, self.text) == Match::Exact)
    }

    /// The object under this key, if it is present and not `null`.
    ///
    /// # Errors
    /// [`ErrorCode::BadField`] if the value is not an object; [`ErrorCode::TooDeep`] if it is nested too deeply.
    pub fn object(&self, key: &'static str) -> Result<Option<Self>, ErrorCode> {
        match self.field(key) {
            Some((index, _)) => self.object_at(index, key).map(Some),
            None => Ok(None),
        }
    }

    /// The object under a key, if it is present and not `null`.
    ///
    /// # Errors
    /// As those of [`JsonObject::object`].
    pub fn object_of(&self, key: &FoundKey<'a>) -> Result<Option<Self>, ErrorCode> {
        match key.get() {
            Some(_) => self.object_at(key.index, key.key).map(Some),
            None => Ok(None),
        }
    }

    /// Checks that the value of a key is an object, if it is present and not `null`.
    ///
    /// # Errors
    /// As those of [`JsonObject::object`].
    pub fn check_object(&self, key: &FoundKey<'a>) -> Result<(), ErrorCode> {
        let is_listed = || fields::is_listed(&self.fields, key.index) && self.levels != Some(0);
        if key.get().is_none() || is_listed() {
            return Ok(());
        }
        self.object_at(key.index, key.key).map(|_| ())
    }

    fn object_at(&self, index: usize, key: &'static str) -> Result<Self, ErrorCode> {
        match self.nested_at(index) {
            Err(ErrorCode::Malformed) => Err(ErrorCode::BadField(key)),
            result => result,
        }
    }

    /// The field of an object with exactly one field.
    #[must_use]
    #[inline]
    pub fn only_field(&self) -> Option<JsonField<'a>> {
        let mut fields = self.own_fields();
        let only = fields.next()?;
        fields.next().is_none().then_some(only)
    }

    #[inline]
    fn own_fields(&self) -> impl Iterator<Item = JsonField<'a>> {
        let own = self.fields.iter();
        let own = own.filter(|field| field.level() == self.level);
        own.map(|field| JsonField {
            text: self.text,
            field: *field,
        })
    }

    /// The fields whose keys match none of `excluded`.
    #[inline]
    pub fn rest<'s>(&'s self, excluded: &'s [&str]) -> impl Iterator<Item = JsonField<'a>> + 's {
        let is_excluded = |field: &Field| {
            let mut keys = excluded.iter();
            keys.any(|key| Key::new(key).compare(field, self.level, self.text) != Match::None)
        };
        self.own_fields()
            .filter(move |own| !is_excluded(&own.field))
    }
}

/// Looks up the keys of the fields at `level`.
fn find<'a, const N: usize>(
    fields: &mut [Field],
    level: u8,
    text: &'a str,
    keys: &Keys<N>,
) -> [FoundKey<'a>; N] {
    let mut found = keys.0.map(FoundKey::absent);
    for (index, field) in fields.iter_mut().enumerate() {
        if !field.is_at(level) {
            continue;
        }
        for (key, found) in keys.0.iter().zip(&mut found) {
            let result = key.compare(field, level, text);
            if result != Match::None {
                field.is_known = true;
                found.add(index, field.value(text), result);
                break;
            }
        }
    }
    found
}

/// The JSON string whose content is `name`, which is a part of `text`.
fn quoted<'a>(text: &'a str, name: &'a str) -> &'a str {
    let start = name.as_ptr().addr() - text.as_ptr().addr();
    text.get(start - 1..start + name.len() + 1)
        .unwrap_or_default()
}

/// Whether brackets in this JSON are nested deeper than `depth` (0: no limit). Brackets in strings do not
/// count.
#[must_use]
pub fn is_deeper(text: &str, depth: usize) -> bool {
    if depth == 0 {
        return false;
    }
    let (mut level, mut in_string, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => level += 1,
            b'}' | b']' if !in_string => level = usize::saturating_sub(level, 1),
            _ => {}
        }
        if level > depth {
            return true;
        }
    }
    false
}

/// Replaces each of `values` in `text` by `replacement`.
///
/// The values must be slices of `text` in order, as [`JsonObject::all`] returns them.
#[must_use]
pub fn splice(text: &str, values: &[RawJson<'_>], replacement: &str) -> String {
    let mut output = String::with_capacity(text.len() + values.len() * replacement.len());
    let mut copied_to = 0;
    for value in values {
        let start = value.as_str().as_ptr().addr() - text.as_ptr().addr();
        output.push_str(&text[copied_to..start]);
        output.push_str(replacement);
        copied_to = start + value.as_str().len();
    }
    output.push_str(&text[copied_to..]);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_in_any_case_and_the_last_wins() {
        let object =
            JsonObject::parse(r#"{"Type":"a","tYpe":"b","other":null}"#, 8).expect("an object");
        assert_eq!(object.text("type"), Ok(Some("b".into())));
        assert_eq!(object.text("other"), Ok(None));
        assert_eq!(object.text("absent"), Ok(None));
        assert_eq!(
            object
                .rest(&["type"])
                .map(|field| field.name())
                .collect::<Vec<_>>(),
            ["other"]
        );
    }

    #[test]
    fn duplicate_keys_of_a_name_must_have_the_same_value() {
        for (fields, expected) in [
            (r#""other":1"#, Ok(None)),
            (r#""id":null"#, Ok(None)),
            (r#""id":"","ID":null"#, Ok(None)),
            (r#""id":"x""#, Ok(Some("x"))),
            (r#""id":"x","\u0049d":"\u0078""#, Ok(Some("x"))),
            (r#""id":"x","id":"y""#, Err(())),
            (r#""id":"x","Id":"y""#, Err(())),
            (r#""id":"x","ID":"""#, Err(())),
            (r#""id":null,"ID":"x""#, Err(())),
            (r#""id":7"#, Err(())),
            (r#""id":"x","ID":7"#, Err(())),
        ] {
            let text = format!("{{{fields}}}");
            let mut object = JsonObject::parse(&text, 8).expect("an object");
            let [id] = object.find(const { &Keys::new(["id"]) });
            let name = object.only_name(&id);
            let expected = expected
                .map(|name| name.map(Cow::Borrowed))
                .map_err(|()| ErrorCode::BadField("id"));
            assert_eq!(name, expected, "{fields}");
        }
    }

    #[test]
    fn keys_match_under_unicode_case_folding() {
        let text = "{\"\u{17f}ender\":\"x\",\"\u{212a}ind\":\"y\",\"s\u{e9}nder\":1}";
        let object = JsonObject::parse(text, 8).expect("an object");
        assert_eq!(object.text("sender"), Ok(Some("x".into())));
        assert_eq!(object.text("kind"), Ok(Some("y".into())));
        assert_eq!(object.rest(&["sender", "kind"]).count(), 1);
    }

    #[test]
    fn escapes_in_keys_are_decoded() {
        let object = JsonObject::parse(r#"{"sender\u0049D":"x"}"#, 8).expect("an object");
        assert_eq!(object.text("senderID"), Ok(Some("x".into())));
    }

    #[test]
    fn the_interpreted_depth_is_bounded() {
        let object = JsonObject::parse(r#"{"a":{"b":{"c":1}}}"#, 2).expect("an object");
        let inner = object.object("a").expect("two levels").expect("a field");
        assert_eq!(inner.object("b").err(), Some(ErrorCode::TooDeep));
        assert_eq!(object.object("b").map(|b| b.is_none()), Ok(true));
        let object = JsonObject::parse(r#"{"a":[{}]}"#, 1).expect("an object");
        assert_eq!(object.object("a").err(), Some(ErrorCode::BadField("a")));
    }

    #[test]
    fn opaque_values_may_be_nested_to_any_depth() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let text = format!(r#"{{"a":{deep},"b":{{"c":{deep}}}}}"#);
        let object = JsonObject::parse(&text, 2).expect("an object");
        assert_eq!(object.get("a").map(RawJson::as_str), Some(&*deep));
        let inner = object.object("b").expect("an object").expect("a field");
        assert_eq!(inner.get("c").map(RawJson::as_str), Some(&*deep));
        assert_eq!(
            JsonObject::parse(&text[..text.len() - 9], 2).err(),
            Some(ErrorCode::Malformed)
        );
    }

    #[test]
    fn inner_objects_of_any_size_and_depth_have_only_their_own_fields() {
        for inner_fields in [0, 1, 15, 16, 17, 40] {
            let inner: Vec<_> = (0..inner_fields)
                .map(|number| format!(r#""k{number}":{{"x":{{"y":{{"z":{number}}}}}}}"#))
                .collect();
            let text = format!(r#"{{"a":{{{}}},"b":1}}"#, inner.join(","));
            let object = JsonObject::parse(&text, 0).expect("an object");
            assert_eq!(object.rest(&[]).count(), 2);
            let inner = object.object("a").expect("an object").expect("a field");
            assert_eq!(inner.rest(&[]).count(), inner_fields);
            for field in inner.rest(&[]) {
                let mut innermost = inner.nested(field.value()).expect("an object");
                for key in ["x", "y"] {
                    innermost = innermost.object(key).expect("an object").expect("a field");
                }
                let only = innermost.only_field().expect("one field");
                assert_eq!(only.name(), "z");
            }
        }
    }

    #[test]
    fn strings_do_not_count_as_depth() {
        assert!(!is_deeper(r#"{"a":[[1]]}"#, 3));
        assert!(is_deeper(r#"{"a":[[[1]]]}"#, 3));
        assert!(!is_deeper(r#"{"a":"[[[[\"[[[["}"#, 3));
        assert!(!is_deeper("[[[[", 0));
    }

    #[test]
    fn only_objects_are_read() {
        for text in [
            "",
            "[]",
            "null",
            "7",
            "\"s\"",
            "{bad",
            "{} trailing",
            "{\"a\":1",
        ] {
            assert_eq!(
                JsonObject::parse(text, 8).err(),
                Some(ErrorCode::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn splices_keep_every_other_byte() {
        let text = r#"{ "id" : "x" , "b":[1, 2],"ID":null }"#;
        let object = JsonObject::parse(text, 8).expect("an object");
        let values: Vec<_> = object.all("id").collect();
        assert_eq!(
            splice(text, &values, "\"me\""),
            r#"{ "id" : "me" , "b":[1, 2],"ID":"me" }"#
        );
    }

    #[test]
    fn writers_escape() {
        let hostile = "a\"b\\c\n\r\t\u{1}é\u{2028}";
        let frame = JsonWriter::default()
            .text("k", hostile)
            .texts("list", ["x", "y"])
            .object("o", |o| o.number("n", 7))
            .objects("empty", Vec::<u8>::new(), |o, _| o)
            .finish();
        let value: serde_json::Value = serde_json::from_str(&frame).expect("JSON");
        assert_eq!(value["k"], hostile);
        assert_eq!(value["list"], serde_json::json!(["x", "y"]));
        assert_eq!(value["o"]["n"], 7);
        assert_eq!(value["empty"], serde_json::json!([]));
    }
}
