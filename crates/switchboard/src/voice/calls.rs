//! Requests that set up calls: ringing, answering, and the signatures of the handshake.

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
use switchboard_transport::{ConnectionAbort, Permit};
use switchboard_voice::gostream::SseEvent;
use switchboard_voice::{CallError, Calls, User};
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

/// Applies a handshake step: by user, other user, signature, challenge for the other user, time.
type ApplyFn =
    fn(&mut Calls, &User, &User, ByteString, ByteString, Instant) -> Result<(), CallError>;

/// A signed handshake step: the challenges that may be signed, and its transition of the call.
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
    /// `/messages`: the event stream of one user.
    pub(super) async fn messages(
        &self,
        params: &RequestParameters,
        abort_handle: ConnectionAbort,
        address: Option<IpAddr>,
        permit: Permit,
    ) -> VoiceResult {
        let caller = self.identity.identify_listener(params).await?;
        let listener = StreamListener {
            abort: abort_handle,
            is_proven: caller.is_proven(),
            address,
        };
        let Some((id, events)) = self.state.listen(&caller.user, listener) else {
            return Err(VoiceError::too_many(
                "You have reached your limit of event streams (gostream.event_streams).",
            ));
        };
        tracing::info!(user = %caller.user, "event stream opened");
        let first = Event::default()
            .event("pubkey")
            .data(self.server_key.public_hex_uncompressed());
        let event_stream = EventStream {
            state: self.state.clone(),
            user: caller.user,
            id,
            events,
            first: Some(first),
            ticket_keep_alive: self.identity.ticket_keep_alive(caller.credential),
            _permit: permit,
        };
        let events = stream::unfold(event_stream, |mut event_stream| async move {
            let event = event_stream.next().await?;
            Some((Ok::<_, std::convert::Infallible>(event), event_stream))
        });
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
        let unbuffered = [(PROXY_BUFFERING, NOT_BUFFERED)];
        Ok((unbuffered, Sse::new(events).keep_alive(keep_alive)).into_response())
    }

    /// `HEAD` of `/messages`: the head of the response to `GET`, without a stream.
    pub(super) async fn messages_head(&self, params: &RequestParameters) -> VoiceResult {
        self.identity.identify_listener(params).await?;
        let nothing = stream::empty::<Result<Event, std::convert::Infallible>>();
        let unbuffered = [(PROXY_BUFFERING, NOT_BUFFERED)];
        Ok((unbuffered, Sse::new(nothing)).into_response())
    }

    /// `/getCallTicket`: issues a challenge for a key to sign.
    pub(super) fn ticket(&self, params: &RequestParameters) -> VoiceResult {
        let keys = self.identity.keys()?;
        let key = identity::key(params)?;
        Ok(keys.tickets.issue(&key, Instant::now()).into_response())
    }

    /// `/tokenCheck`: returns the number of the token's user.
    pub(super) async fn token_check(&self, params: &RequestParameters) -> VoiceResult {
        self.identity.site()?;
        let caller = self.identity.identify(params).await?;
        Ok(caller.user.to_string().into_response())
    }

    /// `/keyXCHG`: returns the server's key to a client that proves possession of its own.
    pub(super) fn key_exchange(&self, params: &RequestParameters) -> VoiceResult {
        self.identity.keys()?;
        let key = params.text("pubkey").and_then(PublicKey::parse);
        let key = key.ok_or(VoiceError::bad(
            "`pubkey` must be a compressed P-256 key in hex (66 digits).",
        ))?;
        if !verify(&key, HANDSHAKE, params.text("sign").unwrap_or_default()) {
            return Err(VoiceError::forbidden(
                "`sign` is not a signature of `pubkey` over the bytes 01 01 02 ... 0a.",
            ));
        }
        let own = self.server_key.public_hex_uncompressed();
        Ok(json(format!("{{\"pubkey\" : \"{own}\"}}")))
    }

    /// `/newCall`: rings a user. The response to a key is its next challenge.
    pub(super) async fn new_call(
        &self,
        params: &RequestParameters,
        address: Option<IpAddr>,
    ) -> VoiceResult {
        let caller = self.identity.authenticate(params).await?;
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
        Ok(keys.tickets.replace(proof, Instant::now()).into_response())
    }

    /// `/answer`: the callee has signed the caller's challenge and sends its own.
    pub(super) async fn answer(&self, params: &RequestParameters) -> VoiceResult {
        self.handshake(params, &ANSWER).await
    }

    /// `/answer2`: the caller has signed the callee's challenge and sends another one.
    pub(super) async fn answer2(&self, params: &RequestParameters) -> VoiceResult {
        self.handshake(params, &CONFIRM).await
    }

    /// `/acceptCall`: the callee accepts, which establishes the call.
    pub(super) async fn accept(&self, params: &RequestParameters) -> VoiceResult {
        let (caller, destination) = self.pair(params).await?;
        self.identity.check_may_call(&caller, &destination).await?;
        let done = self
            .signed_step(params, &caller, &destination, ByteString::new(), &ACCEPT)
            .await?;
        tracing::info!(user = %caller.user, caller = %destination, "call accepted");
        Ok(done)
    }

    /// `/rejectCall`: the callee rejects the call.
    pub(super) async fn reject(&self, params: &RequestParameters) -> VoiceResult {
        let (caller, destination) = self.pair(params).await?;
        self.signed_step(params, &caller, &destination, ByteString::new(), &REJECT)
            .await
    }

    /// `/hangupCall`: ends a call, or its ringing. An extension that the reference server does not have.
    pub(super) async fn hang_up(&self, params: &RequestParameters) -> VoiceResult {
        let caller = self.identity.authenticate(params).await?;
        let destination = self.identity.destination(params)?;
        self.state
            .with(|state, now| state.calls.hang_up(&caller.user, &destination, now))?;
        Ok(StatusCode::OK.into_response())
    }

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
        let caller = self.identity.identify(params).await?;
        Ok((caller, self.identity.destination(params)?))
    }

    async fn signed_step(
        &self,
        params: &RequestParameters,
        caller: &Caller,
        destination: &User,
        challenge: ByteString,
        step: &HandshakeStep,
    ) -> VoiceResult {
        let sent = |calls: &Calls| (step.challenges)(calls, &caller.user, destination);
        let candidates = self.state.with(|state, _| sent(&state.calls))?;
        // Outside the state lock: verifying a signature takes 0.2 ms.
        let signature = self.identity.signature(caller, candidates, params);
        let (signature, signed) = signature.await?;
        self.state.with(|state, now| {
            if !sent(&state.calls)?.contains(&signed) {
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

/// An open event stream; closed when dropped.
struct EventStream {
    state: Arc<VoiceState>,
    user: User,
    id: StreamId,
    events: mpsc::Receiver<Arc<SseEvent>>,
    first: Option<Event>,
    ticket_keep_alive: Option<TicketKeepAlive>,
    _permit: Permit,
}

impl EventStream {
    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let event = loop {
            let refresh = async {
                match &mut self.ticket_keep_alive {
                    Some(ticket_keep_alive) => ticket_keep_alive.when_due().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => break event?,
                () = refresh => {}
            }
        };
        Some(Event::default().event(event.name).data(&event.data))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.state.stop_listening(&self.user, self.id);
        tracing::info!(user = %self.user, "event stream closed");
    }
}
