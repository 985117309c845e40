//! The voice server over real sockets: its responses and events, the sound that listeners receive, and its limits. Its
//! protocol is the dialect `gostream`: a *source* is a connection that sends audio to a room or a call (a microphone),
//! a *listener* is one that receives audio (headphones), and an *event stream* tells a user of calls and rooms.

mod access;
mod away;
mod churn;
mod display_name;
mod ending;
mod head;
mod http;
mod limits;
mod listener;
mod page_latency;
mod policies;
mod posted;
mod prompt;
mod recorded;
mod replay;
mod secure;
mod site;
mod slow;
mod sound;
mod source;
mod takeover;
mod tones;
mod user;
mod webhooks;
