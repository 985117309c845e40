use super::{
    cases::{Answer, Chop, End, WebSocketCase},
    *,
};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame from a client with the first byte `first`.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_head(Opcode::Binary, payload.len(), &mut frame);
    frame[0] = first;
    frame[1] |= MASKED;
    frame.extend_from_slice(&MASK);
    let start = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[start..], MASK, 0);
    frame
}

fn text(text: &str) -> Decoded {
    Decoded::Message(WebSocketMessage::Text(text.into()))
}

fn binary(bytes: &[u8]) -> Decoded {
    Decoded::Message(WebSocketMessage::Binary(Bytes::copy_from_slice(bytes)))
}

/// All frames that are decoded from `bytes` in pieces of at most `piece` bytes.
fn decode_pieces(bytes: &[u8], piece: usize, max: usize) -> Result<Vec<Decoded>, Violation> {
    let mut decoder = FrameDecoder::new(max);
    let (mut received, mut bytes) = (Vec::new(), bytes.to_vec());
    for mut piece in bytes.chunks_mut(piece) {
        while let Some(one) = decoder.decode(&mut piece)? {
            received.push(one);
        }
        assert!(piece.is_empty(), "the decoder left input unread");
    }
    Ok(received)
}

fn decode(bytes: &[u8]) -> Result<Vec<Decoded>, Violation> {
    let whole = decode_pieces(bytes, usize::MAX, 1 << 20);
    for piece in 1..bytes.len().min(20) {
        assert_eq!(
            decode_pieces(bytes, piece, 1 << 20),
            whole,
            "in pieces of {piece}"
        );
    }
    whole
}

/// The examples of RFC 6455, section 5.7.
#[test]
fn the_examples_of_the_rfc_are_decoded_and_encoded() {
    let masked_hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode(masked_hello), Ok(vec![text("Hello")]));
    let pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let payload = Bytes::from_static(b"Hello");
    let received = Decoded::Message(WebSocketMessage::Pong(payload.clone()));
    assert_eq!(decode(pong), Ok(vec![received]));

    let kilobytes = Bytes::from(vec![0; 65536]);
    for (message, payload_len, head) in [
        (WebSocketMessage::Text("Hello".into()), 5, &b"\x81\x05"[..]),
        (WebSocketMessage::Ping(payload), 5, b"\x89\x05"),
        (
            WebSocketMessage::Binary(kilobytes.slice(..256)),
            256,
            b"\x82\x7e\x01\x00",
        ),
        (
            WebSocketMessage::Binary(kilobytes),
            65536,
            b"\x82\x7f\0\0\0\0\0\x01\0\0",
        ),
    ] {
        let mut output = Vec::new();
        assert!(encode(message.clone(), usize::MAX, &mut output).is_empty());
        assert_eq!(output.len(), head.len() + payload_len);
        assert!(output.starts_with(head));
        let mut output = Vec::new();
        let rest = encode(message, 1, &mut output);
        assert_eq!(
            (&*output, rest.len()),
            (head, payload_len),
            "the payload is returned and not copied"
        );
    }
}

#[test]
fn close_frames_are_written_with_their_code_and_reason() {
    let mut output = Vec::new();
    let frame = CloseFrame {
        code: 1008,
        reason: "no".into(),
    };
    encode(WebSocketMessage::Close(Some(frame)), 1, &mut output);
    encode(WebSocketMessage::Close(None), 1, &mut output);
    assert_eq!(output, b"\x88\x04\x03\xf0no\x88\x00");
}

#[test]
fn short_16_bit_and_64_bit_payload_lengths_are_decoded() {
    for length in [0, 1, 125, 126, 127, 65535, 65536, 100_000] {
        let payload: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
        assert_eq!(
            decode(&client_frame(0x82, &payload)),
            Ok(vec![binary(&payload)]),
            "{length}"
        );
    }
}

#[test]
fn fragments_are_joined_although_control_frames_come_between_them() {
    let bytes = [
        client_frame(0x01, "Gr\u{fc}".as_bytes().split_at(3).0),
        client_frame(0x89, b"?"),
        client_frame(0x00, b""),
        client_frame(0x00, "\u{fc}".as_bytes().split_at(1).1),
        client_frame(0x8A, b""),
        client_frame(0x80, b"\xc3\x9fe"),
        client_frame(0x02, b""),
        client_frame(0x80, b""),
    ]
    .concat();
    let expected = vec![
        Decoded::Fragment,
        Decoded::Message(WebSocketMessage::Ping(Bytes::from_static(b"?"))),
        Decoded::Fragment,
        Decoded::Fragment,
        Decoded::Message(WebSocketMessage::Pong(Bytes::new())),
        text("Gr\u{fc}\u{df}e"),
        Decoded::Fragment,
        binary(b""),
    ];
    assert_eq!(decode(&bytes), Ok(expected));
}

#[test]
fn every_protocol_violation_is_detected_at_its_frame() {
    let long_control = [&b"\x89\xfe\x00\x7e"[..], &MASK].concat();
    let inside = |second: Vec<u8>| [client_frame(0x01, b"a"), second].concat();
    let cases = [
        (b"\x81\x05Hello".to_vec(), Violation::Unmasked),
        (client_frame(0xC1, b"a"), Violation::ReservedBits),
        (client_frame(0xA1, b"a"), Violation::ReservedBits),
        (client_frame(0x91, b"a"), Violation::ReservedBits),
        (client_frame(0x83, b"a"), Violation::UnknownOpcode),
        (client_frame(0x8F, b"a"), Violation::UnknownOpcode),
        (client_frame(0x09, b""), Violation::FragmentedControl),
        (client_frame(0x08, b""), Violation::FragmentedControl),
        (long_control, Violation::LongControl),
        (client_frame(0x80, b"a"), Violation::NoMessageToContinue),
        (client_frame(0x00, b"a"), Violation::NoMessageToContinue),
        (inside(client_frame(0x81, b"b")), Violation::Interleaved),
        (inside(client_frame(0x02, b"b")), Violation::Interleaved),
        (client_frame(0x88, b"\x03"), Violation::CloseCode),
        (client_frame(0x88, b"\x03\xe8\xff"), Violation::NotUtf8),
        (client_frame(0x81, b"\xff"), Violation::NotUtf8),
        (client_frame(0x81, b"\xc3"), Violation::NotUtf8),
        (
            inside(client_frame(0x80, b"\xed\xa0\x80")),
            Violation::NotUtf8,
        ),
    ];
    for (bytes, violation) in cases {
        assert_eq!(decode(&bytes), Err(violation), "{bytes:x?}");
        let close = violation.close();
        let code = if violation == Violation::NotUtf8 {
            1007
        } else {
            1002
        };
        assert_eq!(close.code, code, "{violation:?}");
        assert!(close.reason.len() <= 123, "{violation:?}");
    }
}

#[test]
fn only_close_codes_that_may_be_sent_are_accepted() {
    let is_read = |code: u16| decode(&client_frame(0x88, &code.to_be_bytes())).is_ok();
    for code in [1000, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999] {
        assert!(is_read(code), "{code}");
    }
    for code in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535,
    ] {
        assert!(!is_read(code), "{code}");
    }
    let frame = CloseFrame {
        code: 1000,
        reason: "bye".into(),
    };
    let received = Decoded::Message(WebSocketMessage::Close(Some(frame)));
    assert_eq!(
        decode(&client_frame(0x88, b"\x03\xe8bye")),
        Ok(vec![received])
    );
    let empty = Decoded::Message(WebSocketMessage::Close(None));
    assert_eq!(decode(&client_frame(0x88, b"")), Ok(vec![empty]));
}

#[test]
fn a_message_that_is_too_large_is_rejected_before_its_payload_arrives() {
    let fragments = [client_frame(0x02, &[0; 6]), client_frame(0x80, &[0; 5])].concat();
    let announced = client_frame(0x82, &[0; 11]);
    let huge = [&b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"[..], &MASK].concat();
    for bytes in [&fragments[..fragments.len() - 5], &announced[..6], &huge] {
        let decoded = decode_pieces(bytes, usize::MAX, 10);
        assert_eq!(decoded, Err(Violation::TooLarge), "{bytes:x?}");
    }
    assert!(decode_pieces(&client_frame(0x82, &[0; 10]), 1, 10).is_ok());
    assert_eq!(Violation::TooLarge.close().code, 1009);
}

#[test]
fn memory_grows_with_the_received_bytes_and_not_with_the_announced_length() {
    let mut decoder = FrameDecoder::new(usize::MAX);
    let mut frame = client_frame(0x82, &[7; 1 << 20]);
    let mut received = 0;
    for mut piece in frame.chunks_mut(10_000).take(50) {
        received += piece.len();
        assert_eq!(decoder.decode(&mut piece), Ok(None));
        let partial = decoder.partial.as_ref().expect("a message");
        assert!(partial.message.capacity() <= 2 * received);
        assert_eq!(decoder.buffered(), received - 14);
    }
}

#[test]
fn only_data_payload_counts_as_progress_of_an_unfinished_message() {
    let mut decoder = FrameDecoder::new(100);
    let mut feed = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let mut bytes = &mut *bytes;
        while let Ok(Some(_)) = decoder.decode(&mut bytes) {}
        decoder.unfinished()
    };
    assert_eq!(feed(b""), None);
    assert_eq!(feed(b"\x89"), Some(0), "half a head");
    assert_eq!(feed(b"\x80\0\0\0\0"), None);
    let begun = feed(&client_frame(0x01, b"ab"));
    assert_eq!(begun, Some(2));
    assert_eq!(feed(&client_frame(0x8A, b"alive")), begun);
    assert_eq!(feed(&client_frame(0x00, b"")), begun, "an empty fragment");
    assert_eq!(feed(&client_frame(0x00, b"c")), Some(3));
    assert_eq!(feed(&client_frame(0x80, b"")), None);
}

/// The answers that the decoded frames of a case cause, and the end of the connection.
fn answers(case: &WebSocketCase) -> (Vec<Vec<Answer>>, End) {
    let mut decoder = FrameDecoder::new(cases::MESSAGE_BYTES_MAX);
    let mut steps = Vec::new();
    for step in &case.steps {
        let mut answers = Vec::new();
        for piece in case.pieces(step) {
            let mut input = piece.to_vec();
            let mut input = &mut *input;
            loop {
                match decoder.decode(&mut input) {
                    Ok(None) => break,
                    Ok(Some(decoded)) => match answer(decoded) {
                        Ok(answer) => answers.extend(answer),
                        Err(end) => return (vec_with(steps, answers), end),
                    },
                    Err(violation) => {
                        let end = End::Failed(violation.close().code);
                        return (vec_with(steps, answers), end);
                    }
                }
            }
        }
        steps.push(answers);
    }
    (steps, End::Open)
}

fn vec_with<T>(mut all: Vec<T>, last: T) -> Vec<T> {
    all.push(last);
    all
}

/// The answer to a frame, if it has one; an error for a close frame.
fn answer(decoded: Decoded) -> Result<Option<Answer>, End> {
    let Decoded::Message(message) = decoded else {
        return Ok(None);
    };
    Ok(match message {
        WebSocketMessage::Text(text) => Some(Answer::Text(text.into_bytes().into())),
        WebSocketMessage::Binary(bytes) => Some(Answer::Binary(bytes.into())),
        WebSocketMessage::Ping(payload) => Some(Answer::Pong(payload.into())),
        WebSocketMessage::Pong(_) => None,
        close @ WebSocketMessage::Close(_) => {
            let mut frame = Vec::new();
            encode(close, usize::MAX, &mut frame);
            return Err(End::Closed(frame[2..].to_vec()));
        }
    })
}

/// The answers and the end that a case expects.
fn expected(case: &WebSocketCase) -> (Vec<Vec<Answer>>, End) {
    let steps = case.steps.iter().map(|step| step.answers.clone());
    (steps.collect(), case.end.clone())
}

#[test]
fn the_cases_of_the_autobahn_test_suite_have_their_answers() {
    let mut failed = Vec::new();
    for case in cases::all() {
        let chops = [Chop::Bytes(1), Chop::Bytes(3), Chop::Bytes(7), Chop::Whole];
        for chop in [case.chop].into_iter().chain(chops) {
            let case = case.in_pieces_of(chop);
            let (answers, expected) = (answers(&case), expected(&case));
            if answers != expected {
                failed.push(format!("{} in {chop:?}: {:?}", case.name, answers.1));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A generator of numbers that depend only on the seed.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    }
}

#[test]
fn flipped_bits_never_panic_and_never_keep_more_than_allowed() {
    let good = [
        client_frame(0x01, b"some text"),
        client_frame(0x89, b"ping"),
        client_frame(0x80, &[b'x'; 200]),
        client_frame(0x82, &[0; 70_000]),
        client_frame(0x88, b"\x03\xe8bye"),
    ]
    .concat();
    for seed in 1..2000 {
        let mut random = random(seed);
        let mut bytes = good.clone();
        for _ in 0..=random(4) {
            // Most flipped bits are in the heads at the front.
            let within = [12, 40, 300, bytes.len()][random(4)];
            let at = random(within);
            bytes[at] ^= 1 << random(8);
        }
        let mut decoder = FrameDecoder::new(100_000);
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            let length = (1 + random(30_000)).min(rest.len());
            let (mut piece, after) = rest.split_at_mut(length);
            rest = after;
            while let Ok(Some(_)) = decoder.decode(&mut piece) {}
            assert!(decoder.buffered() <= 100_000 + 125);
            if !piece.is_empty() {
                break;
            }
        }
    }
}

#[test]
fn the_fuzz_corpus_decodes_without_panic_whole_and_damaged() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/websocket");
    let entries = std::fs::read_dir(folder).expect("a corpus");
    let files = entries.map(|entry| std::fs::read(entry.expect("an entry").path()));
    let files: Vec<_> = files.map(|file| file.expect("a readable file")).collect();
    assert!(!files.is_empty());
    for (file, seed) in files.iter().zip(1..) {
        fuzz::decode(file);
        let mut random = random(seed);
        for _ in 0..300 {
            let mut bytes = file.clone();
            let at = random(bytes.len());
            bytes[at] ^= 1 << random(8);
            // Another file is appended, to test the effect of a flipped bit on later frames.
            bytes.extend_from_slice(&files[random(files.len())][1..]);
            fuzz::decode(&bytes);
        }
    }
}
