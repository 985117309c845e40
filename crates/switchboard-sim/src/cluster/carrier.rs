//! Between a station and the store.

use std::{collections::VecDeque, time::Duration};

use rand::RngExt;
use switchboard_core::{LogId, NodeId};
use switchboard_engine::cluster::{
    self,
    store::{LogEvent, StoreRequest, StoreResponse},
};

use super::{
    ClusterSimulation, NodeKey,
    events::ScheduledEvent,
    faults::StoreRecovery,
    node::{SimNodeState, StoreLink},
};

impl ClusterSimulation {
    /// Something may have come into the node's queue.
    pub(super) fn wake_carrier(&mut self, key: NodeKey) {
        let station = &mut self.nodes[key];
        if station.link.here && !station.is_fetching {
            station.is_fetching = true;
            let after = self.moment();
            self.schedule(after, ScheduledEvent::Fetch(key));
        }
    }

    pub(super) fn fetch(&mut self, key: NodeKey) {
        let station = &mut self.nodes[key];
        station.is_fetching = false;
        if !station.link.here {
            return;
        }
        let requests = station.node.next_batch();
        if requests.is_empty() {
            return self.end_if_done(key);
        }
        let number = station.link.number;
        self.trace_event(|| format!("s{key} > {requests:?}"));
        if self.nodes[key].link.is_severed {
            return;
        }
        let after = self.network_delay();
        let requests = ScheduledEvent::Execute(key, number, requests.into(), Vec::new());
        self.schedule(after, requests);
    }

    /// The store carries out some of a connection's requests, or all.
    pub(super) fn execute(
        &mut self,
        key: NodeKey,
        number: u64,
        mut requests: VecDeque<StoreRequest>,
        mut answers: Vec<StoreResponse>,
    ) {
        let link = &self.nodes[key].link;
        let is_stale = link.number != number || link.is_severed;
        let is_late = link.number != number && !self.faults.is_stale;
        if self.is_away || is_late || is_stale && self.rng.random_bool(0.5) {
            return;
        }
        while let Some(request) = requests.pop_front() {
            let answer = self.execute_request(key, &request);
            answers.push(answer);
            if self.rng.random_bool(self.faults.pieces) {
                break;
            }
        }
        if !requests.is_empty() {
            let after = self.network_delay() / 4;
            let rest = ScheduledEvent::Execute(key, number, requests, answers);
            return self.schedule(after, rest);
        }
        let after = self.network_delay();
        self.schedule(after, ScheduledEvent::Answers(key, number, answers));
    }

    fn execute_request(&mut self, key: NodeKey, request: &StoreRequest) -> StoreResponse {
        let now = self.micros();
        let (answer, news) = self.model.execute(request, now);
        self.trace_event(|| format!("store: s{key} {request:?} -> {answer:?}"));
        for (log, news) in news {
            self.publish(&log, &news);
            self.history.push((self.now, log, news));
        }
        if let StoreRequest::Post(to, bytes) = request {
            return self.post(key, *to, bytes);
        }
        answer
    }

    fn publish(&mut self, log: &LogId, news: &LogEvent) {
        self.trace_event(|| format!("store: {log:?} {news:?}"));
        for node in self.model.subscribers(log).collect::<Vec<_>>() {
            let Some(key) = self.station_of(node) else {
                continue;
            };
            if !self.nodes[key].link.there || self.rng.random_bool(self.faults.news_lost) {
                continue;
            }
            let copies = match self.rng.random_bool(self.faults.news_doubled) {
                true => 2,
                false => 1,
            };
            for _ in 0..copies {
                let at = self.news_arrive(key);
                let number = self.nodes[key].link.number;
                let news = ScheduledEvent::News(key, number, log.clone(), news.clone());
                self.schedule_at(at, news);
            }
        }
    }

    fn news_arrive(&mut self, key: NodeKey) -> Duration {
        let mut at = self.now + self.network_delay();
        if self.rng.random_bool(self.faults.news_late) {
            return at + self.up_to(self.faults.late_max);
        }
        if self.faults.news_in_order {
            at = at.max(self.nodes[key].link.news);
            self.nodes[key].link.news = at;
        }
        at
    }

    fn post(&mut self, from: NodeKey, to: NodeId, bytes: &[u8]) -> StoreResponse {
        let to = self.station_of(to);
        let Some(to) = to.filter(|to| self.nodes[*to].link.there) else {
            return StoreResponse::Posted(0);
        };
        let at = self.now + self.network_delay();
        let link = &mut self.nodes[to].link;
        let last = link.mail.entry(from).or_default();
        *last = at.max(*last);
        let (at, number) = (*last, link.number);
        self.schedule_at(at, ScheduledEvent::Mail(to, number, bytes.to_vec()));
        StoreResponse::Posted(1)
    }

    fn station_of(&self, node: NodeId) -> Option<NodeKey> {
        self.nodes.iter().position(|station| station.id() == node)
    }

    // What comes to the node

    fn is_here(&self, key: NodeKey, number: u64) -> bool {
        let link = &self.nodes[key].link;
        link.number == number && link.here
    }

    pub(super) fn answer(&mut self, key: NodeKey, number: u64, answers: Vec<StoreResponse>) {
        if self.is_here(key, number) {
            self.trace_event(|| format!("s{key} < {answers:?}"));
            self.node(key, cluster::NodeInput::Responses(answers));
        }
    }

    pub(super) fn news(&mut self, key: NodeKey, number: u64, log: LogId, news: LogEvent) {
        if self.is_here(key, number) {
            self.trace_event(|| format!("s{key} < {log:?} {news:?}"));
            self.node(key, cluster::NodeInput::LogEvent(log, news));
        }
    }

    pub(super) fn mail(&mut self, key: NodeKey, number: u64, bytes: Vec<u8>) {
        if self.is_here(key, number) {
            self.trace_event(|| format!("s{key} < {} bytes of mail", bytes.len()));
            self.node(key, cluster::NodeInput::Envelope(bytes));
        }
    }

    // Connections

    /// A connection breaks. Each side learns of it in its own time.
    pub fn break_link(&mut self, key: NodeKey) {
        let link = &mut self.nodes[key].link;
        if link.is_severed || !link.here {
            return;
        }
        link.is_severed = true;
        let number = link.number;
        let (store, node) = (self.detection_delay(), self.detection_delay());
        self.trouble(Some(key), node, "broken connection");
        self.schedule(store, ScheduledEvent::StoreNotices(key, number));
        self.schedule(node, ScheduledEvent::NodeNotices(key, number));
    }

    /// A station cannot reach the store for a while.
    pub fn cut(&mut self, key: NodeKey, time: Duration) {
        self.nodes[key].cut_until = self.now + time;
        self.trouble(Some(key), time, "cut");
        self.break_link(key);
    }

    pub(super) fn store_notices(&mut self, key: NodeKey, number: u64) {
        let link = &mut self.nodes[key].link;
        if link.number == number {
            link.there = false;
        }
    }

    pub(super) fn node_notices(&mut self, key: NodeKey, number: u64) {
        if !self.is_here(key, number) {
            return;
        }
        self.trace_event(|| format!("s{key} has lost the store"));
        self.nodes[key].link.here = false;
        self.node(key, cluster::NodeInput::Disconnected);
        self.end_if_done(key);
        let after = self.up_to(Duration::from_millis(500));
        self.schedule(after, ScheduledEvent::Reconnect(key));
    }

    pub(super) fn reconnect(&mut self, key: NodeKey) {
        let station = &self.nodes[key];
        if station.link.here || station.state != SimNodeState::Running {
            return;
        }
        if self.is_away || station.cut_until > self.now {
            let after = Duration::from_millis(100) + self.up_to(Duration::from_millis(400));
            return self.schedule(after, ScheduledEvent::Reconnect(key));
        }
        let number = station.link.number + 1;
        self.trace_event(|| format!("s{key} is connected"));
        self.nodes[key].link = StoreLink {
            number,
            here: true,
            there: true,
            ..StoreLink::default()
        };
        self.node(key, cluster::NodeInput::Connected);
    }

    // The store

    /// The store goes away for everybody, until it comes back.
    pub fn store_away(&mut self, time: Duration, back: StoreRecovery) {
        if self.is_away {
            return;
        }
        self.is_away = true;
        self.trouble(None, time, "store away");
        for key in 0..self.nodes.len() {
            self.break_link(key);
            self.nodes[key].link.there = false;
        }
        self.schedule(time, ScheduledEvent::Back(back));
    }

    pub(super) fn store_back(&mut self, back: &StoreRecovery) {
        self.is_away = false;
        self.trace_event(|| format!("the store is back: {back:?}"));
        match back {
            StoreRecovery::Complete => {}
            StoreRecovery::Empty => self.model.wipe(),
            StoreRecovery::FromBackup => {
                let index = self.rng.random_range(0..self.backups.len());
                let backup = self.backups[index].clone();
                self.model.restore(&backup);
            }
        }
        if *back != StoreRecovery::Complete {
            self.trouble(None, Duration::ZERO, "data lost");
        }
    }

    /// The store's data is kept as it is now, to come back one day.
    pub fn back_up(&mut self) {
        self.backups.push(self.model.clone());
    }

    /// How long something takes from here to there.
    fn network_delay(&mut self) -> Duration {
        let max = match self.rng.random_bool(self.faults.slow) {
            true => self.faults.slow_max,
            false => self.faults.delay_max,
        };
        Duration::from_micros(50) + self.up_to(max)
    }

    fn detection_delay(&mut self) -> Duration {
        let max = match self.rng.random_bool(0.5) {
            true => Duration::from_millis(5),
            false => self.faults.detection_delay_max,
        };
        self.up_to(max)
    }
}
