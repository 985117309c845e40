//! Requests that set up calls: who rings, who answers, and what each has signed.

use std::{net::IpAddr, sync::Arc, time::Instant};

use axum::{
    http::StatusCode,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use bytestring::ByteString;
use futures_util::stream;
use switchboard_core::{CallError, Calls, User};
use switchboard_dialect::gostream::SseEvent;
use switchboard_transport::{ConnectionAbort, Permit};
use tokio::sync::mpsc;

use super::{
    KEEP_ALIVE, NOT_BUFFERED, PROXY_BUFFERING, VoiceService,
    answer::{VoiceError, VoiceResult, json},
    identity::{self, Caller, Credential, TicketKeepAlive},
    keys::{HANDSHAKE, PublicKey, verify},
    parameters::RequestParameters,
    state::VoiceState,
    streams::{StreamId, StreamListener},
};

/// Who, to whom, what he has signed, what the other is to sign, and when.
type ApplyFn =
    fn(&mut Calls, &User, &User, ByteString, ByteString, Instant) -> Result<(), CallError>;

/// A step that is signed: over which challenge, and how the machine takes it.
struct HandshakeStep {
    challenges: fn(&Calls, &User, &User) -> Result<Vec<ByteString>, CallError>,
    apply: ApplyFn,
}

const ANSWER: HandshakeStep = HandshakeStep {
    challenges: Calls::to_answer,
    apply: Calls::answer,
};

const CONFIRM: HandshakeStep = HandshakeStep {
    challenges: Calls::to_confirm,
    apply: Calls::confirm,
};

const ACCEPT: HandshakeStep = HandshakeStep {
    challenges: Calls::to_accept,
    apply: |calls, by, from, signature, _, now| calls.accept(by, from, signature, now).map(drop),
};

const REJECT: HandshakeStep = HandshakeStep {
    challenges: Calls::to_accept,
    apply: |calls, by, from, signature, _, now| calls.reject(by, from, signature, now),
};

impl VoiceService {
    /// `/messages`: everything that concerns one user, as it happens.
    pub(super) async fn messages(
        &self,
        asked: &RequestParameters,
        hangup: ConnectionAbort,
        address: Option<IpAddr>,
        permit: Permit,
    ) -> VoiceResult {
        let caller = self.identity.listening(asked).await?;
        let listener = StreamListener {
            abort: hangup,
            is_proven: caller.is_proven(),
            address,
        };
        let Some((id, events)) = self.state.listen(&caller.user, listener) else {
            return Err(VoiceError::too_many(
                "You have as many event streams as you may.",
            ));
        };
        tracing::info!(user = %caller.user, "event stream open");
        let first = Event::default()
            .event("pubkey")
            .data(self.server_key.public_hex_uncompressed());
        let hearing = EventStream {
            desk: self.state.clone(),
            user: caller.user,
            id,
            events,
            first: Some(first),
            kept: self.identity.kept(caller.credential),
            _permit: permit,
        };
        let events = stream::unfold(hearing, |mut hearing| async move {
            let event = hearing.next().await?;
            Some((Ok::<_, std::convert::Infallible>(event), hearing))
        });
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
        let unbuffered = [(PROXY_BUFFERING, NOT_BUFFERED)];
        Ok((unbuffered, Sse::new(events).keep_alive(keep_alive)).into_response())
    }

    /// `HEAD` of `/messages`: the head of the answer to `GET`, without a stream.
    pub(super) async fn messages_head(&self, asked: &RequestParameters) -> VoiceResult {
        self.identity.listening(asked).await?;
        let nothing = stream::empty::<Result<Event, std::convert::Infallible>>();
        let unbuffered = [(PROXY_BUFFERING, NOT_BUFFERED)];
        Ok((unbuffered, Sse::new(nothing)).into_response())
    }

    /// `/getCallTicket`: a challenge for this key to sign.
    pub(super) fn ticket(&self, asked: &RequestParameters) -> VoiceResult {
        let keys = self.identity.keys()?;
        let key = identity::key(asked)?;
        Ok(keys.tickets.issue(&key, Instant::now()).into_response())
    }

    /// `/tokenCheck`: the number of the user whose token it is.
    pub(super) async fn token_check(&self, asked: &RequestParameters) -> VoiceResult {
        self.identity.site()?;
        let caller = self.identity.claimed(asked).await?;
        Ok(caller.user.to_string().into_response())
    }

    /// `/keyXCHG`: the server's key, for one who shows that he has his own.
    pub(super) fn key_exchange(&self, asked: &RequestParameters) -> VoiceResult {
        self.identity.keys()?;
        let key = asked.text("pubkey").and_then(PublicKey::parse);
        let key = key.ok_or(VoiceError::bad(
            "pubkey is not a compressed P-256 key in hex.",
        ))?;
        if !verify(&key, HANDSHAKE, asked.text("sign").unwrap_or_default()) {
            return Err(VoiceError::forbidden(
                "sign is not this key's signature over the bytes 01 01 02 ... 0a.",
            ));
        }
        let own = self.server_key.public_hex_uncompressed();
        Ok(json(format!("{{\"pubkey\" : \"{own}\"}}")))
    }

    /// `/newCall`: rings somebody. Answers a key with its next challenge.
    pub(super) async fn new_call(
        &self,
        asked: &RequestParameters,
        address: Option<IpAddr>,
    ) -> VoiceResult {
        let caller = self.identity.proven(asked).await?;
        let other = self.identity.other(asked)?;
        let challenge = self.identity.challenge(asked)?;
        self.identity.may_call(&caller, &other).await?;
        if !self.state.is_present(&other) {
            return Err(VoiceError::not_found("This user is not there."));
        }
        self.state
            .with(|state, now| state.ring((&caller.user, &other), challenge, address, now))?;
        let (Ok(keys), Credential::Key(_, Some(proof))) = (self.identity.keys(), caller.credential)
        else {
            return Ok(StatusCode::OK.into_response());
        };
        Ok(keys.tickets.replace(proof, Instant::now()).into_response())
    }

    /// `/answer`: the callee has signed the caller's challenge, and sends one.
    pub(super) async fn answer(&self, asked: &RequestParameters) -> VoiceResult {
        self.handshake(asked, &ANSWER).await
    }

    /// `/answer2`: the caller has signed the callee's challenge, and sends another.
    pub(super) async fn answer2(&self, asked: &RequestParameters) -> VoiceResult {
        self.handshake(asked, &CONFIRM).await
    }

    /// `/acceptCall`: from here there is a call.
    pub(super) async fn accept(&self, asked: &RequestParameters) -> VoiceResult {
        let (caller, other) = self.pair(asked).await?;
        self.identity.may_call(&caller, &other).await?;
        let done = self
            .signed_step(asked, &caller, &other, ByteString::new(), &ACCEPT)
            .await?;
        tracing::info!(user = %caller.user, caller = %other, "call accepted");
        Ok(done)
    }

    /// `/rejectCall`.
    pub(super) async fn reject(&self, asked: &RequestParameters) -> VoiceResult {
        let (caller, other) = self.pair(asked).await?;
        self.signed_step(asked, &caller, &other, ByteString::new(), &REJECT)
            .await
    }

    /// `/hangupCall`, ours: ends a call, or its ringing.
    pub(super) async fn hang_up(&self, asked: &RequestParameters) -> VoiceResult {
        let caller = self.identity.proven(asked).await?;
        let other = self.identity.other(asked)?;
        self.state
            .with(|state, now| state.calls.hang_up(&caller.user, &other, now))?;
        Ok(StatusCode::OK.into_response())
    }

    async fn handshake(&self, asked: &RequestParameters, step: &HandshakeStep) -> VoiceResult {
        self.identity.keys()?;
        let (caller, other) = self.pair(asked).await?;
        let challenge = self.identity.challenge(asked)?;
        self.signed_step(asked, &caller, &other, challenge, step)
            .await
    }

    /// Who asks and whom he means, in steps whose signature is over the other's challenge.
    async fn pair(&self, asked: &RequestParameters) -> Result<(Caller, User), VoiceError> {
        let caller = self.identity.claimed(asked).await?;
        Ok((caller, self.identity.other(asked)?))
    }

    async fn signed_step(
        &self,
        asked: &RequestParameters,
        caller: &Caller,
        other: &User,
        challenge: ByteString,
        step: &HandshakeStep,
    ) -> VoiceResult {
        let sent = |calls: &Calls| (step.challenges)(calls, &caller.user, other);
        let candidates = self.state.with(|state, _| sent(&state.calls))?;
        // Not under the desk's lock: a signature takes a fifth of a millisecond.
        let signature = self.identity.signature(caller, candidates, asked);
        let (signature, signed) = signature.await?;
        self.state.with(|state, now| {
            if !sent(&state.calls)?.contains(&signed) {
                return Err(CallError::NoSuchCall);
            }
            (step.apply)(
                &mut state.calls,
                &caller.user,
                other,
                signature,
                challenge,
                now,
            )
        })?;
        Ok(StatusCode::OK.into_response())
    }
}

/// One open event stream; closed when dropped.
struct EventStream {
    desk: Arc<VoiceState>,
    user: User,
    id: StreamId,
    events: mpsc::Receiver<Arc<SseEvent>>,
    first: Option<Event>,
    kept: Option<TicketKeepAlive>,
    _permit: Permit,
}

impl EventStream {
    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let told = loop {
            let keep = async {
                match &mut self.kept {
                    Some(kept) => kept.when_due().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                told = self.events.recv() => break told?,
                () = keep => {}
            }
        };
        Some(Event::default().event(told.name).data(&told.data))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.desk.stop_listening(&self.user, self.id);
        tracing::info!(user = %self.user, "event stream closed");
    }
}
