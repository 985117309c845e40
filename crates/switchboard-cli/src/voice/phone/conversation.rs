//! A call while it lasts: what is said and heard, and how it ends.

use std::time::Duration;

use hyper::body::Incoming;
use tokio::{
    pin,
    time::{Instant, sleep_until},
};

use super::{
    super::{
        client::{Parameters, Server},
        downlink::{self, By},
        events::{Events, VoiceEvent, What},
        handshake,
        identity::User,
        meter::{Gauge, Meter, size},
        output::tell,
        uplink::{self, End, Socket, Speaking},
    },
    Phone,
};
use crate::stop::Stop;

/// One who has neither microphone nor headphones in the call for so long is not coming back.
const ABSENCE_MAX: Duration = Duration::from_secs(60);

/// What is still to come of the stream when the other one has hung up.
const AFTER_HANG_UP: Duration = Duration::from_secs(1);

impl Phone {
    /// Talks until one of the two hangs up. Standard input may end before.
    pub(super) async fn talk(
        mut self,
        other: &User,
        events: Events,
        stop: Stop,
    ) -> Result<(), String> {
        let connected = self.connect(other).await;
        let ended = match connected {
            Ok((stream, socket)) => self.converse(other, (stream, socket), events, stop).await,
            Err(words) => Err(words),
        };
        if ended != Ok(By::Them) {
            self.hang_up(other).await;
        }
        ended.map(drop)
    }

    async fn converse(
        &mut self,
        other: &User,
        (stream, socket): (Incoming, Option<Socket>),
        events: Events,
        stop: Stop,
    ) -> Result<By, String> {
        tell(&format!("Talking with {other}"));
        let (sent, heard) = (uplink::gauge(), downlink::gauge());
        let gauges = socket.iter().map(|_| sent.clone()).chain([heard.clone()]);
        let meter = Meter::start(gauges.collect());
        let is_enough = self.hearing.is_enough();
        let speaking = speak(socket.zip(self.speaking), &sent);
        let conversation = Conversation {
            server: &self.server,
            other,
            events: Some(events),
            stop,
            until_eof: self.until_eof,
            ended_by: By::Us,
        };
        let mut said = None;
        let enough = async { said = Some(conversation.until_over(speaking, is_enough).await) };
        let listened = self.hearing.hear(stream, &heard, enough).await;
        drop(meter);
        let (sent, heard) = (size(sent.bytes()), size(heard.bytes()));
        tell(&format!("The call is over: sent {sent}, heard {heard}"));
        match said {
            Some(said) => listened.and(said),
            None => listened,
        }
    }

    /// Headphones first, so that nothing is missed.
    async fn connect(&self, other: &User) -> Result<(Incoming, Option<Socket>), String> {
        let with = |mut parameters: Parameters| {
            parameters.push(("otherID", other.name().to_owned()));
            parameters
        };
        let format = vec![("format", self.hearing.format.name().to_owned())];
        let stream = self.server.post("/joinCall", with(format)).await?;
        let socket = match self.speaking {
            Some(speaking) => Some(
                self.server
                    .upgrade("/upCall", with(speaking.parameters()))
                    .await?,
            ),
            None => None,
        };
        Ok((stream, socket))
    }
}

/// Speaks, if there is anything to say.
async fn speak(to: Option<(Socket, Speaking)>, gauge: &Gauge) -> Result<End, String> {
    match to {
        Some((socket, speaking)) => uplink::speak(socket, speaking, gauge).await,
        None => std::future::pending().await,
    }
}

struct Conversation<'a> {
    server: &'a Server,
    other: &'a User,
    /// None once the stream broke off: the call goes on without.
    events: Option<Events>,
    stop: Stop,
    until_eof: bool,
    /// Who has ended it when nothing more is waited for.
    ended_by: By,
}

impl Conversation<'_> {
    /// Done when we have a reason to hang up, or the other one has and the stream should end.
    async fn until_over(
        mut self,
        speaking: impl Future<Output = Result<End, String>>,
        is_enough: impl Future<Output = ()>,
    ) -> Result<By, String> {
        pin!(speaking, is_enough);
        let mut is_speaking = true;
        let mut deadline = Some(Instant::now() + ABSENCE_MAX);
        loop {
            tokio::select! {
                () = self.stop.asked() => return Ok(By::Us),
                () = &mut is_enough => return Ok(By::Us),
                () = at(deadline) => return Ok(self.ended_by),
                end = &mut speaking, if is_speaking => {
                    is_speaking = false;
                    if matches!(end?, End::Input) && self.until_eof {
                        return Ok(By::Us);
                    }
                }
                event = next(&mut self.events) => deadline = self.after(event, deadline).await,
            }
        }
    }

    /// When the call is over if nothing else happens.
    async fn after(
        &mut self,
        event: Result<VoiceEvent, String>,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        let VoiceEvent { from, what } = match event {
            Ok(event) => event,
            Err(words) => {
                tell(&words);
                self.events = None;
                return None;
            }
        };
        let is_other = from == *self.other;
        match what {
            What::Declined { .. } if is_other => {
                tell(&format!("{from} hung up"));
                self.ended_by = By::Them;
                Some(Instant::now() + AFTER_HANG_UP)
            }
            What::Connected { is_there: true } if is_other => None,
            What::Connected { is_there: false } if is_other => Some(Instant::now() + ABSENCE_MAX),
            What::Ringing { challenge } => {
                self.decline(from, &challenge).await;
                deadline
            }
            What::Answered { .. }
            | What::Confirmed { .. }
            | What::Accepted { .. }
            | What::Declined { .. }
            | What::Connected { .. } => deadline,
        }
    }

    /// One call at a time.
    async fn decline(&self, from: User, challenge: &str) {
        tell(&format!("{from} calls meanwhile: declined"));
        let call = handshake::Incoming::new(&self.server.identity, from, challenge);
        if let Some(step) = call.reject() {
            drop(self.server.step(step.path, step.parameters).await);
        }
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn next(events: &mut Option<Events>) -> Result<VoiceEvent, String> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
