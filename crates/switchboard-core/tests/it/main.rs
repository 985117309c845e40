//! Tests of the state machines: hub requests, voice scripts, and property tests against reference models.

mod aliases;
mod call_invariants;
mod call_model;
mod call_script;
mod call_scripts;
mod charges;
mod join_options;
mod names;
mod ring_bounds;
mod ring_scripts;
mod room_invariants;
mod room_model;
mod room_scripts;
mod scopes;
mod script;
