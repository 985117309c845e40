//! The protocol state of one connection: the session of its dialect, and its peer in the core.

use std::{fmt, sync::Arc, time::Duration};

use bytestring::ByteString;
use switchboard_core::{
    DialectTraits, DisconnectReason, ErrorCode, Event, EvictionReason, Grants, HubRequest, Limits,
    Peer, RequestError, RoomPolicy, SpaceName,
};
use switchboard_dialects::{
    ClientFrame, CloseReason, Dialect, DialectSettings, DialectTable, FirstFrameTimeout, Handshake,
    ResumeError, ResumeRequest, Session, SessionOutput, WebhookRequest, error_message,
    json::{JsonObject, JsonWriter},
};

use authentication::Unauthenticated;
pub use authentication::{AccessRefusal, AuthenticatedClient, CredentialFrames};

use crate::kept_output::KeptOutput;

mod authentication;

/// The shortest interval of ticks. An interval of zero would make a connection tick without end.
const TICK_MIN: Duration = Duration::from_millis(10);

/// The longest time that a session can set. `Instant` would overflow with much longer times.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The access of a client: the namespace of its rooms, and its powers. The identity is part of the handshake.
#[derive(Clone, Debug)]
pub struct SessionAccess {
    /// The namespace of the client's rooms and names.
    pub space: SpaceName,
    /// The powers of the client.
    pub grants: Arc<Grants>,
    /// The time in seconds since 1970 at which the session ends; `None` if it does not.
    pub expires_at: Option<u64>,
    /// The policy for all rooms that the client joins, in addition to the policies of the rooms.
    pub room_policy: Option<Arc<RoomPolicy>>,
    /// The frames of the client in which credentials are read.
    pub credential_frames: CredentialFrames,
}

impl Default for SessionAccess {
    /// A participant in the default namespace.
    fn default() -> Self {
        Self {
            space: SpaceName::default(),
            grants: Grants::participant(),
            expires_at: None,
            room_policy: None,
            credential_frames: CredentialFrames::default(),
        }
    }
}

/// The session of a connection.
enum SessionState {
    /// The dialect is unknown. The handshake is kept to open the session when the first frame has shown the dialect.
    Detecting(Box<Handshake>),
    Active(Box<dyn Session>),
    /// The first frame may carry the credential of the client.
    Unauthenticated(Box<Unauthenticated>),
    Closed,
}

/// The protocol state of one connection, from its handshake to its end.
pub struct ClientSession {
    peer: Peer,
    state: SessionState,
    limits: Arc<Limits>,
    /// The time in seconds since 1970 at which the access of the client ends.
    expires_at: Option<u64>,
    /// Whether the client may renew its access by a frame.
    may_renew: bool,
    /// The output that the client has not acknowledged, if the session outlives its connection.
    kept: Option<Box<KeptOutput>>,
    dialects: DialectTable,
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
    /// Opens a session of `dialect`, and returns its first output. With `None` the first frame determines the
    /// dialect.
    #[must_use]
    pub fn open(
        dialect: Option<&'static dyn Dialect>,
        handshake: Handshake,
        access: SessionAccess,
    ) -> (Self, SessionOutput) {
        let traits = dialect.map_or(&UNDETECTED, |dialect| dialect.traits());
        let identity = handshake.identity.clone();
        let mut peer = Peer::new(handshake.peer, traits, identity, access.space);
        peer.set_grants(access.grants);
        peer.set_room_policy(access.room_policy);
        let limits = handshake.limits.clone();
        let dialects = handshake.settings.table();
        let mut output = SessionOutput {
            dialects,
            ..SessionOutput::at(handshake.unix_ms / 1000)
        };
        let state = match dialect {
            Some(dialect) => SessionState::Active(dialect.open(&handshake, &mut output)),
            None => SessionState::Detecting(Box::new(handshake)),
        };
        let mut session = Self {
            peer,
            state,
            limits,
            expires_at: access.expires_at,
            may_renew: access.credential_frames != CredentialFrames::None,
            kept: None,
            dialects,
        };
        session.authorize_commands(&mut output);
        if output.requests.is_empty() {
            session.await_credential(access.credential_frames);
        }
        (session, output)
    }

    /// The limits of the session.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The peer of this connection in the core.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The time in seconds since 1970 at which the access of the client ends; `None` if it does not.
    #[must_use]
    pub fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    /// Handles a frame from the client.
    pub fn on_frame(&mut self, frame: ClientFrame<'_>, output: &mut SessionOutput) {
        self.begin_step(output);
        let result = match &mut self.state {
            SessionState::Active(session) => session.on_frame(frame, output),
            SessionState::Detecting(_) => self.detect(frame, output),
            SessionState::Unauthenticated(_) => return self.on_first_frame(frame, output),
            SessionState::Closed => Ok(()),
        };
        if let Err(error) = result {
            self.on_frame_error(error, frame, output);
        }
        self.authorize_commands(output);
    }

    /// Handles an event from the hubs, the state machines of the rooms. Returns whether the output has only frames, as
    /// for most events: then nothing is left to be done but to send them.
    pub fn on_event(&mut self, event: &Event, output: &mut SessionOutput) -> bool {
        self.begin_step(output);
        match event {
            Event::Probe(resource) => output.probe = Some(resource.clone()),
            Event::Evicted(reason) => {
                self.dispatch_event(event, output);
                output.close = Some(close_for(*reason));
            }
            Event::RequestFailed(error) => {
                output.error_codes.push(error.code.as_str());
                // The rejection may be of an older join, and the peer may have joined the room since. The session
                // then gets the error without `join`, so that it does not take itself for outside of the room.
                let join = error.join.filter(|_| self.peer.note_rejected_join(error));
                self.dispatch_event(
                    &Event::RequestFailed(RequestError {
                        join,
                        ..error.clone()
                    }),
                    output,
                );
            }
            Event::Claimed(_)
            | Event::Joined { .. }
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Introduced { .. }
            | Event::Departed { .. }
            | Event::Received { .. } => self.dispatch_event(event, output),
        }
        if output.has_only_frames() {
            self.keep_frames(output);
            return true;
        }
        self.authorize_commands(output);
        false
    }

    /// Reports a violation that the transport has detected to the client, and closes the connection.
    pub fn on_violation(
        &mut self,
        reason: ErrorCode,
        close: CloseReason,
        output: &mut SessionOutput,
    ) {
        self.on_event(&Event::RequestFailed(reason.into()), output);
        output.close.get_or_insert(close);
    }

    /// Called once in each interval of [`SessionOutput::tick`].
    pub fn on_tick(&mut self, output: &mut SessionOutput) {
        self.begin_step(output);
        if let SessionState::Active(session) = &mut self.state {
            session.on_tick(output);
        }
        self.authorize_commands(output);
    }

    /// Handles the response to [`SessionOutput::webhook`]: the body, or `None` if the request failed. The driver
    /// calls it before any other method.
    pub fn on_webhook_response(&mut self, body: Option<&str>, output: &mut SessionOutput) {
        self.begin_step(output);
        if let SessionState::Active(session) = &mut self.state {
            session.on_webhook_response(body, output);
        }
        self.authorize_commands(output);
    }

    /// The time for which the session outlives a connection that is lost. `None` if it ends with the connection, or
    /// if frames that the client may have missed were dropped.
    #[must_use]
    pub fn kept_time(&self) -> Option<Duration> {
        let kept = self.kept.as_ref().filter(|kept| kept.is_complete());
        kept.map(|kept| kept.time())
    }

    /// Continues this session over another connection of its client. `by` is the peer of that connection. `output` gets
    /// the frames that the client has missed.
    ///
    /// # Errors
    /// The reason why this session cannot be resumed; it is unchanged then.
    pub fn resume(
        &mut self,
        request: &ResumeRequest,
        by: &Peer,
        output: &mut SessionOutput,
    ) -> Result<(), ResumeError> {
        self.begin_step(output);
        let own = &self.peer;
        let is_same = (by.dialect().name, by.identity(), by.space())
            == (own.dialect().name, own.identity(), own.space());
        let (Some(kept), SessionState::Active(session), true) =
            (&mut self.kept, &mut self.state, is_same)
        else {
            return Err(ResumeError::NotFound);
        };
        let missed = kept.resume(&request.token, request.received)?;
        session.on_resumed(output);
        output.frames.extend(missed);
        Ok(())
    }

    /// Reports to this session that the earlier session, which its client asked to resume, cannot be resumed.
    pub fn refuse_resume(&mut self, error: ResumeError, output: &mut SessionOutput) {
        self.begin_step(output);
        if let SessionState::Active(session) = &mut self.state {
            session.on_resume_refused(error, output);
        }
        self.authorize_commands(output);
    }

    /// The requests to the hubs after the connection has ended.
    #[must_use]
    pub fn disconnect(&mut self, reason: DisconnectReason) -> Vec<HubRequest> {
        self.peer.disconnect(reason)
    }

    /// Ends the session. Returns its last webhook request, if it makes one after the connection has ended.
    #[must_use]
    pub fn on_end(&mut self) -> Option<WebhookRequest> {
        match std::mem::replace(&mut self.state, SessionState::Closed) {
            SessionState::Active(mut session) => session.on_end(),
            SessionState::Detecting(_)
            | SessionState::Unauthenticated(_)
            | SessionState::Closed => None,
        }
    }

    /// Sets the part of `output` that a session reads. Every step of a session begins with this.
    fn begin_step(&self, output: &mut SessionOutput) {
        output.dialects = self.dialects;
        output.may_relay = self.peer.may_relay();
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

    /// Reports an error to the session. A close that was set before stays.
    fn report_error(&mut self, error: RequestError, output: &mut SessionOutput) {
        output.error_codes.push(error.code.as_str());
        let close = output.close;
        self.dispatch_event(&Event::RequestFailed(error), output);
        output.close = close.or(output.close);
    }

    fn dispatch_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match (&mut self.state, event) {
            (SessionState::Active(session), event) => session.on_event(event, output),
            (SessionState::Detecting(_), Event::RequestFailed(error)) => {
                output.frames.push(default_error_frame(error))
            }
            (SessionState::Unauthenticated(unauthenticated), event) => {
                unauthenticated.dispatch_event(event, output);
            }
            (SessionState::Detecting(_) | SessionState::Closed, _) => {}
        }
    }

    /// Turns the commands in `output` into requests. A command that the peer is not authorized to send is
    /// reported to the session as an error at once.
    fn authorize_commands(&mut self, output: &mut SessionOutput) {
        let is_done =
            output.acknowledged.is_none() && output.errors.is_empty() && output.commands.is_empty();
        if !is_done {
            self.authorize_all(output);
        }
        self.finish_step(output);
    }

    fn authorize_all(&mut self, output: &mut SessionOutput) {
        if let Some(received) = output.acknowledged.take()
            && let Some(kept) = &mut self.kept
            && kept.acknowledge(received).is_err()
        {
            self.report_error(ErrorCode::BadField("received").into(), output);
        }
        while !output.errors.is_empty() || !output.commands.is_empty() {
            for error in std::mem::take(&mut output.errors) {
                self.report_error(error, output);
            }
            let mut commands = std::mem::take(&mut output.commands);
            for command in commands.drain(..) {
                match self.peer.authorize(command, &self.limits) {
                    Ok(request) => output.requests.push(request),
                    Err(error) => self.report_error(error, output),
                }
            }
            if output.commands.is_empty() {
                // A caller that uses the output again allocates no further list.
                output.commands = commands;
            }
        }
    }

    /// Bounds the times of a step, and keeps its frames.
    fn finish_step(&mut self, output: &mut SessionOutput) {
        output.tick = output.tick.map(|every| every.clamp(TICK_MIN, TIME_MAX));
        if let FirstFrameTimeout::Within(wait) = &mut output.first_frame {
            *wait = (*wait).min(TIME_MAX);
        }
        if let Some(mut settings) = output.keep.take() {
            settings.time = settings.time.min(TIME_MAX);
            let kept = KeptOutput::new(*settings, self.limits.outbox_bytes);
            self.kept = Some(Box::new(kept));
        }
        self.keep_frames(output);
    }

    /// Keeps the frames of a step, if the session outlives its connection.
    fn keep_frames(&mut self, output: &SessionOutput) {
        if let Some(kept) = &mut self.kept {
            kept.extend(&output.frames);
        }
    }
}

/// The dialect that recognizes a first frame. Disabled dialects are skipped.
fn detect_dialect(
    first: ClientFrame<'_>,
    json_depth: usize,
    settings: &DialectSettings,
) -> Result<&'static dyn Dialect, ErrorCode> {
    let text = first.text()?;
    let object = JsonObject::parse(&text, json_depth)?;
    let mut dialects = settings.table().iter();
    dialects
        .find(|dialect| settings.is_enabled(dialect.traits().name) && dialect.recognizes(&object))
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
