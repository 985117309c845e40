//! A client with random actions: it joins a room through any running node, sends signals to the members that it knows,
//! leaves, disconnects or freezes, and connects again. Its requests and events are recorded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message},
};

use crate::{
    connection_end::ConnectionEnd,
    dialects::{ClientDialect, FrameMeaning, LIGHTSTREAM_NICK, P2P_NICK},
    record::{LogEntry, MembershipRecord, Name, RecordedEvent, RecordedSignal},
    test_cluster::{Mode, Socket, TestCluster},
};

pub(crate) const ROOMS: usize = 8;
/// The time limits for a connection and for the answer to a join.
const CONNECT_MAX: Duration = Duration::from_secs(2);
const JOIN_MAX: Duration = Duration::from_secs(8);
/// The delay before the next attempt after an error.
const RETRY_DELAY: Duration = Duration::from_millis(300);

/// The end reason of a membership that the server no longer has.
const MEMBERSHIP_LOST: &str = "lost its membership";

pub(crate) struct ChaosClient {
    client: usize,
    dialect: ClientDialect,
    cluster: Arc<TestCluster>,
    rng: StdRng,
    mode: watch::Receiver<Mode>,
    nick: String,
    node: String,
    room: usize,
    /// The index of the current membership in the record.
    membership: Option<usize>,
    own_name: Option<Name>,
    is_member: bool,
    /// The members that the client knows, each with the id by which this dialect names it.
    known: Vec<(Name, String)>,
    /// The addresses of members by their ids in this dialect.
    ids: HashMap<String, Name>,
    /// The time of the next random action.
    next_action: Instant,
    /// The time at which the client stops waiting for the answer to its join.
    join_deadline: Instant,
    /// Whether the join is still to be sent.
    must_join: bool,
    /// Whether the client must check that it is still a member.
    must_check_membership: bool,
    /// Frames that are still to be sent.
    outgoing: Vec<Value>,
}

impl ChaosClient {
    pub(crate) fn new(client: usize, seed: u64, cluster: &Arc<TestCluster>) -> Self {
        let dialect = ClientDialect::ALL[client % ClientDialect::ALL.len()];
        let prefix = if dialect == ClientDialect::P2p {
            P2P_NICK
        } else {
            LIGHTSTREAM_NICK
        };
        cluster.record().clients += 1;
        Self {
            client,
            dialect,
            cluster: cluster.clone(),
            rng: StdRng::seed_from_u64(seed ^ ((client as u64) << 32)),
            mode: cluster.mode.subscribe(),
            nick: format!("{prefix}{client}"),
            node: String::new(),
            room: 0,
            membership: None,
            own_name: None,
            is_member: false,
            known: Vec::new(),
            ids: HashMap::new(),
            next_action: Instant::now(),
            join_deadline: Instant::now(),
            must_join: false,
            must_check_membership: false,
            outgoing: Vec::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            if let Some(socket) = self.connect().await {
                self.run_connection(socket).await;
            }
            self.pause(50..300).await;
        }
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        let millis = self.rng.random_range(millis);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn connect(&mut self) -> Option<Socket> {
        let node = self.cluster.node(|count| self.rng.random_range(0..count))?;
        self.room = self.rng.random_range(0..ROOMS);
        let url = format!("ws://{node}{}", self.dialect.path(&room_name(self.room)));
        self.node = node;
        let connected = tokio::time::timeout(CONNECT_MAX, connect_async(url)).await;
        Some(connected.ok()?.ok()?.0)
    }

    /// Runs one connection until it ends.
    async fn run_connection(&mut self, mut socket: Socket) {
        self.own_name = None;
        self.ids.clear();
        self.outgoing.clear();
        self.join_deadline = Instant::now() + JOIN_MAX;
        self.next_action = Instant::now();
        self.must_join = !self.dialect.has_server_assigned_name();
        self.outgoing.extend(self.dialect.first_frame(&self.nick));
        if self.dialect == ClientDialect::Mesh {
            self.record_request();
        }
        let end = loop {
            if let Err(end) = self.step(&mut socket).await {
                break end;
            }
        };
        self.record_end(end.text());
        match end {
            ConnectionEnd::Left => {
                drop(tokio::time::timeout(CONNECT_MAX, self.close_gracefully(socket)).await)
            }
            ConnectionEnd::Frozen => self.cluster.keep(socket),
            ConnectionEnd::Closed | ConnectionEnd::Dropped | ConnectionEnd::NoAnswer => {
                drop(socket)
            }
        }
    }

    async fn close_gracefully(&mut self, mut socket: Socket) -> Result<(), Error> {
        for frame in std::mem::take(&mut self.outgoing) {
            socket.send(Message::text(frame.to_string())).await?;
        }
        socket.close(None).await
    }

    async fn step(&mut self, socket: &mut Socket) -> Result<(), ConnectionEnd> {
        for frame in std::mem::take(&mut self.outgoing) {
            socket
                .send(Message::text(frame.to_string()))
                .await
                .map_err(|_| ConnectionEnd::Closed)?;
        }
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => self.handle_frame(&text),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(ConnectionEnd::Closed),
                Some(Ok(_)) => {}
            },
            () = tokio::time::sleep_until(self.next_action) => self.act()?,
            _ = self.mode.changed() => self.next_action = self.next_action.min(Instant::now() + RETRY_DELAY),
        }
        Ok(())
    }

    /// Records a join request as a new membership.
    fn record_request(&mut self) {
        let now = std::time::Instant::now();
        let mut record = self.cluster.record();
        self.membership = Some(record.memberships.len());
        record.memberships.push(MembershipRecord {
            client: self.client,
            dialect: self.dialect,
            room: self.room,
            node: self.node.clone(),
            own_name: self.own_name.clone(),
            requested_at: now,
            joined_at: None,
            ended_at: None,
            end_reason: "",
            events: Vec::new(),
        });
    }

    fn record_end(&mut self, end_reason: &'static str) {
        self.is_member = false;
        self.known.clear();
        if let Some(membership) = self.membership.take() {
            let membership = &mut self.cluster.record().memberships[membership];
            membership.ended_at = Some(std::time::Instant::now());
            membership.end_reason = end_reason;
        }
    }

    /// Joins another room on the same connection. In the same room, the client could not distinguish events of the old
    /// and the new membership.
    fn join_another_room(&mut self, end_reason: &'static str) {
        self.record_end(end_reason);
        self.room = (self.room + self.rng.random_range(1..ROOMS)) % ROOMS;
        self.must_join = true;
        self.join_deadline = Instant::now() + JOIN_MAX;
        self.next_action = Instant::now() + RETRY_DELAY;
    }

    fn update_membership(&self, update_membership: impl FnOnce(&mut MembershipRecord)) {
        if let Some(membership) = self.membership {
            update_membership(&mut self.cluster.record().memberships[membership]);
        }
    }

    fn handle_frame(&mut self, text: &str) {
        let frame: Value = serde_json::from_str(text).expect("frames are JSON");
        if self.is_of_another_room(&frame) {
            return;
        }
        match self.dialect.parse_frame(&frame, &mut self.ids) {
            Some(FrameMeaning::OwnName(name)) => self.set_own_name(name),
            Some(FrameMeaning::Members(names)) => {
                self.mark_joined();
                for name in names {
                    self.record_event(RecordedEvent::MustOffer(name));
                }
            }
            Some(FrameMeaning::Observed(event)) => self.record_event(event),
            None => {}
        }
    }

    /// Whether a frame is a late one of a room that the client has left.
    fn is_of_another_room(&self, frame: &Value) -> bool {
        let room = frame["roomID"].as_str().or(frame["roomId"].as_str());
        room.is_some_and(|room| room != room_name(self.room))
    }

    fn set_own_name(&mut self, name: Name) {
        self.own_name = Some(name.clone());
        if self.dialect == ClientDialect::Mesh {
            self.update_membership(|membership| membership.own_name = Some(name));
            self.outgoing.push(self.dialect.join("", ""));
        } else {
            self.must_join = true;
        }
        self.next_action = Instant::now();
    }

    fn mark_joined(&mut self) {
        if self.membership.is_some() && !self.is_member {
            self.is_member = true;
            self.update_membership(|membership| {
                membership.joined_at = Some(std::time::Instant::now())
            });
            self.next_action = Instant::now() + RETRY_DELAY;
        }
    }

    fn record_event(&mut self, event: RecordedEvent) {
        // A mesh client receives events before it knows its own name.
        let is_recorded = self.is_member
            || self.dialect == ClientDialect::Mesh
            || matches!(event, RecordedEvent::Error(_));
        if !is_recorded {
            return;
        }
        for event in self.cluster.recorder.apply(event) {
            let entry = LogEntry {
                at: std::time::Instant::now(),
                event: event.clone(),
            };
            self.update_membership(|membership| membership.events.push(entry));
            self.apply_event(event);
        }
    }

    fn apply_event(&mut self, event: RecordedEvent) {
        match event {
            RecordedEvent::MustOffer(name) | RecordedEvent::Joined(name) => {
                self.add_known_member(name)
            }
            RecordedEvent::Signal { from, .. } => self.add_known_member(from),
            RecordedEvent::Left(name) => self.known.retain(|(other, _)| *other != name),
            RecordedEvent::MemberList(names) => {
                self.known.clear();
                for name in names {
                    self.add_known_member(name);
                }
                if self.own_name.is_some() {
                    self.mark_joined();
                }
            }
            RecordedEvent::Error(code) => self.handle_error(&code),
        }
    }

    fn add_known_member(&mut self, name: Name) {
        self.known.retain(|(other, _)| *other != name);
        let id = self.ids.iter().find(|(_, known)| **known == name);
        let id = id.map_or_else(|| name.to_string(), |(id, _)| id.clone());
        self.known.push((name, id));
    }

    fn handle_error(&mut self, code: &str) {
        match (self.dialect, code) {
            // After a serious error, the server closes the connection.
            (ClientDialect::Mesh, _) => {}
            (_, "evicted" | "not-in-room") if self.is_member => {
                self.join_another_room(MEMBERSHIP_LOST)
            }
            // The error is that of a signal or, in dialects without join responses, that of the join.
            (_, "unavailable") if self.is_member => self.must_check_membership = true,
            (_, "taken" | "room-full") if self.is_member => self.join_another_room("rejected"),
            _ if !self.is_member => self.join_another_room("rejected"),
            _ => {}
        }
    }

    fn act(&mut self) -> Result<(), ConnectionEnd> {
        let now = Instant::now();
        self.next_action = now + Duration::from_millis(self.rng.random_range(100..600));
        if self.cluster.must_freeze(self.client) {
            return Err(ConnectionEnd::Frozen);
        }
        if self.must_join && (self.own_name.is_some() || !self.dialect.has_server_assigned_name()) {
            self.must_join = false;
            self.send_join();
        } else if !self.is_member && now > self.join_deadline {
            return Err(ConnectionEnd::NoAnswer);
        } else if self.is_member {
            return self.act_as_member();
        } else if self.dialect == ClientDialect::Mesh {
            self.outgoing.push(self.dialect.join("", ""));
        }
        Ok(())
    }

    fn send_join(&mut self) {
        if self.dialect == ClientDialect::Lightstream {
            self.own_name = Some(self.nick.as_str().into());
        }
        self.record_request();
        self.outgoing
            .push(self.dialect.join(&room_name(self.room), &self.nick));
        if self.dialect == ClientDialect::Singo {
            self.mark_joined();
        }
    }

    /// The next action of a member.
    fn act_as_member(&mut self) -> Result<(), ConnectionEnd> {
        let mode = *self.mode.borrow();
        if std::mem::take(&mut self.must_check_membership) {
            self.outgoing.push(self.dialect.signal(ABSENT_ID, 0));
        }
        if self.dialect == ClientDialect::Mesh {
            self.outgoing.push(self.dialect.join("", ""));
        }
        match self.rng.random_range(0..100) {
            0..4 if mode.churn => return Err(ConnectionEnd::Dropped),
            4..8 if mode.churn => return self.leave(),
            _ if mode.talk => self.signal(),
            _ => {}
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ConnectionEnd> {
        self.outgoing.extend(self.dialect.leave());
        if !self.dialect.can_rejoin() || self.rng.random_bool(0.5) {
            return Err(ConnectionEnd::Left);
        }
        self.join_another_room("left");
        Ok(())
    }

    fn signal(&mut self) {
        let Some(membership) = self.membership.filter(|_| !self.known.is_empty()) else {
            return;
        };
        let (to, id) = self.known[self.rng.random_range(0..self.known.len())].clone();
        let mut record = self.cluster.record();
        let serial = record.signals.len();
        record.signals.push(RecordedSignal {
            from: membership,
            to,
            at: std::time::Instant::now(),
        });
        drop(record);
        self.outgoing.push(self.dialect.signal(&id, serial));
    }
}

/// An id that no client has. The error for a signal to it tells whether the sender is a member.
const ABSENT_ID: &str = "00000000-0000-4000-8000-000000000000";

fn room_name(room: usize) -> String {
    format!("room-{room}")
}
