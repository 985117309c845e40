//! The voice server at its sockets: what its clients are told, what they hear, and what they
//! cannot do to each other.

mod away;
mod churn;
mod display_name;
mod ending;
mod head;
mod http;
mod latency;
mod limits;
mod listener;
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
