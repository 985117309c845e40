//! The call handshake, in which caller and callee prove to each other that they hold their keys.
//!
//! ```text
//! caller  newCall     challenge 1                          →  callee
//! callee  answer      challenge 2, challenge 1 signed      →  caller   has authenticated the callee
//! caller  answer2     challenge 3, challenge 2 signed      →  callee   has authenticated the caller
//! callee  acceptCall  or rejectCall, challenge 3 signed    →  caller   has authenticated the decision
//! ```
//!
//! Users of a website do not sign: the website authenticates them.

use super::{
    client::FormParameters,
    events::CallEventKind,
    identity::{CallUser, CliIdentity, challenge},
};

/// Maximum number of devices of a callee that may answer, and of attempts to authenticate a caller.
const ANSWERS_MAX: usize = 4;

/// A request of the handshake: its path and parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HandshakeRequest {
    pub(super) path: &'static str,
    pub(super) parameters: FormParameters,
}

/// The action that follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HandshakeAction {
    Nothing,
    /// Send this request and wait for the next event.
    Request(HandshakeRequest),
    /// The call is established, after this request if there is one.
    Connected(Option<HandshakeRequest>),
    /// The call has failed, for this reason.
    Terminated(String),
}

/// The state of an outgoing call.
pub(super) struct OutgoingCall {
    identity: CliIdentity,
    to: CallUser,
    ring_challenge: String,
    /// The challenges sent with `/answer2`, one for each device that answered.
    confirm_challenges: Vec<String>,
}

impl OutgoingCall {
    pub(super) fn new(identity: &CliIdentity, to: CallUser) -> Self {
        Self {
            identity: identity.clone(),
            to,
            ring_challenge: challenge(),
            confirm_challenges: Vec::new(),
        }
    }

    /// The request that starts the call. It must be sent with an authentication for the server.
    pub(super) fn ring_request(&self) -> HandshakeRequest {
        let mut parameters = vec![("Destination", self.to.name().to_owned())];
        if self.identity.has_key() {
            parameters.push(("challenge", self.ring_challenge.clone()));
        }
        HandshakeRequest {
            path: "/newCall",
            parameters,
        }
    }

    /// Handles an event from the callee.
    pub(super) fn handle(&mut self, event: &CallEventKind) -> HandshakeAction {
        match event {
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

    fn answered(&mut self, signature: &str, answer_challenge: &str) -> HandshakeAction {
        if !self.to.has_signed(&self.ring_challenge, signature) {
            return HandshakeAction::Terminated(format!(
                "answered by a client that does not hold the key {}: do not trust this server",
                self.to
            ));
        }
        if self.confirm_challenges.len() == ANSWERS_MAX {
            return HandshakeAction::Nothing;
        }
        let Some(signature) = self.identity.sign_for_user(answer_challenge) else {
            return HandshakeAction::Terminated(format!(
                "{} sent an invalid challenge, which is not signed: it must be 1-32 digits",
                self.to
            ));
        };
        let confirm_challenge = challenge();
        self.confirm_challenges.push(confirm_challenge.clone());
        HandshakeAction::Request(HandshakeRequest {
            path: "/answer2",
            parameters: vec![
                ("Destination", self.to.name().to_owned()),
                ("challenge", confirm_challenge),
                ("Signature", signature),
            ],
        })
    }

    fn accepted(&self, signature: &str) -> HandshakeAction {
        if self.is_signed_by_callee(signature) {
            return HandshakeAction::Connected(None);
        }
        HandshakeAction::Terminated(format!(
            "accepted by a client that does not hold the key {}: do not trust this server",
            self.to
        ))
    }

    /// The message for a declined call. An unsigned decline is accepted: a server that could forge it could
    /// also drop the call.
    fn declined(&self, signature: &str) -> String {
        if self.is_signed_by_callee(signature) {
            format!("{} declined the call", self.to)
        } else {
            format!("{} did not take the call", self.to)
        }
    }

    /// Whether the callee signed a valid challenge. A callee that accepts without authenticating the caller
    /// has only the first challenge to sign.
    fn is_signed_by_callee(&self, signature: &str) -> bool {
        let challenges = if self.confirm_challenges.is_empty() {
            std::slice::from_ref(&self.ring_challenge)
        } else {
            &self.confirm_challenges
        };
        challenges
            .iter()
            .any(|challenge| self.to.has_signed(challenge, signature))
    }
}

/// The state of an incoming call.
pub(super) struct IncomingCall {
    identity: CliIdentity,
    pub(super) from: CallUser,
    answer_challenge: String,
    /// The caller's latest challenge, which an accept or a reject signs.
    latest: String,
    attempts: usize,
}

impl IncomingCall {
    pub(super) fn new(identity: &CliIdentity, from: CallUser, challenge_of_caller: &str) -> Self {
        Self {
            identity: identity.clone(),
            from,
            answer_challenge: challenge(),
            latest: challenge_of_caller.to_owned(),
            attempts: 0,
        }
    }

    /// Challenges the caller. Accepts the call at once if a website authenticates the users.
    pub(super) fn answer(&mut self) -> HandshakeAction {
        if !self.identity.has_key() {
            return self
                .final_request("/acceptCall")
                .map_or(HandshakeAction::Nothing, |request| {
                    HandshakeAction::Connected(Some(request))
                });
        }
        self.attempts += 1;
        match self.identity.sign_for_user(&self.latest) {
            Some(signature) => HandshakeAction::Request(HandshakeRequest {
                path: "/answer",
                parameters: vec![
                    ("Destination", self.from.name().to_owned()),
                    ("challenge", self.answer_challenge.clone()),
                    ("Signature", signature),
                ],
            }),
            None => HandshakeAction::Terminated(format!(
                "{} sent an invalid challenge, which is not signed: it must be 1-32 digits",
                self.from
            )),
        }
    }

    /// Handles an event from the caller.
    pub(super) fn handle(&mut self, event: &CallEventKind) -> HandshakeAction {
        match event {
            CallEventKind::Confirmed {
                signature,
                challenge,
            } if self.identity.has_key() => self.confirmed(signature, challenge),
            CallEventKind::Declined { .. } => {
                HandshakeAction::Terminated(format!("{} cancelled the call", self.from))
            }
            CallEventKind::Confirmed { .. }
            | CallEventKind::Ringing { .. }
            | CallEventKind::Answered { .. }
            | CallEventKind::Accepted { .. }
            | CallEventKind::Connected { .. } => HandshakeAction::Nothing,
        }
    }

    fn confirmed(&mut self, signature: &str, confirm_challenge: &str) -> HandshakeAction {
        confirm_challenge.clone_into(&mut self.latest);
        if self.from.has_signed(&self.answer_challenge, signature) {
            return match self.final_request("/acceptCall") {
                Some(request) => HandshakeAction::Connected(Some(request)),
                None => HandshakeAction::Terminated(format!(
                    "{} sent an invalid challenge, which is not signed: it must be 1-32 digits",
                    self.from
                )),
            };
        }
        // The confirmation may be for another device of this user that answered too.
        if self.attempts < ANSWERS_MAX {
            return self.answer();
        }
        HandshakeAction::Terminated(format!(
            "declined: the caller does not hold the key {}",
            self.from
        ))
    }

    /// The request that rejects the call. `None` if the caller's challenge must not be signed.
    pub(super) fn reject(&self) -> Option<HandshakeRequest> {
        self.final_request("/rejectCall")
    }

    fn final_request(&self, path: &'static str) -> Option<HandshakeRequest> {
        let mut parameters = vec![("From", self.from.name().to_owned())];
        if self.identity.has_key() {
            parameters.push(("Signature", self.identity.sign_for_user(&self.latest)?));
        }
        Some(HandshakeRequest { path, parameters })
    }
}

#[cfg(test)]
mod tests;
