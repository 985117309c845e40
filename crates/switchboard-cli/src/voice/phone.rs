//! `switchboard voice call` and `switchboard voice answer`: calls of two.

use std::{collections::VecDeque, time::Duration};

use hyper::StatusCode;
use tokio::time::timeout;

use super::{
    client::{Failure, Server},
    downlink::Hearing,
    events::{Events, VoiceEvent, What},
    handshake::{Incoming, Next, Outgoing, Step},
    identity::User,
    output::tell,
    uplink::Speaking,
};
use crate::stop::Stop;

mod conversation;

/// A server lets it ring for a minute, and then says so. One that does not is not waited for.
const RING_MAX: Duration = Duration::from_secs(90);

/// How long a hang-up may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// Callers that may be about to show who they are. The oldest is forgotten for one more.
const CALLERS_MAX: usize = 16;

/// What one needs for a call.
pub(super) struct Phone {
    pub(super) server: Server,
    pub(super) hearing: Hearing,
    /// None where standard input is a terminal.
    pub(super) speaking: Option<Speaking>,
    pub(super) until_eof: bool,
}

/// Calls, and talks until the end.
pub(super) async fn call(other: &str, phone: Phone) -> Result<(), String> {
    let mut stop = Stop::new()?;
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
    let mut stop = Stop::new()?;
    let identity = &phone.server.identity;
    let allowed: Result<Vec<_>, _> = from
        .iter()
        .map(|text| identity.user_or_words(text))
        .collect();
    let mut desk = Desk {
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
    async fn ring(&self, other: &User) -> Result<(Events, Outgoing), String> {
        let events = self.server.events().await?;
        let call = Outgoing::new(&self.server.identity, other.clone());
        let Step { path, parameters } = call.opening();
        let rung = self.server.post(path, parameters).await;
        drop(rung.map_err(|failure| self.not_rung(&failure, other))?);
        tell(&format!("Ringing {other}"));
        Ok((events, call))
    }

    /// Waits until the call is taken.
    async fn wait(
        &self,
        events: &mut Events,
        other: &User,
        call: &mut Outgoing,
    ) -> Result<(), String> {
        let taken = timeout(RING_MAX, self.taken(events, other, call)).await;
        taken.unwrap_or_else(|_late| Err(format!("{other} did not answer")))
    }

    async fn taken(
        &self,
        events: &mut Events,
        other: &User,
        call: &mut Outgoing,
    ) -> Result<(), String> {
        loop {
            let VoiceEvent { from, what } = events.next().await?;
            if from != *other {
                continue;
            }
            match call.handle(&what) {
                Next::Nothing => {}
                Next::Ask(step) => drop(self.step(step).await?),
                Next::Talk(_) => return Ok(()),
                Next::Over(words) => return Err(words),
            }
        }
    }

    fn not_rung(&self, failure: &Failure, other: &User) -> String {
        match failure.status() {
            Some(StatusCode::NOT_FOUND) => format!(
                "{other} is not there: nobody waits for its calls at {}",
                self.server.base()
            ),
            Some(_) | None => failure.to_string(),
        }
    }

    /// Takes a step. False if the server does not want it: another device may have been faster.
    async fn step(&self, step: Step) -> Result<bool, Failure> {
        match self.server.step(step.path, step.parameters).await {
            Err(failure) if failure.status().is_some() => {
                tell(&failure.to_string());
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    /// Does not take a call. While the caller has yet to show who he is, only a hang-up ends it.
    async fn reject(&self, call: &Incoming) {
        let is_rejected = match call.reject() {
            Some(step) => self.server.step(step.path, step.parameters).await.is_ok(),
            None => false,
        };
        if !is_rejected {
            self.hang_up(&call.from).await;
        }
    }

    /// Ends the call or its ringing; it may have ended already.
    async fn hang_up(&self, other: &User) {
        let parameters = vec![("otherID", other.name().to_owned())];
        drop(timeout(GOODBYE, self.server.post("/hangupCall", parameters)).await);
    }
}

/// Where calls come in. Whoever first shows who he is gets through.
struct Desk<'a> {
    phone: &'a Phone,
    /// Nobody: everybody.
    allowed: Vec<User>,
    callers: VecDeque<Incoming>,
}

impl Desk<'_> {
    async fn take_a_call(&mut self) -> Result<(User, Events), String> {
        let server = &self.phone.server;
        let mut events = server.events().await?;
        tell(&format!(
            "Waiting for a call to {}",
            server.identity.own_name()
        ));
        Ok((self.wait(&mut events).await?, events))
    }

    /// Waits until a call is taken.
    async fn wait(&mut self, events: &mut Events) -> Result<User, String> {
        loop {
            let VoiceEvent { from, what } = events.next().await?;
            let next = if let What::Ringing { challenge } = &what {
                self.rung(&from, challenge).await
            } else {
                let caller = self.caller(&from);
                caller.map_or(Next::Nothing, |caller| caller.handle(&what))
            };
            match next {
                Next::Nothing => {}
                Next::Ask(step) => drop(self.phone.step(step).await?),
                Next::Talk(step) => {
                    if self.take(&from, step).await? {
                        return Ok(from);
                    }
                }
                Next::Over(words) => {
                    tell(&words);
                    self.send_away(&from).await;
                }
            }
        }
    }

    /// Somebody calls, perhaps once more.
    async fn rung(&mut self, from: &User, challenge: &str) -> Next {
        self.callers.retain(|caller| caller.from != *from);
        let mut caller = Incoming::new(&self.phone.server.identity, from.clone(), challenge);
        if !self.allowed.is_empty() && !self.allowed.contains(from) {
            tell(&format!("{from} calls: declined"));
            self.phone.reject(&caller).await;
            return Next::Nothing;
        }
        tell(&format!("{from} calls"));
        let next = caller.answer();
        if self.callers.len() == CALLERS_MAX {
            self.callers.pop_front();
        }
        self.callers.push_back(caller);
        next
    }

    fn caller(&mut self, from: &User) -> Option<&mut Incoming> {
        self.callers.iter_mut().find(|caller| caller.from == *from)
    }

    async fn send_away(&mut self, from: &User) {
        let at = self.callers.iter().position(|caller| caller.from == *from);
        if let Some(caller) = at.and_then(|at| self.callers.remove(at)) {
            self.phone.reject(&caller).await;
        }
    }

    /// Takes this call and no other. False if it is over already.
    async fn take(&mut self, from: &User, accept: Option<Step>) -> Result<bool, String> {
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
