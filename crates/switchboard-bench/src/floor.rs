//! A relay with nothing in it but the system calls, the frame headers and the unmasking. It is the lower bound of what a
//! server can cost, and runs alternate with it.
//!
//! One thread waits for all connections. The path of a connection names its room; each data frame goes to all other members
//! of the room, with one read for each frame and one write for each receiver. There are no checks and no queues: a
//! member that does not keep up is cut off. It listens on loopback only.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
};

use mio::{
    Events, Interest, Poll, Registry, Token,
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const LISTENER: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 1_024;
const BUFFER_BYTES: usize = 64 << 10;
/// The maximum bytes of an incomplete request or frame, so that each frame fits the buffer.
const INCOMPLETE_MAX: usize = BUFFER_BYTES / 2;

/// The opcode of a close frame.
const CLOSE: u8 = 8;
const IS_MASKED: u8 = 0x80;

/// A floor server that is bound to its address.
#[derive(Debug)]
pub struct Floor {
    poll: Poll,
    listener: TcpListener,
    local_address: SocketAddr,
    members: Vec<Option<FloorConnection>>,
    free: Vec<usize>,
    rooms: HashMap<String, Vec<usize>>,
}

#[derive(Debug)]
struct FloorConnection {
    stream: TcpStream,
    /// The start of an incomplete request or frame.
    incomplete: Vec<u8>,
    room: Option<String>,
}

impl Floor {
    /// Listens on a loopback address.
    ///
    /// # Errors
    /// If the address is not a loopback address or cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let problem = "the floor checks nothing, so it listens on loopback addresses only";
            return Err(io::Error::new(ErrorKind::InvalidInput, problem));
        }
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            local_address: listener.local_addr()?,
            poll,
            listener,
            members: Vec::new(),
            free: Vec::new(),
            rooms: HashMap::new(),
        })
    }

    /// The address that is bound.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// If the system cannot wait for events.
    pub fn serve(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    Token(id) if self.read(id, &mut buffer).is_err() => self.remove(id),
                    Token(_) => {}
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let id = self.free.pop().unwrap_or(self.members.len());
            if id == self.members.len() {
                self.members.push(None);
            }
            match register(stream, id, self.poll.registry()) {
                Ok(member) => self.members[id] = Some(member),
                Err(_) => self.free.push(id),
            }
        }
    }

    fn remove(&mut self, id: usize) {
        let Some(member) = self.members[id].take() else {
            return;
        };
        self.free.push(id);
        let Some(room) = member.room else {
            return;
        };
        let Some(members) = self.rooms.get_mut(&room) else {
            return;
        };
        members.retain(|member| *member != id);
        if members.is_empty() {
            self.rooms.remove(&room);
        }
    }

    /// Reads until the kernel has no more: a read that does not fill the buffer is the last one.
    fn read(&mut self, id: usize, buffer: &mut [u8]) -> io::Result<()> {
        while let Some(member) = &mut self.members[id] {
            let kept = member.incomplete.len();
            buffer[..kept].copy_from_slice(&member.incomplete);
            member.incomplete.clear();
            let read = match member.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                read => read?,
            };
            let length = kept + read;
            let used = self.relay(id, &mut buffer[..length])?;
            self.keep(id, &buffer[used..length])?;
            if length < buffer.len() {
                break;
            }
        }
        Ok(())
    }

    fn keep(&mut self, id: usize, rest: &[u8]) -> io::Result<()> {
        if rest.len() > INCOMPLETE_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        if let Some(member) = &mut self.members[id] {
            member.incomplete.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Relays the complete frames in these bytes. Returns the number of bytes used.
    fn relay(&mut self, id: usize, bytes: &mut [u8]) -> io::Result<usize> {
        let mut used = 0;
        if self.members[id]
            .as_ref()
            .is_some_and(|member| member.room.is_none())
        {
            used = self.shake_hands(id, bytes)?;
            if used == 0 {
                return Ok(0);
            }
        }
        while let Some(frame) = MaskedFrame::parse(&mut bytes[used..])? {
            used += frame.head + frame.payload;
            let out = frame.unmask();
            if out[0] & 0x0f == CLOSE {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            self.send_to_others(id, out);
        }
        Ok(used)
    }

    /// Answers a complete request head, and enters the room of its path. Returns the bytes of the head.
    fn shake_hands(&mut self, id: usize, bytes: &[u8]) -> io::Result<usize> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(0);
        };
        let head = String::from_utf8_lossy(&bytes[..end]);
        let (room, response) = respond(&head).ok_or(ErrorKind::InvalidData)?;
        if let Some(member) = &mut self.members[id] {
            member.room = Some(room.clone());
            self.rooms.entry(room).or_default().push(id);
            member.stream.write_all(response.as_bytes())?;
        }
        Ok(end + 4)
    }

    fn send_to_others(&mut self, id: usize, frame: &[u8]) {
        let room = self.members[id]
            .as_ref()
            .and_then(|member| member.room.as_ref());
        let Some(members) = room.and_then(|room| self.rooms.get(room)) else {
            return;
        };
        let mut slow = Vec::new();
        for other in members.iter().filter(|other| **other != id) {
            let stream = self.members[*other]
                .as_mut()
                .map(|member| &mut member.stream);
            let written = stream.map(|stream| stream.write(frame));
            if !matches!(written, Some(Ok(written)) if written == frame.len()) {
                slow.push(*other);
            }
        }
        for member in slow {
            self.remove(member);
        }
    }
}

fn register(mut stream: TcpStream, id: usize, registry: &Registry) -> io::Result<FloorConnection> {
    stream.set_nodelay(true)?;
    registry.register(&mut stream, Token(id), Interest::READABLE)?;
    Ok(FloorConnection {
        stream,
        incomplete: Vec::new(),
        room: None,
    })
}

/// The path of a WebSocket handshake, and the response.
fn respond(head: &str) -> Option<(String, String)> {
    let path = head.split(' ').nth(1)?;
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let mut keys = headers.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let accept = derive_accept_key(keys.next()?.1.trim().as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    Some((path.to_owned(), response))
}

/// A complete frame of a client at the start of `bytes`.
#[derive(Debug)]
struct MaskedFrame<'a> {
    bytes: &'a mut [u8],
    /// The bytes of the header, with the mask.
    head: usize,
    payload: usize,
}

impl<'a> MaskedFrame<'a> {
    /// Finds a frame; `None` if it is incomplete.
    fn parse(bytes: &'a mut [u8]) -> io::Result<Option<Self>> {
        let [_, length, rest @ ..] = &*bytes else {
            return Ok(None);
        };
        if length & IS_MASKED == 0 {
            return Err(ErrorKind::InvalidData.into());
        }
        let (extended, payload) = match (length & !IS_MASKED, rest) {
            (126, [a, b, ..]) => (2, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (8, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
            }
            (126 | 127, _) => return Ok(None),
            (length, _) => (0, u64::from(length)),
        };
        let head = 2 + extended + 4;
        let payload = usize::try_from(payload).unwrap_or(usize::MAX);
        if payload > INCOMPLETE_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        let is_complete = bytes.len() >= head + payload;
        Ok(is_complete.then_some(Self {
            bytes,
            head,
            payload,
        }))
    }

    /// The frame as a server sends it. The header without the mask moves up to the payload.
    fn unmask(self) -> &'a [u8] {
        let frame = &mut self.bytes[..self.head + self.payload];
        let (header, payload) = frame.split_at_mut(self.head);
        let mask = [4, 3, 2, 1].map(|from_end| header[self.head - from_end]);
        let (words, rest) = payload.as_chunks_mut::<4>();
        let word = u32::from_ne_bytes(mask);
        for bytes in words {
            *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        header[1] &= !IS_MASKED;
        header.copy_within(..self.head - 4, 4);
        &frame[4..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_unmasked_and_lose_their_mask() {
        let mask = [1, 2, 3, 4];
        let payload: Vec<u8> = (0..=200).collect();
        let mut frame = vec![0x81, IS_MASKED | 126, 0, 201];
        frame.extend(mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        for length in 0..frame.len() {
            let incomplete = MaskedFrame::parse(&mut frame[..length]).expect("a header");
            assert!(incomplete.is_none(), "{length}");
        }
        let complete = MaskedFrame::parse(&mut frame)
            .expect("a header")
            .expect("a frame");
        assert_eq!((complete.head, complete.payload), (8, 201));
        let out = complete.unmask();
        assert_eq!(out[..4], [0x81, 126, 0, 201]);
        assert_eq!(out[4..], payload);
    }

    #[test]
    fn unmasked_and_large_frames_are_errors() {
        assert!(MaskedFrame::parse(&mut [0x81, 1, 0]).is_err());
        let mut large = [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert!(MaskedFrame::parse(&mut large).is_err());
    }

    #[test]
    fn handshake_names_the_room_and_is_accepted() {
        let head = "GET /r HTTP/1.1\r\nHost: a\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        let (room, response) = respond(head).expect("a handshake");
        assert_eq!(room, "/r");
        // The example of RFC 6455, section 1.3.
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_eq!(respond("GET / HTTP/1.1"), None);
    }

    #[test]
    fn other_addresses_than_loopback_are_refused() {
        let refused = Floor::bind("0.0.0.0:0".parse().expect("an address"));
        assert_eq!(
            refused.map(drop).map_err(|error| error.kind()),
            Err(ErrorKind::InvalidInput)
        );
    }
}
