//! How two people find out that the other holds the key they know him by.
//!
//! ```text
//! caller  newCall     challenge 1                          →  callee
//! callee  answer      challenge 2, challenge 1 signed      →  caller   knows now whom it rings at
//! caller  answer2     challenge 3, challenge 2 signed      →  callee   knows now who calls
//! callee  acceptCall  or rejectCall, challenge 3 signed    →  caller   knows now that it was he
//! ```
//!
//! On a site none of this happens: there the site vouches for everybody.

use super::{
    client::FormParameters,
    events::CallEventKind,
    identity::{CallUser, CliIdentity, challenge},
};

/// Devices of one callee that may answer; and how often a caller is asked who he is.
const ANSWERS_MAX: usize = 4;

/// A request of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HandshakeRequest {
    pub(super) path: &'static str,
    pub(super) parameters: FormParameters,
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HandshakeAction {
    Nothing,
    Request(HandshakeRequest),
    /// From here there is a call: after this step, if there is one.
    Connected(Option<HandshakeRequest>),
    /// There is none, and why.
    Terminated(String),
}

/// A call of ours.
pub(super) struct OutgoingCall {
    identity: CliIdentity,
    to: CallUser,
    first: String,
    /// One for each device that answered.
    thirds: Vec<String>,
}

impl OutgoingCall {
    pub(super) fn new(identity: &CliIdentity, to: CallUser) -> Self {
        Self {
            identity: identity.clone(),
            to,
            first: challenge(),
            thirds: Vec::new(),
        }
    }

    /// What rings. It is sent with a proof for the server.
    pub(super) fn opening(&self) -> HandshakeRequest {
        let mut parameters = vec![("Destination", self.to.name().to_owned())];
        if self.identity.has_key() {
            parameters.push(("challenge", self.first.clone()));
        }
        HandshakeRequest {
            path: "/newCall",
            parameters,
        }
    }

    /// Takes what the callee says.
    pub(super) fn handle(&mut self, what: &CallEventKind) -> HandshakeAction {
        match what {
            CallEventKind::Answered {
                signature,
                challenge,
            } if self.identity.has_key() => self.answered(signature, challenge),
            CallEventKind::Accepted { signature } => self.accepted(signature),
            CallEventKind::Declined { signature } => {
                HandshakeAction::Terminated(self.declined(signature))
            }
            CallEventKind::Answered { .. }
            | CallEventKind::Ringing { .. }
            | CallEventKind::Confirmed { .. }
            | CallEventKind::Connected { .. } => HandshakeAction::Nothing,
        }
    }

    fn answered(&mut self, signature: &str, second: &str) -> HandshakeAction {
        if !self.to.has_signed(&self.first, signature) {
            return HandshakeAction::Terminated(format!(
                "somebody who does not hold the key {} answers in its name: do not trust this server",
                self.to
            ));
        }
        if self.thirds.len() == ANSWERS_MAX {
            return HandshakeAction::Nothing;
        }
        let Some(signature) = self.identity.sign_for_person(second) else {
            return HandshakeAction::Terminated(format!(
                "{} asks for a signature that is not for callers",
                self.to
            ));
        };
        let third = challenge();
        self.thirds.push(third.clone());
        HandshakeAction::Request(HandshakeRequest {
            path: "/answer2",
            parameters: vec![
                ("Destination", self.to.name().to_owned()),
                ("challenge", third),
                ("Signature", signature),
            ],
        })
    }

    fn accepted(&self, signature: &str) -> HandshakeAction {
        if self.is_the_callee_s(signature) {
            return HandshakeAction::Connected(None);
        }
        HandshakeAction::Terminated(format!(
            "somebody who does not hold the key {} accepts in its name: do not trust this server",
            self.to
        ))
    }

    /// A decline need not be signed: who could forge it could as well not deliver the call.
    fn declined(&self, signature: &str) -> String {
        if self.is_the_callee_s(signature) {
            format!("{} declined the call", self.to)
        } else {
            format!("{} did not take the call", self.to)
        }
    }

    /// Who accepts at once, without asking who calls, has only the first challenge to sign.
    fn is_the_callee_s(&self, signature: &str) -> bool {
        let challenges = if self.thirds.is_empty() {
            std::slice::from_ref(&self.first)
        } else {
            &self.thirds
        };
        challenges
            .iter()
            .any(|challenge| self.to.has_signed(challenge, signature))
    }
}

/// A call from somebody.
pub(super) struct IncomingCall {
    identity: CliIdentity,
    pub(super) from: CallUser,
    second: String,
    /// The caller's latest challenge: what accepts or rejects is signed over it.
    latest: String,
    answers: usize,
}

impl IncomingCall {
    pub(super) fn new(identity: &CliIdentity, from: CallUser, challenge_of_caller: &str) -> Self {
        Self {
            identity: identity.clone(),
            from,
            second: challenge(),
            latest: challenge_of_caller.to_owned(),
            answers: 0,
        }
    }

    /// Asks the caller who he is; takes the call at once where a site has vouched.
    pub(super) fn answer(&mut self) -> HandshakeAction {
        if !self.identity.has_key() {
            return self
                .close("/acceptCall")
                .map_or(HandshakeAction::Nothing, |step| {
                    HandshakeAction::Connected(Some(step))
                });
        }
        self.answers += 1;
        match self.identity.sign_for_person(&self.latest) {
            Some(signature) => HandshakeAction::Request(HandshakeRequest {
                path: "/answer",
                parameters: vec![
                    ("Destination", self.from.name().to_owned()),
                    ("challenge", self.second.clone()),
                    ("Signature", signature),
                ],
            }),
            None => HandshakeAction::Terminated(format!(
                "{} asks for a signature that is not for callers",
                self.from
            )),
        }
    }

    /// Takes what the caller says.
    pub(super) fn handle(&mut self, what: &CallEventKind) -> HandshakeAction {
        match what {
            CallEventKind::Confirmed {
                signature,
                challenge,
            } if self.identity.has_key() => self.confirmed(signature, challenge),
            CallEventKind::Declined { .. } => {
                HandshakeAction::Terminated(format!("{} no longer calls", self.from))
            }
            CallEventKind::Confirmed { .. }
            | CallEventKind::Ringing { .. }
            | CallEventKind::Answered { .. }
            | CallEventKind::Accepted { .. }
            | CallEventKind::Connected { .. } => HandshakeAction::Nothing,
        }
    }

    fn confirmed(&mut self, signature: &str, third: &str) -> HandshakeAction {
        third.clone_into(&mut self.latest);
        if self.from.has_signed(&self.second, signature) {
            return match self.close("/acceptCall") {
                Some(step) => HandshakeAction::Connected(Some(step)),
                None => HandshakeAction::Terminated(format!(
                    "{} asks for a signature that is not for callers",
                    self.from
                )),
            };
        }
        // It may have been for another device of ours, which answered too.
        if self.answers < ANSWERS_MAX {
            return self.answer();
        }
        HandshakeAction::Terminated(format!(
            "somebody who does not hold the key {} calls in its name: not taken",
            self.from
        ))
    }

    /// Does not take the call. None if the caller asks for a signature that he must not have.
    pub(super) fn reject(&self) -> Option<HandshakeRequest> {
        self.close("/rejectCall")
    }

    fn close(&self, path: &'static str) -> Option<HandshakeRequest> {
        let mut parameters = vec![("From", self.from.name().to_owned())];
        if self.identity.has_key() {
            parameters.push(("Signature", self.identity.sign_for_person(&self.latest)?));
        }
        Some(HandshakeRequest { path, parameters })
    }
}

#[cfg(test)]
mod tests;
