//! Load for signaling servers, over the wire of each dialect: Switchboard, the original server of a dialect, or the
//! [`floor`].
//!
//! ```no_run
//! use switchboard_bench::{BenchDialect, BenchOptions, Workload, run};
//!
//! let options = BenchOptions::new(Workload::Relay, "http://127.0.0.1:8080", BenchDialect::Lightstream);
//! let report = run(&options, &mut |progress| eprintln!("{progress}"))?;
//! println!("{report}");
//! # Ok::<(), switchboard_bench::BenchError>(())
//! ```
//!
//! A run sets up its connections, sends load for [`BenchOptions::warm_up`], waits until the server is quiet, and then measures
//! for [`BenchOptions::duration`]. Every message carries a [`Stamp`](stamp::Stamp) with the time at which it was due.

mod assembly;
mod client;
pub mod comparison;
mod dialect;
mod drive;
mod error;
pub mod floor;
mod histogram;
mod member;
mod options;
mod progress;
mod report;
mod run;
mod schedule;
mod sequence;
mod server_process;
pub mod stamp;
mod target;
mod voice;
mod workload;

pub use dialect::BenchDialect;
pub use error::BenchError;
pub use histogram::LatencySummary;
pub use options::{BenchOptions, Workload};
pub use progress::Progress;
pub use report::{Report, ServerUsage};
pub use run::run;
