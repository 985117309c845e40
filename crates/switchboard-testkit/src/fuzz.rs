//! The bodies of the fuzz targets as functions, so that an ordinary test can replay the corpora.
//!
//! The checked invariants: no input causes a panic, every sent frame is a JSON object, the size of a sent frame is
//! bounded by the size of its cause, and no state remains after all clients have disconnected.

mod frames;
mod hub;
mod json;

pub use frames::frames;
pub use hub::hub;
pub use json::json;
