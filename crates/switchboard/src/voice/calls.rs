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
use switchboard_core::{CallRefusal, Calls, User};
use switchboard_dialect::gostream::Told;
use switchboard_transport::{Hangup, Permit};
use tokio::sync::mpsc;

use super::{
    KEEP_ALIVE, NOT_BUFFERED, PROXY_BUFFERING, Voice,
    answer::{Answer, Refusal, json},
    desk::Desk,
    identity::{self, Caller, Credential, Kept},
    keys::{HANDSHAKE, PublicKey, verify},
    parameters::Parameters,
    streams::{Listener, StreamId},
};

/// Who, to whom, what he has signed, what the other is to sign, and when.
type Take =
    fn(&mut Calls, &User, &User, ByteString, ByteString, Instant) -> Result<(), CallRefusal>;

/// A step that is signed: over which challenge, and how the machine takes it.
struct Step {
    challenges: fn(&Calls, &User, &User) -> Result<Vec<ByteString>, CallRefusal>,
    take: Take,
}

const ANSWER: Step = Step {
    challenges: Calls::to_answer,
    take: Calls::answer,
};

const CONFIRM: Step = Step {
    challenges: Calls::to_confirm,
    take: Calls::confirm,
};

const ACCEPT: Step = Step {
    challenges: Calls::to_accept,
    take: |calls, by, from, signature, _, now| calls.accept(by, from, signature, now).map(drop),
};

const REJECT: Step = Step {
    challenges: Calls::to_accept,
    take: |calls, by, from, signature, _, now| calls.reject(by, from, signature, now),
};

impl Voice {
    /// `/messages`: everything that concerns one user, as it happens.
    pub(super) async fn messages(
        &self,
        asked: &Parameters,
        hangup: Hangup,
        address: Option<IpAddr>,
        permit: Permit,
    ) -> Answer {
        let caller = self.identity.listening(asked).await?;
        let listener = Listener {
            hangup,
            is_proven: caller.is_proven(),
            address,
        };
        let Some((id, events)) = self.desk.listen(&caller.user, listener) else {
            return Err(Refusal::too_many(
                "You have as many event streams as you may.",
            ));
        };
        tracing::info!(user = %caller.user, "event stream open");
        let first = Event::default()
            .event("pubkey")
            .data(self.server_key.public_hex_uncompressed());
        let hearing = Hearing {
            desk: self.desk.clone(),
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
    pub(super) async fn messages_head(&self, asked: &Parameters) -> Answer {
        self.identity.listening(asked).await?;
        let nothing = stream::empty::<Result<Event, std::convert::Infallible>>();
        let unbuffered = [(PROXY_BUFFERING, NOT_BUFFERED)];
        Ok((unbuffered, Sse::new(nothing)).into_response())
    }

    /// `/getCallTicket`: a challenge for this key to sign.
    pub(super) fn ticket(&self, asked: &Parameters) -> Answer {
        let keys = self.identity.keys()?;
        let key = identity::key(asked)?;
        Ok(keys.tickets.issue(&key, Instant::now()).into_response())
    }

    /// `/tokenCheck`: the number of the user whose token it is.
    pub(super) async fn token_check(&self, asked: &Parameters) -> Answer {
        self.identity.site()?;
        let caller = self.identity.claimed(asked).await?;
        Ok(caller.user.to_string().into_response())
    }

    /// `/keyXCHG`: the server's key, for one who shows that he has his own.
    pub(super) fn key_exchange(&self, asked: &Parameters) -> Answer {
        self.identity.keys()?;
        let key = asked.text("pubkey").and_then(PublicKey::parse);
        let key = key.ok_or(Refusal::bad("pubkey is not a compressed P-256 key in hex."))?;
        if !verify(&key, HANDSHAKE, asked.text("sign").unwrap_or_default()) {
            return Err(Refusal::forbidden(
                "sign is not this key's signature over the bytes 01 01 02 ... 0a.",
            ));
        }
        let own = self.server_key.public_hex_uncompressed();
        Ok(json(format!("{{\"pubkey\" : \"{own}\"}}")))
    }

    /// `/newCall`: rings somebody. Answers a key with its next challenge.
    pub(super) async fn new_call(&self, asked: &Parameters, address: Option<IpAddr>) -> Answer {
        let caller = self.identity.proven(asked).await?;
        let other = self.identity.other(asked)?;
        let challenge = self.identity.challenge(asked)?;
        self.identity.may_call(&caller, &other).await?;
        if !self.desk.is_present(&other) {
            return Err(Refusal::not_found("This user is not there."));
        }
        self.desk
            .with(|state, now| state.ring((&caller.user, &other), challenge, address, now))?;
        let (Ok(keys), Credential::Key(_, Some(proof))) = (self.identity.keys(), caller.credential)
        else {
            return Ok(StatusCode::OK.into_response());
        };
        Ok(keys.tickets.replace(proof, Instant::now()).into_response())
    }

    /// `/answer`: the callee has signed the caller's challenge, and sends one.
    pub(super) async fn answer(&self, asked: &Parameters) -> Answer {
        self.handshake(asked, &ANSWER).await
    }

    /// `/answer2`: the caller has signed the callee's challenge, and sends another.
    pub(super) async fn answer2(&self, asked: &Parameters) -> Answer {
        self.handshake(asked, &CONFIRM).await
    }

    /// `/acceptCall`: from here there is a call.
    pub(super) async fn accept(&self, asked: &Parameters) -> Answer {
        let (caller, other) = self.pair(asked).await?;
        self.identity.may_call(&caller, &other).await?;
        let done = self
            .signed_step(asked, &caller, &other, ByteString::new(), &ACCEPT)
            .await?;
        tracing::info!(user = %caller.user, caller = %other, "call accepted");
        Ok(done)
    }

    /// `/rejectCall`.
    pub(super) async fn reject(&self, asked: &Parameters) -> Answer {
        let (caller, other) = self.pair(asked).await?;
        self.signed_step(asked, &caller, &other, ByteString::new(), &REJECT)
            .await
    }

    /// `/hangupCall`, ours: ends a call, or its ringing.
    pub(super) async fn hang_up(&self, asked: &Parameters) -> Answer {
        let caller = self.identity.proven(asked).await?;
        let other = self.identity.other(asked)?;
        self.desk
            .with(|state, now| state.calls.hang_up(&caller.user, &other, now))?;
        Ok(StatusCode::OK.into_response())
    }

    async fn handshake(&self, asked: &Parameters, step: &Step) -> Answer {
        self.identity.keys()?;
        let (caller, other) = self.pair(asked).await?;
        let challenge = self.identity.challenge(asked)?;
        self.signed_step(asked, &caller, &other, challenge, step)
            .await
    }

    /// Who asks and whom he means, in steps whose signature is over the other's challenge.
    async fn pair(&self, asked: &Parameters) -> Result<(Caller, User), Refusal> {
        let caller = self.identity.claimed(asked).await?;
        Ok((caller, self.identity.other(asked)?))
    }

    async fn signed_step(
        &self,
        asked: &Parameters,
        caller: &Caller,
        other: &User,
        challenge: ByteString,
        step: &Step,
    ) -> Answer {
        let sent = |calls: &Calls| (step.challenges)(calls, &caller.user, other);
        let candidates = self.desk.with(|state, _| sent(&state.calls))?;
        // Not under the desk's lock: a signature takes a fifth of a millisecond.
        let signature = self.identity.signature(caller, candidates, asked);
        let (signature, signed) = signature.await?;
        self.desk.with(|state, now| {
            if !sent(&state.calls)?.contains(&signed) {
                return Err(CallRefusal::NoSuchCall);
            }
            (step.take)(
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
struct Hearing {
    desk: Arc<Desk>,
    user: User,
    id: StreamId,
    events: mpsc::Receiver<Arc<Told>>,
    first: Option<Event>,
    kept: Option<Kept>,
    _permit: Permit,
}

impl Hearing {
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

impl Drop for Hearing {
    fn drop(&mut self) {
        self.desk.stop_listening(&self.user, self.id);
        tracing::info!(user = %self.user, "event stream closed");
    }
}
