//! The events of a node, for the host program.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use switchboard_core::{DialectName, LeaveCause, Member, PeerId, RoomId};
use switchboard_transport::RefusalReason;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::HostContext;

/// Events that are buffered for a slow subscriber before it misses some.
const EVENTS_BEHIND_MAX: usize = 4096;

/// An event of this node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ServerEvent {
    /// The WebSocket connection of a client is established. When it ends, [`ServerEvent::Disconnected`] follows once.
    Connected(ClientInfo),
    /// The connection of a client has ended, and the client leaves all rooms. On a single node all its
    /// [`ServerEvent::Left`] precede; in a cluster they may follow, when the store has ordered the leaves.
    Disconnected {
        /// The client, with the dialect that it has used.
        client: ClientInfo,
        /// The close code that the server has sent; `None` if the client has ended the connection or was lost.
        code: Option<u16>,
        /// The reason, as in the log.
        reason: Arc<str>,
        /// The duration of the connection.
        duration: Duration,
    },
    /// Connections or requests were refused. As in the log, an address has at most one such event a minute, so that a
    /// flood of refusals displaces no other events.
    Refused {
        /// The address of the client. `None` if it is unknown, or for many addresses that share an event.
        address: Option<IpAddr>,
        /// The reason of the last refusal.
        reason: RefusalReason,
        /// The number of refusals since the last event of the address.
        count: u64,
    },
    /// A member has joined a room that this node has members in.
    Joined {
        /// The room of the member.
        room: RoomId,
        /// The member that has joined.
        member: Arc<Member>,
        /// The host program's value for the connection; empty for a member on another node.
        context: HostContext,
    },
    /// A member has left a room that this node has members in. When the last member of this node leaves, the members on
    /// other nodes are reported as left too.
    Left {
        /// The room of the member.
        room: RoomId,
        /// The member that has left.
        member: Arc<Member>,
        /// The cause of the leave.
        cause: LeaveCause,
        /// The host program's value for the connection, also after the end of the connection; empty for a member on
        /// another node.
        context: HostContext,
    },
    /// The subscriber was too slow and has missed this number of events.
    Missed(u64),
}

/// A client of this node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The id of the connection. In rooms it is [`Member::peer`].
    pub session: PeerId,
    /// The address of the client, if it is known.
    pub address: Option<IpAddr>,
    /// The dialect; `undetected` until the first frame has shown it.
    pub dialect: DialectName,
    /// The identity from [`Admission::as_identity`](crate::Admission::as_identity), if it has one.
    pub identity: Option<Arc<str>>,
    /// The value from [`Admission::with_context`](crate::Admission::with_context).
    pub context: HostContext,
}

/// A subscription to the events of a server. It buffers 4096 events; a slower subscriber gets
/// [`ServerEvent::Missed`] in place of the oldest.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<ServerEvent>);

impl Events {
    /// Waits for the next event. `None` if the server no longer exists. Safe to cancel: no event is lost.
    pub async fn recv(&mut self) -> Option<ServerEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(ServerEvent::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Sends events to the subscribers. Without subscribers, an event is not even created.
#[derive(Clone)]
pub(crate) struct EventSender(broadcast::Sender<ServerEvent>);

impl Default for EventSender {
    fn default() -> Self {
        Self(broadcast::channel(EVENTS_BEHIND_MAX).0)
    }
}

impl fmt::Debug for EventSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender").finish_non_exhaustive()
    }
}

impl EventSender {
    pub(crate) fn subscribe(&self) -> Events {
        Events(self.0.subscribe())
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Sends the event that `event` returns, if there are subscribers.
    pub(crate) fn send(&self, event: impl FnOnce() -> Option<ServerEvent>) {
        if self.has_subscribers()
            && let Some(event) = event()
        {
            // The last subscriber may have gone meanwhile.
            drop(self.0.send(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_subscriber_gets_the_number_of_missed_events() {
        let sender = EventSender::default();
        let mut events = sender.subscribe();
        let refused = || {
            Some(ServerEvent::Refused {
                address: None,
                reason: RefusalReason::Denied,
                count: 1,
            })
        };
        for _ in 0..EVENTS_BEHIND_MAX + 3 {
            sender.send(refused);
        }
        let first = events.recv().await;
        assert!(matches!(first, Some(ServerEvent::Missed(3))), "{first:?}");
        let next = events.recv().await;
        assert!(
            matches!(next, Some(ServerEvent::Refused { .. })),
            "{next:?}"
        );
        drop(sender);
        for _ in 1..EVENTS_BEHIND_MAX {
            assert!(events.recv().await.is_some());
        }
        assert!(events.recv().await.is_none());
    }
}
