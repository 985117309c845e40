//! Sets up the log, which is written to standard error.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, IsTerminal},
    panic::{self, PanicHookInfo},
    sync::Arc,
    time::Duration,
};

use switchboard::config::{Log, LogFormat, LogLevel};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{layer::SubscriberExt as _, reload::Layer, util::SubscriberInitExt as _};

use crate::terminal;

/// Maximum queued log lines. Further lines are lost, because a log that is not read must not block the server.
const QUEUED_LINES_MAX: usize = 16_384;

/// Time to write the queued lines when the process ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1200);

/// Writes the queued lines when it is dropped, for at most [`FLUSH_TIMEOUT`].
#[derive(Debug)]
pub(crate) struct FlushOnDrop(Option<WorkerGuard>);

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        // With a full queue the guard prints to standard output, which may block like standard error.
        let guard = self.0.take();
        terminal::within(FLUSH_TIMEOUT, move || drop(guard));
    }
}

/// Changes the level of the running log.
#[derive(Clone)]
pub(crate) struct LevelSetter(Arc<dyn Fn(LevelFilter) + Send + Sync>);

impl fmt::Debug for LevelSetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LevelSetter").finish_non_exhaustive()
    }
}

impl LevelSetter {
    pub(crate) fn set(&self, level: LogLevel) {
        (self.0)(filter_of(level));
    }
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Starts the log with these settings. Panics are logged too.
pub(crate) fn start(log: Log) -> (FlushOnDrop, LevelSetter) {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES_MAX)
        .finish(io::stderr());
    let (level, handle) = Layer::new(filter_of(log.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_target(false);
    let registry = tracing_subscriber::registry().with(level);
    match log.format {
        LogFormat::Text => {
            let lines = lines.with_ansi(io::stderr().is_terminal());
            registry.with(lines).init();
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    panic::set_hook(Box::new(log_panic));
    // The log lives as long as the process, so the handle is always valid.
    let setter = LevelSetter(Arc::new(move |level| drop(handle.reload(level))));
    (FlushOnDrop(Some(guard)), setter)
}

/// Logs a panic. The standard hook writes directly to standard error and could block.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let reason = panic.payload_as_str().unwrap_or("no text");
    let location = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(reason, location, backtrace, "panicked");
}
