//! A client that sends and receives messages during a phase.

use std::{pin::pin, rc::Rc, time::Instant};

use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval_at},
};

use crate::{
    BenchError,
    client::BenchClient,
    dialect::WireClient,
    drive::{GroupTurns, Order, Phase},
    sequence::{Place, ReceivedSequences},
    stamp::{ALL, Stamp, Template},
};

/// A frame that a member sends in its turn, and its receiver.
#[derive(Debug)]
pub(crate) struct Speech {
    pub(crate) template: Template,
    /// The number of the receiving client, or [`ALL`].
    pub(crate) to: u32,
    /// The number of the last message. Each receiver gets all numbers.
    sequence: u64,
}

impl Speech {
    pub(crate) fn new(frame: String, to: u32) -> Self {
        Self {
            template: Template::new(frame),
            to,
            sequence: 0,
        }
    }
}

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) client: BenchClient,
    /// The frames of one turn; empty for a listener.
    pub(crate) speeches: Vec<Speech>,
    received: ReceivedSequences,
}

impl Participant {
    pub(crate) fn new(client: BenchClient, speeches: Vec<Speech>) -> Self {
        Self {
            client,
            speeches,
            received: ReceivedSequences::from_start(),
        }
    }

    /// Sends when it is ordered to, and receives, until the phase stops. A member whose connection fails is `None`.
    pub(crate) async fn take_part(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        turns: Rc<GroupTurns>,
        phase: Rc<Phase>,
    ) -> Option<Self> {
        let mut stopped = pin!(phase.stop.cancelled());
        let mut keep_alive = KeepAlive::new(phase.wire);
        loop {
            let step = tokio::select! {
                biased;
                () = &mut stopped => return Some(self),
                Some(order) = orders.recv() => self.speak(order, &phase),
                frame = self.client.next_frame() => {
                    frame.and_then(|frame| self.hear(&frame, &turns, &phase))
                }
                frame = keep_alive.due() => self.client.send(frame),
            };
            if let Err(error) = step {
                phase.fail(&error);
                return None;
            }
        }
    }

    fn speak(&mut self, order: Order, phase: &Phase) -> Result<(), BenchError> {
        for speech in &mut self.speeches {
            speech.sequence += 1;
            let stamp = Stamp {
                from: self.client.number,
                to: speech.to,
                slot: order.slot,
                sequence: speech.sequence,
                due_nanos: phase.nanos(order.due),
            };
            self.client.send(speech.template.stamped(stamp))?;
        }
        Ok(())
    }

    fn hear(&mut self, frame: &str, turns: &GroupTurns, phase: &Phase) -> Result<(), BenchError> {
        let Some(stamp) = Stamp::find(frame.as_bytes()) else {
            return self.client.understand(frame).map(drop);
        };
        let me = self.client.number;
        // A server may echo a message to its sender, or send a message to one member to the whole room.
        if stamp.from == me || (stamp.to != me && stamp.to != ALL) {
            return Ok(());
        }
        phase.receive(&stamp, self.received.receive(&stamp) == Place::Next);
        if let Some(order) = turns.on_delivery(&stamp, phase) {
            self.speak(order, phase)?;
        }
        Ok(())
    }
}

/// The timer of the frames by which a client stays connected.
#[derive(Debug)]
pub(crate) struct KeepAlive(Option<(&'static str, Interval)>);

impl KeepAlive {
    pub(crate) fn new(wire: &dyn WireClient) -> Self {
        Self(wire.keep_alive().map(|(frame, period)| {
            let first = Instant::now() + period;
            let mut interval = interval_at(first.into(), period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            (frame, interval)
        }))
    }

    /// The next frame, when it is due.
    pub(crate) async fn due(&mut self) -> &'static str {
        match &mut self.0 {
            Some((frame, interval)) => {
                interval.tick().await;
                frame
            }
            None => std::future::pending().await,
        }
    }
}
