//! `voice`: two talkers and many listeners in each room. The unit is an Ogg page that a listener gets.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hyper::body::Bytes;
use tokio::task::JoinSet;

use crate::{
    BenchError, BenchOptions, Report,
    drive::Tally,
    progress::Reporter,
    schedule::Schedule,
    server_process::Probe,
    target::BenchTarget,
    voice::{Microphone, PageStream, VoiceUser},
};

/// The talkers of a room.
const TALKERS: usize = 2;
/// Connections that are opened at a time.
const CONCURRENCY: usize = 64;
const SAMPLES_PER_SECOND: f64 = 48_000.0;
/// The samples of a message: 20 ms.
const SAMPLES_PER_MESSAGE: u32 = 960;
const MESSAGES_PER_SECOND: f64 = 50.0;

pub(crate) async fn run(
    target: &BenchTarget,
    options: &BenchOptions,
    probe: &mut Probe,
    reporter: &mut Reporter<'_>,
) -> Result<Report, BenchError> {
    let (microphones, streams) = connect(target, options, reporter).await?;
    let connected = microphones.len() + streams.len();
    let part = Rc::new(RefCell::new(Part::new(streams.len())));
    let mut tasks = JoinSet::new();
    for (number, microphone) in microphones.into_iter().enumerate() {
        tasks.spawn_local(talk(microphone, number, Rc::clone(&part)));
    }
    for (number, stream) in streams.into_iter().enumerate() {
        tasks.spawn_local(listen(stream, number, Rc::clone(&part)));
    }
    let warm_up = measure(&part, options.warm_up, "warm-up", reporter).await;
    probe.start().await?;
    part.borrow_mut().restart();
    let mut tally = measure(&part, options.duration, "measure", reporter).await;
    let usage = probe.stop().await?;
    tally.add_errors(&warm_up);
    Ok(Report::new(options, "page", connected, &tally, usage))
}

/// Connects the listeners and talkers of all rooms.
async fn connect(
    target: &BenchTarget,
    options: &BenchOptions,
    reporter: &mut Reporter<'_>,
) -> Result<(Vec<Microphone>, Vec<PageStream>), BenchError> {
    let run_name = format!("bench{:08x}", rand::random::<u32>());
    let size = options.room_size();
    let numbers = || 0..options.clients / size * size;
    let room = |number: usize| format!("{run_name}r{}", number / size);
    let is_talker = |number: &usize| number % size < TALKERS.min(size - 1);
    let listening = numbers()
        .filter(|number| !is_talker(number))
        .map(|number| async move { VoiceUser::new(target, number).listen(&room(number)).await });
    let mut listening = stream::iter(listening).buffer_unordered(CONCURRENCY);
    let mut streams = Vec::new();
    while let Some(stream) = listening.try_next().await? {
        streams.push(stream);
        reporter.connected(streams.len(), options.clients);
    }
    let mut microphones = Vec::new();
    for number in numbers().filter(is_talker) {
        microphones.push(VoiceUser::new(target, number).talk(&room(number)).await?);
    }
    Ok((microphones, streams))
}

/// The results so far of a part of the run.
#[derive(Debug)]
struct Part {
    tally: Tally,
    /// The pages of each listener.
    pages: Vec<u64>,
}

impl Part {
    fn new(listeners: usize) -> Self {
        Self {
            tally: Tally::new(),
            pages: vec![0; listeners],
        }
    }

    fn restart(&mut self) {
        *self = Self::new(self.pages.len());
    }

    /// The pages that listeners lack, compared with the median listener. One page may be on its way.
    fn missing_pages(&self) -> u64 {
        let mut pages = self.pages.clone();
        pages.sort_unstable();
        let median = pages.get(pages.len() / 2).copied().unwrap_or_default();
        let lacking = pages.iter().map(|pages| median.saturating_sub(pages + 1));
        lacking.sum()
    }
}

async fn measure(
    part: &RefCell<Part>,
    duration: Duration,
    name: &'static str,
    reporter: &mut Reporter<'_>,
) -> Tally {
    reporter.start();
    let started = Instant::now();
    while let Some(left) = duration.checked_sub(started.elapsed()) {
        tokio::time::sleep(left.min(Reporter::INTERVAL)).await;
        let units = part.borrow().tally.units;
        reporter.running(name, started.elapsed(), units);
    }
    let mut part = part.borrow_mut();
    part.tally.lost = part.missing_pages();
    part.tally.elapsed = started.elapsed();
    std::mem::replace(&mut part.tally, Tally::new())
}

/// Sends a tone in real time. Each talker has another pitch.
async fn talk(mut microphone: Microphone, number: usize, part: Rc<RefCell<Part>>) {
    let mut schedule = Schedule::new(Instant::now(), MESSAGES_PER_SECOND);
    let pitch = 200.0 + 20.0 * (number % 16) as f64;
    for message in 0_u32.. {
        tokio::time::sleep_until(schedule.take().into()).await;
        if let Err(error) = microphone.send(tone(pitch, message)).await {
            return part.borrow_mut().tally.fail(&error);
        }
    }
}

/// The samples of a message with a sine.
fn tone(pitch: f64, message: u32) -> Bytes {
    let first = f64::from(message) * f64::from(SAMPLES_PER_MESSAGE);
    let sample = |index| {
        let time = (first + f64::from(index)) / SAMPLES_PER_SECOND;
        ((time * pitch * std::f64::consts::TAU).sin() * 8_000.0) as i16
    };
    (0..SAMPLES_PER_MESSAGE)
        .flat_map(|index| sample(index).to_le_bytes())
        .collect()
}

/// Reads the stream of a listener, and records the time between two pages.
async fn listen(mut stream: PageStream, number: usize, part: Rc<RefCell<Part>>) {
    let mut last_page = Instant::now();
    loop {
        let pages = stream.next_pages().await;
        let mut part = part.borrow_mut();
        match pages {
            Ok(0) => {}
            Ok(pages) => {
                part.tally.units += pages;
                part.pages[number] += pages;
                part.tally.latencies.record(last_page.elapsed());
                last_page = Instant::now();
            }
            Err(error) => return part.tally.fail(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_that_lacks_pages_is_noticed() {
        let mut part = Part::new(3);
        part.pages = vec![50, 49, 50];
        assert_eq!(part.missing_pages(), 0);
        part.pages[1] = 20;
        assert_eq!(part.missing_pages(), 29);
    }

    #[test]
    fn tone_goes_on_from_message_to_message() {
        let bytes = tone(200.0, 0);
        assert_eq!(bytes.len(), 1_920);
        assert_eq!(bytes[..2], [0, 0]);
        // Five messages are 20 whole periods of 200 Hz.
        assert_eq!(tone(200.0, 5)[..2], [0, 0]);
    }
}
