//! The mixer: pure samples in, encoded streams out.
#![warn(missing_docs)]
