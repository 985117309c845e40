//! The events of an idle connection, handled by the thread of a sender.

use std::{io, task::Waker, time::Instant};

use switchboard_core::Event;
use switchboard_dialects::SessionOutput;
use switchboard_session::PopMode;

use crate::{Counters, outbox::Popped, pending_wake::consume_budget};

use super::{ConnectionEnd, EVENTS_PER_WRITE, IdleStep, LeftOver, WebSocketConnection};

/// The task of the connection must continue.
struct NeedsTask;

impl WebSocketConnection {
    /// Handles the events of the outbox in place of the task, and writes their frames. Never waits, and makes no requests:
    /// a rest that needs the task is left to it. If nothing is left, the outbox has the waker again, else the caller must
    /// wake the task.
    pub(super) fn handle_events(&mut self, waker: &mut Option<Waker>, step: &mut IdleStep) {
        if self.left_over.is_some() || self.session.is_suspended() || !self.socket.is_plain_tcp() {
            return;
        }
        if self.pop_mode() == PopMode::Urgent {
            return self.park_while_blocked(waker);
        }
        for count in 0..EVENTS_PER_WRITE {
            // The caller has consumed the unit of the first event.
            if count != 0 && !consume_budget() {
                return;
            }
            let Popped::Event(event, left) = self.outbox.pop_or_park(PopMode::All, waker) else {
                return;
            };
            if count == 0 {
                self.observe_depth(left + 1);
            }
            let handled = self.handle_event(&event, step.now, &mut step.output);
            let may_wait = handled.is_ok() && left != 0 && self.socket.has_room();
            if !may_wait && self.flush_or_leave().is_err() || handled.is_err() {
                return;
            }
        }
    }

    /// Puts the waker back while the socket is blocked, unless there is an urgent event. The socket wakes the task
    /// when it accepts more.
    fn park_while_blocked(&self, waker: &mut Option<Waker>) {
        if self.blocked {
            self.outbox.park(PopMode::Urgent, waker);
        }
    }

    /// Handles an event. An error if the task must continue.
    fn handle_event(
        &mut self,
        event: &Event,
        now: Instant,
        output: &mut SessionOutput,
    ) -> Result<(), NeedsTask> {
        self.log.observe_event(event, &self.context.counters);
        self.session.on_event(event, now, output);
        if output.resume.is_some() {
            return Err(self.leave(LeftOver::Output(Box::new(output.take()))));
        }
        if let Err(end) = self.send_frames(output) {
            // The output is used for the next receiver, which must not get these frames.
            drop(output.take());
            return Err(self.leave(LeftOver::End(Box::new(end))));
        }
        if !output.requests.is_empty() || output.webhook.is_some() || output.close.is_some() {
            return Err(self.leave(LeftOver::Output(Box::new(output.take()))));
        }
        match self.session.next_tick() {
            // The task must set its timer to an earlier time.
            Some(at) if at < self.timer_at => Err(NeedsTask),
            Some(_) | None => Ok(()),
        }
    }

    fn leave(&mut self, left_over: LeftOver) -> NeedsTask {
        self.left_over = Some(left_over);
        NeedsTask
    }

    /// Writes all frames to the socket. An error if the socket does not accept them all, or fails: the task continues
    /// then.
    fn flush_or_leave(&mut self) -> Result<(), NeedsTask> {
        match self.try_write() {
            Ok(true) => Ok(()),
            Ok(false) => Err(NeedsTask),
            // The socket may report the error only once. It replaces a left output, as the end of the connection would.
            Err(error) => Err(self.leave(LeftOver::End(Box::new(ConnectionEnd::of_error(
                error.kind(),
            ))))),
        }
    }

    fn try_write(&mut self) -> io::Result<bool> {
        loop {
            while self.socket.has_room()
                && let Some(message) = self.pop_pending()
            {
                self.socket.start_send(message);
            }
            if !self.socket.try_flush()? {
                return Ok(false);
            }
            if self.pending.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Finishes the rest of a step of another thread.
    pub(super) fn finish_left_over(&mut self) -> Result<(), ConnectionEnd> {
        match self.left_over.take() {
            None => Ok(()),
            Some(LeftOver::Output(mut output)) => self.apply_output(&mut output, Instant::now()),
            Some(LeftOver::End(end)) => Err(*end),
        }
    }

    /// Measures the number of events that wait when the connection begins to send them.
    pub(super) fn observe_depth(&self, events: usize) {
        let depth = u32::try_from(events).unwrap_or(u32::MAX);
        let counters: &Counters = &self.context.counters;
        counters.outbox_events.observe(depth.into());
    }
}

#[cfg(test)]
mod tests;
