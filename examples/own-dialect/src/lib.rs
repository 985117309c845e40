//! An example for users of the library `switchboard`: a dialect and an engine of their own.
#![warn(missing_docs)]

mod audit;
mod lines;

pub use audit::AuditTrail;
pub use lines::{LINES, Lines};
