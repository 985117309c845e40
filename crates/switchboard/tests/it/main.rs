//! Tests of the server over real sockets.
//!
//! The server speaks several signaling protocols, called dialects (`lightstream`, `p2p`, `singo`, `mesh`, …).
//! Clients of different dialects meet in one room. The host program is the program that embeds the server as a
//! library. A space is a namespace of rooms, which the host program can choose for a client. A node is one server of a
//! cluster.

mod access;
mod access_places;
mod access_webhook;
mod admin;
mod board;
mod client;
mod closed_rooms;
mod dialect_endpoints;
mod dialects;
mod expensive_requests;
mod exports;
mod failed_auth;
mod hook_server;
mod host;
mod host_locks;
mod host_messages;
mod http;
mod ice;
mod jwt;
mod large_rooms;
mod limits;
mod metrics;
mod names;
mod nodes;
mod origins;
mod rates;
mod rfc6455;
mod session_webhooks;
mod sessions;
mod slow_clients;
mod slow_receiver;
mod switched_off;
mod testing;
mod tls;
mod voice;
mod web_root;
mod webhook_docs;
mod websocket;
