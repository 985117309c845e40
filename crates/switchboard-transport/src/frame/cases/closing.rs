//! Close frames: the closing handshake, the payload and the codes (sections 5.5.1, 7.1 and 7.4).

use super::*;

pub(super) fn cases() -> Vec<WebSocketCase> {
    [handshakes(), payloads(), codes()].concat()
}

fn payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

fn close(payload: &[u8]) -> RawFrame {
    RawFrame::new(FIN | CLOSE, payload)
}

/// After a close frame the server handles no frame of the client (sections 1.4 and 5.5.1).
fn handshakes() -> Vec<WebSocketCase> {
    let normal = payload(1000, b"");
    let closed = End::Closed(normal.clone());
    let normal = close(&normal);
    let large = text([b'B'; MESSAGE_BYTES_MAX]);
    let large_answer = echo([b'B'; MESSAGE_BYTES_MAX]);
    let mut cases = vec![
        // The client closes after the answer.
        WebSocketCase::new(
            "7.1.1",
            &[text("Hello World!")],
            &[echo("Hello World!")],
            End::Open,
        ),
        WebSocketCase::new(
            "7.1.2",
            &[normal.clone(), normal.clone()],
            &[],
            closed.clone(),
        ),
        WebSocketCase::new("7.1.3", &[normal.clone(), ping("")], &[], closed.clone()),
        WebSocketCase::new(
            "7.1.4",
            &[normal.clone(), text("Hello World!")],
            &[],
            closed.clone(),
        ),
        WebSocketCase::new(
            "7.1.5",
            &[begin("fragment1"), normal.clone(), last("fragment2")],
            &[],
            closed.clone(),
        ),
        WebSocketCase {
            may_lose_answers: true,
            ..WebSocketCase::new(
                "7.1.6",
                &[large, text("Hello World!"), normal.clone(), ping("")],
                &[large_answer, echo("Hello World!")],
                closed.clone(),
            )
        },
        WebSocketCase::new(
            "close after a ping",
            &[ping("there?"), normal.clone()],
            &[pong("there?")],
            closed.clone(),
        ),
        WebSocketCase::new(
            "violation after a close frame",
            &[normal.clone(), RawFrame::new(0xFF, "x")],
            &[],
            closed,
        ),
        WebSocketCase::new(
            "close frame after a violation",
            &[RawFrame::new(0xFF, "x"), normal],
            &[],
            End::Failed(1002),
        ),
    ];
    for chop in [Chop::Whole, Chop::Bytes(1)] {
        let again: Vec<_> = cases[1..5]
            .iter()
            .map(|case| case.in_pieces_of(chop))
            .collect();
        cases.extend(again.into_iter().map(|case| WebSocketCase {
            name: format!("{} {chop:?}", case.name),
            ..case
        }));
    }
    cases
}

/// A payload has no byte, or a code and a reason in UTF-8 of at most 123 bytes (sections 5.5 and 5.5.1).
fn payloads() -> Vec<WebSocketCase> {
    let echoed = |name: &str, payload: &[u8]| {
        WebSocketCase::new(name, &[close(payload)], &[], End::Closed(payload.to_vec()))
    };
    let failed = |name: &str, payload: &[u8], code| {
        WebSocketCase::new(name, &[close(payload)], &[], End::Failed(code))
    };
    vec![
        echoed("7.3.1", b""),
        failed("7.3.2", b"a", 1002),
        echoed("7.3.3", &payload(1000, b"")),
        echoed("7.3.4", &payload(1000, b"Hello World!")),
        echoed("7.3.5", &payload(1000, &[b'*'; 123])),
        failed("7.3.6", &payload(1000, &[b'*'; 124]), 1002),
        failed(
            "7.5.1",
            &payload(
                1000,
                b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
            ),
            1007,
        ),
        failed(
            "a reason that ends within a character",
            &payload(1000, b"a\xc3"),
            1007,
        ),
        echoed(
            "a reason of 3 bytes a character",
            &payload(1000, "\u{20ac}".repeat(41).as_bytes()),
        ),
    ]
}

/// The codes that may be sent: those that section 7.4.1 and its registry define, and the private ones (section 7.4.2).
fn codes() -> Vec<WebSocketCase> {
    let valid = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999,
    ];
    // The registry of section 11.7 has these since.
    let registered = [1012, 1013, 1014];
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    let others = [1015, 5000, 65535];
    let with_number = |section: &'static str, codes: &[u16]| {
        let codes = codes.to_vec();
        codes
            .into_iter()
            .zip(1..)
            .map(move |(code, number)| (format!("{section}.{number}"), code))
    };
    let valid = with_number("7.7", &valid).chain(with_number("registered code", &registered));
    let invalid = with_number("7.9", &invalid).chain(with_number("7.13", &others));
    let accepted = valid.map(|(name, code)| {
        let payload = payload(code, b"");
        WebSocketCase::new(name, &[close(&payload)], &[], End::Closed(payload))
    });
    let rejected = invalid.map(|(name, code)| {
        WebSocketCase::new(name, &[close(&payload(code, b""))], &[], End::Failed(1002))
    });
    accepted.chain(rejected).collect()
}
