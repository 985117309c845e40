//! What happens at some moment, and to whom.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rand::RngExt;
use switchboard_core::{
    Command, DisconnectReason, Event, HubRequest, Input, LogId, OfferRole, PeerId, ResourceKey,
    RoomId,
};
use switchboard_engine::cluster::store::{LogEvent, StoreRequest, StoreResponse};

use super::{
    ClientLogEntry, ClientRequest, ClusterSimulation, NodeKey, RandomAction,
    client::ClientKey,
    faults::{Fault, StoreRecovery},
    node::SimNodeState,
};

/// One thing that happens.
#[derive(Debug)]
pub(super) enum ScheduledEvent {
    /// The carrier takes what the node has for the store.
    Fetch(NodeKey),
    /// The store goes on with the requests of a connection.
    Execute(NodeKey, u64, VecDeque<StoreRequest>, Vec<StoreResponse>),
    Answers(NodeKey, u64, Vec<StoreResponse>),
    News(NodeKey, u64, LogId, LogEvent),
    Mail(NodeKey, u64, Vec<u8>),
    /// The hub is told what its node has for it.
    Drain(NodeKey),
    /// The store's side of a broken connection is noticed.
    StoreNotices(NodeKey, u64),
    /// The node's side is.
    NodeNotices(NodeKey, u64),
    Reconnect(NodeKey),
    Resume(NodeKey),
    Back(StoreRecovery),
    /// A client asks.
    Command(ClientKey, Command),
    /// A probed client answers.
    Alive(ClientKey, ResourceKey),
    /// A client that was told to call somebody does.
    Call(ClientKey, RoomId, PeerId),
    /// A client's connection ends.
    Hangup(ClientKey),
    /// A client does what comes to its mind.
    Act(RandomAction),
    /// The weather turns.
    Disturb(Fault),
}

impl ClusterSimulation {
    /// Lets something happen, now; or, if it happens to a paused process, when that goes on.
    pub(super) fn handle_event(&mut self, happening: ScheduledEvent) {
        if let ScheduledEvent::Answers(station, number, _)
        | ScheduledEvent::News(station, number, ..)
        | ScheduledEvent::Mail(station, number, _) = &happening
        {
            let link = &self.nodes[*station].link;
            if link.number != *number || link.is_severed {
                return;
            }
        }
        if let Some(station) = self.whose(&happening) {
            match self.nodes[station].state {
                SimNodeState::Running | SimNodeState::Closing => {}
                SimNodeState::Paused => return self.nodes[station].inbox.push_back(happening),
                SimNodeState::Gone => return,
            }
        }
        self.apply_event(happening);
    }

    /// Whose process something happens to.
    fn whose(&self, happening: &ScheduledEvent) -> Option<NodeKey> {
        match happening {
            ScheduledEvent::Fetch(station)
            | ScheduledEvent::Answers(station, ..)
            | ScheduledEvent::News(station, ..)
            | ScheduledEvent::Mail(station, ..)
            | ScheduledEvent::Drain(station)
            | ScheduledEvent::NodeNotices(station, _)
            | ScheduledEvent::Reconnect(station) => Some(*station),
            ScheduledEvent::Command(client, _)
            | ScheduledEvent::Alive(client, _)
            | ScheduledEvent::Hangup(client) => Some(self.clients[*client].station),
            ScheduledEvent::Execute(..)
            | ScheduledEvent::StoreNotices(..)
            | ScheduledEvent::Resume(_)
            | ScheduledEvent::Back(_)
            | ScheduledEvent::Call(..)
            | ScheduledEvent::Act(_)
            | ScheduledEvent::Disturb(_) => None,
        }
    }

    pub(super) fn apply_event(&mut self, happening: ScheduledEvent) {
        match happening {
            ScheduledEvent::Fetch(station) => self.fetch(station),
            ScheduledEvent::Execute(station, number, requests, answers) => {
                self.execute(station, number, requests, answers);
            }
            ScheduledEvent::Answers(station, number, answers) => {
                self.answer(station, number, answers)
            }
            ScheduledEvent::News(station, number, log, news) => {
                self.news(station, number, log, news)
            }
            ScheduledEvent::Mail(station, number, bytes) => self.mail(station, number, bytes),
            ScheduledEvent::Drain(station) => self.drain(station),
            ScheduledEvent::StoreNotices(station, number) => self.store_notices(station, number),
            ScheduledEvent::NodeNotices(station, number) => self.node_notices(station, number),
            ScheduledEvent::Reconnect(station) => self.reconnect(station),
            ScheduledEvent::Resume(station) => self.resume(station),
            ScheduledEvent::Back(back) => self.store_back(&back),
            ScheduledEvent::Command(client, command) => self.ask(client, command),
            ScheduledEvent::Alive(client, place) => self.show_alive(client, place),
            ScheduledEvent::Call(client, room, peer) => self.call(client, &room, peer),
            ScheduledEvent::Hangup(client) => self.hang_up(client),
            ScheduledEvent::Act(whim) => self.act(whim),
            ScheduledEvent::Disturb(disturbance) => self.apply_fault(disturbance),
        }
    }

    // What clients do

    fn ask(&mut self, client: ClientKey, command: Command) {
        let it = &mut self.clients[client];
        if !it.can_act() {
            return;
        }
        let mut sent = 0;
        if let Command::Send { message: relay, .. } = &command {
            sent = relay.frame.parse().unwrap_or_default();
        }
        let at = self.now;
        let asked = it.peer.authorize(command, &self.limits);
        self.trace_event(|| format!("c{client} asks {asked:?}"));
        let it = &mut self.clients[client];
        match asked {
            Ok(ask) => {
                it.log
                    .push((at, ClientLogEntry::Requested(recorded_request(&ask, sent))));
                if let HubRequest::Leave(room, _) = &ask {
                    it.knows.remove(room);
                }
                self.request(client, ask);
            }
            Err(refused) => it.receive(at, Arc::new(Event::RequestFailed(refused))),
        }
    }

    fn show_alive(&mut self, client: ClientKey, place: ResourceKey) {
        if self.clients[client].can_act() {
            self.trace_event(|| format!("c{client} is alive"));
            self.request(client, HubRequest::Alive(place));
        }
    }

    fn hang_up(&mut self, client: ClientKey) {
        let it = &mut self.clients[client];
        if !it.is_connected {
            return;
        }
        it.is_connected = false;
        it.log.push((self.now, ClientLogEntry::Ended));
        it.knows.clear();
        let asks = it.peer.disconnect(DisconnectReason::Lost);
        self.trace_event(|| format!("c{client} ends: {asks:?}"));
        for ask in asks {
            self.request(client, ask);
        }
    }

    fn request(&mut self, client: ClientKey, ask: HubRequest) {
        let it = &self.clients[client];
        let input = Input::Request {
            peer: it.id(),
            local: client,
            request: ask,
        };
        self.hub(it.station, input);
    }

    pub(super) fn deliver(&mut self, client: ClientKey, event: Arc<Event>) {
        self.trace_event(|| format!("c{client} < {event:?}"));
        if !self.clients[client].is_connected {
            return;
        }
        match &*event {
            Event::Probe(place) => {
                let after = self.up_to(Duration::from_millis(300));
                self.schedule(after, ScheduledEvent::Alive(client, place.clone()));
            }
            Event::Evicted(_) => {
                let after = self.up_to(Duration::from_millis(100));
                self.schedule(after, ScheduledEvent::Hangup(client));
            }
            Event::Joined { room, others } => {
                for (other, call) in others {
                    self.follow_offer_role(client, room, other.peer, *call);
                }
            }
            Event::Introduced {
                room,
                peer,
                role: call,
            } => self.follow_offer_role(client, room, peer.peer, *call),
            Event::Claimed(_)
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Departed { .. }
            | Event::Received { .. }
            | Event::RequestFailed(_) => {}
        }
        let now = self.now;
        let it = &mut self.clients[client];
        if !it.is_evicted {
            it.receive(now, event);
        }
    }

    fn follow_offer_role(
        &mut self,
        client: ClientKey,
        room: &RoomId,
        peer: PeerId,
        call: OfferRole,
    ) {
        if call == OfferRole::Offerer {
            let after = self.moment();
            self.schedule(after, ScheduledEvent::Call(client, room.clone(), peer));
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
    pub fn pause(&mut self, station: NodeKey, time: Duration) {
        if self.nodes[station].is_running() {
            self.nodes[station].state = SimNodeState::Paused;
            self.trouble(Some(station), time, "pause");
            self.schedule(time, ScheduledEvent::Resume(station));
        }
    }

    fn resume(&mut self, station: NodeKey) {
        if self.nodes[station].state != SimNodeState::Paused {
            return;
        }
        self.trace_event(|| format!("s{station} goes on"));
        self.nodes[station].state = SimNodeState::Running;
        let mut pauses = self.outages.iter_mut().rev();
        if let Some(pause) = pauses.find(|it| it.station == Some(station) && it.what == "pause") {
            pause.until = self.now;
        }
        if self.rng.random_bool(0.5) {
            self.time_out();
        }
        for happening in std::mem::take(&mut self.nodes[station].inbox) {
            self.apply_event(happening);
        }
    }

    /// A process ends without a word, and its clients' connections with it.
    pub fn crash(&mut self, station: NodeKey) {
        if self.nodes[station].state == SimNodeState::Gone {
            return;
        }
        self.trouble(Some(station), Duration::ZERO, "crash");
        self.lose_clients(station);
        self.kill_process(station);
    }

    /// A process says good-bye: its clients are sent away, its seats given back.
    pub fn close(&mut self, station: NodeKey) {
        if !self.nodes[station].is_running() {
            return;
        }
        self.trouble(Some(station), Duration::ZERO, "close");
        if self.rng.random_bool(0.5) {
            for client in self.clients_of(station) {
                self.hang_up(client);
            }
        }
        self.lose_clients(station);
        self.nodes[station].state = SimNodeState::Closing;
        self.node(station, switchboard_engine::cluster::NodeInput::Close);
        self.end_if_done(station);
    }

    pub(super) fn end_if_done(&mut self, station: NodeKey) {
        let it = &self.nodes[station];
        if it.state == SimNodeState::Closing && (it.node.queue_len() == 0 || !it.link.here) {
            self.kill_process(station);
        }
    }

    fn kill_process(&mut self, station: NodeKey) {
        self.trace_event(|| format!("s{station} is gone"));
        self.nodes[station].state = SimNodeState::Gone;
        self.nodes[station].inbox.clear();
        self.break_link(station);
    }

    fn clients_of(&self, station: NodeKey) -> Vec<ClientKey> {
        let clients = self.clients.iter().enumerate();
        clients
            .filter(|(_, client)| client.station == station && client.is_connected)
            .map(|(key, _)| key)
            .collect()
    }

    fn lose_clients(&mut self, station: NodeKey) {
        for client in self.clients_of(station) {
            let it = &mut self.clients[client];
            it.is_connected = false;
            it.log.push((self.now, ClientLogEntry::Ended));
            it.knows.clear();
        }
    }
}

fn recorded_request(ask: &HubRequest, sent: usize) -> ClientRequest {
    match ask {
        HubRequest::Claim(name, _) => ClientRequest::Claim(name.clone()),
        HubRequest::Join(room, member, attempt) => ClientRequest::Join {
            room: room.clone(),
            address: member.address.clone(),
            stay: member.name.clone().expect("each stay has a name"),
            attempt: *attempt,
        },
        HubRequest::Leave(room, _) => ClientRequest::Leave(room.clone()),
        HubRequest::Send(..) => ClientRequest::Send(sent),
        HubRequest::List(_) | HubRequest::Release(..) | HubRequest::Alive(_) => ClientRequest::List,
    }
}
