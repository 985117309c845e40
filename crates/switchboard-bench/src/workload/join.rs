//! `join`: clients join rooms, in rounds until the duration is over.
//!
//! A room fills one by one: a join is over when the newcomer has its answer and all members are notified. Where connecting
//! joins, the connection is part of the join. Connecting otherwise, and leaving, are not measured.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};

use crate::{
    BenchError, BenchOptions, Report,
    assembly::await_introduction,
    client::{BenchClient, Net},
    drive::Tally,
    progress::Reporter,
    schedule::{Schedule, wait_until},
    server_process::{Probe, Usage},
};

/// Connections that are opened or closed at a time.
const CONCURRENCY: usize = 64;

/// A client before it joins.
enum Entrant {
    /// Connecting is not joining in this dialect.
    Connected(Box<BenchClient>),
    /// The number of a client that joins when it connects.
    Absent { number: usize, room: usize },
}

pub(crate) async fn run(
    net: &Rc<Net>,
    options: &BenchOptions,
    probe: &mut Probe,
    reporter: &mut Reporter<'_>,
) -> Result<Report, BenchError> {
    let mut rounds = Rounds::new(net, options);
    if !options.warm_up.is_zero() {
        rounds.play(None, reporter, "warm-up").await?;
    }
    let warm_up = std::mem::replace(&mut rounds.tally, RefCell::new(Tally::new()));
    let mut usage = Usage::default();
    reporter.start();
    loop {
        usage.add(rounds.play(Some(probe), reporter, "measure").await?);
        let tally = rounds.tally.borrow();
        if tally.elapsed >= options.duration || tally.errors > 0 {
            break;
        }
    }
    let mut tally = rounds.tally.into_inner();
    tally.add_errors(&warm_up.into_inner());
    let mut report = Report::new(options, "join", rounds.connected, &tally, usage);
    report.notifications = net
        .wire
        .traits()
        .announces_joins
        .then_some(tally.notifications);
    Ok(report)
}

/// Rounds in which all clients connect, join and leave.
struct Rounds<'a> {
    net: &'a Rc<Net>,
    options: &'a BenchOptions,
    tally: RefCell<Tally>,
    /// The rooms so far, which no later round uses again.
    rooms_used: usize,
    connected: usize,
}

impl<'a> Rounds<'a> {
    fn new(net: &'a Rc<Net>, options: &'a BenchOptions) -> Self {
        Self {
            net,
            options,
            tally: RefCell::new(Tally::new()),
            rooms_used: 0,
            connected: 0,
        }
    }

    /// Connects all clients, and lets them join. Observes the server while they join.
    async fn play(
        &mut self,
        mut probe: Option<&mut Probe>,
        reporter: &mut Reporter<'_>,
        part: &'static str,
    ) -> Result<Usage, BenchError> {
        let rooms = self.connect(reporter).await?;
        if let Some(probe) = &mut probe {
            probe.start().await?;
        }
        let started = Instant::now();
        let members = self.join_all(rooms, started, reporter, part).await;
        self.tally.get_mut().elapsed += started.elapsed();
        let usage = match probe {
            Some(probe) => probe.stop().await?,
            None => Usage::default(),
        };
        self.connected = members.len();
        let closing = stream::iter(members).map(BenchClient::close);
        closing.buffer_unordered(CONCURRENCY).collect::<()>().await;
        Ok(usage)
    }

    /// The clients of each room, connected unless that is joining.
    async fn connect(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<Vec<Vec<Entrant>>, BenchError> {
        let size = self.options.room_size();
        let rooms = self.rooms_used..self.rooms_used + self.options.clients / size;
        self.rooms_used = rooms.end;
        let mut entrants = Vec::new();
        let this = &*self;
        let seats = rooms.flat_map(|room| (0..size).map(move |index| (room * size + index, room)));
        let opening = seats.map(|(number, room)| this.prepare(number, room));
        let mut opening = stream::iter(opening).buffered(CONCURRENCY);
        while let Some(entrant) = opening.next().await {
            entrants.push(entrant?);
            reporter.connected(entrants.len(), self.options.clients);
        }
        let mut rooms = Vec::new();
        while !entrants.is_empty() {
            rooms.push(entrants.drain(..size).collect());
        }
        Ok(rooms)
    }

    async fn prepare(&self, number: usize, room: usize) -> Result<Entrant, BenchError> {
        let seat = self.net.seat(number, room);
        let joins_on_connect = self.net.wire.join(&seat).is_empty();
        if joins_on_connect {
            return Ok(Entrant::Absent { number, room });
        }
        let client = BenchClient::open(self.net, number, seat).await?;
        Ok(Entrant::Connected(Box::new(client)))
    }

    async fn join_all(
        &self,
        rooms: Vec<Vec<Entrant>>,
        started: Instant,
        reporter: &mut Reporter<'_>,
        part: &'static str,
    ) -> Vec<BenchClient> {
        let rate = self.options.rate;
        let schedule = (rate > 0.0).then(|| RefCell::new(Schedule::new(started, rate)));
        let joining = rooms
            .into_iter()
            .map(|room| self.fill(room, schedule.as_ref()));
        let mut joining = stream::iter(joining).buffer_unordered(self.options.window);
        let mut members = Vec::new();
        while let Some(room) = joining.next().await {
            match room {
                Ok(room) => members.extend(room),
                Err(error) => self.tally.borrow_mut().fail(&error),
            }
            let tally = self.tally.borrow();
            reporter.running(part, tally.elapsed + started.elapsed(), tally.units);
        }
        members
    }

    /// Lets the clients of one room join, one after the other.
    async fn fill(
        &self,
        entrants: Vec<Entrant>,
        schedule: Option<&RefCell<Schedule>>,
    ) -> Result<Vec<BenchClient>, BenchError> {
        let mut members: Vec<BenchClient> = Vec::with_capacity(entrants.len());
        for entrant in entrants {
            let due = await_turn(schedule).await;
            let mut newcomer = self.enter(entrant).await?;
            self.await_notifications(&mut members, &mut newcomer)
                .await?;
            members.push(newcomer);
            self.record(due.elapsed());
        }
        Ok(members)
    }

    async fn enter(&self, entrant: Entrant) -> Result<BenchClient, BenchError> {
        let mut client = match entrant {
            Entrant::Connected(client) => *client,
            Entrant::Absent { number, room } => {
                BenchClient::open(self.net, number, self.net.seat(number, room)).await?
            }
        };
        client.join(self.net).await?;
        Ok(client)
    }

    async fn await_notifications(
        &self,
        members: &mut [BenchClient],
        newcomer: &mut BenchClient,
    ) -> Result<(), BenchError> {
        if !self.net.wire.traits().announces_joins {
            return Ok(());
        }
        for member in members {
            await_introduction(self.net, member, newcomer).await?;
            self.tally.borrow_mut().notifications += 1;
        }
        Ok(())
    }

    fn record(&self, latency: Duration) {
        let mut tally = self.tally.borrow_mut();
        tally.units += 1;
        tally.latencies.record(latency);
    }
}

/// The time at which the next join is due: now, or the next of the schedule, for which it waits.
async fn await_turn(schedule: Option<&RefCell<Schedule>>) -> Instant {
    let Some(schedule) = schedule else {
        return Instant::now();
    };
    let due = schedule.borrow_mut().take();
    wait_until(due).await;
    due
}
