//! A parser of Server-Sent Events: event names and data only.

use std::collections::VecDeque;

use anyhow::anyhow;

/// Maximum length of an event, in bytes.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// One event: its name and its data.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ParsedEvent {
    pub(super) name: String,
    pub(super) data: String,
}

/// Parses Server-Sent Events from chunks of any length.
#[derive(Debug, Default)]
pub(super) struct SseParser {
    line: Vec<u8>,
    /// Whether the last byte was a carriage return: a line feed that follows belongs to the same line end.
    after_return: bool,
    event: ParsedEvent,
    parsed: VecDeque<ParsedEvent>,
}

impl SseParser {
    /// Parses a chunk.
    ///
    /// # Errors
    /// If an event is longer than 64 KiB.
    pub(super) fn push(&mut self, chunk: &[u8]) -> anyhow::Result<()> {
        for &byte in chunk {
            let is_second_half = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                _ if is_second_half => {}
                b'\n' | b'\r' => self.end_line(),
                byte => self.line.push(byte),
            }
            if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
                return Err(anyhow!("the server sent an event of more than 64 KiB"));
            }
        }
        Ok(())
    }

    /// The next complete event.
    pub(super) fn next(&mut self) -> Option<ParsedEvent> {
        self.parsed.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            self.parsed
                .extend(Some(event).filter(|event| !event.data.is_empty()));
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // Comments, and the fields `id` and `retry`.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, size: usize) -> Vec<(String, String)> {
        let mut parser = SseParser::default();
        for chunk in text.as_bytes().chunks(size) {
            parser.push(chunk).unwrap();
        }
        parser
            .parsed
            .into_iter()
            .map(|parsed| (parsed.name, parsed.data))
            .collect()
    }

    #[test]
    fn events_are_parsed_from_chunks_of_any_size_and_any_line_ends() {
        let text = ": keep-alive\n\nevent: pubkey\ndata: 04ab\n\nevent:x\nid: 7\ndata: one\ndata:two\n\nevent: y\n\n";
        let expected = [("pubkey", "04ab"), ("x", "one\ntwo")]
            .map(|(name, data)| (name.to_owned(), data.to_owned()));
        for ends in ["\n", "\r", "\r\n"] {
            let text = text.replace('\n', ends);
            for size in 1..text.len() {
                assert_eq!(
                    parsed(&text, size),
                    expected,
                    "{ends:?} in chunks of {size}"
                );
            }
        }
    }

    #[test]
    fn length_of_an_unfinished_event_is_bounded() {
        for line in ["data: x", "data: x\n"] {
            let mut parser = SseParser::default();
            let ended = (0..200_000).find(|_| parser.push(line.as_bytes()).is_err());
            assert!(ended.is_some_and(|count| count < 2 * EVENT_BYTES_MAX));
        }
    }
}
