//! The content of messages in a form that is independent of dialects. To translate a message, its own dialect parses
//! the frame into this form, and the receiver's dialect writes a frame from it.

use std::borrow::Cow;

use bytestring::ByteString;
use switchboard_core::{DialectName, DialectTraits, MessageKind, OfferPolicy, RelayedMessage};

use crate::{
    DialectTable, find,
    json::{JsonObject, JsonWriter, RawJson},
    webidl::{dom_string, unsigned_short},
};

/// The traits of the host program: the program that embeds this library, and can send messages to the members of a
/// room. It is no member, so no client sends it signals.
pub static HOST: DialectTraits = DialectTraits {
    name: "host",
    offer_policy: OfferPolicy::Unspecified,
    signals: false,
    messages: true,
    ..DialectTraits::DEFAULT
};

/// The content of a relayed frame, as members of other dialects get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// The SDP of an offer (RFC 8866).
    Offer(Cow<'a, str>),
    /// The SDP of an answer (RFC 8866).
    Answer(Cow<'a, str>),
    /// An ICE candidate.
    Candidate(Candidate<'a>),
    /// A text message for users.
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
    /// The content of `message`, parsed by its own dialect, which is one of `dialects`. `None` if other dialects
    /// cannot express it.
    #[must_use]
    pub fn of(message: &'a RelayedMessage, dialects: DialectTable) -> Option<Self> {
        if message.origin == HOST.name {
            return Self::of_host(message);
        }
        let content = dialects
            .find(message.origin)?
            .parse_content(&message.frame)?;
        // An end of all candidates is dropped: some clients do not expect it, and connections are established without
        // it.
        let is_end = matches!(&content, Self::Candidate(candidate) if candidate.ends_all());
        (!is_end).then_some(content)
    }

    /// The relayed message for a frame of the dialect `origin`. `None` if it is none of `dialects`.
    #[must_use]
    pub fn relayed_message(
        origin: &str,
        kind: MessageKind,
        frame: ByteString,
        dialects: DialectTable,
    ) -> Option<RelayedMessage> {
        if origin == HOST.name {
            return Some(relayed_message(HOST.name, kind, frame));
        }
        let dialect = dialects.find(origin)?;
        let aliases = dialect.aliases(&frame);
        let name = dialect.traits().name;
        let message = match find(name) {
            Some(_) => relayed_message(name, kind, frame),
            // Whether a message is translatable is usually checked when a receiver of another dialect needs it. That
            // check is a function without state: it can find the dialects of this crate, but not one that the host
            // program has added. A frame of an added dialect is therefore parsed now, and its check returns the result.
            None => {
                let is_translatable = dialect.parse_content(&frame).is_some();
                let check: fn(DialectName, &str) -> bool = match is_translatable {
                    true => |_, _| true,
                    false => |_, _| false,
                };
                RelayedMessage::new(name, kind, frame, check)
            }
        };
        Some(message.with_aliases(aliases))
    }

    /// The content of a message of the host program, from [`Content::to_host_message`].
    fn of_host(message: &'a RelayedMessage) -> Option<Self> {
        let text = Cow::Borrowed(&*message.frame);
        match message.kind {
            MessageKind::Message => Some(Self::Message(text)),
            MessageKind::Candidate => Candidate::of_json(&text).map(Self::Candidate),
            MessageKind::Offer | MessageKind::Answer => Self::description(message.kind, text),
            MessageKind::Opaque => None,
        }
    }

    /// This content as a message of the host program. Every dialect that carries this kind of content translates it.
    /// The frame is the text, the SDP, or the candidate as JSON.
    #[must_use]
    pub fn to_host_message(&self) -> RelayedMessage {
        let (kind, frame) = match self {
            Self::Offer(sdp) => (MessageKind::Offer, ByteString::from(&**sdp)),
            Self::Answer(sdp) => (MessageKind::Answer, ByteString::from(&**sdp)),
            Self::Message(text) => (MessageKind::Message, ByteString::from(&**text)),
            Self::Candidate(candidate) => {
                let frame = candidate.write(JsonWriter::default()).finish();
                (MessageKind::Candidate, frame)
            }
        };
        RelayedMessage::new(HOST.name, kind, frame, |_, _| true)
    }

    /// An offer or answer with this SDP. `None` for other kinds.
    #[must_use]
    pub fn description(kind: MessageKind, sdp: Cow<'a, str>) -> Option<Self> {
        match kind {
            MessageKind::Offer => Some(Self::Offer(sdp)),
            MessageKind::Answer => Some(Self::Answer(sdp)),
            MessageKind::Candidate | MessageKind::Message | MessageKind::Opaque => None,
        }
    }
}

/// The relayed message for a frame of the dialect `origin`, which is one of this crate or the host program.
#[must_use]
pub(crate) fn relayed_message(
    origin: DialectName,
    kind: MessageKind,
    frame: ByteString,
) -> RelayedMessage {
    RelayedMessage::new(origin, kind, frame, |origin, frame| {
        origin == HOST.name
            || find(origin).is_some_and(|dialect| dialect.parse_content(frame).is_some())
    })
}

impl<'a> Candidate<'a> {
    /// The end-of-candidates indication for all media sections.
    pub(crate) const END: Self = Self {
        candidate: Cow::Borrowed(""),
        sdp_mid: None,
        sdp_m_line_index: None,
        username_fragment: None,
    };

    /// Whether this is an end-of-candidates indication without a media section.
    #[must_use]
    pub fn ends_all(&self) -> bool {
        self.candidate.is_empty() && self.sdp_mid.is_none() && self.sdp_m_line_index.is_none()
    }

    /// Reads the fields of an `RTCIceCandidateInit`. Values of other types are converted as in a browser.
    /// These other field names are accepted: `sdp` (Android, iOS), `mid` (libdatachannel), `label` and `id`
    /// (AppRTC). A `candidate` of `null` is the end of candidates. `None` if there is no candidate.
    #[must_use]
    pub fn read(object: &JsonObject<'a>) -> Option<Self> {
        let candidate = match object.get("candidate").or_else(|| object.get("sdp")) {
            Some(raw) => raw.text()?,
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

    /// Reads a JSON value with a candidate: an object, or `null` for the end of candidates.
    #[must_use]
    pub(crate) fn of_value(raw: RawJson<'a>) -> Option<Self> {
        match raw.as_str() {
            "null" => Some(Self::END),
            _ => Self::read(&JsonObject::parse(raw.as_str(), 0).ok()?),
        }
    }

    /// Reads a candidate from JSON text, as [`Candidate::of_value`] does.
    #[must_use]
    pub(crate) fn of_json(json: &str) -> Option<Candidate<'static>> {
        let raw = RawJson::parse(json)?;
        Candidate::of_value(raw).map(Candidate::owned)
    }

    /// The candidate with all borrowed texts copied.
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

    /// Writes the fields of an `RTCIceCandidateInit`. A candidate without a media section is written with
    /// the index 0: some clients omit the section, and others require it.
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

/// Converts the value of an optional field. The outer `None` means that the conversion failed.
fn convert<'a, T>(
    field: Option<RawJson<'a>>,
    conversion: impl FnOnce(RawJson<'a>) -> Option<T>,
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

/// A value as text for users: the content of a string, or the JSON of any other value.
#[must_use]
pub(crate) fn display_text(raw: RawJson<'_>) -> Cow<'_, str> {
    raw.text().unwrap_or(Cow::Borrowed(raw.as_str()))
}
