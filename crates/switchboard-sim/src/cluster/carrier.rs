//! Between a station and the store.

use std::{collections::VecDeque, time::Duration};

use rand::RngExt;
use switchboard_core::{LogId, NodeId};
use switchboard_engine::cluster::{
    self,
    store::{Answer, News, Request},
};

use super::{
    Cluster, StationKey,
    happening::Happening,
    station::{Link, State},
    weather::Back,
};

impl Cluster {
    /// Something may have come into the node's queue.
    pub(super) fn wake_carrier(&mut self, key: StationKey) {
        let station = &mut self.stations[key];
        if station.link.here && !station.is_fetching {
            station.is_fetching = true;
            let after = self.moment();
            self.schedule(after, Happening::Fetch(key));
        }
    }

    pub(super) fn fetch(&mut self, key: StationKey) {
        let station = &mut self.stations[key];
        station.is_fetching = false;
        if !station.link.here {
            return;
        }
        let requests = station.node.next_batch();
        if requests.is_empty() {
            return self.end_if_done(key);
        }
        let number = station.link.number;
        self.note(|| format!("s{key} > {requests:?}"));
        if self.stations[key].link.is_severed {
            return;
        }
        let after = self.travel();
        let requests = Happening::Execute(key, number, requests.into(), Vec::new());
        self.schedule(after, requests);
    }

    /// The store carries out some of a connection's requests, or all.
    pub(super) fn execute(
        &mut self,
        key: StationKey,
        number: u64,
        mut requests: VecDeque<Request>,
        mut answers: Vec<Answer>,
    ) {
        let link = &self.stations[key].link;
        let is_stale = link.number != number || link.is_severed;
        let is_late = link.number != number && !self.weather.is_stale;
        if self.is_away || is_late || is_stale && self.chance.random_bool(0.5) {
            return;
        }
        while let Some(request) = requests.pop_front() {
            let answer = self.carry_out(key, &request);
            answers.push(answer);
            if self.chance.random_bool(self.weather.pieces) {
                break;
            }
        }
        if !requests.is_empty() {
            let after = self.travel() / 4;
            let rest = Happening::Execute(key, number, requests, answers);
            return self.schedule(after, rest);
        }
        let after = self.travel();
        self.schedule(after, Happening::Answers(key, number, answers));
    }

    fn carry_out(&mut self, key: StationKey, request: &Request) -> Answer {
        let now = self.micros();
        let (answer, news) = self.model.execute(request, now);
        self.note(|| format!("store: s{key} {request:?} -> {answer:?}"));
        for (log, news) in news {
            self.publish(&log, &news);
            self.history.push((self.now, log, news));
        }
        if let Request::Post(to, bytes) = request {
            return self.post(key, *to, bytes);
        }
        answer
    }

    fn publish(&mut self, log: &LogId, news: &News) {
        self.note(|| format!("store: {log:?} {news:?}"));
        for node in self.model.openers(log).collect::<Vec<_>>() {
            let Some(key) = self.station_of(node) else {
                continue;
            };
            if !self.stations[key].link.there || self.chance.random_bool(self.weather.news_lost) {
                continue;
            }
            let copies = match self.chance.random_bool(self.weather.news_doubled) {
                true => 2,
                false => 1,
            };
            for _ in 0..copies {
                let at = self.news_arrive(key);
                let number = self.stations[key].link.number;
                let news = Happening::News(key, number, log.clone(), news.clone());
                self.schedule_at(at, news);
            }
        }
    }

    fn news_arrive(&mut self, key: StationKey) -> Duration {
        let mut at = self.now + self.travel();
        if self.chance.random_bool(self.weather.news_late) {
            return at + self.up_to(self.weather.late_max);
        }
        if self.weather.news_in_order {
            at = at.max(self.stations[key].link.news);
            self.stations[key].link.news = at;
        }
        at
    }

    fn post(&mut self, from: StationKey, to: NodeId, bytes: &[u8]) -> Answer {
        let to = self.station_of(to);
        let Some(to) = to.filter(|to| self.stations[*to].link.there) else {
            return Answer::Posted(0);
        };
        let at = self.now + self.travel();
        let link = &mut self.stations[to].link;
        let last = link.mail.entry(from).or_default();
        *last = at.max(*last);
        let (at, number) = (*last, link.number);
        self.schedule_at(at, Happening::Mail(to, number, bytes.to_vec()));
        Answer::Posted(1)
    }

    fn station_of(&self, node: NodeId) -> Option<StationKey> {
        self.stations
            .iter()
            .position(|station| station.id() == node)
    }

    // What comes to the node

    fn is_here(&self, key: StationKey, number: u64) -> bool {
        let link = &self.stations[key].link;
        link.number == number && link.here
    }

    pub(super) fn answer(&mut self, key: StationKey, number: u64, answers: Vec<Answer>) {
        if self.is_here(key, number) {
            self.note(|| format!("s{key} < {answers:?}"));
            self.node(key, cluster::Input::Answers(answers));
        }
    }

    pub(super) fn news(&mut self, key: StationKey, number: u64, log: LogId, news: News) {
        if self.is_here(key, number) {
            self.note(|| format!("s{key} < {log:?} {news:?}"));
            self.node(key, cluster::Input::News(log, news));
        }
    }

    pub(super) fn mail(&mut self, key: StationKey, number: u64, bytes: Vec<u8>) {
        if self.is_here(key, number) {
            self.note(|| format!("s{key} < {} bytes of mail", bytes.len()));
            self.node(key, cluster::Input::Mail(bytes));
        }
    }

    // Connections

    /// A connection breaks. Each side learns of it in its own time.
    pub fn break_link(&mut self, key: StationKey) {
        let link = &mut self.stations[key].link;
        if link.is_severed || !link.here {
            return;
        }
        link.is_severed = true;
        let number = link.number;
        let (store, node) = (self.noticing(), self.noticing());
        self.trouble(Some(key), node, "broken connection");
        self.schedule(store, Happening::StoreNotices(key, number));
        self.schedule(node, Happening::NodeNotices(key, number));
    }

    /// A station cannot reach the store for a while.
    pub fn cut(&mut self, key: StationKey, time: Duration) {
        self.stations[key].cut_until = self.now + time;
        self.trouble(Some(key), time, "cut");
        self.break_link(key);
    }

    pub(super) fn store_notices(&mut self, key: StationKey, number: u64) {
        let link = &mut self.stations[key].link;
        if link.number == number {
            link.there = false;
        }
    }

    pub(super) fn node_notices(&mut self, key: StationKey, number: u64) {
        if !self.is_here(key, number) {
            return;
        }
        self.note(|| format!("s{key} has lost the store"));
        self.stations[key].link.here = false;
        self.node(key, cluster::Input::Lost);
        self.end_if_done(key);
        let after = self.up_to(Duration::from_millis(500));
        self.schedule(after, Happening::Reconnect(key));
    }

    pub(super) fn reconnect(&mut self, key: StationKey) {
        let station = &self.stations[key];
        if station.link.here || station.state != State::Running {
            return;
        }
        if self.is_away || station.cut_until > self.now {
            let after = Duration::from_millis(100) + self.up_to(Duration::from_millis(400));
            return self.schedule(after, Happening::Reconnect(key));
        }
        let number = station.link.number + 1;
        self.note(|| format!("s{key} is connected"));
        self.stations[key].link = Link {
            number,
            here: true,
            there: true,
            ..Link::default()
        };
        self.node(key, cluster::Input::Connected);
    }

    // The store

    /// The store goes away for everybody, until it comes back.
    pub fn store_away(&mut self, time: Duration, back: Back) {
        if self.is_away {
            return;
        }
        self.is_away = true;
        self.trouble(None, time, "store away");
        for key in 0..self.stations.len() {
            self.break_link(key);
            self.stations[key].link.there = false;
        }
        self.schedule(time, Happening::Back(back));
    }

    pub(super) fn store_back(&mut self, back: &Back) {
        self.is_away = false;
        self.note(|| format!("the store is back: {back:?}"));
        match back {
            Back::Whole => {}
            Back::Empty => self.model.wipe(),
            Back::Older => {
                let index = self.chance.random_range(0..self.backups.len());
                let backup = self.backups[index].clone();
                self.model.restore(&backup);
            }
        }
        if *back != Back::Whole {
            self.trouble(None, Duration::ZERO, "data lost");
        }
    }

    /// The store's data is kept as it is now, to come back one day.
    pub fn back_up(&mut self) {
        self.backups.push(self.model.clone());
    }

    /// How long something takes from here to there.
    fn travel(&mut self) -> Duration {
        let max = match self.chance.random_bool(self.weather.slow) {
            true => self.weather.slow_max,
            false => self.weather.travel_max,
        };
        Duration::from_micros(50) + self.up_to(max)
    }

    fn noticing(&mut self) -> Duration {
        let max = match self.chance.random_bool(0.5) {
            true => Duration::from_millis(5),
            false => self.weather.noticing_max,
        };
        self.up_to(max)
    }
}
