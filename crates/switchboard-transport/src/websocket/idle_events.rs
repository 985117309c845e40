//! The events of an idle connection, handled by the thread of a sender.

use std::{io, task::Waker, time::Instant};

use switchboard_core::Event;
use switchboard_dialects::SessionOutput;
use switchboard_session::PopMode;

use crate::{Counters, outbox::Popped, pending_wake::consume_budget, socket::COPIED_BYTES_MAX};

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
            let Popped::Event(event, left) = self.outbox.pop_or_park(PopMode::All, waker) else {
                return;
            };
            if count == 0 {
                self.observe_depth(left + 1);
            }
            if self.handle_event(&event, left, step).is_err() {
                return;
            }
            if left == 0 {
                self.outbox.park(PopMode::All, waker);
            }
            // The caller has consumed the unit of the first event.
            if waker.is_none() || !consume_budget() {
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

    /// Handles an event, and writes its frames unless `left` more events can be handled before. An error if the task must
    /// continue.
    fn handle_event(
        &mut self,
        event: &Event,
        left: usize,
        step: &mut IdleStep,
    ) -> Result<(), NeedsTask> {
        self.log.observe_event(event, &self.context.counters);
        let has_only_frames = self.session.on_event(event, step.now, &mut step.output);
        let handled = if !has_only_frames {
            self.apply_idle_output(&mut step.output)
        } else if left == 0 && self.can_share_frame(&step.output) {
            return self.send_shared_frame(step);
        } else {
            self.send_idle_frames(&mut step.output)
        };
        let may_wait = handled.is_ok() && left != 0 && self.socket.has_room();
        if !may_wait {
            self.flush_or_leave()?;
        }
        handled
    }

    /// Whether the output is one frame that can be written from a buffer that the receivers share.
    fn can_share_frame(&self, output: &SessionOutput) -> bool {
        let is_idle = self.pending.is_empty() && self.socket.is_flushed();
        is_idle && matches!(&output.frames[..], [frame] if frame.len() < COPIED_BYTES_MAX)
    }

    fn send_shared_frame(&mut self, step: &mut IdleStep) -> Result<(), NeedsTask> {
        Counters::add(&self.context.counters.frames_out_total, 1);
        let sent = self.socket.try_send_encoded(step.take_encoded());
        self.finish_write(sent)
    }

    fn send_idle_frames(&mut self, output: &mut SessionOutput) -> Result<(), NeedsTask> {
        self.send_frames(output).map_err(|end| {
            // The output is used for the next receiver, which must not get these frames.
            drop(output.take());
            self.leave(LeftOver::End(Box::new(end)))
        })
    }

    /// Applies an output that has not only frames.
    fn apply_idle_output(&mut self, output: &mut SessionOutput) -> Result<(), NeedsTask> {
        if output.resume.is_some() {
            return Err(self.leave(LeftOver::Output(Box::new(output.take()))));
        }
        self.send_idle_frames(output)?;
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
        let written = self.try_write();
        self.finish_write(written)
    }

    fn finish_write(&mut self, written: io::Result<bool>) -> Result<(), NeedsTask> {
        match written {
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
        self.context.counters.outbox_events.observe(events);
    }
}

#[cfg(test)]
mod tests;
