//! Tests of the hub: its requests, events and limits.

mod aliases;
mod charges;
mod clock;
mod former_memberships;
mod join_options;
mod kicks;
mod names;
mod parsing;
mod policies;
mod scopes;
