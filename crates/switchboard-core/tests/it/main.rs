//! The machines: what clients may ask of rooms; voice as scripts that read like the conversation, and random plays against a model.

mod aliases;
mod call_model;
mod call_promises;
mod call_script;
mod call_scripts;
mod charges;
mod names;
mod ring_bounds;
mod ring_scripts;
mod room_model;
mod room_promises;
mod room_scripts;
mod scopes;
mod script;
mod terms;
