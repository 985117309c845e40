//! Tests of calls and voice rooms: scripts, and property tests against reference models.

mod call_invariants;
mod call_model;
mod call_script;
mod call_scripts;
mod ring_bounds;
mod ring_scripts;
mod room_invariants;
mod room_model;
mod room_scripts;
mod script;
