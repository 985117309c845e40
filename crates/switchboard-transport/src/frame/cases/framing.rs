//! Frames, control frames, reserved bits, opcodes and fragments.

use std::slice;

use super::*;

const PROTOCOL_ERROR: End = End::Failed(1002);

pub(super) fn cases() -> Vec<WebSocketCase> {
    [
        sizes(),
        pings(),
        reserved_bits(),
        opcodes(),
        fragmentation(),
        masks(),
        lengths(),
        limits(),
    ]
    .concat()
}

/// Payloads of all three encodings of the length, and at their bounds (section 5.2).
fn sizes() -> Vec<WebSocketCase> {
    let mut cases = Vec::new();
    for (size, number) in [0, 125, 126, 127, 128, 65535, 65536].into_iter().zip(1..) {
        let (letters, bytes) = (vec![b'*'; size], vec![0xFE; size]);
        let as_text = WebSocketCase::new(
            format!("1.1.{number}"),
            &[text(&letters)],
            &[echo(&letters)],
            End::Open,
        );
        let frame = RawFrame::new(FIN | BINARY, &bytes);
        let as_binary = WebSocketCase::new(
            format!("1.2.{number}"),
            &[frame],
            &[Answer::Binary(bytes)],
            End::Open,
        );
        if size == 65536 {
            for (case, name) in [(&as_text, "1.1.8"), (&as_binary, "1.2.8")] {
                let name = name.to_owned();
                cases.push(WebSocketCase {
                    name,
                    ..case.in_pieces_of(Chop::Bytes(997))
                });
            }
        }
        cases.extend([as_text, as_binary]);
    }
    cases
}

/// A ping is answered by a pong with the same payload of at most 125 bytes; a pong has no answer (sections 5.5,
/// 5.5.2 and 5.5.3). Of several pings only the most recent must be answered: see [`Answer::Pong`].
fn pings() -> Vec<WebSocketCase> {
    let bytes = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    let largest = [0xFE; 125];
    let one = |name: &str, payload: &[u8]| {
        WebSocketCase::new(name, &[ping(payload)], &[pong(payload)], End::Open)
    };
    let unsolicited = |payload: &[u8]| RawFrame::new(FIN | PONG, payload);
    let ten: Vec<_> = (0..10).map(|at| format!("payload-{at}")).collect();
    let ten_pings: Vec<_> = ten.iter().map(ping).collect();
    let ten_pongs: Vec<_> = ten.iter().map(pong).collect();
    let still_here = "still here";
    let flood: Vec<_> = (0..300).map(|at| format!("flood-{at}")).collect();
    let flood_answers: Vec<_> = flood.iter().map(pong).chain([echo(still_here)]).collect();
    let flood: Vec<_> = flood.iter().map(ping).chain([text(still_here)]).collect();
    let unanswered = [&vec![unsolicited(b""); 300][..], &[text(still_here)]].concat();
    vec![
        one("2.1", b""),
        one("2.2", b"Hello, world!"),
        one("2.3", bytes),
        one("2.4", &largest),
        WebSocketCase::new("2.5", &[ping([0xFE; 126])], &[], PROTOCOL_ERROR),
        one("2.6", &largest).with_chop(Chop::Bytes(1)),
        WebSocketCase::new("2.7", &[unsolicited(b"")], &[], End::Open),
        WebSocketCase::new(
            "2.8",
            &[unsolicited(b"unsolicited pong payload")],
            &[],
            End::Open,
        ),
        WebSocketCase::new(
            "2.9",
            &[
                unsolicited(b"unsolicited pong payload"),
                ping("ping payload"),
            ],
            &[pong("ping payload")],
            End::Open,
        ),
        WebSocketCase::new("2.10", &ten_pings, &ten_pongs, End::Open),
        WebSocketCase::new("2.11", &ten_pings, &ten_pongs, End::Open).with_chop(Chop::Bytes(1)),
        WebSocketCase::new("ping flood", &flood, &flood_answers, End::Open).with_chop(Chop::Whole),
        WebSocketCase::new(
            "pong of 126 bytes",
            &[unsolicited(&[0xFE; 126])],
            &[],
            PROTOCOL_ERROR,
        ),
        WebSocketCase::new("pong flood", &unanswered, &[echo(still_here)], End::Open)
            .with_chop(Chop::Whole),
    ]
}

/// The reserved bits must be 0 without an extension (section 5.2).
fn reserved_bits() -> Vec<WebSocketCase> {
    let bits = |bits: u8, opcode: u8| RawFrame::new(FIN | bits << 4 | opcode, "Hello, world!");
    let good = text("Hello, world!");
    let after_text = |bits: u8| {
        let frame = RawFrame::new(FIN | bits << 4 | TEXT, "Hello, world!");
        [good.clone(), frame, ping("")]
    };
    let answers = [echo("Hello, world!")];
    let mut cases = vec![
        WebSocketCase::new("3.1", &[bits(1, TEXT)], &[], PROTOCOL_ERROR),
        WebSocketCase::new("3.2", &after_text(2), &answers, PROTOCOL_ERROR).with_chop(Chop::Whole),
        WebSocketCase::new("3.3", &after_text(3), &answers, PROTOCOL_ERROR),
        WebSocketCase::new("3.4", &after_text(4), &answers, PROTOCOL_ERROR)
            .with_chop(Chop::Bytes(1)),
        WebSocketCase::new("3.5", &[bits(5, BINARY)], &[], PROTOCOL_ERROR),
        WebSocketCase::new("3.6", &[bits(6, PING)], &[], PROTOCOL_ERROR),
        WebSocketCase::new(
            "3.7",
            &[RawFrame::new(FIN | 0x70 | CLOSE, 1000_u16.to_be_bytes())],
            &[],
            PROTOCOL_ERROR,
        ),
    ];
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        for bit in 1..=7 {
            let name = format!("reserved bits {bit:03b} of opcode {opcode}");
            let frame = RawFrame::new(FIN | bit << 4 | opcode, "");
            cases.push(WebSocketCase::new(name, &[frame], &[], PROTOCOL_ERROR));
        }
    }
    for bit in 1..=7 {
        let name = format!("reserved bits {bit:03b} of a continuation");
        let frames = [
            begin("a"),
            RawFrame::new(FIN | bit << 4 | CONTINUATION, "b"),
        ];
        cases.push(WebSocketCase::new(name, &frames, &[], PROTOCOL_ERROR));
    }
    cases
}

/// An unknown opcode fails the connection (section 5.2).
fn opcodes() -> Vec<WebSocketCase> {
    let payload = "reserved opcode payload";
    let good = text("Hello, world!");
    let mut cases = Vec::new();
    for (section, first) in [(1, 0x3), (2, 0xB)] {
        let alone = |number: u8, payload: &str| {
            let frame = RawFrame::new(FIN | (first + number - 1), payload);
            WebSocketCase::new(
                format!("4.{section}.{number}"),
                &[frame],
                &[],
                PROTOCOL_ERROR,
            )
        };
        let after_text = |number: u8, payload: &str| {
            let frames = [
                good.clone(),
                RawFrame::new(FIN | (first + number - 1), payload),
                ping(""),
            ];
            let answers = [echo("Hello, world!")];
            WebSocketCase::new(
                format!("4.{section}.{number}"),
                &frames,
                &answers,
                PROTOCOL_ERROR,
            )
        };
        cases.extend([
            alone(1, ""),
            alone(2, payload),
            after_text(3, "").with_chop(Chop::Whole),
            after_text(4, payload),
            after_text(5, payload).with_chop(Chop::Bytes(1)),
        ]);
    }
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        for (fin, name) in [(FIN, "whole"), (0, "fragment")] {
            let frame = RawFrame::new(fin | opcode, payload);
            cases.push(WebSocketCase::new(
                format!("opcode {opcode}, {name}"),
                slice::from_ref(&frame),
                &[],
                PROTOCOL_ERROR,
            ));
            let inside = [begin("a"), frame];
            cases.push(WebSocketCase::new(
                format!("opcode {opcode}, {name}, in a message"),
                &inside,
                &[],
                PROTOCOL_ERROR,
            ));
        }
    }
    cases
}

/// The fragments of a message are not interleaved with those of another, control frames may come between them, and
/// are not fragmented (sections 5.4 and 5.5).
fn fragmentation() -> Vec<WebSocketCase> {
    let (one, two) = ("fragment1", "fragment2");
    let both = [echo("fragment1fragment2")];
    let message = [begin(one), last(two)];
    let with_ping = [begin(one), ping("ping payload"), last(two)];
    let with_ping_answers = [pong("ping payload"), both[0].clone()];
    let nothing_to_continue = |fin: u8| {
        let frame = RawFrame::new(fin | CONTINUATION, "non-continuation payload");
        [frame, text("Hello, world!")]
    };
    let chops = |[frames, whole, octets]: [&'static str; 3]| {
        [
            (frames, Chop::Frames),
            (whole, Chop::Whole),
            (octets, Chop::Bytes(1)),
        ]
    };
    let mut cases = vec![
        WebSocketCase::new(
            "5.1",
            &[RawFrame::new(PING, one), last(two)],
            &[],
            PROTOCOL_ERROR,
        ),
        WebSocketCase::new(
            "5.2",
            &[RawFrame::new(PONG, one), last(two)],
            &[],
            PROTOCOL_ERROR,
        ),
        WebSocketCase::new(
            "fragmented close frame",
            &[RawFrame::new(CLOSE, b"\x03\xe8"), last("")],
            &[],
            PROTOCOL_ERROR,
        ),
    ];
    cases.extend(in_each_chop(
        chops(["5.3", "5.4", "5.5"]),
        &message,
        &both,
        &End::Open,
    ));
    cases.extend(in_each_chop(
        chops(["5.6", "5.7", "5.8"]),
        &with_ping,
        &with_ping_answers,
        &End::Open,
    ));
    for (names, fin) in [
        (["5.9", "5.10", "5.11"], FIN),
        (["5.12", "5.13", "5.14"], 0),
    ] {
        let frames = nothing_to_continue(fin);
        cases.extend(in_each_chop(chops(names), &frames, &[], &PROTOCOL_ERROR));
    }
    let after = [&message[..], &[middle("fragment3"), text("fragment4")]].concat();
    cases.push(WebSocketCase::new("5.15", &after, &both, PROTOCOL_ERROR).with_chop(Chop::Whole));
    for (name, fin) in [("5.16", 0), ("5.17", FIN)] {
        let once = [
            RawFrame::new(fin | CONTINUATION, one),
            begin(two),
            last("fragment3"),
        ];
        let twice = [&once[..], &once].concat();
        cases.push(WebSocketCase::new(name, &twice, &[], PROTOCOL_ERROR));
    }
    let two_starts = [begin(one), text(two)];
    cases.push(WebSocketCase::new("5.18", &two_starts, &[], PROTOCOL_ERROR).with_chop(Chop::Whole));
    for (name, second) in [("text in text", TEXT), ("binary in text", BINARY)] {
        let frames = [begin(one), RawFrame::new(second, two)];
        cases.push(WebSocketCase::new(name, &frames, &[], PROTOCOL_ERROR));
    }
    cases.extend(pings_between_fragments());
    cases.push(automatic_fragments());
    cases
}

/// A ping between fragments is answered before the message is complete (section 5.4).
fn pings_between_fragments() -> [WebSocketCase; 2] {
    let first = [begin("fragment1"), middle("fragment2"), ping("pongme 1!")];
    let second = [
        middle("fragment3"),
        middle("fragment4"),
        ping("pongme 2!"),
        last("fragment5"),
    ];
    let first_answers = [pong("pongme 1!")];
    let second_answers = [
        pong("pongme 2!"),
        echo("fragment1fragment2fragment3fragment4fragment5"),
    ];
    let with_pause = WebSocketCase::new("5.19", &first, &first_answers, End::Open);
    let frames = [&first[..], &second].concat();
    let answers = [&first_answers[..], &second_answers].concat();
    [
        with_pause.then(&second, &second_answers),
        WebSocketCase::new("5.20", &frames, &answers, End::Open),
    ]
}

/// A large message in many fragments.
fn automatic_fragments() -> WebSocketCase {
    let payload = [b'*'; 65536];
    let frames = fragments(&payload, (1300..65536).step_by(1300));
    WebSocketCase::new("10.1.1", &frames, &[echo(payload)], End::Open)
}

/// A frame that is not masked fails the connection (section 5.1).
fn masks() -> Vec<WebSocketCase> {
    let unmasked = |first, payload: &str| RawFrame::new(first, payload).unmasked();
    vec![
        WebSocketCase::new(
            "unmasked text",
            &[unmasked(FIN | TEXT, "Hello")],
            &[],
            PROTOCOL_ERROR,
        ),
        WebSocketCase::new(
            "unmasked binary",
            &[unmasked(FIN | BINARY, "")],
            &[],
            PROTOCOL_ERROR,
        ),
        WebSocketCase::new(
            "unmasked ping",
            &[unmasked(FIN | PING, "Hello")],
            &[],
            PROTOCOL_ERROR,
        ),
        WebSocketCase::new(
            "unmasked pong",
            &[unmasked(FIN | PONG, "")],
            &[],
            PROTOCOL_ERROR,
        ),
        WebSocketCase::new(
            "unmasked close",
            &[unmasked(FIN | CLOSE, "")],
            &[],
            PROTOCOL_ERROR,
        ),
        WebSocketCase::new(
            "unmasked continuation",
            &[text("Hello"), begin("a"), unmasked(FIN | CONTINUATION, "b")],
            &[echo("Hello")],
            PROTOCOL_ERROR,
        ),
    ]
}

/// A length has the shortest encoding, and its most significant bit is 0 (section 5.2).
fn lengths() -> Vec<WebSocketCase> {
    let mut cases = Vec::new();
    for (opcode, name) in [(TEXT, "text"), (BINARY, "binary")] {
        for (size, length, bits) in [
            (0, Length::Bits16, 16),
            (125, Length::Bits16, 16),
            (0, Length::Bits64, 64),
            (125, Length::Bits64, 64),
            (126, Length::Bits64, 64),
            (65535, Length::Bits64, 64),
        ] {
            let frame = RawFrame::new(FIN | opcode, vec![b'x'; size]).with_length(length);
            let name = format!("{name} of {size} bytes with a length of {bits} bits");
            cases.push(WebSocketCase::new(name, &[frame], &[], PROTOCOL_ERROR));
        }
        for length in [1 << 63, 1 << 63 | 5, u64::MAX] {
            let frame = RawFrame::new(FIN | opcode, "").with_length(Length::Announced(length));
            let name = format!("{name} of {length} bytes");
            cases.push(WebSocketCase::new(name, &[frame], &[], PROTOCOL_ERROR));
        }
    }
    for (opcode, name) in [(PING, "ping"), (PONG, "pong"), (CLOSE, "close")] {
        let frame = RawFrame::new(FIN | opcode, b"\x03\xe8");
        for (length, bits) in [(Length::Bits16, 16), (Length::Bits64, 64)] {
            let frame = frame.clone().with_length(length);
            let name = format!("{name} with a length of {bits} bits");
            cases.push(WebSocketCase::new(name, &[frame], &[], PROTOCOL_ERROR));
        }
    }
    cases
}

/// A message that is too large is rejected before its payload arrives (sections 7.4.1 and 10.4).
fn limits() -> Vec<WebSocketCase> {
    let too_large = End::Failed(1009);
    let largest = vec![b'x'; MESSAGE_BYTES_MAX];
    let announced = |first, length| RawFrame::new(first, "").with_length(Length::Announced(length));
    let over = MESSAGE_BYTES_MAX as u64 + 1;
    let half = vec![b'x'; MESSAGE_BYTES_MAX / 2];
    vec![
        WebSocketCase::new(
            "the largest message",
            &[text(&largest)],
            &[echo(&largest)],
            End::Open,
        ),
        WebSocketCase::new(
            "a byte too many",
            &[announced(FIN | TEXT, over)],
            &[],
            too_large.clone(),
        ),
        WebSocketCase::new(
            "a binary byte too many",
            &[announced(BINARY, over)],
            &[],
            too_large.clone(),
        ),
        WebSocketCase::new(
            "the largest length",
            &[announced(FIN | TEXT, u64::MAX >> 1)],
            &[],
            too_large.clone(),
        ),
        WebSocketCase::new(
            "a byte too many in fragments",
            &[begin(&half), middle(&half), last("x")],
            &[],
            too_large.clone(),
        ),
        WebSocketCase::new(
            "the largest length in a fragment",
            &[
                text("Hello"),
                begin("x"),
                announced(CONTINUATION, u64::MAX >> 1),
            ],
            &[echo("Hello")],
            too_large,
        ),
    ]
}
