//! `switchboard voice call` and `switchboard voice answer`: calls between two users.

use std::{collections::VecDeque, time::Duration};

use anyhow::anyhow;
use hyper::StatusCode;
use tokio::time::timeout;

use super::{
    client::{Failure, VoiceClient},
    downlink::Downlink,
    events::{CallEvent, CallEventKind, CallEvents},
    handshake::{HandshakeAction, HandshakeRequest, IncomingCall, OutgoingCall},
    identity::CallUser,
    output::print_status,
    uplink::UplinkConfig,
};
use crate::stop::StopSignals;

mod conversation;

/// Timeout for an answer. The server ends the ringing after one minute; this bounds the wait if it does not.
const RING_MAX: Duration = Duration::from_secs(90);

/// Timeout of the hang-up request.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of callers that are being authenticated. The oldest one makes room for a further one.
const CALLERS_MAX: usize = 16;

/// The server, audio and options of a call.
pub(super) struct Phone {
    pub(super) server: VoiceClient,
    pub(super) downlink: Downlink,
    /// `None` if standard input is a terminal.
    pub(super) uplink: Option<UplinkConfig>,
    /// Whether the call ends when standard input ends.
    pub(super) until_eof: bool,
}

/// Calls a user and transfers audio until the call ends.
pub(super) async fn call(other: &str, phone: Phone) -> anyhow::Result<()> {
    let mut stop = StopSignals::new()?;
    let other = phone.server.identity.parse_user(other)?;
    let started = tokio::select! {
        started = phone.ring(&other) => Some(started?),
        () = stop.recv() => None,
    };
    let Some((mut events, mut call)) = started else {
        phone.hang_up(&other).await;
        return Ok(());
    };
    let accepted = tokio::select! {
        accepted = phone.wait(&mut events, &other, &mut call) => accepted.map(|()| true),
        () = stop.recv() => Ok(false),
    };
    if matches!(accepted, Ok(true)) {
        return phone.talk(&other, events, stop).await;
    }
    phone.hang_up(&other).await;
    accepted.map(drop)
}

/// Waits for a call from one of the users `from`, or from any user if it is empty, and transfers audio until
/// the call ends.
pub(super) async fn answer(from: &[String], phone: Phone) -> anyhow::Result<()> {
    let mut stop = StopSignals::new()?;
    let identity = &phone.server.identity;
    let allowed: Result<Vec<_>, _> = from.iter().map(|text| identity.parse_user(text)).collect();
    let mut incoming = IncomingCalls {
        phone: &phone,
        allowed: allowed?,
        callers: VecDeque::new(),
    };
    let (other, events) = tokio::select! {
        accepted = incoming.accept_call() => accepted?,
        () = stop.recv() => return Ok(()),
    };
    phone.talk(&other, events, stop).await
}

impl Phone {
    /// Opens the event stream and begins a call.
    async fn ring(&self, other: &CallUser) -> anyhow::Result<(CallEvents, OutgoingCall)> {
        let events = self.server.events().await?;
        let call = OutgoingCall::new(&self.server.identity, other.clone());
        let HandshakeRequest { path, parameters } = call.ring_request();
        let rung = self.server.post(path, parameters).await;
        drop(rung.map_err(|failure| self.ring_error(failure, other))?);
        print_status(&format!("Ringing {other}"));
        Ok((events, call))
    }

    /// Waits until the call is accepted.
    async fn wait(
        &self,
        events: &mut CallEvents,
        other: &CallUser,
        call: &mut OutgoingCall,
    ) -> anyhow::Result<()> {
        let accepted = timeout(RING_MAX, self.accepted(events, other, call)).await;
        accepted.unwrap_or_else(|_late| Err(anyhow!("{other} did not answer")))
    }

    async fn accepted(
        &self,
        events: &mut CallEvents,
        other: &CallUser,
        call: &mut OutgoingCall,
    ) -> anyhow::Result<()> {
        loop {
            let CallEvent { from, kind } = events.next().await?;
            if from != *other {
                continue;
            }
            match call.handle(&kind) {
                HandshakeAction::Nothing => {}
                HandshakeAction::Request(request) => drop(self.request(request).await?),
                HandshakeAction::Connected(_) => return Ok(()),
                HandshakeAction::Terminated(message) => return Err(anyhow!(message)),
            }
        }
    }

    fn ring_error(&self, failure: Failure, other: &CallUser) -> anyhow::Error {
        match failure.status() {
            Some(StatusCode::NOT_FOUND) => anyhow!(
                "{other} is offline: it has no event stream at {}",
                self.server.base()
            ),
            Some(_) | None => failure.into(),
        }
    }

    /// Sends a handshake request. Returns false if the server rejects it: another device may have been faster.
    async fn request(&self, request: HandshakeRequest) -> Result<bool, Failure> {
        match self
            .server
            .handshake_request(request.path, request.parameters)
            .await
        {
            Err(failure) if failure.status().is_some() => {
                print_status(&failure.to_string());
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// Rejects a call. If the server does not accept the rejection because the caller is not authenticated
    /// yet, hangs up.
    async fn reject(&self, call: &IncomingCall) {
        let is_rejected = match call.reject() {
            Some(request) => self
                .server
                .handshake_request(request.path, request.parameters)
                .await
                .is_ok(),
            None => false,
        };
        if !is_rejected {
            self.hang_up(&call.from).await;
        }
    }

    /// Ends the call or its ringing. Errors are ignored, because the call may have ended already.
    async fn hang_up(&self, other: &CallUser) {
        let parameters = vec![("otherID", other.name().to_owned())];
        drop(timeout(HANG_UP_TIMEOUT, self.server.post("/hangupCall", parameters)).await);
    }
}

/// Handles incoming calls. The first authenticated caller is accepted.
struct IncomingCalls<'a> {
    phone: &'a Phone,
    /// The users whose calls are accepted; empty accepts all users.
    allowed: Vec<CallUser>,
    callers: VecDeque<IncomingCall>,
}

impl IncomingCalls<'_> {
    async fn accept_call(&mut self) -> anyhow::Result<(CallUser, CallEvents)> {
        let server = &self.phone.server;
        let mut events = server.events().await?;
        print_status(&format!(
            "Waiting for a call to {}",
            server.identity.own_name()
        ));
        Ok((self.wait(&mut events).await?, events))
    }

    /// Waits until a call is accepted.
    async fn wait(&mut self, events: &mut CallEvents) -> anyhow::Result<CallUser> {
        loop {
            let CallEvent { from, kind } = events.next().await?;
            let action = if let CallEventKind::Ringing { challenge } = &kind {
                self.handle_ring(&from, challenge).await
            } else {
                let caller = self.caller(&from);
                caller.map_or(HandshakeAction::Nothing, |caller| caller.handle(&kind))
            };
            match action {
                HandshakeAction::Nothing => {}
                HandshakeAction::Request(request) => drop(self.phone.request(request).await?),
                HandshakeAction::Connected(request) => {
                    if self.accept(&from, request).await? {
                        return Ok(from);
                    }
                }
                HandshakeAction::Terminated(message) => {
                    print_status(&message);
                    self.reject_caller(&from).await;
                }
            }
        }
    }

    /// Handles a new call. It replaces an earlier call of the same user.
    async fn handle_ring(&mut self, from: &CallUser, challenge: &str) -> HandshakeAction {
        self.callers.retain(|caller| caller.from != *from);
        let mut caller = IncomingCall::new(&self.phone.server.identity, from.clone(), challenge);
        if !self.allowed.is_empty() && !self.allowed.contains(from) {
            print_status(&format!("{from} calls: declined"));
            self.phone.reject(&caller).await;
            return HandshakeAction::Nothing;
        }
        print_status(&format!("{from} calls"));
        let action = caller.answer();
        if self.callers.len() == CALLERS_MAX {
            self.callers.pop_front();
        }
        self.callers.push_back(caller);
        action
    }

    fn caller(&mut self, from: &CallUser) -> Option<&mut IncomingCall> {
        self.callers.iter_mut().find(|caller| caller.from == *from)
    }

    async fn reject_caller(&mut self, from: &CallUser) {
        let at = self.callers.iter().position(|caller| caller.from == *from);
        if let Some(caller) = at.and_then(|at| self.callers.remove(at)) {
            self.phone.reject(&caller).await;
        }
    }

    /// Accepts this call and rejects all others. Returns false if the call has already ended.
    async fn accept(
        &mut self,
        from: &CallUser,
        accept: Option<HandshakeRequest>,
    ) -> anyhow::Result<bool> {
        self.callers.retain(|caller| caller.from != *from);
        if let Some(request) = accept
            && !self.phone.request(request).await?
        {
            return Ok(false);
        }
        for other in self.callers.drain(..) {
            self.phone.reject(&other).await;
        }
        Ok(true)
    }
}
