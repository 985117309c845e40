//! One connection, whatever carries it: its conversation, its heartbeat, its share of frames.
//!
//! A machine like the hub: inputs with the time go in, [`Steps`] come out, `poll_timeout` says
//! when it wants to be called.

use std::time::{Duration, Instant};

use switchboard_core::{Ask, Event, Limits, Parting, Peer, Place, Refusal};
use switchboard_dialect::{Close, Conversation, FirstFrame, Frame, Post, Turn};

use crate::bucket::Bucket;

/// How a dead client is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// A ping is sent this often.
    pub ping: Duration,
    /// A client that has shown no sign of life for so long is gone.
    pub gone: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(25),
            gone: Duration::from_secs(60),
        }
    }
}

/// What the carrier has to do: the turn, and then a ping if one is wanted.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) turn: Turn,
    pub(crate) ping: bool,
}

impl From<Turn> for Steps {
    fn from(turn: Turn) -> Self {
        Self {
            ping: turn.probe.is_some(),
            turn,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Line {
    conversation: Conversation,
    frames: Option<Bucket>,
    bytes: Option<Bucket>,
    heartbeat: Heartbeat,
    last_sign: Instant,
    next_ping: Instant,
    first_frame: Option<Instant>,
    tick: Option<(Duration, Instant)>,
    /// Names of ours that somebody claims; the next sign of life answers for them.
    probes: Vec<Place>,
}

impl Line {
    /// A line at its beginning, and the first steps. `opened` is what [`Conversation::open`] gave.
    pub(crate) fn new(
        opened: (Conversation, Turn),
        limits: &Limits,
        heartbeat: Heartbeat,
        now: Instant,
    ) -> (Self, Steps) {
        let (conversation, turn) = opened;
        let wait = match turn.first_frame {
            FirstFrame::Usual => Some(Duration::from_secs(limits.first_frame_secs)),
            FirstFrame::Within(wait) => Some(wait),
            FirstFrame::Never => None,
        };
        let mut line = Self {
            conversation,
            frames: Bucket::new(limits.frames_per_second, limits.frames_burst, now),
            bytes: byte_bucket(limits, now),
            heartbeat,
            last_sign: now,
            next_ping: now + heartbeat.ping,
            first_frame: wait.filter(|wait| !wait.is_zero()).map(|wait| now + wait),
            tick: None,
            probes: Vec::new(),
        };
        let steps = line.steps(turn, now);
        (line, steps)
    }

    pub(crate) fn peer(&self) -> &Peer {
        self.conversation.peer()
    }

    /// A frame of the client's has come.
    pub(crate) fn on_frame(&mut self, frame: Frame<'_>, now: Instant, unix_secs: u64) -> Steps {
        if !(takes(&mut self.frames, 1, now) && takes(&mut self.bytes, frame.len(), now)) {
            return self.flooded(now);
        }
        self.first_frame = None;
        let mut turn = self.conversation.on_frame(frame, unix_secs);
        if !takes(&mut self.frames, further(&turn.asks), now) {
            return self.flooded(now);
        }
        turn.asks.splice(0..0, self.sign_of_life(now));
        self.steps(turn, now)
    }

    /// A ping or pong of the client's has come.
    pub(crate) fn on_control(&mut self, now: Instant) -> Steps {
        if !takes(&mut self.frames, 1, now) {
            return self.flooded(now);
        }
        Turn {
            asks: self.sign_of_life(now),
            ..Turn::default()
        }
        .into()
    }

    /// The client, which was slow, has taken some of what was sent.
    pub(crate) fn on_taken(&mut self, now: Instant) -> Steps {
        Turn {
            asks: self.sign_of_life(now),
            ..Turn::default()
        }
        .into()
    }

    /// The hub tells something.
    pub(crate) fn on_event(&mut self, event: &Event, now: Instant, unix_secs: u64) -> Steps {
        let turn = self.conversation.on_event(event, unix_secs);
        self.steps(turn, now)
    }

    /// The request of an earlier turn is answered.
    pub(crate) fn on_reply(&mut self, reply: Option<&str>, now: Instant, unix_secs: u64) -> Steps {
        let turn = self.conversation.on_reply(reply, unix_secs);
        self.steps(turn, now)
    }

    /// The carrier has noticed that the client breaks a rule.
    pub(crate) fn on_violation(&mut self, reason: Refusal, close: Close, now: Instant) -> Steps {
        let turn = self.conversation.on_violation(reason, close);
        self.steps(turn, now)
    }

    /// When [`Line::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Instant {
        let gone = self.last_sign + self.heartbeat.gone;
        let others = [
            self.first_frame,
            self.tick.map(|(_, at)| at),
            Some(self.next_ping),
        ];
        others.into_iter().flatten().fold(gone, Instant::min)
    }

    /// Does what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Steps {
        if now >= self.last_sign + self.heartbeat.gone {
            return Turn {
                close: Some(Close::GONE),
                ..Turn::default()
            }
            .into();
        }
        if self.first_frame.is_some_and(|deadline| now >= deadline) {
            return self.on_violation(Refusal::Silent, Close::SILENT, now);
        }
        let ticked = self.tick.filter(|(_, at)| now >= *at);
        let turn = match ticked {
            Some((every, _)) => {
                self.tick = Some((every, now + every));
                self.conversation.on_tick()
            }
            None => Turn::default(),
        };
        let mut steps = self.steps(turn, now);
        if now >= self.next_ping {
            self.next_ping = now + self.heartbeat.ping;
            steps.ping = true;
        }
        steps
    }

    /// What to ask the hubs when the connection is gone.
    pub(crate) fn farewell(&mut self, parting: Parting) -> Vec<Ask> {
        self.conversation.farewell(parting)
    }

    /// The last request, when the connection is gone.
    pub(crate) fn on_end(&mut self) -> Option<Post> {
        self.conversation.on_end()
    }

    fn flooded(&mut self, now: Instant) -> Steps {
        self.on_violation(Refusal::TooManyFrames, Close::FLOOD, now)
    }

    fn sign_of_life(&mut self, now: Instant) -> Vec<Ask> {
        self.last_sign = now;
        std::mem::take(&mut self.probes)
            .into_iter()
            .map(Ask::Alive)
            .collect()
    }

    fn steps(&mut self, mut turn: Turn, now: Instant) -> Steps {
        if let Some(every) = turn.tick.take() {
            self.tick = Some((every, now + every));
        }
        let probe = turn.probe.take();
        let ping = probe.is_some();
        self.probes.extend(probe);
        Steps { turn, ping }
    }
}

/// What one may send at once is half of what may wait for another, so that nobody alone fills the outbox
/// of someone who reads; and no less than the largest frame. It comes back in two seconds.
fn byte_bucket(limits: &Limits, now: Instant) -> Option<Bucket> {
    let numbers = [limits.outbox_bytes, limits.frame_bytes];
    let counts = [limits.frames_per_second, limits.frames_burst];
    if numbers.contains(&0) || counts.contains(&0) {
        return None;
    }
    let burst = limits.frame_bytes.max(limits.outbox_bytes / 2);
    let burst = u32::try_from(burst).unwrap_or(u32::MAX);
    Bucket::new(burst.div_ceil(2), burst, now)
}

/// What a frame that asks for much at once, like many topics, counts for beyond itself. Whoever leaves
/// has entered before, and has paid then.
fn further(asks: &[Ask]) -> usize {
    let paid = asks.iter().filter(|ask| !matches!(ask, Ask::Leave(..)));
    paid.count().saturating_sub(1)
}

/// Takes so many from a bucket, if they are there or there is no limit.
fn takes(bucket: &mut Option<Bucket>, count: usize, now: Instant) -> bool {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let bucket = bucket.as_mut();
    bucket.is_none_or(|bucket| bucket.take(count, now))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytestring::ByteString;
    use switchboard_core::{Address, Identity, PeerId, RoomId, RoomName, SpaceName};
    use switchboard_dialect::{Door, Handshake, Query, find};

    use super::*;

    fn line(dialect: &str, now: Instant) -> (Line, Steps) {
        limited_line(dialect, &Limits::default(), now)
    }

    fn limited_line(dialect: &str, limits: &Limits, now: Instant) -> (Line, Steps) {
        let handshake = Handshake {
            peer: PeerId::from_random([1; 16]),
            identity: Identity::Claimed,
            door: Door::MAIN,
            params: Query::default(),
            query: Query::default(),
            random: [2; 32],
            unix_ms: 0,
            limits: Arc::default(),
            settings: Arc::default(),
        };
        let opened = Conversation::open(find(dialect), handshake, SpaceName::default());
        Line::new(opened, limits, Heartbeat::default(), now)
    }

    fn frame(line: &mut Line, text: &'static str, now: Instant) -> Steps {
        line.on_frame(Frame::Text(&ByteString::from_static(text)), now, 0)
    }

    #[test]
    fn pings_every_25_seconds_and_gives_up_after_60() {
        let start = Instant::now();
        let (mut line, _) = line("mesh", start);
        let mut pings = Vec::new();
        let gone = loop {
            let now = line.poll_timeout();
            let steps = line.handle_timeout(now);
            if let Some(close) = steps.turn.close {
                break (now - start, close);
            }
            assert!(steps.ping);
            pings.push((now - start).as_secs());
        };
        assert_eq!(pings, [25, 50]);
        assert_eq!(gone, (Duration::from_secs(60), Close::GONE));
    }

    #[test]
    fn any_frame_is_a_sign_of_life() {
        let start = Instant::now();
        let (mut line, _) = line("mesh", start);
        let later = start + Duration::from_secs(50);
        drop(line.on_control(later));
        assert!(
            line.handle_timeout(start + Duration::from_secs(60))
                .turn
                .close
                .is_none()
        );
        assert_eq!(
            line.handle_timeout(start + Duration::from_secs(110))
                .turn
                .close,
            Some(Close::GONE)
        );
    }

    #[test]
    fn the_first_frame_is_waited_for_as_the_dialect_says() {
        let start = Instant::now();
        for (dialect, secs) in [("p2p", 5), ("lightstream", 30), ("singo", 30)] {
            let (mut line, _) = line(dialect, start);
            assert!(
                line.handle_timeout(start + Duration::from_secs(secs - 1))
                    .turn
                    .close
                    .is_none()
            );
            let steps = line.handle_timeout(start + Duration::from_secs(secs));
            assert!(
                steps.turn.close.is_some_and(|close| close.code == 1008),
                "{dialect}"
            );
            assert_eq!(steps.turn.frames.len(), 1, "{dialect} says why");
        }
        let (mut line, _) = line("lightstream", start);
        drop(frame(&mut line, "{}", start));
        assert!(
            line.handle_timeout(start + Duration::from_secs(31))
                .turn
                .close
                .is_none()
        );
    }

    #[test]
    fn a_flood_is_answered_and_ends() {
        let start = Instant::now();
        let (mut line, _) = line("singo", start);
        for _ in 0..400 {
            assert!(frame(&mut line, "{}", start).turn.close.is_none());
        }
        let steps = frame(&mut line, "{}", start);
        assert_eq!(steps.turn.close, Some(Close::FLOOD));
        assert!(steps.turn.frames[0].contains("too-many-frames"));
    }

    #[test]
    fn what_one_sends_at_once_fills_nobodys_outbox() {
        let start = Instant::now();
        let largest = ByteString::from("x".repeat(Limits::default().frame_bytes));
        let frames_until_flood = |limits: &Limits| {
            let mut line = limited_line("mesh", limits, start).0;
            let mut taken = 0;
            while taken < 20
                && line.on_frame(Frame::Text(&largest), start, 0).turn.close != Some(Close::FLOOD)
            {
                taken += 1;
            }
            taken
        };
        let mut limits = Limits::default();
        assert_eq!(frames_until_flood(&limits), 2);
        limits.outbox_bytes = 1000;
        assert_eq!(frames_until_flood(&limits), 1, "the largest may come");
        limits.outbox_bytes = 0;
        assert_eq!(frames_until_flood(&limits), 20, "no limit");
        limits.outbox_bytes = 1000;
        for unlimited in [
            |limits: &mut Limits| limits.frames_per_second = 0,
            |limits: &mut Limits| limits.frames_burst = 0,
            |limits: &mut Limits| limits.frame_bytes = 0,
        ] {
            let mut limits = limits.clone();
            unlimited(&mut limits);
            assert_eq!(frames_until_flood(&limits), 20, "no limit");
        }
    }

    #[test]
    fn a_frame_counts_for_all_that_it_asks() {
        let start = Instant::now();
        let (mut line, _) = line("y-webrtc", start);
        let topics = r#"["a","b","c","d","e","f","g","h","i","j"]"#;
        let frames = ["subscribe", "unsubscribe"]
            .map(|kind| ByteString::from(format!(r#"{{"type":"{kind}","topics":{topics}}}"#)));
        let mut taken = 0;
        while line
            .on_frame(Frame::Text(&frames[taken % 2]), start, 0)
            .turn
            .close
            .is_none()
        {
            taken += 1;
        }
        assert_eq!(taken, 72, "10 for a subscription, 1 for its end");
    }

    #[test]
    fn a_frame_that_moves_to_another_room_counts_once() {
        let start = Instant::now();
        let (mut line, _) = line("lightstream", start);
        let join = |room| {
            ByteString::from(format!(
                r#"{{"type":"join","roomID":"r{room}","senderID":"a"}}"#
            ))
        };
        let mut taken = 0;
        while line
            .on_frame(Frame::Text(&join(taken)), start, 0)
            .turn
            .close
            .is_none()
        {
            taken += 1;
        }
        assert_eq!(taken, 400);
    }

    #[test]
    fn singo_says_ping_every_30_seconds() {
        let start = Instant::now();
        let (mut line, _) = line("singo", start);
        drop(frame(
            &mut line,
            r#"{"type":"join","payload":{"room_id":"r"}}"#,
            start,
        ));
        let steps = line.handle_timeout(start + Duration::from_secs(30));
        assert_eq!(steps.turn.frames, [r#"{"type":"ping"}"#]);
        assert!(
            line.handle_timeout(start + Duration::from_secs(31))
                .turn
                .frames
                .is_empty()
        );
    }

    #[test]
    fn a_probe_is_pinged_and_answered_by_the_next_sign() {
        let start = Instant::now();
        let (mut line, _) = line("mesh", start);
        let room = RoomId {
            space: SpaceName::default(),
            name: RoomName::parse("r", 0).unwrap(),
        };
        let place = Place::Address(room, Address::parse("a", 0).unwrap());
        assert!(line.on_event(&Event::Probe(place.clone()), start, 0).ping);
        let asks = line.on_control(start).turn.asks;
        assert!(matches!(&asks[..], [Ask::Alive(alive)] if *alive == place));
        assert!(line.on_control(start).turn.asks.is_empty());
    }
}
