//! The body of the fuzz target of the frame decoder. It is a function of this crate, so that a test can replay the
//! corpus of the target.

use super::{Decoded, FrameDecoder, Violation, WebSocketMessage};

/// The largest message in bytes.
const MESSAGE_BYTES_MAX: usize = 1000;

/// Decodes the bytes after the first one twice: in one piece, and in pieces whose size is the first byte.
///
/// # Panics
/// If the results differ, if more bytes are kept than allowed, or if an invalid frame is decoded.
#[doc(hidden)]
pub fn decode(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else {
        return;
    };
    let piece = usize::from(*piece).max(1);
    let whole = decode_pieces(bytes, bytes.len().max(1));
    assert_eq!(
        decode_pieces(bytes, piece),
        whole,
        "pieces of {piece} bytes give another result than one piece"
    );
}

fn decode_pieces(bytes: &[u8], piece: usize) -> (Vec<Decoded>, Option<Violation>) {
    let mut decoder = FrameDecoder::new(MESSAGE_BYTES_MAX);
    let mut all = Vec::new();
    let mut bytes = bytes.to_vec();
    for mut piece in bytes.chunks_mut(piece) {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(received)) => {
                    assert_valid(&received);
                    all.push(received);
                }
                Ok(None) => break,
                Err(violation) => return (all, Some(violation)),
            }
            assert!(decoder.buffered() <= MESSAGE_BYTES_MAX + 125);
        }
        assert!(piece.is_empty(), "the decoder left input unread");
        let is_kept = decoder.buffered() > 0;
        assert!(
            !is_kept || decoder.unfinished().is_some(),
            "bytes are kept although no message is unfinished"
        );
    }
    (all, None)
}

fn assert_valid(received: &Decoded) {
    let Decoded::Message(message) = received else {
        return;
    };
    let most = match message {
        WebSocketMessage::Text(_) | WebSocketMessage::Binary(_) => MESSAGE_BYTES_MAX,
        WebSocketMessage::Ping(_) | WebSocketMessage::Pong(_) | WebSocketMessage::Close(_) => 125,
    };
    assert!(message.payload_len() <= most, "{message:?}");
}
