//! What every dialect can say, in no dialect's words: the bridge between members of different ones.

use std::borrow::Cow;

use bytestring::ByteString;
use serde_json::value::RawValue;
use switchboard_core::{DialectName, DialectTraits, MessageKind, OfferPolicy, RelayedMessage};

use crate::{
    find,
    json::{JsonObject, JsonWriter, text},
    webidl::{dom_string, unsigned_short},
};

/// The tongue of the host program: its frames are plain text.
pub static HOST: DialectTraits = DialectTraits {
    name: "host",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: true,
    ..DialectTraits::DEFAULT
};

/// What a relayed frame says to a member of another dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// The SDP of an offer (RFC 8866).
    Offer(Cow<'a, str>),
    /// The SDP of an answer.
    Answer(Cow<'a, str>),
    /// An ICE candidate.
    Candidate(Candidate<'a>),
    /// Text for people.
    Message(Cow<'a, str>),
}

/// An `RTCIceCandidateInit` (W3C WebRTC, section 4.8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The candidate attribute; empty at the end of candidates.
    pub candidate: Cow<'a, str>,
    /// The media section, by its `mid`.
    pub sdp_mid: Option<Cow<'a, str>>,
    /// The media section, by its index.
    pub sdp_m_line_index: Option<u16>,
    /// The ICE user fragment.
    pub username_fragment: Option<Cow<'a, str>>,
}

impl<'a> Content<'a> {
    /// The content of `relay`, read with its own dialect. `None` if it has no counterpart in other dialects.
    #[must_use]
    pub fn of(relay: &'a RelayedMessage) -> Option<Self> {
        if relay.origin == HOST.name {
            return Some(Self::Message(Cow::Borrowed(&relay.frame)));
        }
        let content = find(relay.origin)?.read(&relay.frame)?;
        let is_end = matches!(&content, Self::Candidate(candidate) if candidate.ends_all());
        (!is_end).then_some(content)
    }

    /// A frame of this dialect under way to others. None if there is no such dialect.
    #[must_use]
    pub fn relay(origin: &str, kind: MessageKind, frame: ByteString) -> Option<RelayedMessage> {
        if origin == HOST.name {
            return Some(relay(HOST.name, kind, frame));
        }
        let dialect = find(origin)?;
        let aliases = dialect.aliases(&frame);
        Some(relay(dialect.traits().name, kind, frame).with_aliases(aliases))
    }

    /// A description of this kind.
    #[must_use]
    pub fn description(kind: MessageKind, sdp: Cow<'a, str>) -> Option<Self> {
        match kind {
            MessageKind::Offer => Some(Self::Offer(sdp)),
            MessageKind::Answer => Some(Self::Answer(sdp)),
            MessageKind::Candidate | MessageKind::Message | MessageKind::Opaque => None,
        }
    }
}

/// A frame of the dialect `origin` under way to others.
#[must_use]
pub(crate) fn relay(origin: DialectName, kind: MessageKind, frame: ByteString) -> RelayedMessage {
    RelayedMessage::new(origin, kind, frame, |origin, frame| {
        origin == HOST.name || find(origin).is_some_and(|dialect| dialect.read(frame).is_some())
    })
}

impl<'a> Candidate<'a> {
    /// The end of the candidates of all media sections.
    pub(crate) const END: Self = Self {
        candidate: Cow::Borrowed(""),
        sdp_mid: None,
        sdp_m_line_index: None,
        username_fragment: None,
    };

    /// Whether this is the end of candidates, and does not say of which media section.
    #[must_use]
    pub fn ends_all(&self) -> bool {
        self.candidate.is_empty() && self.sdp_mid.is_none() && self.sdp_m_line_index.is_none()
    }

    /// Reads the fields of an `RTCIceCandidateInit`, with values of other types converted as in a
    /// browser. Other names of the fields are understood, too: `sdp` (Android, iOS), `mid`
    /// (libdatachannel), `label` and `id` (AppRTC). `None` without a candidate; one that is `null` is
    /// the end of candidates.
    #[must_use]
    pub fn read(object: &JsonObject<'a>) -> Option<Self> {
        let candidate = match object.get("candidate").or_else(|| object.get("sdp")) {
            Some(raw) => text(raw)?,
            None => object.all("candidate").next().map(|_| Cow::Borrowed(""))?,
        };
        let label = object.get("label");
        let index = object.get("sdpMLineIndex").or(label);
        // `id` is the `sdpMid` only beside a `label`, or without any index.
        let is_mid = label.is_some() || index.is_none();
        let id = || object.get("id").filter(|_| is_mid);
        let mid = object
            .get("sdpMid")
            .or_else(|| object.get("mid"))
            .or_else(id);
        let fragment = object.get("usernameFragment");
        Some(Self {
            candidate,
            sdp_mid: convert(mid, dom_string)?,
            sdp_m_line_index: convert(index, unsigned_short)?,
            username_fragment: convert(fragment, dom_string)?,
        })
    }

    /// Reads the value in which a dialect has a candidate: an object, or `null` for the end of
    /// candidates.
    #[must_use]
    pub(crate) fn of_value(raw: &'a RawValue) -> Option<Self> {
        match raw.get() {
            "null" => Some(Self::END),
            _ => Self::read(&JsonObject::parse(raw.get(), 0).ok()?),
        }
    }

    /// Reads the text in which a dialect has a candidate, as JSON.
    #[must_use]
    pub(crate) fn of_json(json: &str) -> Option<Candidate<'static>> {
        let raw: &RawValue = serde_json::from_str(json).ok()?;
        Candidate::of_value(raw).map(Candidate::owned)
    }

    /// The same, no longer a part of the frame.
    #[must_use]
    pub fn owned(self) -> Candidate<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Candidate {
            candidate: owned(self.candidate),
            sdp_mid: self.sdp_mid.map(owned),
            sdp_m_line_index: self.sdp_m_line_index,
            username_fragment: self.username_fragment.map(owned),
        }
    }

    /// Writes the fields of an `RTCIceCandidateInit`. One that names no media section is of the
    /// first: some clients leave that out, and others insist on it.
    #[must_use]
    pub fn write(&self, writer: JsonWriter) -> JsonWriter {
        let first = self.sdp_mid.is_none().then_some(0);
        let writer = writer.text("candidate", &self.candidate);
        let writer = match &self.sdp_mid {
            Some(mid) => writer.text("sdpMid", mid),
            None => writer.raw("sdpMid", "null"),
        };
        let writer = match self.sdp_m_line_index.or(first) {
            Some(index) => writer.number("sdpMLineIndex", index.into()),
            None => writer.raw("sdpMLineIndex", "null"),
        };
        writer.maybe_text("usernameFragment", self.username_fragment.as_deref())
    }
}

/// Converts the value of a field, if it is there. `None` if it cannot be converted.
fn convert<'a, T>(
    field: Option<&'a RawValue>,
    conversion: impl FnOnce(&'a RawValue) -> Option<T>,
) -> Option<Option<T>> {
    match field {
        Some(raw) => conversion(raw).map(Some),
        None => Some(None),
    }
}

/// The `sdp` of an `RTCSessionDescriptionInit`.
#[must_use]
pub(crate) fn sdp_of<'a>(description: &JsonObject<'a>) -> Option<Cow<'a, str>> {
    description.text("sdp").ok()?
}

/// A value as text for people: a string as what it says, anything else as its JSON.
#[must_use]
pub(crate) fn readable(raw: &RawValue) -> Cow<'_, str> {
    text(raw).unwrap_or(Cow::Borrowed(raw.get()))
}
