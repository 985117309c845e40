//! The protocol state of one connection: the session of its dialect, and its peer in the core.

use std::{fmt, sync::Arc};

use bytestring::ByteString;
use switchboard_core::{
    DialectTraits, DisconnectReason, ErrorCode, Event, EvictionReason, HubRequest, Limits, Peer,
    RequestError, ResourceKey, SpaceName,
};
use switchboard_dialects::{
    ALL, ClientFrame, CloseReason, Dialect, DialectSettings, FirstFrameTimeout, Handshake, Session,
    SessionOutput, WebhookRequest, error_message,
    json::{JsonObject, JsonWriter},
};

/// The actions that the driver executes after each call, in this order: send the frames, send the
/// requests to the hubs, make the webhook request, close the connection.
#[derive(Debug, Default)]
pub struct Actions {
    /// Frames for the client.
    pub frames: Vec<ByteString>,
    /// Requests to the hubs, in order.
    pub requests: Vec<HubRequest>,
    /// A webhook request. The driver calls [`ClientSession::on_webhook_response`] with its response before
    /// any other method.
    pub webhook: Option<WebhookRequest>,
    /// Close the connection.
    pub close: Option<CloseReason>,
    /// Ping the client: another one claims this name or address of it. When the client sends its next frame or
    /// pong, send [`HubRequest::Alive`] for the resource.
    pub probe: Option<ResourceKey>,
    /// The error codes of rejected frames and requests of the client.
    pub error_codes: Vec<&'static str>,
    /// The time limit for the first frame. Only the value that [`ClientSession::open`] returns counts.
    pub first_frame: FirstFrameTimeout,
    /// The interval of calls of [`ClientSession::on_tick`] from now on.
    pub tick: Option<std::time::Duration>,
}

/// The session of a connection. While the dialect is unknown, the handshake is kept to open the session
/// when the first frame has shown the dialect.
enum SessionState {
    Detecting(Box<Handshake>),
    Active(Box<dyn Session>),
    Closed,
}

/// The protocol state of one connection, from its handshake to its end.
pub struct ClientSession {
    peer: Peer,
    state: SessionState,
    limits: Arc<Limits>,
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The traits of a peer before its dialect is detected. They are never used for a member, because such a peer is
/// in no room.
static UNDETECTED: DialectTraits = DialectTraits {
    name: "undetected",
    offer_policy: switchboard_core::OfferPolicy::Unspecified,
    signals: false,
    messages: false,
    ..DialectTraits::DEFAULT
};

impl ClientSession {
    /// Opens a session of `dialect`. With `None` the first frame determines the dialect.
    #[must_use]
    pub fn open(
        dialect: Option<&'static dyn Dialect>,
        handshake: Handshake,
        space: SpaceName,
    ) -> (Self, Actions) {
        let traits = dialect.map_or(&UNDETECTED, |dialect| dialect.traits());
        let peer = Peer::new(handshake.peer, traits, handshake.identity.clone(), space);
        let limits = handshake.limits.clone();
        let (mut output, mut actions) = (SessionOutput::default(), Actions::default());
        let state = match dialect {
            Some(dialect) => SessionState::Active(dialect.open(&handshake, &mut output)),
            None => SessionState::Detecting(Box::new(handshake)),
        };
        let mut session = Self {
            peer,
            state,
            limits,
        };
        session.apply_output(output, &mut actions);
        (session, actions)
    }

    /// The peer of this connection in the core.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Handles a frame from the client.
    #[must_use]
    pub fn on_frame(&mut self, frame: ClientFrame<'_>, unix_secs: u64) -> Actions {
        let mut actions = Actions::default();
        let mut output = SessionOutput {
            unix_secs,
            ..SessionOutput::default()
        };
        let result = match &mut self.state {
            SessionState::Active(session) => session.on_frame(frame, &mut output),
            SessionState::Detecting(_) => self.detect(frame, &mut output),
            SessionState::Closed => Ok(()),
        };
        if let Err(error) = result {
            self.report_error(error, &mut output, &mut actions);
        }
        self.apply_output(output, &mut actions);
        actions
    }

    /// Handles an event from the hubs.
    #[must_use]
    pub fn on_event(&mut self, event: &Event, unix_secs: u64) -> Actions {
        let mut actions = Actions::default();
        let mut output = SessionOutput {
            unix_secs,
            ..SessionOutput::default()
        };
        match event {
            Event::Probe(resource) => actions.probe = Some(resource.clone()),
            Event::Evicted(reason) => {
                self.dispatch_event(event, &mut output);
                actions.close = Some(close_for(*reason));
            }
            Event::RequestFailed(error) => {
                actions.error_codes.push(error.code.as_str());
                // The rejection may be of an older join of a room that the peer has joined since. The session
                // then gets the error without `join`, so that it does not leave the room.
                let join = error.join.filter(|_| self.peer.note_rejected_join(error));
                self.dispatch_event(
                    &Event::RequestFailed(RequestError {
                        join,
                        ..error.clone()
                    }),
                    &mut output,
                );
            }
            Event::Claimed(_)
            | Event::Joined { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Received { .. } => self.dispatch_event(event, &mut output),
        }
        self.apply_output(output, &mut actions);
        actions
    }

    /// Reports a violation that the transport has detected to the client, and closes the connection.
    #[must_use]
    pub fn on_violation(&mut self, reason: ErrorCode, close: CloseReason) -> Actions {
        let mut actions = self.on_event(&Event::RequestFailed(reason.into()), 0);
        actions.close.get_or_insert(close);
        actions
    }

    /// Called once in each interval of [`Actions::tick`].
    #[must_use]
    pub fn on_tick(&mut self) -> Actions {
        let (mut actions, mut output) = (Actions::default(), SessionOutput::default());
        if let SessionState::Active(session) = &mut self.state {
            session.on_tick(&mut output);
        }
        self.apply_output(output, &mut actions);
        actions
    }

    /// Handles the response to [`Actions::webhook`]: the body, or `None` if the request failed.
    #[must_use]
    pub fn on_webhook_response(&mut self, reply: Option<&str>, unix_secs: u64) -> Actions {
        let mut actions = Actions::default();
        let mut output = SessionOutput {
            unix_secs,
            ..SessionOutput::default()
        };
        if let SessionState::Active(session) = &mut self.state {
            session.on_webhook_response(reply, &mut output);
        }
        self.apply_output(output, &mut actions);
        actions
    }

    /// The requests to the hubs after the connection has ended.
    #[must_use]
    pub fn disconnect(&mut self, reason: DisconnectReason) -> Vec<HubRequest> {
        self.peer.disconnect(reason)
    }

    /// Ends the session. Returns its last webhook request, to be made after the connection has ended.
    #[must_use]
    pub fn on_end(&mut self) -> Option<WebhookRequest> {
        match std::mem::replace(&mut self.state, SessionState::Closed) {
            SessionState::Active(mut session) => session.on_end(),
            SessionState::Detecting(_) | SessionState::Closed => None,
        }
    }

    /// Detects the dialect by the first frame, opens its session, and passes the frame to it.
    fn detect(
        &mut self,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        let SessionState::Detecting(handshake) = &self.state else {
            return Ok(());
        };
        let dialect = match detect_dialect(frame, self.limits.json_depth, &handshake.settings) {
            Ok(dialect) => dialect,
            Err(reason) => {
                output.close = Some(CloseReason::POLICY);
                return Err(reason.into());
            }
        };
        let mut session = dialect.open(handshake, output);
        let result = session.on_frame(frame, output);
        self.peer.set_dialect(dialect.traits());
        self.state = SessionState::Active(session);
        result
    }

    fn report_error(
        &mut self,
        error: RequestError,
        output: &mut SessionOutput,
        actions: &mut Actions,
    ) {
        actions.error_codes.push(error.code.as_str());
        self.dispatch_event(&Event::RequestFailed(error), output);
    }

    fn dispatch_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match (&mut self.state, event) {
            (SessionState::Active(session), event) => session.on_event(event, output),
            (SessionState::Detecting(_), Event::RequestFailed(error)) => {
                output.frames.push(default_error_frame(error))
            }
            (SessionState::Detecting(_) | SessionState::Closed, _) => {}
        }
    }

    /// Moves the output of the session into `actions`. A command that the peer is not authorized to send is
    /// reported to the session as an error at once.
    fn apply_output(&mut self, mut output: SessionOutput, actions: &mut Actions) {
        actions.first_frame = output.first_frame;
        loop {
            for error in std::mem::take(&mut output.errors) {
                self.report_error(error, &mut output, actions);
            }
            actions.frames.append(&mut output.frames);
            actions.webhook = output.webhook.take().or(actions.webhook.take());
            actions.close = actions.close.or(output.close);
            actions.tick = output.tick.or(actions.tick);
            let commands = std::mem::take(&mut output.commands);
            if commands.is_empty() {
                return;
            }
            for command in commands {
                match self.peer.authorize(command, &self.limits) {
                    Ok(request) => actions.requests.push(request),
                    Err(error) => self.report_error(error, &mut output, actions),
                }
            }
        }
    }
}

/// The dialect that recognizes a first frame. Disabled dialects are skipped.
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

fn close_for(reason: EvictionReason) -> CloseReason {
    match reason {
        EvictionReason::Unresponsive => CloseReason::GONE,
        EvictionReason::Replaced => CloseReason::REPLACED,
        EvictionReason::Kicked => CloseReason::KICKED,
    }
}

/// An error frame for a client whose dialect is unknown, in the format of `lightstream`.
fn default_error_frame(error: &RequestError) -> ByteString {
    JsonWriter::default()
        .text("type", "error")
        .text("senderID", "server")
        .text("code", error.code.as_str())
        .text("data", &error_message(error))
        .finish()
}
