//! What happens at some moment, and to whom.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rand::RngExt;
use switchboard_core::{Ask, Call, Command, Event, Input, LogId, Parting, PeerId, Place, RoomId};
use switchboard_engine::cluster::store::{Answer, News, Request};

use super::{
    Asked, Cluster, Noted, StationKey, Whim,
    client::ClientKey,
    station::State,
    weather::{Back, Disturbance},
};

/// One thing that happens.
#[derive(Debug)]
pub(super) enum Happening {
    /// The carrier takes what the node has for the store.
    Fetch(StationKey),
    /// The store goes on with the requests of a connection.
    Execute(StationKey, u64, VecDeque<Request>, Vec<Answer>),
    Answers(StationKey, u64, Vec<Answer>),
    News(StationKey, u64, LogId, News),
    Mail(StationKey, u64, Vec<u8>),
    /// The hub is told what its node has for it.
    Drain(StationKey),
    /// The store's side of a broken connection is noticed.
    StoreNotices(StationKey, u64),
    /// The node's side is.
    NodeNotices(StationKey, u64),
    Reconnect(StationKey),
    Resume(StationKey),
    Back(Back),
    /// A client asks.
    Command(ClientKey, Command),
    /// A probed client answers.
    Alive(ClientKey, Place),
    /// A client that was told to call somebody does.
    Call(ClientKey, RoomId, PeerId),
    /// A client's connection ends.
    Hangup(ClientKey),
    /// A client does what comes to its mind.
    Act(Whim),
    /// The weather turns.
    Disturb(Disturbance),
}

impl Cluster {
    /// Lets something happen, now; or, if it happens to a paused process, when that goes on.
    pub(super) fn happen(&mut self, happening: Happening) {
        if let Happening::Answers(station, number, _)
        | Happening::News(station, number, ..)
        | Happening::Mail(station, number, _) = &happening
        {
            let link = &self.stations[*station].link;
            if link.number != *number || link.is_severed {
                return;
            }
        }
        if let Some(station) = self.whose(&happening) {
            match self.stations[station].state {
                State::Running | State::Closing => {}
                State::Paused => return self.stations[station].inbox.push_back(happening),
                State::Gone => return,
            }
        }
        self.take_place(happening);
    }

    /// Whose process something happens to.
    fn whose(&self, happening: &Happening) -> Option<StationKey> {
        match happening {
            Happening::Fetch(station)
            | Happening::Answers(station, ..)
            | Happening::News(station, ..)
            | Happening::Mail(station, ..)
            | Happening::Drain(station)
            | Happening::NodeNotices(station, _)
            | Happening::Reconnect(station) => Some(*station),
            Happening::Command(client, _)
            | Happening::Alive(client, _)
            | Happening::Hangup(client) => Some(self.clients[*client].station),
            Happening::Execute(..)
            | Happening::StoreNotices(..)
            | Happening::Resume(_)
            | Happening::Back(_)
            | Happening::Call(..)
            | Happening::Act(_)
            | Happening::Disturb(_) => None,
        }
    }

    pub(super) fn take_place(&mut self, happening: Happening) {
        match happening {
            Happening::Fetch(station) => self.fetch(station),
            Happening::Execute(station, number, requests, answers) => {
                self.execute(station, number, requests, answers);
            }
            Happening::Answers(station, number, answers) => self.answer(station, number, answers),
            Happening::News(station, number, log, news) => self.news(station, number, log, news),
            Happening::Mail(station, number, bytes) => self.mail(station, number, bytes),
            Happening::Drain(station) => self.drain(station),
            Happening::StoreNotices(station, number) => self.store_notices(station, number),
            Happening::NodeNotices(station, number) => self.node_notices(station, number),
            Happening::Reconnect(station) => self.reconnect(station),
            Happening::Resume(station) => self.resume(station),
            Happening::Back(back) => self.store_back(&back),
            Happening::Command(client, command) => self.ask(client, command),
            Happening::Alive(client, place) => self.show_alive(client, place),
            Happening::Call(client, room, peer) => self.call(client, &room, peer),
            Happening::Hangup(client) => self.hang_up(client),
            Happening::Act(whim) => self.act(whim),
            Happening::Disturb(disturbance) => self.disturb(disturbance),
        }
    }

    // What clients do

    fn ask(&mut self, client: ClientKey, command: Command) {
        let it = &mut self.clients[client];
        if !it.can_act() {
            return;
        }
        let mut sent = 0;
        if let Command::Relay { relay, .. } = &command {
            sent = relay.frame.parse().unwrap_or_default();
        }
        let at = self.now;
        let asked = it.peer.route(command, &self.limits);
        self.note(|| format!("c{client} asks {asked:?}"));
        let it = &mut self.clients[client];
        match asked {
            Ok(ask) => {
                it.log.push((at, Noted::Asked(asked_of(&ask, sent))));
                if let Ask::Leave(room, _) = &ask {
                    it.knows.remove(room);
                }
                self.put(client, ask);
            }
            Err(refused) => it.hear(at, Arc::new(Event::Refused(refused))),
        }
    }

    fn show_alive(&mut self, client: ClientKey, place: Place) {
        if self.clients[client].can_act() {
            self.note(|| format!("c{client} is alive"));
            self.put(client, Ask::Alive(place));
        }
    }

    fn hang_up(&mut self, client: ClientKey) {
        let it = &mut self.clients[client];
        if !it.is_connected {
            return;
        }
        it.is_connected = false;
        it.log.push((self.now, Noted::Ended));
        it.knows.clear();
        let asks = it.peer.farewell(Parting::Lost);
        self.note(|| format!("c{client} ends: {asks:?}"));
        for ask in asks {
            self.put(client, ask);
        }
    }

    fn put(&mut self, client: ClientKey, ask: Ask) {
        let it = &self.clients[client];
        let input = Input::Ask {
            peer: it.id(),
            local: client,
            ask,
        };
        self.hub(it.station, input);
    }

    pub(super) fn deliver(&mut self, client: ClientKey, event: Arc<Event>) {
        self.note(|| format!("c{client} < {event:?}"));
        if !self.clients[client].is_connected {
            return;
        }
        match &*event {
            Event::Probe(place) => {
                let after = self.up_to(Duration::from_millis(300));
                self.schedule(after, Happening::Alive(client, place.clone()));
            }
            Event::Evicted(_) => {
                let after = self.up_to(Duration::from_millis(100));
                self.schedule(after, Happening::Hangup(client));
            }
            Event::Joined { room, others } => {
                for (other, call) in others {
                    self.obey(client, room, other.peer, *call);
                }
            }
            Event::Introduced { room, peer, call } => self.obey(client, room, peer.peer, *call),
            Event::Claimed(_)
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Departed { .. }
            | Event::Heard { .. }
            | Event::Refused(_) => {}
        }
        let now = self.now;
        let it = &mut self.clients[client];
        if !it.is_evicted {
            it.hear(now, event);
        }
    }

    fn obey(&mut self, client: ClientKey, room: &RoomId, peer: PeerId, call: Call) {
        if call == Call::You {
            let after = self.moment();
            self.schedule(after, Happening::Call(client, room.clone(), peer));
        }
    }

    fn call(&mut self, client: ClientKey, room: &RoomId, peer: PeerId) {
        let it = &self.clients[client];
        let knows = it.knows.get(room).is_some_and(|it| it.contains_key(&peer));
        if it.can_act() && knows {
            let to = self.client_of(peer);
            self.send(client, room.name.as_str(), to);
        }
    }

    // What processes do

    /// A process stops doing anything, and keeps its sockets.
    pub fn pause(&mut self, station: StationKey, time: Duration) {
        if self.stations[station].is_running() {
            self.stations[station].state = State::Paused;
            self.trouble(Some(station), time, "pause");
            self.schedule(time, Happening::Resume(station));
        }
    }

    fn resume(&mut self, station: StationKey) {
        if self.stations[station].state != State::Paused {
            return;
        }
        self.note(|| format!("s{station} goes on"));
        self.stations[station].state = State::Running;
        let mut pauses = self.troubles.iter_mut().rev();
        if let Some(pause) = pauses.find(|it| it.station == Some(station) && it.what == "pause") {
            pause.until = self.now;
        }
        if self.chance.random_bool(0.5) {
            self.time_out();
        }
        for happening in std::mem::take(&mut self.stations[station].inbox) {
            self.take_place(happening);
        }
    }

    /// A process ends without a word, and its clients' connections with it.
    pub fn crash(&mut self, station: StationKey) {
        if self.stations[station].state == State::Gone {
            return;
        }
        self.trouble(Some(station), Duration::ZERO, "crash");
        self.lose_clients(station);
        self.vanish_process(station);
    }

    /// A process says good-bye: its clients are sent away, its seats given back.
    pub fn close(&mut self, station: StationKey) {
        if !self.stations[station].is_running() {
            return;
        }
        self.trouble(Some(station), Duration::ZERO, "close");
        if self.chance.random_bool(0.5) {
            for client in self.clients_of(station) {
                self.hang_up(client);
            }
        }
        self.lose_clients(station);
        self.stations[station].state = State::Closing;
        self.node(station, switchboard_engine::cluster::Input::Close);
        self.end_if_done(station);
    }

    pub(super) fn end_if_done(&mut self, station: StationKey) {
        let it = &self.stations[station];
        if it.state == State::Closing && (it.node.waiting() == 0 || !it.link.here) {
            self.vanish_process(station);
        }
    }

    fn vanish_process(&mut self, station: StationKey) {
        self.note(|| format!("s{station} is gone"));
        self.stations[station].state = State::Gone;
        self.stations[station].inbox.clear();
        self.break_link(station);
    }

    fn clients_of(&self, station: StationKey) -> Vec<ClientKey> {
        let clients = self.clients.iter().enumerate();
        clients
            .filter(|(_, client)| client.station == station && client.is_connected)
            .map(|(key, _)| key)
            .collect()
    }

    fn lose_clients(&mut self, station: StationKey) {
        for client in self.clients_of(station) {
            let it = &mut self.clients[client];
            it.is_connected = false;
            it.log.push((self.now, Noted::Ended));
            it.knows.clear();
        }
    }
}

fn asked_of(ask: &Ask, sent: usize) -> Asked {
    match ask {
        Ask::Claim(name, _) => Asked::Claim(name.clone()),
        Ask::Join(room, member, attempt) => Asked::Join {
            room: room.clone(),
            address: member.address.clone(),
            stay: member.name.clone().expect("each stay has a name"),
            attempt: *attempt,
        },
        Ask::Leave(room, _) => Asked::Leave(room.clone()),
        Ask::Relay(..) => Asked::Send(sent),
        Ask::List(_) | Ask::Release(..) | Ask::Alive(_) => Asked::List,
    }
}
