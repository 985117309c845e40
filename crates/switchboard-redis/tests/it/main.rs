//! The store in Redis, against real servers.

mod connection;
mod contract;
mod equality;
mod server;
