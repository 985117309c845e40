//! The content of messages. A stamp in it names the sender, the receivers, a number and the time at which it was due.
//!
//! The stamp consists of letters and digits only, so that no server and no encoding changes it.

use memchr::memmem;

/// The text before a stamp's fields.
const MARK: &[u8] = b"switchboardbench";
const FIELDS_LENGTH: usize = 8 + 8 + 8 + 16 + 16;
/// The length of a stamp in bytes.
pub const STAMP_LENGTH: usize = MARK.len() + FIELDS_LENGTH;

/// The receiver of a message to all other members of a room.
pub const ALL: u32 = u32::MAX;

/// The fields of a message that its receiver needs to measure and check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the sending client.
    pub from: u32,
    /// The number of the receiving client, or [`ALL`].
    pub to: u32,
    /// The number of the conversation in its room: in a closed loop several may be in progress.
    pub slot: u32,
    /// The number of the message: 1 for the first one of the sender to this receiver, and then the next one.
    pub sequence: u64,
    /// The time at which the message was due, in nanoseconds since the start of the run.
    pub due_nanos: u64,
}

impl Stamp {
    const BLANK: Self = Self {
        from: 0,
        to: 0,
        slot: 0,
        sequence: 0,
        due_nanos: 0,
    };

    /// Finds the stamp in a frame; `None` if there is none.
    #[must_use]
    pub fn find(frame: &[u8]) -> Option<Self> {
        let mut fields = frame.get(memmem::find(frame, MARK)? + MARK.len()..)?;
        let mut next = |length| read_hex(fields.split_off(..length)?);
        let stamp = Self {
            from: u32::try_from(next(8)?).ok()?,
            to: u32::try_from(next(8)?).ok()?,
            slot: u32::try_from(next(8)?).ok()?,
            sequence: next(16)?,
            due_nanos: next(16)?,
        };
        Some(stamp)
    }

    fn encode(self) -> String {
        let mark = String::from_utf8_lossy(MARK);
        let Self {
            from,
            to,
            slot,
            sequence,
            due_nanos,
        } = self;
        format!("{mark}{from:08x}{to:08x}{slot:08x}{sequence:016x}{due_nanos:016x}")
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(text, 16).ok()
}

/// An encoded frame, complete except for the values of its stamp.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    frame: String,
    offset: usize,
}

impl Template {
    /// A template of a frame that holds the content of [`session_description`] or [`text`].
    ///
    /// # Panics
    /// If the frame has no stamp.
    pub(crate) fn new(frame: String) -> Self {
        let offset = memmem::find(frame.as_bytes(), MARK).expect("the content has a stamp");
        Self { frame, offset }
    }

    /// The frame with this stamp.
    pub(crate) fn stamped(&self, stamp: Stamp) -> String {
        let mut frame = self.frame.clone();
        frame.replace_range(self.offset..self.offset + STAMP_LENGTH, &stamp.encode());
        frame
    }
}

/// A content like a session description of `size` bytes, with line breaks, so that a server pays for JSON escapes as in use.
pub(crate) fn session_description(size: usize) -> String {
    let stamp = Stamp::BLANK.encode();
    let mut text =
        format!("v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns={stamp}\r\nt=0 0\r\n");
    text += "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n";
    let length_min = text.len();
    for number in 1.. {
        if text.len() >= size {
            break;
        }
        text += &format!(
            "a=candidate:{number} 1 udp 2122260223 192.0.2.7 54400 typ host generation 0\r\n"
        );
    }
    text.truncate(size.max(length_min));
    text
}

/// A content of `size` letters, and at least the stamp.
pub(crate) fn text(size: usize) -> String {
    let letters = ('a'..='z').cycle();
    let fill = letters.take(size.saturating_sub(STAMP_LENGTH));
    Stamp::BLANK.encode().chars().chain(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        from: 7,
        to: ALL,
        slot: 3,
        sequence: 1 << 40,
        due_nanos: u64::MAX,
    };

    #[test]
    fn stamp_survives_an_encoded_frame() {
        let content = session_description(1_536);
        assert_eq!(content.len(), 1_536);
        let frame = serde_json::json!({ "data": { "sdp": content } }).to_string();
        let stamped = Template::new(frame.clone()).stamped(STAMP);
        assert_eq!(stamped.len(), frame.len());
        assert_eq!(Stamp::find(stamped.as_bytes()), Some(STAMP));
        assert_eq!(Stamp::find(frame.as_bytes()), Some(Stamp::BLANK));
    }

    #[test]
    fn frames_without_a_complete_stamp_are_not_messages() {
        let stamp = STAMP.encode();
        assert_eq!(stamp.len(), STAMP_LENGTH);
        for frame in [
            "",
            "{}",
            &stamp[..STAMP_LENGTH - 1],
            &stamp.replace('f', "x"),
        ] {
            assert_eq!(Stamp::find(frame.as_bytes()), None, "{frame}");
        }
    }

    #[test]
    fn small_contents_hold_at_least_the_stamp() {
        assert_eq!(text(0).len(), STAMP_LENGTH);
        assert_eq!(text(256).len(), 256);
        assert!(session_description(0).contains("a=mid:0"));
    }
}
