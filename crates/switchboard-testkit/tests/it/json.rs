//! The JSON reader of the dialects accepts the texts that `serde_json` accepts, and finds the same values. The number
//! of texts grows with the variable `PROPTEST_CASES`.

use proptest::{collection::vec, prelude::*, sample::Index};
use switchboard_testkit::fuzz;

/// Parts of strings: escapes, valid or not, bytes around the bounds of the classes, and long plain texts.
const STRING_PARTS: [&str; 30] = [
    "\u{212a}",
    "\\u0061",
    "\\r\\n",
    "\\\"",
    "\\\\",
    "\\/",
    "\\b",
    "\\f",
    "\\t",
    "\\u0041",
    "\\uD83D\\uDE00",
    "\\ud83d",
    "\\uDE00",
    "\\u00e9",
    "a",
    "type",
    "TYPE",
    "\u{17f}",
    "\u{e9}",
    "\u{1f600}",
    "{[",
    "]}",
    ",:",
    "\u{7f}",
    "\u{80}",
    " !#[]",
    "a=candidate:1 1 udp 2122260223 192.0.2.1 54400 typ host",
    "0123456789abcde",
    "0123456789abcdef0123456789abcde",
    "",
];

const SCALARS: [&str; 16] = [
    "0",
    "-0",
    "1",
    "-12",
    "0.5",
    "1.50",
    "1e9",
    "1E+2",
    "-1.5e-300",
    "1e999",
    "123456789012345678901234567890",
    "true",
    "false",
    "null",
    "3",
    "10",
];

const SPACES: [&str; 7] = [
    "",
    "",
    "",
    " ",
    "\n",
    "\r\n\t",
    "                                  ",
];

/// The texts that a mutation inserts, or writes over a part of the text.
const FRAGMENTS: [&str; 44] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "0",
    "-",
    "+",
    ".",
    "e",
    "E",
    "1",
    "00",
    "t",
    "true",
    "nul",
    "null",
    "\\u",
    "\\u12",
    "\\u123g",
    "\\x",
    "\\'",
    "\\ud800",
    "\\ud800\\u0041",
    "\u{0}",
    "\u{1f}",
    "\t",
    "\n",
    " ",
    "\u{c}",
    "\u{b}",
    "\u{a0}",
    "\u{feff}",
    "//",
    "'",
    "\u{e9}",
    "\\\"",
    "\\\\",
    "NaN",
    "Infinity",
    "",
];

fn string() -> impl Strategy<Value = String> {
    let parts = vec(prop::sample::select(&STRING_PARTS[..]), 0..6);
    parts.prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&SPACES[..])
}

/// Elements with whitespace around them, between brackets.
fn bracketed(open: char, elements: &[(&'static str, String, &'static str)], close: char) -> String {
    let elements = elements.iter();
    let elements: Vec<_> = elements
        .map(|(before, element, after)| format!("{before}{element}{after}"))
        .collect();
    format!("{open}{}{close}", elements.join(","))
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(&SCALARS[..]).prop_map(str::to_owned);
    let leaf = prop_oneof![scalar, string()];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let array = vec((space(), inner.clone(), space()), 0..5);
        prop_oneof![
            array.prop_map(|elements| bracketed('[', &elements, ']')),
            object(inner),
        ]
    })
}

/// A key: one that is looked up, in any spelling, or any string.
fn key() -> impl Strategy<Value = String> {
    const KEYS: [&str; 10] = [
        r#""type""#,
        r#""TYPE""#,
        r#""typeTYPE""#,
        r#""typeType""#,
        r#""\u0074ype""#,
        r#""t\u0059pe""#,
        r#""A""#,
        "\"a\u{17f}\"",
        "\"\u{212a}a\"",
        r#""\u212AA""#,
    ];
    prop_oneof![
        string(),
        prop::sample::select(&KEYS[..]).prop_map(str::to_owned)
    ]
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let field = (key(), space(), space(), value)
        .prop_map(|(key, before, after, value)| format!("{key}{before}:{after}{value}"));
    vec((space(), field, space()), 0..6).prop_map(|fields| bracketed('{', &fields, '}'))
}

/// Replaces up to four bytes at a place by a fragment.
type Mutation = (Index, usize, &'static str);

fn mutation() -> impl Strategy<Value = Mutation> {
    let fragment = prop::sample::select(&FRAGMENTS[..]);
    (any::<Index>(), 0..4_usize, fragment)
}

fn mutate(mut text: String, mutations: &[Mutation]) -> String {
    for (place, removed, fragment) in mutations {
        let start = text.floor_char_boundary(place.index(text.len() + 1));
        let end = text.floor_char_boundary((start + removed).min(text.len()));
        text.replace_range(start..end.max(start), fragment);
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn valid_texts_have_the_same_values(
        before in space(), text in prop_oneof![object(value()), value()], after in space(),
    ) {
        let text = format!("{before}{text}{after}");
        prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok());
        fuzz::json(text.as_bytes());
    }

    #[test]
    fn mutated_texts_are_accepted_or_rejected_alike(
        text in prop_oneof![object(value()), value()], mutations in vec(mutation(), 1..4),
    ) {
        fuzz::json(mutate(text, &mutations).as_bytes());
    }

    #[test]
    fn random_fragments_are_accepted_or_rejected_alike(
        fragments in vec(prop::sample::select(&FRAGMENTS[..]), 0..12),
    ) {
        fuzz::json(fragments.concat().as_bytes());
    }
}

#[test]
fn every_short_text_is_accepted_or_rejected_alike() {
    let alphabet = b"{}[],:\"\\u0aet1.-+ \n\x1f";
    let mut text = Vec::new();
    fn extend(text: &mut Vec<u8>, alphabet: &[u8], length: usize) {
        fuzz::json(text);
        if length == 0 {
            return;
        }
        for byte in alphabet {
            text.push(*byte);
            extend(text, alphabet, length - 1);
            text.pop();
        }
    }
    extend(&mut text, alphabet, 3);
}

/// The bound of a block falls on each byte of a text once.
#[test]
fn a_text_is_read_alike_at_every_offset() {
    let text = r#"{"a":"x\r\n\"\\é\ud83d\ude00","b\u0041":[1.5e-3,true,{"":null}],"c":"0123456789abcdef0123456789\n"}"#;
    for offset in 0..70 {
        let padded = format!("{}{text}", " ".repeat(offset));
        for end in (0..=padded.len()).filter(|end| padded.is_char_boundary(*end)) {
            fuzz::json(&padded.as_bytes()[..end]);
        }
        fuzz::json(format!("[\"{}\",{text}]", "x".repeat(offset)).as_bytes());
    }
}
