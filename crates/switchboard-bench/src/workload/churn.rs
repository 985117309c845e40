//! `churn`: pairs connect, join a new room, relay one message and leave, again and again.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    BenchError, BenchOptions, Report,
    assembly::assemble_room,
    client::{BenchClient, Net},
    drive::Tally,
    progress::Reporter,
    schedule::{Schedule, wait_until},
    server_process::Probe,
    stamp::{self, Stamp, Template},
};

pub(crate) async fn run(
    net: &Rc<Net>,
    options: &BenchOptions,
    probe: &mut Probe,
    reporter: &mut Reporter<'_>,
) -> Result<Report, BenchError> {
    let pairs = options.clients / 2;
    let churn = Rc::new(Churn::new(net, options));
    let warm_up = churn.run(pairs, options.warm_up, "warm-up", reporter).await;
    probe.start().await?;
    let mut tally = churn
        .run(pairs, options.duration, "measure", reporter)
        .await;
    let usage = probe.stop().await?;
    tally.add_errors(&warm_up);
    Ok(Report::new(options, "cycle", 2 * pairs, &tally, usage))
}

/// The shared state of all pairs.
struct Churn {
    net: Rc<Net>,
    content: String,
    rate: f64,
    /// The rooms so far: each cycle has a new one, and new clients.
    rooms_used: Cell<usize>,
    schedule: RefCell<Option<Schedule>>,
    tally: RefCell<Tally>,
}

impl Churn {
    fn new(net: &Rc<Net>, options: &BenchOptions) -> Self {
        Self {
            net: Rc::clone(net),
            content: stamp::session_description(options.payload),
            rate: options.rate,
            rooms_used: Cell::new(0),
            schedule: RefCell::new(None),
            tally: RefCell::new(Tally::new()),
        }
    }

    /// Runs cycles in `pairs` tasks until the time is over.
    async fn run(
        self: &Rc<Self>,
        pairs: usize,
        duration: Duration,
        part: &'static str,
        reporter: &mut Reporter<'_>,
    ) -> Tally {
        let started = Instant::now();
        let schedule = (self.rate > 0.0).then(|| Schedule::new(started, self.rate));
        self.schedule.replace(schedule);
        let mut tasks = JoinSet::new();
        for _ in 0..pairs {
            tasks.spawn_local(Rc::clone(self).repeat(started + duration));
        }
        self.report_until_done(tasks, started, part, reporter).await;
        let mut tally = self.tally.replace(Tally::new());
        tally.elapsed = started.elapsed();
        tally
    }

    async fn report_until_done(
        &self,
        mut tasks: JoinSet<()>,
        started: Instant,
        part: &'static str,
        reporter: &mut Reporter<'_>,
    ) {
        reporter.start();
        let mut ticks = tokio::time::interval(Reporter::INTERVAL);
        loop {
            tokio::select! {
                done = tasks.join_next() => if done.is_none() { return },
                _ = ticks.tick() => {
                    let units = self.tally.borrow().units;
                    reporter.running(part, started.elapsed(), units);
                }
            }
        }
    }

    /// Runs cycles one after the other. A cycle that fails is the last one.
    async fn repeat(self: Rc<Self>, until: Instant) {
        loop {
            let due = self.next_due();
            if due >= until {
                return;
            }
            wait_until(due).await;
            let cycle = self.cycle().await;
            let mut tally = self.tally.borrow_mut();
            if let Err(error) = cycle {
                return tally.fail(&error);
            }
            tally.units += 1;
            tally.latencies.record(due.elapsed());
        }
    }

    fn next_due(&self) -> Instant {
        let mut schedule = self.schedule.borrow_mut();
        schedule.as_mut().map_or_else(Instant::now, Schedule::take)
    }

    async fn cycle(&self) -> Result<(), BenchError> {
        let room = self.rooms_used.get();
        self.rooms_used.set(room + 1);
        let mut pair = assemble_room(&self.net, room, 2 * room, 2).await?;
        // The newcomer speaks: the member may not yet know of it.
        if let [member, newcomer] = pair.as_mut_slice() {
            self.relay(newcomer, member).await?;
        }
        for client in pair {
            client.close().await;
        }
        Ok(())
    }

    async fn relay(&self, from: &mut BenchClient, to: &mut BenchClient) -> Result<(), BenchError> {
        let frame = self.net.wire.direct(&from.seat, &to.address, &self.content);
        let stamp = Stamp {
            from: from.number,
            to: to.number,
            slot: 0,
            sequence: 1,
            due_nanos: 0,
        };
        from.send(Template::new(frame).stamped(stamp))?;
        self.net.within("read of a message", from.flush()).await??;
        self.net
            .within("relayed message", await_stamp(to, stamp))
            .await?
    }
}

async fn await_stamp(client: &mut BenchClient, awaited: Stamp) -> Result<(), BenchError> {
    loop {
        let frame = client.next_frame().await?;
        match Stamp::find(frame.as_bytes()) {
            Some(stamp) if stamp == awaited => return Ok(()),
            Some(_) => {}
            None => drop(client.understand(&frame)?),
        }
    }
}
