//! What the fuzz targets do with their bytes, as plain functions: an ordinary test replays the
//! corpora with them.
//!
//! Whatever comes in, nothing panics, every frame that goes out is a JSON object, no frame grows
//! beyond what its cause explains, and when everybody is gone nothing remains.

mod frames;
mod hub;

pub use frames::frames;
pub use hub::hub;
