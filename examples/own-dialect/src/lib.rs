//! A dialect and an engine of another developer's own, on Switchboard's library.
#![warn(missing_docs)]

mod audit;
mod lines;

pub use audit::AuditTrail;
pub use lines::{LINES, Lines};
