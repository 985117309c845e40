//! A call while it lasts: what is said and heard, and how it ends.

use std::time::Duration;

use hyper::body::Incoming;
use tokio::{
    pin,
    time::{Instant, sleep_until},
};

use super::{
    super::{
        client::{FormParameters, VoiceClient},
        downlink::{self, EndedBy},
        events::{CallEvent, CallEventKind, CallEvents},
        handshake,
        identity::CallUser,
        meter::{LevelGauge, MeterThread, size},
        output::print_status,
        uplink::{self, UplinkConfig, UplinkEnd, UplinkSocket},
    },
    Phone,
};
use crate::stop::StopSignals;

/// One who has neither microphone nor headphones in the call for so long is not coming back.
const ABSENCE_MAX: Duration = Duration::from_secs(60);

/// What is still to come of the stream when the other one has hung up.
const AFTER_HANG_UP: Duration = Duration::from_secs(1);

impl Phone {
    /// Talks until one of the two hangs up. Standard input may end before.
    pub(super) async fn talk(
        mut self,
        other: &CallUser,
        events: CallEvents,
        stop: StopSignals,
    ) -> Result<(), String> {
        let connected = self.connect(other).await;
        let ended = match connected {
            Ok((stream, socket)) => self.run_call(other, (stream, socket), events, stop).await,
            Err(words) => Err(words),
        };
        if ended != Ok(EndedBy::Them) {
            self.hang_up(other).await;
        }
        ended.map(drop)
    }

    async fn run_call(
        &mut self,
        other: &CallUser,
        (stream, socket): (Incoming, Option<UplinkSocket>),
        events: CallEvents,
        stop: StopSignals,
    ) -> Result<EndedBy, String> {
        print_status(&format!("Talking with {other}"));
        let (sent, heard) = (uplink::gauge(), downlink::gauge());
        let gauges = socket.iter().map(|_| sent.clone()).chain([heard.clone()]);
        let meter = MeterThread::start(gauges.collect());
        let is_enough = self.hearing.is_enough();
        let speaking = speak(socket.zip(self.speaking), &sent);
        let conversation = CallSession {
            server: &self.server,
            other,
            events: Some(events),
            stop,
            until_eof: self.until_eof,
            ended_by: EndedBy::Us,
        };
        let mut said = None;
        let enough = async { said = Some(conversation.until_over(speaking, is_enough).await) };
        let listened = self.hearing.hear(stream, &heard, enough).await;
        drop(meter);
        let (sent, heard) = (size(sent.bytes()), size(heard.bytes()));
        print_status(&format!("The call is over: sent {sent}, heard {heard}"));
        match said {
            Some(said) => listened.and(said),
            None => listened,
        }
    }

    /// Headphones first, so that nothing is missed.
    async fn connect(&self, other: &CallUser) -> Result<(Incoming, Option<UplinkSocket>), String> {
        let with = |mut parameters: FormParameters| {
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
async fn speak(
    to: Option<(UplinkSocket, UplinkConfig)>,
    gauge: &LevelGauge,
) -> Result<UplinkEnd, String> {
    match to {
        Some((socket, speaking)) => uplink::speak(socket, speaking, gauge).await,
        None => std::future::pending().await,
    }
}

struct CallSession<'a> {
    server: &'a VoiceClient,
    other: &'a CallUser,
    /// None once the stream broke off: the call goes on without.
    events: Option<CallEvents>,
    stop: StopSignals,
    until_eof: bool,
    /// Who has ended it when nothing more is waited for.
    ended_by: EndedBy,
}

impl CallSession<'_> {
    /// Done when we have a reason to hang up, or the other one has and the stream should end.
    async fn until_over(
        mut self,
        speaking: impl Future<Output = Result<UplinkEnd, String>>,
        is_enough: impl Future<Output = ()>,
    ) -> Result<EndedBy, String> {
        pin!(speaking, is_enough);
        let mut is_speaking = true;
        let mut deadline = Some(Instant::now() + ABSENCE_MAX);
        loop {
            tokio::select! {
                () = self.stop.asked() => return Ok(EndedBy::Us),
                () = &mut is_enough => return Ok(EndedBy::Us),
                () = at(deadline) => return Ok(self.ended_by),
                end = &mut speaking, if is_speaking => {
                    is_speaking = false;
                    if matches!(end?, UplinkEnd::Input) && self.until_eof {
                        return Ok(EndedBy::Us);
                    }
                }
                event = next(&mut self.events) => deadline = self.after(event, deadline).await,
            }
        }
    }

    /// When the call is over if nothing else happens.
    async fn after(
        &mut self,
        event: Result<CallEvent, String>,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        let CallEvent { from, kind: what } = match event {
            Ok(event) => event,
            Err(words) => {
                print_status(&words);
                self.events = None;
                return None;
            }
        };
        let is_other = from == *self.other;
        match what {
            CallEventKind::Declined { .. } if is_other => {
                print_status(&format!("{from} hung up"));
                self.ended_by = EndedBy::Them;
                Some(Instant::now() + AFTER_HANG_UP)
            }
            CallEventKind::Connected { is_there: true } if is_other => None,
            CallEventKind::Connected { is_there: false } if is_other => {
                Some(Instant::now() + ABSENCE_MAX)
            }
            CallEventKind::Ringing { challenge } => {
                self.decline(from, &challenge).await;
                deadline
            }
            CallEventKind::Answered { .. }
            | CallEventKind::Confirmed { .. }
            | CallEventKind::Accepted { .. }
            | CallEventKind::Declined { .. }
            | CallEventKind::Connected { .. } => deadline,
        }
    }

    /// One call at a time.
    async fn decline(&self, from: CallUser, challenge: &str) {
        print_status(&format!("{from} calls meanwhile: declined"));
        let call = handshake::IncomingCall::new(&self.server.identity, from, challenge);
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

async fn next(events: &mut Option<CallEvents>) -> Result<CallEvent, String> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
