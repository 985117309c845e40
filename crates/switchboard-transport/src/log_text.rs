//! Texts of clients in log lines.

/// The longest text in a log line, in bytes.
const BYTES_MAX: usize = 128;

/// The first 128 bytes of a text that comes from a client, for a field of a log line. Pass it as a string and not
/// with `%`: the log escapes control characters in string fields only.
#[must_use]
pub fn log_text(text: &str) -> &str {
    &text[..text.floor_char_boundary(BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(log_text("ada"), "ada");
        let long = format!("x{}", "ä".repeat(1000));
        assert_eq!(log_text(&long), format!("x{}", "ä".repeat(63)));
    }
}
