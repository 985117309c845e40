//! Compares the JSON reader of the dialects with `serde_json`.

use std::{borrow::Cow, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use switchboard_dialects::json::{FoundKey, JsonObject, JsonWriter, Keys, RawJson, quote, splice};

/// The depth to which values are compared one by one. Deeper ones are parts of the compared texts.
const DEPTH: usize = 6;

/// Reads a text with both readers. They must accept the same texts, and find the same values at the same places.
///
/// # Panics
/// If the results differ.
pub fn json(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let value = RawJson::parse(text);
    let expected: Option<&RawValue> = serde_json::from_str(text).ok();
    assert_eq!(
        value.map(|value| range(text, value.as_str())),
        expected.map(|value| range(text, value.get())),
        "{text}"
    );
    compare_objects(JsonObject::parse(text, 0).ok(), text, DEPTH);
    if let Some(value) = value {
        compare_values(value, DEPTH);
    }
    let quoted = serde_json::to_string(text).expect("a string");
    assert_eq!(unescaped(&quote(text)), unescaped(&quoted));
}

/// Where `part` is in `text`.
fn range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The text of a JSON string. Its escapes may have several spellings.
fn unescaped(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn compare_values(value: RawJson<'_>, depth: usize) {
    let text = value.as_str();
    assert_eq!(value.is_null(), text == "null");
    assert_eq!(value.text().map(Cow::into_owned), unescaped(text), "{text}");
    let elements = value.elements();
    let expected: Option<Vec<&RawValue>> = serde_json::from_str(text).ok();
    let ranges = elements
        .as_deref()
        .map(|elements| ranges_of(text, elements.iter().map(|element| element.as_str())));
    let expected = expected
        .as_deref()
        .map(|elements| ranges_of(text, elements.iter().map(|element| element.get())));
    assert_eq!(ranges, expected, "{text}");
    for element in elements.into_iter().flatten() {
        if let Some(depth) = depth.checked_sub(1) {
            compare_values(element, depth);
        }
    }
}

fn ranges_of<'t>(text: &str, values: impl Iterator<Item = &'t str>) -> Vec<Range<usize>> {
    values.map(|value| range(text, value)).collect()
}

fn compare_objects(object: Option<JsonObject<'_>>, text: &str, depth: usize) {
    let expected: Option<SerdeFields<'_>> = serde_json::from_str(text).ok();
    let is_object = object.is_some();
    let (Some(mut object), Some(expected)) = (object, &expected) else {
        assert_eq!(is_object, expected.is_some(), "{text}");
        return;
    };
    let fields: Vec<_> = object
        .rest(&[])
        .map(|field| {
            (
                field.name().into_owned(),
                range(text, field.value().as_str()),
            )
        })
        .collect();
    let expected: Vec<_> = (expected.0.iter())
        .map(|(name, value)| ((**name).to_owned(), range(text, value.get())))
        .collect();
    assert_eq!(fields, expected, "{text}");
    compare_keys(&mut object, &expected, text);
    assert_copied(&object, text);
    for value in object.rest(&[]).map(|field| field.value()) {
        compare_values(value, 1);
        if let Some(depth) = depth.checked_sub(1) {
            compare_objects(object.nested(value).ok(), value.as_str(), depth);
        }
    }
}

/// The keys that are looked up.
const NAMES: [&str; 5] = ["type", "a", "as", "typeType", "ka"];

/// Looks up keys, and compares the results with those of a comparison of all keys.
fn compare_keys(object: &mut JsonObject<'_>, expected: &[(String, Range<usize>)], text: &str) {
    static KEYS: Keys<{ NAMES.len() }> = Keys::new(NAMES);
    let found = object.find(&KEYS);
    for (key, found) in NAMES.into_iter().zip(found) {
        let folded = key.to_ascii_lowercase();
        let matching = || expected.iter().filter(|(name, _)| fold(name) == folded);
        let last = matching().next_back();
        let value = |raw: RawJson<'_>| range(text, raw.as_str());
        assert_eq!(
            found.last().map(value),
            last.map(|(_, value)| value.clone()),
            "{key} in {text}"
        );
        assert_eq!(found.is_only(), matching().count() <= 1, "{key} in {text}");
        let exact = last.filter(|(name, _)| matching().count() == 1 && name == key);
        assert_eq!(
            found.only_exactly().map(value),
            exact.map(|(_, value)| value.clone()),
            "{key} in {text}"
        );
        let has_exactly = expected.iter().any(|(name, _)| name == key);
        assert_eq!(object.has_exactly(key), has_exactly, "{key} in {text}");
    }
    let is_known = |name: &str| {
        NAMES
            .iter()
            .any(|key| fold(name) == key.to_ascii_lowercase())
    };
    let others = expected.iter().filter(|(name, _)| !is_known(name));
    assert!(
        object
            .others()
            .map(|field| range(text, field.value().as_str()))
            .eq(others.map(|(_, value)| value.clone())),
        "{text}"
    );
    for key in found {
        let summary = |key: FoundKey<'_>| {
            let value = key.last().map(|raw| range(text, raw.as_str()));
            (value, key.is_only(), key.only_exactly().is_some())
        };
        let inner = object.object_of(&key).ok().flatten();
        let expected = inner.map(|mut inner| inner.find(&KEYS).map(summary));
        let inner = object.find_in(&key, &KEYS);
        assert_eq!(inner.map(|found| found.map(summary)), expected, "{text}");
    }
}

/// A key in lower case, with the letters outside ASCII that match letters of ASCII.
fn fold(name: &str) -> String {
    name.replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
        .to_ascii_lowercase()
}

/// Writes the object anew, and replaces all its values.
fn assert_copied(object: &JsonObject<'_>, text: &str) {
    let copy = JsonWriter::default().fields(object.rest(&[])).finish();
    let values = |object: &JsonObject<'_>| {
        let values = object.rest(&[]);
        values
            .map(|field| field.value().as_str().to_owned())
            .collect::<Vec<_>>()
    };
    let names = |object: &JsonObject<'_>| {
        let names = object.rest(&[]);
        names
            .map(|field| field.name().into_owned())
            .collect::<Vec<_>>()
    };
    let copied = JsonObject::parse(&copy, 0).expect("an object");
    assert_eq!(
        (names(&copied), values(&copied)),
        (names(object), values(object))
    );
    let all: Vec<_> = object.rest(&[]).map(|field| field.value()).collect();
    let spliced = splice(text, &all, "0");
    let spliced = JsonObject::parse(&spliced, 0).expect("an object");
    assert_eq!(names(&spliced), names(object), "{text}");
    assert!(values(&spliced).iter().all(|value| value == "0"), "{text}");
}

/// The fields of an object as `serde_json` reads them.
struct SerdeFields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for SerdeFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Self)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
            fields.push((name, value));
        }
        Ok(fields)
    }
}
