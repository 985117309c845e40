//! Server-Sent Events, as far as they are used here: names and data.

use std::collections::VecDeque;

/// No event is longer.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// One event as it was sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ParsedEvent {
    pub(super) name: String,
    pub(super) data: String,
}

/// Reads Server-Sent Events out of pieces of any length.
#[derive(Debug, Default)]
pub(super) struct SseParser {
    line: Vec<u8>,
    after_return: bool,
    event: ParsedEvent,
    told: VecDeque<ParsedEvent>,
}

impl SseParser {
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), String> {
        for &byte in piece {
            let is_second_half = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                _ if is_second_half => {}
                b'\n' | b'\r' => self.end_line(),
                byte => self.line.push(byte),
            }
            if self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
                return Err("the server sends an event that is too long".to_owned());
            }
        }
        Ok(())
    }

    /// The next event that is whole.
    pub(super) fn next(&mut self) -> Option<ParsedEvent> {
        self.told.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            self.told
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
            // Comments, and fields that are for browsers.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, size: usize) -> Vec<(String, String)> {
        let mut parser = SseParser::default();
        for piece in text.as_bytes().chunks(size) {
            parser.take(piece).unwrap();
        }
        parser
            .told
            .into_iter()
            .map(|told| (told.name, told.data))
            .collect()
    }

    #[test]
    fn events_survive_any_cutting_and_any_line_ends() {
        let text = ": keep-alive\n\nevent: pubkey\ndata: 04ab\n\nevent:x\nid: 7\ndata: one\ndata:two\n\nevent: y\n\n";
        let expected = [("pubkey", "04ab"), ("x", "one\ntwo")]
            .map(|(name, data)| (name.to_owned(), data.to_owned()));
        for ends in ["\n", "\r", "\r\n"] {
            let text = text.replace('\n', ends);
            for size in 1..text.len() {
                assert_eq!(
                    parsed(&text, size),
                    expected,
                    "{ends:?} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_kept() {
        for line in ["data: x", "data: x\n"] {
            let mut parser = SseParser::default();
            let ended = (0..200_000).find(|_| parser.take(line.as_bytes()).is_err());
            assert!(ended.is_some_and(|count| count < 2 * EVENT_BYTES_MAX));
        }
    }
}
