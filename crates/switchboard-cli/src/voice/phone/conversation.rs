//! An established call: its audio in both directions, and its end.

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

/// The call ends if the other user has no audio attached for this long.
const ABSENCE_MAX: Duration = Duration::from_secs(60);

/// How long audio that is still on its way is received after the other user has hung up.
const AFTER_HANG_UP: Duration = Duration::from_secs(1);

impl Phone {
    /// Transfers audio until one side hangs up. The call goes on after the end of standard input, unless `until_eof` is
    /// set.
    pub(super) async fn talk(
        mut self,
        other: &CallUser,
        events: CallEvents,
        stop: StopSignals,
    ) -> anyhow::Result<()> {
        let connected = self.connect(other).await;
        let ended = match connected {
            Ok((stream, socket)) => self.run_call(other, (stream, socket), events, stop).await,
            Err(message) => Err(message),
        };
        if !matches!(ended, Ok(EndedBy::Remote)) {
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
    ) -> anyhow::Result<EndedBy> {
        print_status(&format!("Talking with {other}"));
        let (sent_gauge, received_gauge) = (uplink::gauge(), downlink::gauge());
        let gauges = socket
            .iter()
            .map(|_| sent_gauge.clone())
            .chain([received_gauge.clone()]);
        let meter = MeterThread::start(gauges.collect());
        let time_limit = self.downlink.time_limit();
        let sending = send_audio(socket.zip(self.uplink), &sent_gauge);
        let conversation = CallSession {
            server: &self.server,
            other,
            events: Some(events),
            stop,
            until_eof: self.until_eof,
            ended_by: EndedBy::Local,
        };
        let mut session_end = None;
        let enough =
            async { session_end = Some(conversation.until_over(sending, time_limit).await) };
        let received = self.downlink.receive(stream, &received_gauge, enough).await;
        drop(meter);
        let (sent, received_size) = (size(sent_gauge.bytes()), size(received_gauge.bytes()));
        print_status(&format!(
            "The call is over: sent {sent}, received {received_size}"
        ));
        match session_end {
            Some(session_end) => received.and(session_end),
            None => received,
        }
    }

    /// Opens the stream of received audio first, so that none is missed, and then the connection for sent audio.
    async fn connect(&self, other: &CallUser) -> anyhow::Result<(Incoming, Option<UplinkSocket>)> {
        let with = |mut parameters: FormParameters| {
            parameters.push(("otherID", other.name().to_owned()));
            parameters
        };
        let format = vec![("format", self.downlink.format.name().to_owned())];
        let stream = self.server.post("/joinCall", with(format)).await?;
        let socket = match self.uplink {
            Some(sending) => Some(
                self.server
                    .upgrade("/upCall", with(sending.parameters()))
                    .await?,
            ),
            None => None,
        };
        Ok((stream, socket))
    }
}

/// Sends audio if there is a connection for it; otherwise never completes.
async fn send_audio(
    to: Option<(UplinkSocket, UplinkConfig)>,
    gauge: &LevelGauge,
) -> anyhow::Result<UplinkEnd> {
    match to {
        Some((socket, sending)) => uplink::send_stdin(socket, sending, gauge).await,
        None => std::future::pending().await,
    }
}

/// The events and ends of an established call.
struct CallSession<'a> {
    server: &'a VoiceClient,
    other: &'a CallUser,
    /// `None` after the event stream has failed; the call continues without it.
    events: Option<CallEvents>,
    stop: StopSignals,
    until_eof: bool,
    /// The side that has ended the call when the deadline expires.
    ended_by: EndedBy,
}

impl CallSession<'_> {
    /// Completes when the call must end: by a stop signal, `--seconds`, the end of the input, or the
    /// deadline after the other user has left.
    async fn until_over(
        mut self,
        sending: impl Future<Output = anyhow::Result<UplinkEnd>>,
        time_limit: impl Future<Output = ()>,
    ) -> anyhow::Result<EndedBy> {
        pin!(sending, time_limit);
        let mut is_sending = true;
        let mut deadline = Some(Instant::now() + ABSENCE_MAX);
        loop {
            tokio::select! {
                () = self.stop.recv() => return Ok(EndedBy::Local),
                () = &mut time_limit => return Ok(EndedBy::Local),
                () = wait_until(deadline) => return Ok(self.ended_by),
                end = &mut sending, if is_sending => {
                    is_sending = false;
                    if matches!(end?, UplinkEnd::Input) && self.until_eof {
                        return Ok(EndedBy::Local);
                    }
                }
                event = next(&mut self.events) => deadline = self.handle_event(event, deadline).await,
            }
        }
    }

    /// Handles an event. Returns the new deadline of the call.
    async fn handle_event(
        &mut self,
        event: anyhow::Result<CallEvent>,
        deadline: Option<Instant>,
    ) -> Option<Instant> {
        let CallEvent { from, kind } = match event {
            Ok(event) => event,
            Err(error) => {
                print_status(&format!("{error:#}"));
                self.events = None;
                return None;
            }
        };
        let is_other = from == *self.other;
        match kind {
            CallEventKind::Declined { .. } if is_other => {
                print_status(&format!("{from} hung up"));
                self.ended_by = EndedBy::Remote;
                Some(Instant::now() + AFTER_HANG_UP)
            }
            CallEventKind::Connected { is_attached: true } if is_other => None,
            CallEventKind::Connected { is_attached: false } if is_other => {
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

    /// Declines another call while this one lasts.
    async fn decline(&self, from: CallUser, challenge: &str) {
        print_status(&format!("{from} calls meanwhile: declined"));
        let call = handshake::IncomingCall::new(&self.server.identity, from, challenge);
        if let Some(request) = call.reject() {
            drop(
                self.server
                    .handshake_request(request.path, request.parameters)
                    .await,
            );
        }
    }
}

async fn wait_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn next(events: &mut Option<CallEvents>) -> anyhow::Result<CallEvent> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
