//! The store in Redis, against real servers.

mod carrier;
mod contract;
mod equality;
mod server;
