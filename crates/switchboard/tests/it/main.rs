//! The server over real sockets.

mod carrier;
mod client;
mod closed;
mod dialects;
mod doors;
mod expensive;
mod host;
mod http;
mod ice;
mod large_rooms;
mod limits;
mod names;
mod nodes;
mod rates;
mod slow;
mod slow_receiver;
mod switched_off;
mod tls;
mod voice;
mod websocket;
