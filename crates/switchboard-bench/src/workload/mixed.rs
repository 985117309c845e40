//! `mixed`: one large room of several dialects with joins and leaves, beside clients that stop reading for seconds.
//!
//! One member of each dialect with text messages, a speaker, sends to the room every 200 ms. The unit is a delivery of
//! such a message. Every receiver checks that the messages of each speaker arrive in order, without a gap and up to the
//! last one.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    signal::ctrl_c,
    task::{JoinHandle, spawn_local},
    time::{Interval, interval, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    BenchDialect, BenchError, BenchOptions, Report,
    client::{BenchClient, Net},
    drive::Tally,
    member::KeepAlive,
    progress::Reporter,
    schedule::Schedule,
    sequence::ReceivedSequences,
    server_process::Probe,
    stamp::{self, ALL, Stamp, Template},
    target::BenchTarget,
};

mod sent;

use self::sent::{Receiver, SETTLED, SentMessages};

/// The dialects of the members in turn. Those of the first three have text messages.
const DIALECTS: [BenchDialect; 5] = [
    BenchDialect::Lightstream,
    BenchDialect::P2p,
    BenchDialect::Mesh,
    BenchDialect::Singo,
    BenchDialect::Matchbox,
];
const SPEAKERS: usize = 3;
/// The time between two messages of a speaker.
const SPEECH_PERIOD: Duration = Duration::from_millis(200);

/// The number of clients that stop reading for seconds.
const SLOW_READERS: usize = 8;
/// How long one of them does not read: long enough to overflow the server's queue for it.
const STALL: Duration = Duration::from_secs(6);
/// How long it reads after that.
const READ_ON: Duration = Duration::from_secs(1);
/// The messages to slow readers: 1 MiB per second.
const FLOOD_BYTES: usize = 64 << 10;
const FLOOD_PERIOD: Duration = Duration::from_millis(62);

/// Joins in progress while the room fills.
const CONCURRENCY: usize = 16;

/// The time that the last messages have to arrive.
const DRAIN: Duration = Duration::from_secs(10);
/// The time between two checks of that.
const DRAIN_PERIOD: Duration = Duration::from_millis(50);

/// The numbers of the rooms.
const ROOM: usize = 0;
const SLOW_ROOM: usize = 1;

pub(crate) async fn run(
    options: &BenchOptions,
    probe: &mut Probe,
    reporter: &mut Reporter<'_>,
) -> Result<Report, BenchError> {
    let room = Rc::new(MixedRoom::new(options)?);
    let members = room.fill(options.clients, reporter).await?;
    spawn_local(Rc::clone(&room).replace_members(members, options.rate));
    spawn_local(Rc::clone(&room).flood_slow_readers());
    for _ in 0..SLOW_READERS {
        spawn_local(Rc::clone(&room).read_slowly());
    }
    let is_interrupted = room.wait(options.warm_up, "warm-up", reporter).await;
    let warm_up = room.tally.replace(Tally::new());
    probe.start().await?;
    let started = Instant::now();
    if !is_interrupted {
        room.wait(options.duration, "measure", reporter).await;
    }
    let usage = probe.stop().await?;
    let mut tally = room.tally.replace(Tally::new());
    tally.elapsed = started.elapsed();
    tally.add_faults(&warm_up);
    tally.lost += room.drain().await;
    tally.add_faults(&room.tally.borrow());
    let connected = options.clients + SLOW_READERS + 1;
    let mut report = Report::new(options, "delivery", connected, &tally, usage);
    report.slow_joins = Some(room.slow_joins.get());
    Ok(report)
}

/// The shared state of all clients.
#[derive(Debug)]
struct MixedRoom {
    nets: Vec<Net>,
    content: String,
    clients_so_far: Cell<usize>,
    tally: RefCell<Tally>,
    sent: RefCell<SentMessages>,
    /// The members in the room whose dialect has text messages.
    receivers: RefCell<BTreeMap<u32, Rc<RefCell<Receiver>>>>,
    /// The joins of clients that stop reading for seconds.
    slow_joins: Cell<u64>,
    /// Set at the end: no speaker speaks and no member is replaced.
    is_over: Cell<bool>,
}

/// A member and the task that runs it.
#[derive(Debug)]
struct MixedMember {
    left: CancellationToken,
    task: JoinHandle<()>,
}

impl MixedMember {
    /// Closes the connection, and waits until the server has closed it too.
    async fn leave(self) {
        self.left.cancel();
        // The task ends in any case.
        drop(self.task.await);
    }
}

impl MixedRoom {
    fn new(options: &BenchOptions) -> Result<Self, BenchError> {
        let mut nets: Vec<Net> = Vec::new();
        for dialect in DIALECTS {
            let options = BenchOptions {
                dialect,
                ..options.clone()
            };
            let Some(wire) = dialect.wire() else { continue };
            let mut net = Net::new(wire, BenchTarget::resolve(&options)?);
            if let Some(first) = nets.first() {
                net.run_name.clone_from(&first.run_name);
                net.started = first.started;
            }
            nets.push(net);
        }
        Ok(Self {
            nets,
            content: stamp::text(options.payload),
            clients_so_far: Cell::new(0),
            tally: RefCell::new(Tally::new()),
            sent: RefCell::default(),
            receivers: RefCell::default(),
            slow_joins: Cell::new(0),
            is_over: Cell::new(false),
        })
    }

    fn next_number(&self) -> usize {
        let number = self.clients_so_far.get();
        self.clients_so_far.set(number + 1);
        number
    }

    /// Sets up the room. The speakers come first and stay.
    async fn fill(
        self: &Rc<Self>,
        clients: usize,
        reporter: &mut Reporter<'_>,
    ) -> Result<VecDeque<MixedMember>, BenchError> {
        for _ in 0..SPEAKERS.min(clients) {
            self.clone().enter(true).await?;
        }
        let rest = SPEAKERS.min(clients)..clients;
        let entering = rest.map(|_| self.clone().enter(false));
        let mut entering = stream::iter(entering).buffered(CONCURRENCY);
        let mut members = VecDeque::new();
        while let Some(member) = entering.next().await {
            members.push_back(member?);
            reporter.connected(members.len(), clients);
        }
        Ok(members)
    }

    /// Lets a new client join the room.
    async fn enter(self: Rc<Self>, speaks: bool) -> Result<MixedMember, BenchError> {
        let number = self.next_number();
        let net = &self.nets[number % DIALECTS.len()];
        // A seat is the name of a client and its room.
        let mut client = BenchClient::open(net, number, net.seat(number, ROOM)).await?;
        client.join(net).await?;
        let left = CancellationToken::new();
        let speaker = speaks.then(|| Speaker::new(net, &client, &self.content));
        let receiver = self.add_receiver(net, &client);
        let attend = self
            .clone()
            .attend(client, receiver, speaker.flatten(), left.clone());
        let task = spawn_local(attend);
        Ok(MixedMember { left, task })
    }

    fn add_receiver(&self, net: &Net, client: &BenchClient) -> Rc<RefCell<Receiver>> {
        let number = client.number;
        let receiver = Rc::new(RefCell::new(Receiver {
            number,
            joined: Instant::now(),
            received: ReceivedSequences::from_any(),
        }));
        if net.wire.broadcast(&client.seat, &self.content).is_some() {
            let mut receivers = self.receivers.borrow_mut();
            receivers.insert(number, Rc::clone(&receiver));
        }
        receiver
    }

    /// Removes a receiver. If it leaves, and has not failed, it must have got all messages.
    fn remove_receiver(&self, number: u32, leaves: bool) {
        let receiver = self.receivers.borrow_mut().remove(&number);
        let due = Instant::now().checked_sub(SETTLED);
        if let (Some(receiver), Some(due), true) = (receiver, due, leaves) {
            let missing = self.sent.borrow().missing(&receiver.borrow(), due);
            self.tally.borrow_mut().lost += missing;
        }
    }

    /// Silences the speakers, waits for the last messages, and returns the number of those that do not come.
    async fn drain(&self) -> u64 {
        self.is_over.set(true);
        let until = Instant::now();
        let missing = || {
            let (sent, receivers) = (self.sent.borrow(), self.receivers.borrow());
            let receivers = receivers.values();
            receivers
                .map(|receiver| sent.missing(&receiver.borrow(), until))
                .sum()
        };
        loop {
            match missing() {
                0 => return 0,
                missing if until.elapsed() > DRAIN => return missing,
                _ => sleep(DRAIN_PERIOD).await,
            }
        }
    }

    /// Receives, and speaks if the client is a speaker, until the client leaves.
    async fn attend(
        self: Rc<Self>,
        mut client: BenchClient,
        receiver: Rc<RefCell<Receiver>>,
        mut speaker: Option<Speaker>,
        left: CancellationToken,
    ) {
        let net = &self.nets[client.number as usize % DIALECTS.len()];
        let mut keep_alive = KeepAlive::new(net.wire);
        loop {
            let step = tokio::select! {
                () = left.cancelled() => {
                    self.remove_receiver(client.number, true);
                    return client.close().await;
                }
                frame = client.next_frame() => {
                    frame.and_then(|frame| self.hear(&frame, &mut client, &receiver))
                }
                frame = keep_alive.due() => client.send(frame),
                stamped = next_message(&mut speaker, net), if !self.is_over.get() => {
                    self.speak(&mut client, stamped)
                }
            };
            if let Err(error) = step {
                self.remove_receiver(client.number, false);
                return self.tally.borrow_mut().fail(&error);
            }
        }
    }

    fn speak(&self, client: &mut BenchClient, stamped: String) -> Result<(), BenchError> {
        let now = Instant::now();
        self.sent.borrow_mut().record(client.number, now);
        client.send(stamped)
    }

    fn hear(
        &self,
        frame: &str,
        client: &mut BenchClient,
        receiver: &RefCell<Receiver>,
    ) -> Result<(), BenchError> {
        let Some(stamp) = Stamp::find(frame.as_bytes()) else {
            return client.understand(frame).map(drop);
        };
        if stamp.from == client.number {
            return Ok(());
        }
        let now = self.nets[0].nanos(Instant::now());
        let latency = Duration::from_nanos(now.saturating_sub(stamp.due_nanos));
        let place = receiver.borrow_mut().received.receive(&stamp);
        self.tally.borrow_mut().add_delivery(place, latency);
        Ok(())
    }

    /// Lets the oldest member leave, and later a new client join, at a rate. The room may be full: the time between the
    /// two lets the server notice the leave.
    async fn replace_members(self: Rc<Self>, mut members: VecDeque<MixedMember>, rate: f64) {
        if rate == 0.0 {
            return;
        }
        let mut schedule = Schedule::new(Instant::now(), rate);
        // Skips the first due time, which is now: the first member has not left yet.
        schedule.take();
        loop {
            if let Some(oldest) = members.pop_front() {
                oldest.leave().await;
            }
            sleep_until(schedule.take().into()).await;
            if self.is_over.get() {
                return;
            }
            match self.clone().enter(false).await {
                Ok(member) => members.push_back(member),
                Err(error) => self.tally.borrow_mut().fail(&error),
            }
        }
    }

    /// Sends to the slow readers. The server may close the connection for that; then there is a new one.
    async fn flood_slow_readers(self: Rc<Self>) {
        let content = stamp::text(FLOOD_BYTES);
        loop {
            drop(self.flood(&content).await);
            sleep(FLOOD_PERIOD).await;
        }
    }

    async fn flood(&self, content: &str) -> Result<(), BenchError> {
        let net = &self.nets[0];
        let mut client = self.open_slow().await?;
        let frame = net.wire.broadcast(&client.seat, content);
        let frame = frame.unwrap_or_default();
        let mut ticks = interval(FLOOD_PERIOD);
        loop {
            tokio::select! {
                frame = client.next_frame() => client.understand(&frame?).map(drop)?,
                // A server that does not read gets no more.
                _ = ticks.tick() => if client.is_flushed() { client.send(frame.clone())? },
            }
        }
    }

    /// Joins, does not read for some time, reads on, and begins again. The server may close the connection.
    async fn read_slowly(self: Rc<Self>) {
        loop {
            if let Ok(mut client) = self.open_slow().await {
                self.slow_joins.set(self.slow_joins.get() + 1);
                sleep(STALL).await;
                let read_on = async { while client.next_frame().await.is_ok() {} };
                drop(timeout(READ_ON, read_on).await);
            }
            sleep(FLOOD_PERIOD).await;
        }
    }

    async fn open_slow(&self) -> Result<BenchClient, BenchError> {
        let (net, number) = (&self.nets[0], self.next_number());
        let mut client = BenchClient::open(net, number, net.seat(number, SLOW_ROOM)).await?;
        client.join(net).await?;
        Ok(client)
    }

    /// Waits for some time, or for an interrupt. Returns whether it was interrupted.
    async fn wait(&self, time: Duration, part: &'static str, reporter: &mut Reporter<'_>) -> bool {
        let started = Instant::now();
        let mut ticks = interval(Reporter::INTERVAL);
        reporter.start();
        loop {
            tokio::select! {
                () = sleep_until((started + time).into()) => return false,
                _ = ctrl_c() => return true,
                _ = ticks.tick() => {
                    let units = self.tally.borrow().units;
                    reporter.running(part, started.elapsed(), units);
                }
            }
        }
    }
}

/// The messages of a speaker.
#[derive(Debug)]
struct Speaker {
    template: Template,
    number: u32,
    sequence: u64,
    due: Interval,
}

impl Speaker {
    /// A speaker, if its dialect has text messages.
    fn new(net: &Net, client: &BenchClient, content: &str) -> Option<Self> {
        let frame = net.wire.broadcast(&client.seat, content)?;
        Some(Self {
            template: Template::new(frame),
            number: client.number,
            sequence: 0,
            due: interval(SPEECH_PERIOD),
        })
    }
}

/// The next message of a speaker, when it is due.
async fn next_message(speaker: &mut Option<Speaker>, net: &Net) -> String {
    let Some(speaker) = speaker else {
        return std::future::pending().await;
    };
    let due = speaker.due.tick().await;
    speaker.sequence += 1;
    speaker.template.stamped(Stamp {
        from: speaker.number,
        to: ALL,
        slot: 0,
        sequence: speaker.sequence,
        due_nanos: net.nanos(due.into()),
    })
}
