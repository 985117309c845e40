//! One client's talk with the hubs: its session, and what its peer holds.

use std::{fmt, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    DialectTraits, DisconnectReason, ErrorCode, Event, EvictionReason, HubRequest, Limits, Peer,
    RequestError, ResourceKey, SpaceName,
};

use crate::{
    ALL, ClientFrame, CloseReason, Dialect, DialectSettings, FirstFrameTimeout, Handshake, Session,
    SessionOutput, WebhookRequest, error_message,
    json::{JsonObject, JsonWriter},
};

/// What the driver has to do after each call, in this order: send the frames, ask the hubs, make
/// the request, close.
#[derive(Debug, Default)]
pub struct Actions {
    /// Frames for the client.
    pub frames: Vec<ByteString>,
    /// What to ask the hubs.
    pub requests: Vec<HubRequest>,
    /// A request to make; call [`ClientSession::on_webhook_response`] with its answer before anything else.
    pub webhook: Option<WebhookRequest>,
    /// End the connection.
    pub close: Option<CloseReason>,
    /// Ping the client; when it shows a sign of life, request [`HubRequest::Alive`] for the resource.
    pub probe: Option<ResourceKey>,
    /// The codes of what the client sent or asked and was refused.
    pub error_codes: Vec<&'static str>,
    /// How long to wait for the first frame. Set by [`ClientSession::open`].
    pub first_frame: FirstFrameTimeout,
    /// Call [`ClientSession::on_tick`] that often from now on.
    pub tick: Option<std::time::Duration>,
}

/// A session, or what is needed to begin one when the first frame has told the dialect.
enum SessionState {
    Detecting(Box<Handshake>),
    Active(Box<dyn Session>),
    Closed,
}

/// One client's talk, from the handshake to the farewell.
pub struct ClientSession {
    peer: Peer,
    state: SessionState,
    limits: Arc<Limits>,
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// What a peer speaks whose dialect is not known yet. It is in no room, so this tells nobody anything.
static UNDETECTED: DialectTraits = DialectTraits {
    name: "undetected",
    offer_policy: switchboard_core::OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

impl ClientSession {
    /// Begins to talk in `dialect`, or in the one that the first frame shows.
    #[must_use]
    pub fn open(
        dialect: Option<&'static dyn Dialect>,
        handshake: Handshake,
        space: SpaceName,
    ) -> (Self, Actions) {
        let tongue = dialect.map_or(&UNDETECTED, |dialect| dialect.traits());
        let peer = Peer::new(handshake.peer, tongue, handshake.identity.clone(), space);
        let limits = handshake.limits.clone();
        let (mut out, mut turn) = (SessionOutput::default(), Actions::default());
        let speech = match dialect {
            Some(dialect) => SessionState::Active(dialect.open(&handshake, &mut out)),
            None => SessionState::Detecting(Box::new(handshake)),
        };
        let mut conversation = Self {
            peer,
            state: speech,
            limits,
        };
        conversation.apply_output(out, &mut turn);
        (conversation, turn)
    }

    /// The peer that talks.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Takes a frame of the client's.
    #[must_use]
    pub fn on_frame(&mut self, frame: ClientFrame<'_>, unix_secs: u64) -> Actions {
        let mut turn = Actions::default();
        let mut out = SessionOutput {
            unix_secs,
            ..SessionOutput::default()
        };
        let result = match &mut self.state {
            SessionState::Active(session) => session.on_frame(frame, &mut out),
            SessionState::Detecting(_) => self.detect(frame, &mut out),
            SessionState::Closed => Ok(()),
        };
        if let Err(refused) = result {
            self.report_error(refused, &mut out, &mut turn);
        }
        self.apply_output(out, &mut turn);
        turn
    }

    /// Tells the client what has happened.
    #[must_use]
    pub fn on_event(&mut self, event: &Event, unix_secs: u64) -> Actions {
        let mut turn = Actions::default();
        let mut out = SessionOutput {
            unix_secs,
            ..SessionOutput::default()
        };
        match event {
            Event::Probe(place) => turn.probe = Some(place.clone()),
            Event::Evicted(why) => {
                self.dispatch_event(event, &mut out);
                turn.close = Some(close_for(*why));
            }
            Event::RequestFailed(refused) => {
                turn.error_codes.push(refused.code.as_str());
                // A refusal that comes late must not make the session believe that it is nowhere.
                let join = refused
                    .join
                    .filter(|_| self.peer.note_rejected_join(refused));
                self.dispatch_event(
                    &Event::RequestFailed(RequestError {
                        join,
                        ..refused.clone()
                    }),
                    &mut out,
                );
            }
            Event::Claimed(_)
            | Event::Joined { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Received { .. } => self.dispatch_event(event, &mut out),
        }
        self.apply_output(out, &mut turn);
        turn
    }

    /// Refuses something that the carrier has noticed, and ends the connection.
    #[must_use]
    pub fn on_violation(&mut self, reason: ErrorCode, close: CloseReason) -> Actions {
        let mut turn = self.on_event(&Event::RequestFailed(reason.into()), 0);
        turn.close.get_or_insert(close);
        turn
    }

    /// The time that a turn's `tick` asked for is over.
    #[must_use]
    pub fn on_tick(&mut self) -> Actions {
        let (mut turn, mut out) = (Actions::default(), SessionOutput::default());
        if let SessionState::Active(session) = &mut self.state {
            session.on_tick(&mut out);
        }
        self.apply_output(out, &mut turn);
        turn
    }

    /// The request that a turn's `post` asked for is answered.
    #[must_use]
    pub fn on_webhook_response(&mut self, reply: Option<&str>, unix_secs: u64) -> Actions {
        let mut turn = Actions::default();
        let mut out = SessionOutput {
            unix_secs,
            ..SessionOutput::default()
        };
        if let SessionState::Active(session) = &mut self.state {
            session.on_webhook_response(reply, &mut out);
        }
        self.apply_output(out, &mut turn);
        turn
    }

    /// What to ask the hubs when the connection is gone.
    #[must_use]
    pub fn disconnect(&mut self, parting: DisconnectReason) -> Vec<HubRequest> {
        self.peer.disconnect(parting)
    }

    /// The last request of the session, which ends here; to be made when the connection is gone.
    #[must_use]
    pub fn on_end(&mut self) -> Option<WebhookRequest> {
        match std::mem::replace(&mut self.state, SessionState::Closed) {
            SessionState::Active(mut session) => session.on_end(),
            SessionState::Detecting(_) | SessionState::Closed => None,
        }
    }

    /// Finds out the dialect by the first frame and lets its session have it.
    fn detect(
        &mut self,
        frame: ClientFrame<'_>,
        out: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let SessionState::Detecting(handshake) = &self.state else {
            return Ok(());
        };
        let dialect = match detect_dialect(frame, self.limits.json_depth, &handshake.settings) {
            Ok(dialect) => dialect,
            Err(reason) => {
                out.close = Some(CloseReason::POLICY);
                return Err(reason.into());
            }
        };
        let mut session = dialect.open(handshake, out);
        let result = session.on_frame(frame, out);
        self.peer.set_dialect(dialect.traits());
        self.state = SessionState::Active(session);
        result
    }

    fn report_error(&mut self, refused: RequestError, out: &mut SessionOutput, turn: &mut Actions) {
        turn.error_codes.push(refused.code.as_str());
        self.dispatch_event(&Event::RequestFailed(refused), out);
    }

    fn dispatch_event(&mut self, event: &Event, out: &mut SessionOutput) {
        match (&mut self.state, event) {
            (SessionState::Active(session), event) => session.on_event(event, out),
            (SessionState::Detecting(_), Event::RequestFailed(refused)) => {
                out.frames.push(default_error_frame(refused))
            }
            (SessionState::Detecting(_) | SessionState::Closed, _) => {}
        }
    }

    /// Moves what a session gave out into the turn. What its peer may not ask is refused to it at once.
    fn apply_output(&mut self, mut out: SessionOutput, turn: &mut Actions) {
        turn.first_frame = out.first_frame;
        loop {
            for refused in std::mem::take(&mut out.errors) {
                self.report_error(refused, &mut out, turn);
            }
            turn.frames.append(&mut out.frames);
            turn.webhook = out.webhook.take().or(turn.webhook.take());
            turn.close = turn.close.or(out.close);
            turn.tick = out.tick.or(turn.tick);
            let commands = std::mem::take(&mut out.commands);
            if commands.is_empty() {
                return;
            }
            for command in commands {
                match self.peer.authorize(command, &self.limits) {
                    Ok(ask) => turn.requests.push(ask),
                    Err(refused) => self.report_error(refused, &mut out, turn),
                }
            }
        }
    }
}

/// The dialect of a first frame. A dialect that is switched off recognizes no frame.
fn detect_dialect(
    first: ClientFrame<'_>,
    depth: usize,
    settings: &DialectSettings,
) -> Result<&'static dyn Dialect, ErrorCode> {
    let text = first.text()?;
    let object = JsonObject::parse(&text, depth)?;
    let dialects = ALL.iter().copied();
    let mut dialects = dialects.filter(|dialect| settings.is_enabled(dialect.traits().name));
    dialects
        .find(|dialect| dialect.recognizes(&object))
        .ok_or(ErrorCode::UnknownType)
}

fn close_for(why: EvictionReason) -> CloseReason {
    match why {
        EvictionReason::Unresponsive => CloseReason::GONE,
        EvictionReason::Replaced => CloseReason::REPLACED,
        EvictionReason::Kicked => CloseReason::KICKED,
    }
}

/// An error for a client of whom nothing is known, in the words that most dialects share.
fn default_error_frame(refused: &RequestError) -> ByteString {
    JsonWriter::default()
        .text("type", "error")
        .text("senderID", "server")
        .text("code", refused.code.as_str())
        .text("data", &error_message(refused))
        .finish()
}
