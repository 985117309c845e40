//! A client that plays: it comes into a room through any living node, sends signals to whom it
//! knows, leaves, dies, falls silent, and comes again. What it does and is told goes into the
//! record.

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
    dialects::{ClientDialect, ClientEvent, LIGHTSTREAM_NICK, P2P_NICK},
    end::End,
    record::{LogEntry, Name, ObservedEvent, RoomStay, Signal},
    test_cluster::{Mode, Socket, TestCluster},
};

pub(crate) const ROOMS: usize = 8;
/// How long a client waits for a connection, and then for its place in the room.
const CONNECT_MAX: Duration = Duration::from_secs(2);
const ENTER_MAX: Duration = Duration::from_secs(8);
/// Until it asks again for what it was refused.
const RETRY: Duration = Duration::from_millis(300);

/// Why a stay ended: the server says that the client is in no room.
const LOST: &str = "lost its place";

pub(crate) struct Player {
    client: usize,
    tongue: ClientDialect,
    house: Arc<TestCluster>,
    rng: StdRng,
    mode: watch::Receiver<Mode>,
    nick: String,
    node: String,
    room: usize,
    /// The present stay, by its number in the record.
    stay: Option<usize>,
    me: Option<Name>,
    is_in: bool,
    /// Whom it knows, and by which id.
    known: Vec<(Name, String)>,
    ids: HashMap<String, Name>,
    next_act: Instant,
    /// When it gives up waiting for its place.
    patience: Instant,
    wants_in: bool,
    /// Whether it doubts that it is in.
    wants_to_know: bool,
    out: Vec<Value>,
}

impl Player {
    pub(crate) fn new(client: usize, seed: u64, house: &Arc<TestCluster>) -> Self {
        let tongue = ClientDialect::ALL[client % ClientDialect::ALL.len()];
        let prefix = if tongue == ClientDialect::P2p {
            P2P_NICK
        } else {
            LIGHTSTREAM_NICK
        };
        house.record().players += 1;
        Self {
            client,
            tongue,
            house: house.clone(),
            rng: StdRng::seed_from_u64(seed ^ ((client as u64) << 32)),
            mode: house.mode.subscribe(),
            nick: format!("{prefix}{client}"),
            node: String::new(),
            room: 0,
            stay: None,
            me: None,
            is_in: false,
            known: Vec::new(),
            ids: HashMap::new(),
            next_act: Instant::now(),
            patience: Instant::now(),
            wants_in: false,
            wants_to_know: false,
            out: Vec::new(),
        }
    }

    pub(crate) async fn play(mut self) {
        loop {
            if let Some(socket) = self.connect().await {
                self.visit(socket).await;
            }
            self.pause(50..300).await;
        }
    }

    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        let millis = self.rng.random_range(millis);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    async fn connect(&mut self) -> Option<Socket> {
        let node = self.house.node(|count| self.rng.random_range(0..count))?;
        self.room = self.rng.random_range(0..ROOMS);
        let url = format!("ws://{node}{}", self.tongue.path(&room_name(self.room)));
        self.node = node;
        let connected = tokio::time::timeout(CONNECT_MAX, connect_async(url)).await;
        Some(connected.ok()?.ok()?.0)
    }

    /// One connection, from its beginning to its end.
    async fn visit(&mut self, mut socket: Socket) {
        self.me = None;
        self.ids.clear();
        self.out.clear();
        self.patience = Instant::now() + ENTER_MAX;
        self.next_act = Instant::now();
        self.wants_in = !self.tongue.is_named_by_server();
        self.out.extend(self.tongue.greeting(&self.nick));
        if self.tongue == ClientDialect::Mesh {
            self.begin();
        }
        let end = loop {
            if let Err(end) = self.step(&mut socket).await {
                break end;
            }
        };
        self.finish(end.words());
        match end {
            End::Leaves => drop(tokio::time::timeout(CONNECT_MAX, self.say_good_bye(socket)).await),
            End::FallsSilent => self.house.keep(socket),
            End::Closed | End::Dies | End::NoAnswer => drop(socket),
        }
    }

    async fn say_good_bye(&mut self, mut socket: Socket) -> Result<(), Error> {
        for frame in std::mem::take(&mut self.out) {
            socket.send(Message::text(frame.to_string())).await?;
        }
        socket.close(None).await
    }

    async fn step(&mut self, socket: &mut Socket) -> Result<(), End> {
        for frame in std::mem::take(&mut self.out) {
            socket
                .send(Message::text(frame.to_string()))
                .await
                .map_err(|_| End::Closed)?;
        }
        tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => self.hear(&text),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Closed),
                Some(Ok(_)) => {}
            },
            () = tokio::time::sleep_until(self.next_act) => self.act()?,
            _ = self.mode.changed() => self.next_act = self.next_act.min(Instant::now() + RETRY),
        }
        Ok(())
    }

    /// Begins a stay: from now on the client is asking for a place.
    fn begin(&mut self) {
        let now = std::time::Instant::now();
        let mut record = self.house.record();
        self.stay = Some(record.stays.len());
        record.stays.push(RoomStay {
            client: self.client,
            tongue: self.tongue,
            room: self.room,
            node: self.node.clone(),
            me: self.me.clone(),
            asked: now,
            entered: None,
            ended: None,
            why: "",
            noted: Vec::new(),
        });
    }

    fn finish(&mut self, why: &'static str) {
        self.is_in = false;
        self.known.clear();
        if let Some(stay) = self.stay.take() {
            let stay = &mut self.house.record().stays[stay];
            stay.ended = Some(std::time::Instant::now());
            stay.why = why;
        }
    }

    /// Goes out of the room and asks for a place in another one, on the same connection. In the same
    /// room it could not tell what is meant for its new stay.
    fn ask_again(&mut self, why: &'static str) {
        self.finish(why);
        self.room = (self.room + self.rng.random_range(1..ROOMS)) % ROOMS;
        self.wants_in = true;
        self.patience = Instant::now() + ENTER_MAX;
        self.next_act = Instant::now() + RETRY;
    }

    fn edit(&self, edit: impl FnOnce(&mut RoomStay)) {
        if let Some(stay) = self.stay {
            edit(&mut self.house.record().stays[stay]);
        }
    }

    fn hear(&mut self, text: &str) {
        let frame: Value = serde_json::from_str(text).expect("frames are JSON");
        if self.is_of_another_room(&frame) {
            return;
        }
        match self.tongue.hear(&frame, &mut self.ids) {
            Some(ClientEvent::Me(name)) => self.is_named(name),
            Some(ClientEvent::Members(names)) => {
                self.enter();
                for name in names {
                    self.note(ObservedEvent::Call(name));
                }
            }
            Some(ClientEvent::Plain(what)) => self.note(what),
            None => {}
        }
    }

    /// What comes late of the room that it has left.
    fn is_of_another_room(&self, frame: &Value) -> bool {
        let room = frame["roomID"].as_str().or(frame["roomId"].as_str());
        room.is_some_and(|room| room != room_name(self.room))
    }

    fn is_named(&mut self, name: Name) {
        self.me = Some(name.clone());
        if self.tongue == ClientDialect::Mesh {
            self.edit(|stay| stay.me = Some(name));
            self.out.push(self.tongue.join("", ""));
        } else {
            self.wants_in = true;
        }
        self.next_act = Instant::now();
    }

    fn enter(&mut self) {
        if self.stay.is_some() && !self.is_in {
            self.is_in = true;
            self.edit(|stay| stay.entered = Some(std::time::Instant::now()));
            self.next_act = Instant::now() + RETRY;
        }
    }

    fn note(&mut self, what: ObservedEvent) {
        // What a mesh client is told before it knows itself counts as well.
        let counts = self.is_in
            || self.tongue == ClientDialect::Mesh
            || matches!(what, ObservedEvent::Error(_));
        if !counts {
            return;
        }
        for what in self.house.liar.tell(what) {
            let noted = LogEntry {
                at: std::time::Instant::now(),
                what: what.clone(),
            };
            self.edit(|stay| stay.noted.push(noted));
            self.learn(what);
        }
    }

    fn learn(&mut self, what: ObservedEvent) {
        match what {
            ObservedEvent::Call(name) | ObservedEvent::Came(name) => self.meet(name),
            ObservedEvent::Heard { from, .. } => self.meet(from),
            ObservedEvent::Left(name) => self.known.retain(|(other, _)| *other != name),
            ObservedEvent::List(names) => {
                self.known.clear();
                for name in names {
                    self.meet(name);
                }
                if self.me.is_some() {
                    self.enter();
                }
            }
            ObservedEvent::Error(code) => self.refused(&code),
        }
    }

    fn meet(&mut self, name: Name) {
        self.known.retain(|(other, _)| *other != name);
        let id = self.ids.iter().find(|(_, known)| **known == name);
        let id = id.map_or_else(|| name.to_string(), |(id, _)| id.clone());
        self.known.push((name, id));
    }

    fn refused(&mut self, code: &str) {
        match (self.tongue, code) {
            // The server closes the connection, if it is serious.
            (ClientDialect::Mesh, _) => {}
            (_, "evicted" | "not-in-room") if self.is_in => self.ask_again(LOST),
            // Either a signal is refused or, where a join is not answered, the place.
            (_, "unavailable") if self.is_in => self.wants_to_know = true,
            (_, "taken" | "room-full") if self.is_in => self.ask_again("refused"),
            _ if !self.is_in => self.ask_again("refused"),
            _ => {}
        }
    }

    fn act(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.next_act = now + Duration::from_millis(self.rng.random_range(100..600));
        if self.house.is_hushed(self.client) {
            return Err(End::FallsSilent);
        }
        if self.wants_in && (self.me.is_some() || !self.tongue.is_named_by_server()) {
            self.wants_in = false;
            self.ask();
        } else if !self.is_in && now > self.patience {
            return Err(End::NoAnswer);
        } else if self.is_in {
            return self.live();
        } else if self.tongue == ClientDialect::Mesh {
            self.out.push(self.tongue.join("", ""));
        }
        Ok(())
    }

    fn ask(&mut self) {
        if self.tongue == ClientDialect::Lightstream {
            self.me = Some(self.nick.as_str().into());
        }
        self.begin();
        self.out
            .push(self.tongue.join(&room_name(self.room), &self.nick));
        if self.tongue == ClientDialect::Singo {
            self.enter();
        }
    }

    /// What a member does next.
    fn live(&mut self) -> Result<(), End> {
        let mode = *self.mode.borrow();
        if std::mem::take(&mut self.wants_to_know) {
            self.out.push(self.tongue.signal(NOBODY, 0));
        }
        if self.tongue == ClientDialect::Mesh {
            self.out.push(self.tongue.join("", ""));
        }
        match self.rng.random_range(0..100) {
            0..4 if mode.churn => return Err(End::Dies),
            4..8 if mode.churn => return self.leave(),
            _ if mode.talk => self.signal(),
            _ => {}
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), End> {
        self.out.extend(self.tongue.leave());
        if !self.tongue.keeps_socket() || self.rng.random_bool(0.5) {
            return Err(End::Leaves);
        }
        self.ask_again("left");
        Ok(())
    }

    fn signal(&mut self) {
        let Some(stay) = self.stay.filter(|_| !self.known.is_empty()) else {
            return;
        };
        let (to, id) = self.known[self.rng.random_range(0..self.known.len())].clone();
        let mut record = self.house.record();
        let serial = record.signals.len();
        record.signals.push(Signal {
            from: stay,
            to,
            at: std::time::Instant::now(),
        });
        drop(record);
        self.out.push(self.tongue.signal(&id, serial));
    }
}

/// An id that nobody has: who asks for it learns whether it is in a room itself.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn room_name(room: usize) -> String {
    format!("room-{room}")
}
