//! `switchboard voice call` and `switchboard voice answer`: calls of two.

use std::{collections::VecDeque, time::Duration};

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

/// A server lets it ring for a minute, and then says so. One that does not is not waited for.
const RING_MAX: Duration = Duration::from_secs(90);

/// How long a hang-up may take.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Callers that may be about to show who they are. The oldest is forgotten for one more.
const CALLERS_MAX: usize = 16;

/// What one needs for a call.
pub(super) struct Phone {
    pub(super) server: VoiceClient,
    pub(super) hearing: Downlink,
    /// None where standard input is a terminal.
    pub(super) speaking: Option<UplinkConfig>,
    pub(super) until_eof: bool,
}

/// Calls, and talks until the end.
pub(super) async fn call(other: &str, phone: Phone) -> Result<(), String> {
    let mut stop = StopSignals::new()?;
    let other = phone.server.identity.user_or_words(other)?;
    let begun = tokio::select! {
        begun = phone.ring(&other) => Some(begun?),
        () = stop.asked() => None,
    };
    let Some((mut events, mut call)) = begun else {
        phone.hang_up(&other).await;
        return Ok(());
    };
    let taken = tokio::select! {
        taken = phone.wait(&mut events, &other, &mut call) => taken.map(|()| true),
        () = stop.asked() => Ok(false),
    };
    if taken == Ok(true) {
        return phone.talk(&other, events, stop).await;
    }
    phone.hang_up(&other).await;
    taken.map(drop)
}

/// Waits for a call from one of these, or from anybody, and talks until the end.
pub(super) async fn answer(from: &[String], phone: Phone) -> Result<(), String> {
    let mut stop = StopSignals::new()?;
    let identity = &phone.server.identity;
    let allowed: Result<Vec<_>, _> = from
        .iter()
        .map(|text| identity.user_or_words(text))
        .collect();
    let mut desk = IncomingCalls {
        phone: &phone,
        allowed: allowed?,
        callers: VecDeque::new(),
    };
    let (other, events) = tokio::select! {
        taken = desk.take_a_call() => taken?,
        () = stop.asked() => return Ok(()),
    };
    phone.talk(&other, events, stop).await
}

impl Phone {
    async fn ring(&self, other: &CallUser) -> Result<(CallEvents, OutgoingCall), String> {
        let events = self.server.events().await?;
        let call = OutgoingCall::new(&self.server.identity, other.clone());
        let HandshakeRequest { path, parameters } = call.opening();
        let rung = self.server.post(path, parameters).await;
        drop(rung.map_err(|failure| self.not_rung(&failure, other))?);
        print_status(&format!("Ringing {other}"));
        Ok((events, call))
    }

    /// Waits until the call is taken.
    async fn wait(
        &self,
        events: &mut CallEvents,
        other: &CallUser,
        call: &mut OutgoingCall,
    ) -> Result<(), String> {
        let taken = timeout(RING_MAX, self.taken(events, other, call)).await;
        taken.unwrap_or_else(|_late| Err(format!("{other} did not answer")))
    }

    async fn taken(
        &self,
        events: &mut CallEvents,
        other: &CallUser,
        call: &mut OutgoingCall,
    ) -> Result<(), String> {
        loop {
            let CallEvent { from, kind: what } = events.next().await?;
            if from != *other {
                continue;
            }
            match call.handle(&what) {
                HandshakeAction::Nothing => {}
                HandshakeAction::Request(step) => drop(self.step(step).await?),
                HandshakeAction::Connected(_) => return Ok(()),
                HandshakeAction::Terminated(words) => return Err(words),
            }
        }
    }

    fn not_rung(&self, failure: &Failure, other: &CallUser) -> String {
        match failure.status() {
            Some(StatusCode::NOT_FOUND) => format!(
                "{other} is not there: nobody waits for its calls at {}",
                self.server.base()
            ),
            Some(_) | None => failure.to_string(),
        }
    }

    /// Takes a step. False if the server does not want it: another device may have been faster.
    async fn step(&self, step: HandshakeRequest) -> Result<bool, Failure> {
        match self.server.step(step.path, step.parameters).await {
            Err(failure) if failure.status().is_some() => {
                print_status(&failure.to_string());
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// Does not take a call. While the caller has yet to show who he is, only a hang-up ends it.
    async fn reject(&self, call: &IncomingCall) {
        let is_rejected = match call.reject() {
            Some(step) => self.server.step(step.path, step.parameters).await.is_ok(),
            None => false,
        };
        if !is_rejected {
            self.hang_up(&call.from).await;
        }
    }

    /// Ends the call or its ringing; it may have ended already.
    async fn hang_up(&self, other: &CallUser) {
        let parameters = vec![("otherID", other.name().to_owned())];
        drop(timeout(HANG_UP_TIMEOUT, self.server.post("/hangupCall", parameters)).await);
    }
}

/// Where calls come in. Whoever first shows who he is gets through.
struct IncomingCalls<'a> {
    phone: &'a Phone,
    /// Nobody: everybody.
    allowed: Vec<CallUser>,
    callers: VecDeque<IncomingCall>,
}

impl IncomingCalls<'_> {
    async fn take_a_call(&mut self) -> Result<(CallUser, CallEvents), String> {
        let server = &self.phone.server;
        let mut events = server.events().await?;
        print_status(&format!(
            "Waiting for a call to {}",
            server.identity.own_name()
        ));
        Ok((self.wait(&mut events).await?, events))
    }

    /// Waits until a call is taken.
    async fn wait(&mut self, events: &mut CallEvents) -> Result<CallUser, String> {
        loop {
            let CallEvent { from, kind: what } = events.next().await?;
            let next = if let CallEventKind::Ringing { challenge } = &what {
                self.rung(&from, challenge).await
            } else {
                let caller = self.caller(&from);
                caller.map_or(HandshakeAction::Nothing, |caller| caller.handle(&what))
            };
            match next {
                HandshakeAction::Nothing => {}
                HandshakeAction::Request(step) => drop(self.phone.step(step).await?),
                HandshakeAction::Connected(step) => {
                    if self.take(&from, step).await? {
                        return Ok(from);
                    }
                }
                HandshakeAction::Terminated(words) => {
                    print_status(&words);
                    self.send_away(&from).await;
                }
            }
        }
    }

    /// Somebody calls, perhaps once more.
    async fn rung(&mut self, from: &CallUser, challenge: &str) -> HandshakeAction {
        self.callers.retain(|caller| caller.from != *from);
        let mut caller = IncomingCall::new(&self.phone.server.identity, from.clone(), challenge);
        if !self.allowed.is_empty() && !self.allowed.contains(from) {
            print_status(&format!("{from} calls: declined"));
            self.phone.reject(&caller).await;
            return HandshakeAction::Nothing;
        }
        print_status(&format!("{from} calls"));
        let next = caller.answer();
        if self.callers.len() == CALLERS_MAX {
            self.callers.pop_front();
        }
        self.callers.push_back(caller);
        next
    }

    fn caller(&mut self, from: &CallUser) -> Option<&mut IncomingCall> {
        self.callers.iter_mut().find(|caller| caller.from == *from)
    }

    async fn send_away(&mut self, from: &CallUser) {
        let at = self.callers.iter().position(|caller| caller.from == *from);
        if let Some(caller) = at.and_then(|at| self.callers.remove(at)) {
            self.phone.reject(&caller).await;
        }
    }

    /// Takes this call and no other. False if it is over already.
    async fn take(
        &mut self,
        from: &CallUser,
        accept: Option<HandshakeRequest>,
    ) -> Result<bool, String> {
        self.callers.retain(|caller| caller.from != *from);
        if let Some(step) = accept
            && !self.phone.step(step).await?
        {
            return Ok(false);
        }
        for other in self.callers.drain(..) {
            self.phone.reject(&other).await;
        }
        Ok(true)
    }
}
