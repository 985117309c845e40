//! The pieces of a listener's stream.

use bytes::Bytes;

use crate::ogg;

/// A piece of a listener's stream. The body of most Ogg pages is shared by all listeners that get the same frames. So a
/// mixer of many listeners copies nothing for each of them; [`AudioChunk::into_bytes`] does, when the chunk is written.
#[derive(Clone, Debug)]
pub struct AudioChunk {
    /// The part of an Ogg page that differs between listeners.
    header: Option<[u8; ogg::HEADER]>,
    body: Bytes,
}

impl AudioChunk {
    pub(crate) fn page(header: [u8; ogg::HEADER], body: Bytes) -> Self {
        let header = Some(header);
        Self { header, body }
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.map_or(0, |header| header.len()) + self.body.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the stream.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        let Some(header) = self.header else {
            return self.body;
        };
        let mut bytes = Vec::with_capacity(self.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&self.body);
        bytes.into()
    }
}

impl From<Bytes> for AudioChunk {
    fn from(body: Bytes) -> Self {
        Self { header: None, body }
    }
}
