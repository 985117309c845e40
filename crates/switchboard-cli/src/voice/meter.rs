//! A level meter line on standard error, if that is a terminal.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Interval between redraws.
const REDRAW: Duration = Duration::from_millis(100);

/// Lowest level of the bar, in dBFS.
const FLOOR_DB: f64 = -60.0;

const BAR_WIDTH: usize = 20;

/// Level and byte count of one direction of the audio.
#[derive(Debug)]
pub(super) struct LevelGauge {
    label: &'static str,
    state: Mutex<GaugeState>,
}

#[derive(Debug, Default)]
struct GaugeState {
    /// Level of the samples since the last redraw; `None` if the audio is compressed.
    level: Option<RmsLevel>,
    bytes: u64,
}

/// The RMS level of some samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct RmsLevel {
    squares: f64,
    count: u32,
}

impl LevelGauge {
    pub(super) fn new(label: &'static str) -> Arc<Self> {
        Arc::new(Self {
            label,
            state: Mutex::default(),
        })
    }

    pub(super) fn count(&self, bytes: usize) {
        self.with(|state| state.bytes += bytes as u64);
    }

    pub(super) fn push_samples(&self, samples: impl Iterator<Item = i16>) {
        self.with(|state| state.level.get_or_insert_default().push(samples));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.with(|state| state.bytes)
    }

    /// The text of the gauge. Resets the level.
    fn show(&self) -> String {
        let (level, bytes) = self.with(|state| {
            let level = state.level;
            state.level = level.map(|_| RmsLevel::default());
            (level, state.bytes)
        });
        show(self.label, level, bytes)
    }

    fn with<T>(&self, act: impl FnOnce(&mut GaugeState) -> T) -> T {
        act(&mut self.state.lock())
    }
}

impl RmsLevel {
    fn push(&mut self, samples: impl Iterator<Item = i16>) {
        for sample in samples {
            self.squares += (f64::from(sample) / 32_768.0).powi(2);
            self.count = self.count.saturating_add(1);
        }
    }

    /// The root mean square, in dBFS.
    fn decibels(self) -> f64 {
        let mean = self.squares / f64::from(self.count.max(1));
        (10.0 * mean.log10()).max(FLOOR_DB)
    }
}

fn show(label: &str, level: Option<RmsLevel>, bytes: u64) -> String {
    let mut text = label.to_owned();
    if let Some(decibels) = level.map(RmsLevel::decibels) {
        // Writing to a string does not fail.
        let _ = write!(text, " [{}] {decibels:>3.0} dB", bar(decibels));
    }
    let _ = write!(text, " {}", size(bytes));
    text
}

fn bar(decibels: f64) -> String {
    let share = (1.0 - decibels / FLOOR_DB).clamp(0.0, 1.0);
    let full = (share * BAR_WIDTH as f64).round() as usize;
    "#".repeat(full) + &"-".repeat(BAR_WIDTH - full)
}

/// Formats a number of bytes.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Formats a duration as minutes and seconds.
pub(super) fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The thread that draws the meter until dropped and then clears the line. A blocked terminal blocks only this
/// thread.
pub(super) struct MeterThread {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MeterThread {
    /// Starts the thread if standard error is a terminal.
    pub(super) fn start(gauges: Vec<Arc<LevelGauge>>) -> Self {
        let (end, ended) = mpsc::channel();
        let thread = io::stderr()
            .is_terminal()
            .then(|| thread::spawn(move || draw(&gauges, &ended)));
        Self {
            end: Some(end),
            thread,
        }
    }
}

impl Drop for MeterThread {
    fn drop(&mut self) {
        drop(self.end.take());
        // The thread does not panic.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn draw(gauges: &[Arc<LevelGauge>], ended: &mpsc::Receiver<()>) {
    let began = Instant::now();
    while ended.recv_timeout(REDRAW) == Err(RecvTimeoutError::Timeout) {
        let mut line = format!("\r{}", clock(began.elapsed()));
        for gauge in gauges {
            line.push_str("  ");
            line.push_str(&gauge.show());
        }
        line.push_str(WIPE_REST);
        drop(io::stderr().write_all(line.as_bytes()));
    }
    drop(io::stderr().write_all(format!("\r{WIPE_REST}").as_bytes()));
}

/// ANSI sequence that clears the rest of the line.
pub(super) const WIPE_REST: &str = "\x1b[K";

#[cfg(test)]
mod tests {
    use super::*;

    fn level(samples: &[i16]) -> RmsLevel {
        let mut level = RmsLevel::default();
        level.push(samples.iter().copied());
        level
    }

    #[test]
    fn full_scale_is_zero_decibels_and_half_of_it_six_less() {
        assert!(level(&[-32_768; 100]).decibels().abs() < 0.01);
        assert!((level(&[16_384, -16_384]).decibels() + 6.02).abs() < 0.01);
    }

    #[test]
    fn silence_and_no_samples_read_the_floor() {
        for samples in [&[][..], &[0; 100], &[1]] {
            assert_eq!(level(samples).decibels(), FLOOR_DB);
        }
    }

    #[test]
    fn bar_length_follows_the_level() {
        for (decibels, hashes) in [(0.0, 20), (-30.0, 10), (-60.0, 0), (-90.0, 0), (3.0, 20)] {
            let bar = bar(decibels);
            assert_eq!(bar.matches('#').count(), hashes, "{decibels} dB");
            assert_eq!(bar.len(), BAR_WIDTH);
        }
    }

    #[test]
    fn gauge_shows_the_level_since_the_last_redraw() {
        let gauge = LevelGauge::new("received");
        gauge.count(12_345);
        assert_eq!(gauge.show(), "received 12 kB");
        gauge.push_samples([-32_768; 9].into_iter());
        assert_eq!(gauge.show(), "received [####################]   0 dB 12 kB");
        assert!(gauge.show().contains("-60 dB"));
    }

    #[test]
    fn sizes_and_durations_are_formatted() {
        assert_eq!(size(9_999), "9999 B");
        assert_eq!(size(12_345_678), "12.3 MB");
        assert_eq!(clock(Duration::from_millis(125_900)), "2:05");
    }
}
