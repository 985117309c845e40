//! Records the events of this node for the admin API: those of its own clients.

use std::{collections::HashMap, sync::Arc};

use switchboard_admin::{AdminService, EventKind, RoomRef};
use switchboard_core::{LeaveCause, Member, PeerId, RoomId};

use crate::{
    access::proven_name,
    app_state::AppState,
    events::{ClientInfo, Events, ServerEvent},
};

/// Records events until the server shuts down.
pub(super) fn record(app: Arc<AppState>, service: AdminService) -> impl Future<Output = ()> {
    let events = app.shards.events().subscribe();
    let drain = app.context.drain.clone();
    let recorder = EventRecorder {
        app,
        service,
        members: HashMap::new(),
    };
    async move {
        drain.run_until_cancelled(recorder.run(events)).await;
    }
}

struct EventRecorder {
    app: Arc<AppState>,
    service: AdminService,
    /// The clients of this node that are members, with the number of their rooms. A room has members of other nodes
    /// too, whose nodes record them.
    members: HashMap<PeerId, usize>,
}

impl EventRecorder {
    async fn run(mut self, mut events: Events) {
        while let Some(event) = events.recv().await {
            if let Some(kind) = self.convert(event) {
                self.service.record_event(kind);
            }
        }
    }

    fn convert(&mut self, event: ServerEvent) -> Option<EventKind> {
        Some(match event {
            ServerEvent::Connected(client) => connected(&client),
            ServerEvent::Disconnected {
                client,
                code,
                reason,
                duration,
            } => EventKind::Disconnected {
                session: client.session.to_string(),
                address: client.address.map(|it| it.to_string()),
                dialect: client.dialect.to_owned(),
                identity: client.identity.as_deref().map(str::to_owned),
                code,
                reason: reason.to_string(),
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            },
            ServerEvent::Refused {
                address,
                reason,
                count,
            } => EventKind::Refused {
                address: address.map(|it| it.to_string()),
                reason: reason.as_str().to_owned(),
                count,
            },
            ServerEvent::Joined { room, member, .. } => self.joined(&room, &member)?,
            ServerEvent::Left {
                room,
                member,
                cause,
                ..
            } => self.left(&room, &member, cause)?,
            ServerEvent::Missed(count) => EventKind::Missed { count },
        })
    }

    /// A join, if the member is a client of this node.
    fn joined(&mut self, room: &RoomId, member: &Member) -> Option<EventKind> {
        if !self.app.context.sessions.contains(member.peer) {
            return None;
        }
        *self.members.entry(member.peer).or_default() += 1;
        Some(EventKind::Joined {
            room: RoomRef::of(room),
            session: member.peer.to_string(),
            member: member.address.as_str().to_owned(),
            dialect: member.dialect.name.to_owned(),
            identity: proven_name(&member.identity).as_deref().map(str::to_owned),
        })
    }

    fn left(&mut self, room: &RoomId, member: &Member, cause: LeaveCause) -> Option<EventKind> {
        let rooms = self.members.get_mut(&member.peer)?;
        *rooms -= 1;
        if *rooms == 0 {
            self.members.remove(&member.peer);
        }
        Some(EventKind::Left {
            room: RoomRef::of(room),
            session: member.peer.to_string(),
            member: member.address.as_str().to_owned(),
            cause: cause_text(cause),
        })
    }
}

fn connected(client: &ClientInfo) -> EventKind {
    EventKind::Connected {
        session: client.session.to_string(),
        address: client.address.map(|it| it.to_string()),
        dialect: client.dialect.to_owned(),
        identity: client.identity.as_deref().map(str::to_owned),
    }
}

fn cause_text(cause: LeaveCause) -> String {
    match cause {
        LeaveCause::Requested(kind) => format!("{kind:?}").to_lowercase(),
        LeaveCause::Evicted(reason) => format!("{reason:?}").to_lowercase(),
        LeaveCause::NodeLost => "node lost".to_owned(),
    }
}
