//! Requests that set up calls: ringing, answering, and the signatures of the handshake.

use std::{net::IpAddr, time::Instant};

use axum::{http::StatusCode, response::IntoResponse};
use bytestring::ByteString;

use crate::{
    answer::{VoiceError, VoiceResult},
    clock,
    id::User,
    identity::{Caller, Credential},
    parameters::RequestParameters,
    service::VoiceService,
    signaling::{CallError, Calls},
};

/// Applies a handshake step. Arguments: the user that takes the step, the other user, the signature, the challenge for
/// the other user, the time.
type ApplyFn =
    fn(&mut Calls, &User, &User, ByteString, ByteString, Instant) -> Result<(), CallError>;

/// A handshake step, whose request carries a signature.
struct HandshakeStep {
    /// The challenges of which the request must sign one.
    challenges: fn(&Calls, &User, &User) -> Result<Vec<ByteString>, CallError>,
    /// The transition of the state machine.
    apply: ApplyFn,
}

const ANSWER: HandshakeStep = HandshakeStep {
    challenges: Calls::challenges_to_answer,
    apply: Calls::answer,
};

const CONFIRM: HandshakeStep = HandshakeStep {
    challenges: Calls::challenges_to_confirm,
    apply: Calls::confirm,
};

const ACCEPT: HandshakeStep = HandshakeStep {
    challenges: Calls::challenges_to_accept,
    apply: |calls, by, from, signature, _, now| calls.accept(by, from, signature, now).map(drop),
};

const REJECT: HandshakeStep = HandshakeStep {
    challenges: Calls::challenges_to_accept,
    apply: |calls, by, from, signature, _, now| calls.reject(by, from, signature, now),
};

impl VoiceService {
    /// `/newCall`: rings a user. The response to a key is a new ticket, because the caller has used up the signed one.
    pub(crate) async fn new_call(
        &self,
        params: &RequestParameters,
        address: Option<IpAddr>,
    ) -> VoiceResult {
        let caller = self.authenticate(params).await?;
        let destination = self.identity.destination(params)?;
        let challenge = self.identity.challenge(params)?;
        self.identity.check_may_call(&caller, &destination).await?;
        if !self.state.is_present(&destination) {
            return Err(VoiceError::not_found(
                "This user is offline: it has no event stream.",
            ));
        }
        self.state
            .with(|state, now| state.ring((&caller.user, &destination), challenge, address, now))?;
        let (Ok(keys), Credential::Key(_, Some(proof))) = (self.identity.keys(), caller.credential)
        else {
            return Ok(StatusCode::OK.into_response());
        };
        Ok(keys.tickets.replace(proof, clock::now()).into_response())
    }

    /// `/answer`: the callee has signed the caller's challenge and sends its own.
    pub(crate) async fn answer(&self, params: &RequestParameters) -> VoiceResult {
        self.handshake(params, &ANSWER).await
    }

    /// `/answer2`: the caller has signed the callee's challenge and sends another one.
    pub(crate) async fn answer2(&self, params: &RequestParameters) -> VoiceResult {
        self.handshake(params, &CONFIRM).await
    }

    /// `/acceptCall`: the callee accepts, which establishes the call.
    pub(crate) async fn accept(&self, params: &RequestParameters) -> VoiceResult {
        let (caller, destination) = self.pair(params).await?;
        self.identity.check_may_call(&caller, &destination).await?;
        let done = self
            .signed_step(params, &caller, &destination, ByteString::new(), &ACCEPT)
            .await?;
        tracing::info!(user = %caller.user, caller = %destination, "call accepted");
        Ok(done)
    }

    /// `/rejectCall`: the callee rejects the call.
    pub(crate) async fn reject(&self, params: &RequestParameters) -> VoiceResult {
        let (caller, destination) = self.pair(params).await?;
        self.signed_step(params, &caller, &destination, ByteString::new(), &REJECT)
            .await
    }

    /// `/hangupCall`: ends a call, or its ringing. An extension that the reference server, the original
    /// implementation, does not have.
    pub(crate) async fn hang_up(&self, params: &RequestParameters) -> VoiceResult {
        let caller = self.authenticate(params).await?;
        let destination = self.identity.destination(params)?;
        self.state
            .with(|state, now| state.calls.hang_up(&caller.user, &destination, now))?;
        Ok(StatusCode::OK.into_response())
    }

    /// A step that sends a challenge to the other user. Only keys have such steps.
    async fn handshake(&self, params: &RequestParameters, step: &HandshakeStep) -> VoiceResult {
        self.identity.keys()?;
        let (caller, destination) = self.pair(params).await?;
        let challenge = self.identity.challenge(params)?;
        self.signed_step(params, &caller, &destination, challenge, step)
            .await
    }

    /// The caller of the request, not yet authenticated, and the other user. The signature of the
    /// step, over the other user's challenge, authenticates the caller.
    async fn pair(&self, params: &RequestParameters) -> Result<(Caller, User), VoiceError> {
        let caller = self.identify(params).await?;
        Ok((caller, self.identity.destination(params)?))
    }

    /// Verifies the signature of a step and applies it.
    async fn signed_step(
        &self,
        params: &RequestParameters,
        caller: &Caller,
        destination: &User,
        challenge: ByteString,
        step: &HandshakeStep,
    ) -> VoiceResult {
        let challenges = |calls: &Calls| (step.challenges)(calls, &caller.user, destination);
        let candidates = self.state.with(|state, _| challenges(&state.calls))?;
        // Outside the state lock: verifying a signature takes 0.2 ms.
        let signature = self.identity.signature(caller, candidates, params);
        let (signature, signed) = signature.await?;
        self.state.with(|state, now| {
            // The call may have changed while the signature was verified.
            if !challenges(&state.calls)?.contains(&signed) {
                return Err(CallError::NoSuchCall);
            }
            (step.apply)(
                &mut state.calls,
                &caller.user,
                destination,
                signature,
                challenge,
                now,
            )
        })?;
        Ok(StatusCode::OK.into_response())
    }
}
