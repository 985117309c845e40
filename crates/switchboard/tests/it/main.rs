//! The server over real sockets.

mod client;
mod dialects;
mod host;
mod limits;
mod nodes;
mod slow;
mod voice;
