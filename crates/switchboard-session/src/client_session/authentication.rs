//! Credentials in the frames of a client: the first frame may carry one, and a later frame may renew the access.
//!
//! A first frame waits for the decision about its credential. The dialect gets it afterwards, so its commands are
//! authorized with the grants of the client.

use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{ErrorCode, Event, HubRequest, Identity, RequestError};
use switchboard_dialects::{
    ClientFrame, CloseReason, Dialect, SessionOutput,
    json::{JsonObject, JsonWriter},
};

use super::{ClientSession, SessionAccess, SessionState, default_error_frame, detect_dialect};

/// The type of the frame by which a client renews its access.
const AUTHENTICATE: &str = "authenticate";

/// The frames of a client in which credentials are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CredentialFrames {
    /// None: there is no access control.
    #[default]
    None,
    /// Frames by which the client renews its access.
    Renewals,
    /// These, and the first frame, which need not have one.
    FirstFrame,
    /// These, and the first frame, which must have one.
    RequiredFirstFrame,
}

/// A client that is authenticated by a credential in one of its frames.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    /// The identity of the client.
    pub identity: Identity,
    /// The access of its session.
    pub access: SessionAccess,
}

/// The refusal of a credential in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRefusal {
    /// The text for the client.
    pub text: Arc<str>,
    /// The close of a connection whose first frame has the credential. A refused renewal does not end the session.
    pub close: CloseReason,
}

impl AccessRefusal {
    /// The refusal if the first frame must have a credential and has none.
    fn missing() -> Self {
        Self {
            text: "An access token is required.".into(),
            close: CloseReason::TOKEN_REQUIRED,
        }
    }

    /// The refusal of a renewal by the credential of another client.
    fn of_another_client() -> Self {
        Self {
            text: "The access token belongs to another user or space.".into(),
            close: CloseReason::ACCESS_DENIED,
        }
    }

    /// The refusal of a credential that cannot be checked.
    pub(crate) fn unavailable() -> Self {
        Self {
            text: "The access token cannot be checked at the moment.".into(),
            close: CloseReason::UNAVAILABLE,
        }
    }

    fn error(&self) -> RequestError {
        ErrorCode::Denied(Some(self.text.clone())).into()
    }
}

/// A session before its first frame, which may carry the credential of the client.
pub(super) struct Unauthenticated {
    /// The state of the session after the authentication: its dialect is known, or its first frame shows it.
    next: SessionState,
    is_required: bool,
    /// The first frame, without its credential, while it waits for the decision.
    waiting: Option<WaitingFrame>,
}

/// A frame that waits for a decision.
struct WaitingFrame {
    text: ByteString,
    is_binary: bool,
}

/// A credential of a first frame.
struct FirstCredential {
    token: Box<str>,
    /// The frame that the session gets after the authentication. `None` if the frame has only the credential.
    frame: Option<WaitingFrame>,
}

impl Unauthenticated {
    pub(super) fn dispatch_event(&mut self, event: &Event, output: &mut SessionOutput) {
        match (&mut self.next, event) {
            (SessionState::Active(session), event) => session.on_event(event, output),
            (SessionState::Detecting(_), Event::RequestFailed(error)) => {
                output.frames.push(default_error_frame(error));
            }
            (
                SessionState::Detecting(_)
                | SessionState::Unauthenticated(_)
                | SessionState::Closed,
                _,
            ) => {}
        }
    }
}

impl ClientSession {
    /// Whether the first frame must carry a credential, and has not come yet.
    pub(crate) fn must_authenticate(&self) -> bool {
        match &self.state {
            SessionState::Unauthenticated(unauthenticated) => unauthenticated.is_required,
            SessionState::Detecting(_) | SessionState::Active(_) | SessionState::Closed => false,
        }
    }

    /// Makes the first frame carry the credential, if it may.
    pub(super) fn await_credential(&mut self, frames: CredentialFrames) {
        let is_required = match frames {
            CredentialFrames::None | CredentialFrames::Renewals => return,
            CredentialFrames::FirstFrame => false,
            CredentialFrames::RequiredFirstFrame => true,
        };
        let next = std::mem::replace(&mut self.state, SessionState::Closed);
        self.state = SessionState::Unauthenticated(Box::new(Unauthenticated {
            next,
            is_required,
            waiting: None,
        }));
    }

    /// Handles the first frame of a client, which may have a credential. With one the frame waits for the decision.
    pub(super) fn on_first_frame(&mut self, frame: ClientFrame<'_>, output: &mut SessionOutput) {
        let credential = self.first_credential(frame);
        let SessionState::Unauthenticated(unauthenticated) = &mut self.state else {
            return;
        };
        match credential {
            Some(FirstCredential { token, frame }) => {
                output.credential = Some(token);
                unauthenticated.waiting = frame;
            }
            None if unauthenticated.is_required => {
                self.refuse_access(&AccessRefusal::missing(), Some(frame), output);
            }
            None => {
                self.end_waiting();
                self.on_frame(frame, output);
            }
        }
    }

    /// Handles the result of the authentication by a credential in a frame of the client. Returns the requests to leave
    /// the rooms that the client may not join any more, each with the error that informs the session.
    #[must_use]
    pub fn on_authentication(
        &mut self,
        result: &Result<AuthenticatedClient, AccessRefusal>,
        output: &mut SessionOutput,
    ) -> Vec<(HubRequest, RequestError)> {
        self.begin_step(output);
        let is_first = matches!(self.state, SessionState::Unauthenticated(_));
        match result {
            Ok(client) if is_first => self.on_authenticated(client, output),
            Ok(client) => return self.on_renewed(client, output),
            Err(refusal) if is_first => {
                let waiting = self.take_waiting();
                let frame = waiting
                    .as_ref()
                    .map(|waiting| ClientFrame::Text(&waiting.text));
                self.refuse_access(refusal, frame, output);
            }
            Err(refusal) => self.report_error(refusal.error(), output),
        }
        self.authorize_commands(output);
        Vec::new()
    }

    /// Handles the first frame with the access of the authenticated client.
    fn on_authenticated(&mut self, client: &AuthenticatedClient, output: &mut SessionOutput) {
        let waiting = self.take_waiting();
        self.end_waiting();
        let space = client.access.space.clone();
        self.peer.authenticate(client.identity.clone(), space);
        self.replace_access(&client.access);
        if let SessionState::Detecting(handshake) = &mut self.state {
            handshake.identity = client.identity.clone();
        }
        match waiting {
            Some(waiting) if waiting.is_binary => {
                self.on_frame(ClientFrame::Binary(waiting.text.as_bytes()), output);
            }
            Some(waiting) => self.on_frame(ClientFrame::Text(&waiting.text), output),
            None => self.confirm_access(output),
        }
    }

    /// Replaces the grants and the end of the access, if the credential is of the same client.
    fn on_renewed(
        &mut self,
        client: &AuthenticatedClient,
        output: &mut SessionOutput,
    ) -> Vec<(HubRequest, RequestError)> {
        let own = (self.peer.identity(), self.peer.space());
        if own != (&client.identity, &client.access.space) {
            self.report_error(AccessRefusal::of_another_client().error(), output);
            self.authorize_commands(output);
            return Vec::new();
        }
        self.replace_access(&client.access);
        self.confirm_access(output);
        self.authorize_commands(output);
        self.peer.revoked_rooms()
    }

    /// Replaces the powers of the client and their end. Its namespace stays.
    fn replace_access(&mut self, access: &SessionAccess) {
        self.peer.set_grants(access.grants.clone());
        self.peer.set_room_policy(access.room_policy.clone());
        self.expires_at = access.expires_at;
    }

    /// Informs the client that its credential is accepted.
    fn confirm_access(&self, output: &mut SessionOutput) {
        let frame = JsonWriter::default().text(self.type_key(), "authenticated");
        let frame = match self.expires_at {
            Some(at) => frame.number("expiresAt", at),
            None => frame,
        };
        output.frames.push(frame.finish());
    }

    /// Reports the refusal in the client's dialect, and closes the connection. `first` is the first frame, which may
    /// show the dialect.
    fn refuse_access(
        &mut self,
        refusal: &AccessRefusal,
        first: Option<ClientFrame<'_>>,
        output: &mut SessionOutput,
    ) {
        self.end_waiting();
        if let SessionState::Detecting(handshake) = &self.state
            && let Some(first) = first
            && let Ok(dialect) = detect_dialect(first, self.limits.json_depth, &handshake.settings)
            && dialect.has_credential_in_first_frame()
        {
            let session = dialect.open(handshake, output);
            self.peer.set_dialect(dialect.traits());
            self.state = SessionState::Active(session);
        }
        self.report_error(refusal.error(), output);
        self.authorize_commands(output);
        output.close = Some(refusal.close);
    }

    /// Handles the error of a frame. A frame by which the client renews its access has a type that no dialect knows.
    pub(super) fn on_frame_error(
        &mut self,
        error: RequestError,
        frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) {
        let may_renew = self.may_renew && output.close.is_none();
        if may_renew && error.code == ErrorCode::UnknownType {
            output.credential = self.renewal_in(frame);
            if output.credential.is_some() {
                return;
            }
        }
        self.report_error(error, output);
    }

    /// The credential in a frame by which the client renews its access.
    fn renewal_in(&self, frame: ClientFrame<'_>) -> Option<Box<str>> {
        let text = frame.text().ok()?;
        let object = JsonObject::parse(&text, self.limits.json_depth).ok()?;
        renewal_token(&object, self.type_key())
    }

    /// The credential of a first frame.
    fn first_credential(&self, frame: ClientFrame<'_>) -> Option<FirstCredential> {
        let text = frame.text().ok()?;
        let object = JsonObject::parse(&text, self.limits.json_depth).ok()?;
        if let Some(token) = renewal_token(&object, self.type_key()) {
            return Some(FirstCredential { token, frame: None });
        }
        let dialect = self.dialect_of_first(frame)?;
        let has_credential = dialect.has_credential_in_first_frame();
        let token = dialect
            .first_frame_credential(&object)
            .filter(|_| has_credential)?;
        let token = Some(token).filter(|token| !token.is_empty())?;
        let text = match object.get("token") {
            Some(_) => JsonWriter::default()
                .fields(object.rest(&["token"]))
                .finish(),
            None => text.clone(),
        };
        let is_binary = matches!(frame, ClientFrame::Binary(_));
        Some(FirstCredential {
            token: token.into(),
            frame: Some(WaitingFrame { text, is_binary }),
        })
    }

    /// The dialect of a client whose first frame this is.
    fn dialect_of_first(&self, first: ClientFrame<'_>) -> Option<&'static dyn Dialect> {
        let SessionState::Unauthenticated(unauthenticated) = &self.state else {
            return None;
        };
        match &unauthenticated.next {
            SessionState::Detecting(handshake) => {
                detect_dialect(first, self.limits.json_depth, &handshake.settings).ok()
            }
            SessionState::Active(_) | SessionState::Unauthenticated(_) | SessionState::Closed => {
                self.dialects.find(self.peer.dialect().name)
            }
        }
    }

    /// The key of a frame that names its type.
    fn type_key(&self) -> &'static str {
        let dialect = self.dialects.find(self.peer.dialect().name);
        dialect.map_or("type", Dialect::type_key)
    }

    /// Removes the first frame that waits for the decision.
    fn take_waiting(&mut self) -> Option<WaitingFrame> {
        match &mut self.state {
            SessionState::Unauthenticated(unauthenticated) => unauthenticated.waiting.take(),
            SessionState::Detecting(_) | SessionState::Active(_) | SessionState::Closed => None,
        }
    }

    /// Continues with the state after the authentication.
    fn end_waiting(&mut self) {
        self.state = match std::mem::replace(&mut self.state, SessionState::Closed) {
            SessionState::Unauthenticated(unauthenticated) => unauthenticated.next,
            state @ (SessionState::Detecting(_)
            | SessionState::Active(_)
            | SessionState::Closed) => state,
        };
    }
}

/// The token of a frame by which a client authenticates itself and does nothing else.
fn renewal_token(object: &JsonObject<'_>, type_key: &'static str) -> Option<Box<str>> {
    let frame_type = object.text(type_key).ok()??;
    let token = object.text("token").ok()?;
    let token = token.filter(|token| frame_type == AUTHENTICATE && !token.is_empty());
    token.map(Into::into)
}
