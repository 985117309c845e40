//! The scheduled events of a simulation and their handlers.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rand::RngExt;
use switchboard_cluster::store::{LogEvent, StoreRequest, StoreResponse};
use switchboard_core::{
    Command, DisconnectReason, Event, HubRequest, Input, LogId, OfferRole, PeerId, ResourceKey,
    RoomId,
};

use super::{
    ClientLogEntry, ClientRequest, ClusterSimulation, NodeKey, RandomAction,
    client::ClientKey,
    faults::{Fault, StoreRecovery},
    node::SimNodeState,
};

/// A scheduled event. A `u64` is the number of the store connection that the event belongs to. Data that arrives at a
/// node over an older connection than its current one is discarded.
#[derive(Debug)]
pub(super) enum ScheduledEvent {
    /// The connection to the store takes the next batch of requests from the node.
    Fetch(NodeKey),
    /// The store executes the remaining requests of a batch; the responses so far are collected.
    Execute(NodeKey, u64, VecDeque<StoreRequest>, Vec<StoreResponse>),
    /// The responses to a batch arrive at the node.
    Responses(NodeKey, u64, Vec<StoreResponse>),
    /// A change of a log, published by the store, arrives at the node.
    LogEvent(NodeKey, u64, LogId, LogEvent),
    /// A message from another node arrives at the node.
    Envelope(NodeKey, u64, Vec<u8>),
    /// The hub receives the effects of its node.
    Drain(NodeKey),
    /// The store detects a broken connection.
    StoreDetectsLoss(NodeKey, u64),
    /// The node detects a broken connection.
    NodeDetectsLoss(NodeKey, u64),
    Reconnect(NodeKey),
    Resume(NodeKey),
    RecoverStore(StoreRecovery),
    /// A client sends a command.
    Command(ClientKey, Command),
    /// A client answers a probe: its hub has asked whether it is alive, because another client claims the resource (an
    /// address or a name) that it holds.
    Alive(ClientKey, ResourceKey),
    /// A client sends an offer to a member that was introduced to it.
    SendOffer(ClientKey, RoomId, PeerId),
    /// The connection of a client ends.
    Disconnect(ClientKey),
    /// A random action of a client.
    Act(RandomAction),
    /// A fault is injected.
    InjectFault(Fault),
}

impl ClusterSimulation {
    /// Handles an event now, or when its paused process resumes.
    pub(super) fn handle_event(&mut self, event: ScheduledEvent) {
        if let ScheduledEvent::Responses(node, number, _)
        | ScheduledEvent::LogEvent(node, number, ..)
        | ScheduledEvent::Envelope(node, number, _) = &event
        {
            let link = &self.nodes[*node].link;
            if link.number != *number || link.is_severed {
                return;
            }
        }
        if let Some(node) = self.process_of(&event) {
            match self.nodes[node].state {
                SimNodeState::Running | SimNodeState::Closing => {}
                SimNodeState::Paused => return self.nodes[node].inbox.push_back(event),
                SimNodeState::Gone => return,
            }
        }
        self.apply_event(event);
    }

    /// The node whose process handles an event, if one does.
    fn process_of(&self, event: &ScheduledEvent) -> Option<NodeKey> {
        match event {
            ScheduledEvent::Fetch(node)
            | ScheduledEvent::Responses(node, ..)
            | ScheduledEvent::LogEvent(node, ..)
            | ScheduledEvent::Envelope(node, ..)
            | ScheduledEvent::Drain(node)
            | ScheduledEvent::NodeDetectsLoss(node, _)
            | ScheduledEvent::Reconnect(node) => Some(*node),
            ScheduledEvent::Command(client, _)
            | ScheduledEvent::Alive(client, _)
            | ScheduledEvent::Disconnect(client) => Some(self.clients[*client].node),
            ScheduledEvent::Execute(..)
            | ScheduledEvent::StoreDetectsLoss(..)
            | ScheduledEvent::Resume(_)
            | ScheduledEvent::RecoverStore(_)
            | ScheduledEvent::SendOffer(..)
            | ScheduledEvent::Act(_)
            | ScheduledEvent::InjectFault(_) => None,
        }
    }

    pub(super) fn apply_event(&mut self, event: ScheduledEvent) {
        match event {
            ScheduledEvent::Fetch(node) => self.fetch(node),
            ScheduledEvent::Execute(node, number, requests, responses) => {
                self.execute(node, number, requests, responses);
            }
            ScheduledEvent::Responses(node, number, responses) => {
                self.deliver_responses(node, number, responses)
            }
            ScheduledEvent::LogEvent(node, number, log, log_event) => {
                self.deliver_event(node, number, log, log_event)
            }
            ScheduledEvent::Envelope(node, number, bytes) => {
                self.deliver_envelope(node, number, bytes)
            }
            ScheduledEvent::Drain(node) => self.drain(node),
            ScheduledEvent::StoreDetectsLoss(node, number) => self.store_detects_loss(node, number),
            ScheduledEvent::NodeDetectsLoss(node, number) => self.node_detects_loss(node, number),
            ScheduledEvent::Reconnect(node) => self.reconnect(node),
            ScheduledEvent::Resume(node) => self.resume(node),
            ScheduledEvent::RecoverStore(recovery) => self.recover_store(&recovery),
            ScheduledEvent::Command(client, command) => self.authorize_command(client, command),
            ScheduledEvent::Alive(client, resource) => self.show_alive(client, resource),
            ScheduledEvent::SendOffer(client, room, peer) => self.send_offer(client, &room, peer),
            ScheduledEvent::Disconnect(client) => self.end_client_connection(client),
            ScheduledEvent::Act(action) => self.act(action),
            ScheduledEvent::InjectFault(fault) => self.apply_fault(fault),
        }
    }

    // Clients

    fn authorize_command(&mut self, client: ClientKey, command: Command) {
        let client_state = &mut self.clients[client];
        if !client_state.can_act() {
            return;
        }
        let mut serial = 0;
        if let Command::Send { message, .. } = &command {
            serial = message.frame.parse().unwrap_or_default();
        }
        let at = self.now;
        let result = client_state.peer.authorize(command, &self.limits);
        self.trace_event(|| format!("c{client} requests {result:?}"));
        let client_state = &mut self.clients[client];
        match result {
            Ok(request) => {
                client_state.log.push((
                    at,
                    ClientLogEntry::Requested(recorded_request(&request, serial)),
                ));
                if let HubRequest::Leave(room, _) = &request {
                    client_state.known_members.remove(room);
                }
                self.submit_request(client, request);
            }
            Err(error) => client_state.receive(at, Arc::new(Event::RequestFailed(error))),
        }
    }

    fn show_alive(&mut self, client: ClientKey, resource: ResourceKey) {
        if self.clients[client].can_act() {
            self.trace_event(|| format!("c{client} is alive"));
            self.submit_request(client, HubRequest::Alive(resource));
        }
    }

    fn end_client_connection(&mut self, client: ClientKey) {
        let client_state = &mut self.clients[client];
        if !client_state.is_connected {
            return;
        }
        client_state.is_connected = false;
        client_state.log.push((self.now, ClientLogEntry::Ended));
        client_state.known_members.clear();
        let requests = client_state.peer.disconnect(DisconnectReason::Lost);
        self.trace_event(|| format!("c{client} ends: {requests:?}"));
        for request in requests {
            self.submit_request(client, request);
        }
    }

    fn submit_request(&mut self, client: ClientKey, request: HubRequest) {
        let client_state = &self.clients[client];
        let input = Input::Request {
            peer: client_state.id(),
            local: client,
            request,
        };
        self.handle_hub_input(client_state.node, input);
    }

    pub(super) fn deliver(&mut self, client: ClientKey, event: Arc<Event>) {
        self.trace_event(|| format!("c{client} < {event:?}"));
        if !self.clients[client].is_connected {
            return;
        }
        match &*event {
            Event::Probe(resource) => {
                let after = self.up_to(Duration::from_millis(300));
                self.schedule(after, ScheduledEvent::Alive(client, resource.clone()));
            }
            Event::Evicted(_) => {
                let after = self.up_to(Duration::from_millis(100));
                self.schedule(after, ScheduledEvent::Disconnect(client));
            }
            Event::Joined { room, others } => {
                for (other, role) in others {
                    self.follow_offer_role(client, room, other.peer, *role);
                }
            }
            Event::Introduced {
                room, peer, role, ..
            } => self.follow_offer_role(client, room, peer.peer, *role),
            Event::Claimed(_)
            | Event::Rejoined { .. }
            | Event::Members { .. }
            | Event::Departed { .. }
            | Event::Received { .. }
            | Event::RequestFailed(_) => {}
        }
        let now = self.now;
        let client_state = &mut self.clients[client];
        if !client_state.is_evicted {
            client_state.receive(now, event);
        }
    }

    fn follow_offer_role(
        &mut self,
        client: ClientKey,
        room: &RoomId,
        peer: PeerId,
        role: OfferRole,
    ) {
        if role == OfferRole::Offerer {
            let after = self.scheduling_delay();
            self.schedule(after, ScheduledEvent::SendOffer(client, room.clone(), peer));
        }
    }

    fn send_offer(&mut self, client: ClientKey, room: &RoomId, peer: PeerId) {
        let client_state = &self.clients[client];
        let knows_peer = client_state
            .known_members
            .get(room)
            .is_some_and(|members| members.contains_key(&peer));
        if client_state.can_act() && knows_peer {
            let to = self.client_of(peer);
            self.send(client, room.name.as_str(), to);
        }
    }

    // Processes

    /// Pauses a process. Its sockets stay open.
    pub fn pause(&mut self, node: NodeKey, time: Duration) {
        if self.nodes[node].is_running() {
            self.nodes[node].state = SimNodeState::Paused;
            self.record_outage(Some(node), time, "pause");
            self.schedule(time, ScheduledEvent::Resume(node));
        }
    }

    fn resume(&mut self, node: NodeKey) {
        if self.nodes[node].state != SimNodeState::Paused {
            return;
        }
        self.trace_event(|| format!("s{node} resumes"));
        self.nodes[node].state = SimNodeState::Running;
        let mut outages = self.outages.iter_mut().rev();
        if let Some(pause) =
            outages.find(|outage| outage.node == Some(node) && outage.kind == "pause")
        {
            pause.until = self.now;
        }
        // A process that resumes may handle its timers before the data in its sockets, or after.
        if self.rng.random_bool(0.5) {
            self.fire_timeouts();
        }
        for event in std::mem::take(&mut self.nodes[node].inbox) {
            self.apply_event(event);
        }
    }

    /// Kills a process; the connections of its clients end.
    pub fn crash(&mut self, node: NodeKey) {
        if self.nodes[node].state == SimNodeState::Gone {
            return;
        }
        self.record_outage(Some(node), Duration::ZERO, "crash");
        self.lose_clients(node);
        self.kill_process(node);
    }

    /// Shuts a process down: its clients are disconnected, and its node removes its members from the store.
    pub fn close(&mut self, node: NodeKey) {
        if !self.nodes[node].is_running() {
            return;
        }
        self.record_outage(Some(node), Duration::ZERO, "close");
        // The hub may or may not learn that its clients are gone before the node closes.
        if self.rng.random_bool(0.5) {
            for client in self.clients_of(node) {
                self.end_client_connection(client);
            }
        }
        self.lose_clients(node);
        self.nodes[node].state = SimNodeState::Closing;
        self.handle_node_input(node, switchboard_cluster::NodeInput::Close);
        self.end_if_done(node);
    }

    /// Ends a closing process that has no more requests, or no connection to send them over.
    pub(super) fn end_if_done(&mut self, node: NodeKey) {
        let sim_node = &self.nodes[node];
        if sim_node.state == SimNodeState::Closing
            && (sim_node.node.queue_len() == 0 || !sim_node.link.is_open_at_node)
        {
            self.kill_process(node);
        }
    }

    fn kill_process(&mut self, node: NodeKey) {
        self.trace_event(|| format!("s{node} is gone"));
        self.nodes[node].state = SimNodeState::Gone;
        self.nodes[node].inbox.clear();
        self.break_link(node);
    }

    fn clients_of(&self, node: NodeKey) -> Vec<ClientKey> {
        let clients = self.clients.iter().enumerate();
        clients
            .filter(|(_, client)| client.node == node && client.is_connected)
            .map(|(key, _)| key)
            .collect()
    }

    /// Ends the connections of a node's clients. Its hub is not told.
    fn lose_clients(&mut self, node: NodeKey) {
        for client in self.clients_of(node) {
            let client_state = &mut self.clients[client];
            client_state.is_connected = false;
            client_state.log.push((self.now, ClientLogEntry::Ended));
            client_state.known_members.clear();
        }
    }
}

/// The request as its client's log records it. If it sends a message, `serial` is the number of that message.
fn recorded_request(request: &HubRequest, serial: usize) -> ClientRequest {
    match request {
        HubRequest::Claim(name, _) => ClientRequest::Claim(name.clone()),
        HubRequest::Join(room, member, join_id) => ClientRequest::Join {
            room: room.clone(),
            address: member.address.clone(),
            name: member.name.clone().expect("each join has a name"),
            join_id: *join_id,
        },
        HubRequest::Leave(room, _) => ClientRequest::Leave(room.clone()),
        HubRequest::Send(..) => ClientRequest::Send(serial),
        HubRequest::List(_) | HubRequest::Release(..) | HubRequest::Alive(_) => {
            ClientRequest::Other
        }
    }
}
