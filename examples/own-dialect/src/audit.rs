//! An engine for one node that keeps an audit trail: a line for each join and leave, written before it takes effect.

use std::{
    fmt,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use switchboard::engine::{
    Change, CloseFuture, Engine, EngineHandler, LogId, Memory, NodeId, NodeMessage, Position,
    ProposeOutcome, RejectReason, Status,
};

/// The engine. A change that cannot be written is rejected: the client gets `unavailable`.
pub struct AuditTrail<W> {
    trail: Mutex<W>,
}

impl<W: Write> AuditTrail<W> {
    /// An engine that writes into `trail`. The hub of a room waits for each line, so writing must be quick.
    pub fn new(trail: W) -> Self {
        Self {
            trail: Mutex::new(trail),
        }
    }
}

impl<W> fmt::Debug for AuditTrail<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditTrail").finish_non_exhaustive()
    }
}

impl<W: Write + Send> Engine for AuditTrail<W> {
    fn attach(&self, handler: Arc<dyn EngineHandler>) {
        Memory.attach(handler);
    }

    fn propose(&self, log: &LogId, at: Position, change: &Change) -> ProposeOutcome {
        let mut trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match (log, change) {
            (LogId::Room(room), Change::Join(member)) => {
                writeln!(trail, "{} joins {}", member.address, room.name)
            }
            // A member that has gone cannot be kept, so a leave is not rejected if its line cannot be written.
            (LogId::Room(room), Change::Leave(peer, _)) => {
                let _ = writeln!(trail, "{peer} leaves {}", room.name);
                Ok(())
            }
            (LogId::Name(_) | LogId::Election(_), _) => Ok(()),
        };
        match written {
            Ok(()) => Memory.propose(log, at, change),
            Err(_) => ProposeOutcome::Rejected(RejectReason::Unavailable),
        }
    }

    fn send(&self, to: NodeId, message: NodeMessage) -> Option<NodeMessage> {
        Memory.send(to, message)
    }

    fn status(&self) -> Option<Status> {
        Memory.status()
    }

    fn close(&self) -> CloseFuture<'_> {
        Memory.close()
    }
}
