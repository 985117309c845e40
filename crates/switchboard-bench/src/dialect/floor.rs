//! The protocol of the floor server: the path names the room, and every frame goes to all other members of it.

use super::{Incoming, Seat, WireClient, WireTraits};

#[derive(Debug)]
pub(crate) struct FloorClient;

impl WireClient for FloorClient {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn path(&self) -> &'static str {
        "/"
    }

    fn traits(&self) -> WireTraits {
        WireTraits::default()
    }

    fn target(&self, base: &str, seat: &Seat) -> String {
        format!("{base}/{}", seat.room)
    }

    fn direct(&self, _seat: &Seat, _to: &str, content: &str) -> String {
        serde_json::json!({ "type": "offer", "sdp": content }).to_string()
    }

    fn broadcast(&self, seat: &Seat, content: &str) -> Option<String> {
        Some(self.direct(seat, "", content))
    }

    fn parse(&self, _frame: &str) -> Incoming {
        Incoming::Other
    }
}
