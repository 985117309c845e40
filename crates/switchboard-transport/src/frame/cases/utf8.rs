//! Texts: a whole message must be UTF-8, its fragments need not (sections 5.6 and 8.1). The server fails a message
//! that is not UTF-8 when it is complete; to fail it earlier is not required.

use std::slice;

use super::*;

const NOT_UTF8: End = End::Failed(1007);

/// A text of 1, 2 and 3 bytes a character.
const MIXED: &str = "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!";

/// A Greek word, with characters of 2 and 3 bytes.
const GREEK: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";

pub(super) fn cases() -> Vec<WebSocketCase> {
    [
        empty_fragments(),
        fragments_of_texts(),
        failing_texts(),
        sequences(),
    ]
    .concat()
}

fn valid(name: impl Into<String>, frames: &[RawFrame], payload: &[u8]) -> WebSocketCase {
    WebSocketCase::new(name, frames, &[echo(payload)], End::Open)
}

fn invalid(name: impl Into<String>, frames: &[RawFrame]) -> WebSocketCase {
    WebSocketCase::new(name, frames, &[], NOT_UTF8)
}

fn empty_fragments() -> Vec<WebSocketCase> {
    vec![
        valid("6.1.1", &[text("")], b""),
        valid("6.1.2", &[begin(""), middle(""), last("")], b""),
        valid("6.1.3", &[begin(""), middle("middle"), last("")], b"middle"),
    ]
}

fn fragments_of_texts() -> Vec<WebSocketCase> {
    let mixed = MIXED.as_bytes();
    let boundary = MIXED.find('\u{e4}').unwrap_or(1);
    vec![
        valid("6.2.1", &[text(mixed)], mixed),
        valid("6.2.2", &fragments(mixed, [boundary]), mixed),
        valid("6.2.3", &fragments(mixed, 1..mixed.len()), mixed),
        valid("6.2.4", &fragments(GREEK, 1..GREEK.len()), GREEK),
    ]
}

fn failing_texts() -> Vec<WebSocketCase> {
    let surrogate = [GREEK, b"\xed\xa0\x80edited"].concat();
    let too_high = [GREEK, b"\xf4\x90\x80\x80edited"].concat();
    let in_fragments = |name: &str, ends: [usize; 2]| {
        let [first, second] = ends;
        WebSocketCase::new(name, &[begin(&too_high[..first])], &[], NOT_UTF8)
            .then(&[middle(&too_high[first..second])], &[])
            .then(&[last(&too_high[second..])], &[])
    };
    let whole = text(&too_high);
    vec![
        invalid("6.3.1", &[text(&surrogate)]),
        invalid("6.3.2", &fragments(&surrogate, 1..surrogate.len())),
        in_fragments("6.4.1", [11, 15]),
        in_fragments("6.4.2", [12, 13]),
        // The pieces end where the fragments of the two cases before do, after a head of 6 bytes.
        invalid("6.4.3", slice::from_ref(&whole)).with_chop(Chop::Bytes(6 + 11)),
        invalid("6.4.4", &[whole]).with_chop(Chop::Bytes(6 + 12)),
        invalid(
            "6.4, an incomplete character at the end of a message",
            &[begin("a"), last(b"\xc3")],
        ),
        WebSocketCase::new(
            "6.4, bytes in a binary message",
            &[RawFrame::new(FIN | BINARY, b"\xff\xc3")],
            &[Answer::Binary(b"\xff\xc3".to_vec())],
            End::Open,
        ),
        WebSocketCase::new(
            "6.4, a text after a failed one",
            &[text(b"\xff"), text("a")],
            &[],
            NOT_UTF8,
        ),
    ]
}

/// The sequences of Markus Kuhn's UTF-8 decoder stress test, as 6.5 to 6.23 number them (RFC 3629, sections 3 and 4).
fn sequences() -> Vec<WebSocketCase> {
    let prefixes: Vec<_> = (1..=GREEK.len()).map(|end| &GREEK[..end]).collect();
    let (whole, cut): (Vec<_>, Vec<_>) = prefixes
        .into_iter()
        .partition(|prefix| std::str::from_utf8(prefix).is_ok());
    let continuations: Vec<u8> = (0x80..=0xbf).collect();
    let lonely = |first: u8, last: u8| {
        (first..=last)
            .flat_map(|byte| [byte, b' '])
            .collect::<Vec<_>>()
    };
    let lonely = [
        lonely(0xc0, 0xdf),
        lonely(0xe0, 0xef),
        lonely(0xf0, 0xf7),
        lonely(0xf8, 0xfb),
        lonely(0xfc, 0xfd),
    ];
    let truncated = TRUNCATED.concat();
    let non_characters = non_characters();
    let mut cases = Vec::new();
    let mut add = |section: &str, is_valid: bool, payloads: &[&[u8]]| {
        for (payload, number) in payloads.iter().zip(1..) {
            let kind = if is_valid { "valid" } else { "invalid" };
            let name = format!("{section}, {kind} {number}");
            let frames = [text(payload)];
            cases.push(if is_valid {
                valid(name, &frames, payload)
            } else {
                invalid(name, &frames)
            });
        }
    };
    add(
        "6.5",
        true,
        &[
            b"hello$world",
            b"hello\xc2\xa2world",
            b"hello\xe2\x82\xacworld",
            b"hello\xf0\xa4\xad\xa2world",
            GREEK,
        ],
    );
    add("6.6", true, &whole);
    add("6.6", false, &cut);
    add(
        "6.7",
        true,
        &[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    );
    add(
        "6.8",
        false,
        &[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
    );
    add(
        "6.9",
        true,
        &[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    );
    add(
        "6.10",
        false,
        &[
            b"\xf7\xbf\xbf\xbf",
            b"\xfb\xbf\xbf\xbf\xbf",
            b"\xfd\xbf\xbf\xbf\xbf\xbf",
        ],
    );
    add(
        "6.11",
        true,
        &[
            b"\xed\x9f\xbf",
            b"\xee\x80\x80",
            b"\xef\xbf\xbd",
            b"\xf4\x8f\xbf\xbf",
        ],
    );
    add("6.11", false, &[b"\xf4\x90\x80\x80"]);
    add(
        "6.12",
        false,
        &[
            b"\x80",
            b"\xbf",
            b"\x80\xbf",
            b"\x80\xbf\x80",
            b"\x80\xbf\x80\xbf",
            b"\x80\xbf\x80\xbf\x80",
            b"\x80\xbf\x80\xbf\x80\xbf",
            &continuations,
        ],
    );
    add("6.13", false, &lonely.each_ref().map(Vec::as_slice));
    add("6.14", false, TRUNCATED);
    add("6.15", false, &[&truncated]);
    add("6.16", false, &[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]);
    add(
        "6.17",
        false,
        &[
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xf0\x80\x80\xaf",
            b"\xf8\x80\x80\x80\xaf",
            b"\xfc\x80\x80\x80\x80\xaf",
        ],
    );
    add(
        "6.18",
        false,
        &[
            b"\xc1\xbf",
            b"\xe0\x9f\xbf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf8\x87\xbf\xbf\xbf",
            b"\xfc\x83\xbf\xbf\xbf\xbf",
        ],
    );
    add(
        "6.19",
        false,
        &[
            b"\xc0\x80",
            b"\xe0\x80\x80",
            b"\xf0\x80\x80\x80",
            b"\xf8\x80\x80\x80\x80",
            b"\xfc\x80\x80\x80\x80\x80",
        ],
    );
    add(
        "6.20",
        false,
        &[
            b"\xed\xa0\x80",
            b"\xed\xad\xbf",
            b"\xed\xae\x80",
            b"\xed\xaf\xbf",
            b"\xed\xb0\x80",
            b"\xed\xbe\x80",
            b"\xed\xbf\xbf",
        ],
    );
    add("6.21", false, PAIRED_SURROGATES);
    add(
        "6.22",
        true,
        &non_characters.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    );
    add(
        "6.23",
        true,
        &[
            b"\xef\xbf\xb9",
            b"\xef\xbf\xba",
            b"\xef\xbf\xbb",
            b"\xef\xbf\xbc",
            b"\xef\xbf\xbd",
            b"\xef\xbf\xbe",
            b"\xef\xbf\xbf",
        ],
    );
    cases
}

/// Sequences without their last byte, from 2 to 6 bytes, with the lowest and the highest bytes.
const TRUNCATED: &[&[u8]] = &[
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
];

/// Pairs of UTF-16 surrogates, each encoded as a character (CESU-8).
const PAIRED_SURROGATES: &[&[u8]] = &[
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xa0\x80\xed\xbf\xbf",
    b"\xed\xad\xbf\xed\xb0\x80",
    b"\xed\xad\xbf\xed\xbf\xbf",
    b"\xed\xae\x80\xed\xb0\x80",
    b"\xed\xae\x80\xed\xbf\xbf",
    b"\xed\xaf\xbf\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
];

/// The last two code points of each plane. They are no characters, but valid UTF-8.
fn non_characters() -> Vec<Vec<u8>> {
    let planes = (0..=0x10_u32).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    let characters = planes.filter_map(char::from_u32);
    characters.map(|one| one.to_string().into_bytes()).collect()
}
