//! Audio in and out: microphones as WebSocket messages or request bodies, listeners as responses.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, BodyDataStream},
    extract::{
        FromRequestParts, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use switchboard_audio::{Format, Input, Intake};
use switchboard_core::{User, Way};
use switchboard_transport::{Bucket, Counters, Exchange, Hangup, Permit};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    NOT_BUFFERED, PROXY_BUFFERING, Voice,
    answer::{Answer, Refusal},
    desk::Place,
    identity::{Caller, Credential, Identity},
    parameters::Parameters,
    studio::{Line, Studio},
};

/// Seconds of audio that a source may send at once.
const BURST_SECS: u32 = 4;

/// Time for the goodbye of a source that is ended.
const GOODBYE: Duration = Duration::from_secs(1);

/// What one wants to hear or to speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Call,
    Room,
}

/// One user's microphone or headphones in a call or room; given back when dropped.
struct Seat {
    voice: Arc<Voice>,
    user: User,
    place: Place,
    way: Way,
    studio: Arc<Studio>,
    /// What the site is told of at the end: its room, and by whose token.
    told_site: Option<(u64, String)>,
    _permit: Permit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let counters = self.voice.shards.counters();
        match self.way {
            Way::In => {
                self.studio.forget_source(&self.user);
                Counters::less(&counters.voice_sources);
            }
            Way::Out => Counters::less(&counters.voice_listeners),
        }
        self.voice.desk.disconnect(&self.user, self.place, self.way);
        if let Some((room, token)) = self.told_site.take() {
            let (voice, way) = (self.voice.clone(), self.way);
            self.voice.tasks.spawn(async move {
                // The site is told; what it says to that changes nothing.
                drop(voice.may_be_in_room(room, &token, way, false).await);
            });
        }
    }
}

impl Voice {
    /// `/upCall`, `/upRoom`: a microphone.
    pub(super) async fn up(
        self: &Arc<Self>,
        goal: Goal,
        mut parts: Parts,
        body: Body,
        permit: Permit,
    ) -> Answer {
        let asked = Parameters::of_head(&parts);
        let intake = intake(&asked)?;
        let is_upgrade = parts.headers.contains_key(header::UPGRADE);
        if parts.method == Method::GET && !is_upgrade {
            return Err(Refusal::bad(
                "Audio comes by WebSocket, or as the body of a POST or PUT.",
            ));
        }
        if !is_upgrade {
            let seat = self.seat(goal, Way::In, &asked, permit).await?;
            return self.up_by_body(seat, intake, body).await;
        }
        let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &())
            .await
            .map_err(|rejection| Refusal::from(rejection.into_response()))?;
        let seat = self.seat(goal, Way::In, &asked, permit).await?;
        let upgrade = upgrade
            .read_buffer_size(self.message_bytes.min(16 * 1024))
            .max_message_size(self.message_bytes)
            .max_frame_size(self.message_bytes);
        let voice = self.clone();
        let tasks = self.tasks.clone();
        Ok(upgrade.on_upgrade(move |socket| {
            tasks.track_future(async move { voice.up_by_websocket(socket, seat, intake).await })
        }))
    }

    async fn up_by_body(self: &Arc<Self>, seat: Seat, intake: Intake, body: Body) -> Answer {
        let mut source = Source::new(self, &seat, intake);
        let mut body = body.into_data_stream();
        let ended = loop {
            tokio::select! {
                biased;
                () = seat.studio.ended() => break Ok("The call has ended.\n"),
                () = self.drain.cancelled() => break Ok("The server stops.\n"),
                bytes = next_piece(&mut body, self.heartbeat.gone) => match bytes? {
                    None => break Ok(""),
                    Some(bytes) if source.take(&bytes) => {}
                    Some(_) => break Err(Refusal::too_many("You send more audio than allowed.")),
                },
            }
        };
        ended.map(IntoResponse::into_response)
    }

    async fn up_by_websocket(self: Arc<Self>, mut socket: WebSocket, seat: Seat, intake: Intake) {
        let mut source = Source::new(&self, &seat, intake);
        let mut pings = interval(self.heartbeat.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let (code, reason) = loop {
            tokio::select! {
                biased;
                () = seat.studio.ended() => break (1000, "The call has ended."),
                () = self.drain.cancelled() => break (1012, "The server stops."),
                _ = pings.tick() => {
                    if heard.elapsed() >= self.heartbeat.gone {
                        return;
                    }
                    // It is written when the client takes it; a client that takes nothing is no
                    // less a source.
                    let ping = timeout(GOODBYE, socket.send(Message::Ping(Bytes::new())));
                    if let Ok(Err(_)) = ping.await {
                        return;
                    }
                }
                message = socket.recv() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Binary(bytes))) => if !source.take(&bytes) {
                            break (1008, "You send more audio than allowed.");
                        },
                        Some(Ok(Message::Text(_))) => {
                            break (1003, "Audio comes in binary messages.");
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    }
                }
            }
        };
        drop(seat);
        Counters::add(
            &self.shards.counters().refused_total,
            u64::from(code != 1000),
        );
        let close = CloseFrame {
            code,
            reason: reason.into(),
        };
        drop(timeout(GOODBYE, socket.send(Message::Close(Some(close)))).await);
    }

    /// `/joinCall`, `/joinRoom`: a listener.
    pub(super) async fn join(
        self: &Arc<Self>,
        goal: Goal,
        asked: &Parameters,
        hangup: Hangup,
        permit: Permit,
    ) -> Answer {
        let format = match asked.format() {
            None => Format::Opus,
            Some(text) => Format::parse(text).ok_or_else(|| {
                let words = format!("There is no such format. There are: {}.", Format::NAMES);
                Refusal::new(StatusCode::BAD_REQUEST, &words)
            })?,
        };
        let seat = self.seat(goal, Way::Out, asked, permit).await?;
        let (line, pieces) = Line::new(hangup, self.shards.clone());
        let owner = self.desk.owner(&seat.user);
        seat.studio.add_listener(owner, format, line, &self.tasks);
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static(format.content_type()),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (PROXY_BUFFERING, NOT_BUFFERED),
        ];
        let body = Body::from_stream(Listening {
            pieces,
            _seat: seat,
        });
        Ok((headers, body).into_response())
    }

    /// Takes a seat for whom the request is from, if he may.
    async fn seat(
        self: &Arc<Self>,
        goal: Goal,
        way: Way,
        asked: &Parameters,
        permit: Permit,
    ) -> Result<Seat, Refusal> {
        let caller = self.identity.proven(asked).await?;
        let (place, studio, told_site) = match goal {
            Goal::Call => {
                let other = self.identity.other(asked)?;
                let (place, studio) = self.desk.connect_to_call(&caller.user, &other, way)?;
                (place, studio, None)
            }
            Goal::Room => self.enter_room(&caller, asked, way).await?,
        };
        let counters = self.shards.counters();
        let gauge = match way {
            Way::In => &counters.voice_sources,
            Way::Out => &counters.voice_listeners,
        };
        Counters::add(gauge, 1);
        Ok(Seat {
            voice: self.clone(),
            user: caller.user,
            place,
            way,
            studio,
            told_site,
            _permit: permit,
        })
    }

    async fn enter_room(
        &self,
        caller: &Caller,
        asked: &Parameters,
        way: Way,
    ) -> Result<(Place, Arc<Studio>, Option<(u64, String)>), Refusal> {
        let room = self.room(asked)?;
        self.may_enter(caller, &room).await?;
        let told_site = match (&room, &caller.credential) {
            (switchboard_core::RoomKey::Numbered(number), Credential::Token(token)) => {
                if !self.may_be_in_room(*number, token, way, true).await? {
                    return Err(Refusal::forbidden("You may not enter this room."));
                }
                Some((*number, token.clone()))
            }
            (_, Credential::Token(_) | Credential::Key(..)) => None,
        };
        let (place, studio) = self.desk.enter_room(&caller.user, &room, way)?;
        Ok((place, studio, told_site))
    }

    /// Asks the site whether a token's user may speak or listen, or tells it that he has stopped.
    async fn may_be_in_room(
        &self,
        room: u64,
        token: &str,
        way: Way,
        on: bool,
    ) -> Result<bool, Refusal> {
        let Identity::Site(site) = &self.identity else {
            return Ok(true);
        };
        Ok(match way {
            Way::In => site.may_speak(room, token, on).await?,
            Way::Out => site.may_listen(room, token, on).await?,
        })
    }
}

fn intake(asked: &Parameters) -> Result<Intake, Refusal> {
    let rate = asked
        .number("rate")?
        .unwrap_or(switchboard_audio::SAMPLE_RATE);
    let channels = asked.number("channels")?.unwrap_or(1);
    Intake::new(rate, channels)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, &error.to_string()))
}

/// The next piece of a body, or that it is over. A client that sends nothing for too long is gone.
async fn next_piece(body: &mut BodyDataStream, gone: Duration) -> Result<Option<Bytes>, Refusal> {
    match timeout(gone, body.next()).await {
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(_))) => Err(Refusal::bad("The audio broke off.")),
        Ok(None) => Ok(None),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "No audio came for too long.",
        )),
    }
}

/// What one microphone sends, on its way to the mixer.
struct Source {
    input: Input,
    intake: Intake,
    bucket: Option<Bucket>,
}

impl Source {
    fn new(voice: &Voice, seat: &Seat, intake: Intake) -> Self {
        let rate = voice.audio_bytes_per_second;
        Self {
            input: seat
                .studio
                .add_source(&seat.user, voice.desk.owner(&seat.user)),
            intake,
            bucket: Bucket::new(rate, rate.saturating_mul(BURST_SECS), Instant::now()),
        }
    }

    /// Takes samples, unless there are more of them than allowed.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let has_room = |bucket: &mut Bucket| bucket.take(count, Instant::now());
        if !self.bucket.as_mut().is_none_or(has_room) {
            return false;
        }
        self.intake.take(bytes, &self.input);
        true
    }
}

/// A listener's response: pieces of its stream until the call ends. Its seat is given back with it.
struct Listening {
    pieces: mpsc::Receiver<Bytes>,
    _seat: Seat,
}

impl Stream for Listening {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(Ok))
    }
}
