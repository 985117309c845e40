//! Bounds the growth of a frame by translation. A client whose outbox is full is disconnected, so a frame that fills the
//! outbox of its receiver would let the sender disconnect the receiver.

use serde_json::json;
use switchboard_core::Limits;
use switchboard_testkit::Simulation;

use crate::drivers::DRIVERS;

/// Sends a frame from a member of `dialect` to a member of each dialect; `text` makes it from the receiver's id.
/// Returns the bytes of the longest delivered frame.
fn longest_delivery(dialect: &str, nick: &str, text: impl Fn(&str) -> String) -> usize {
    let driver = crate::drivers::driver_of(dialect);
    let mut longest = 0;
    for receiver_driver in &DRIVERS {
        let mut simulation = Simulation::new(1);
        let receiver = receiver_driver.connect_and_join(&mut simulation, "room", "receiver");
        let sender = driver.connect_and_join(&mut simulation, "room", nick);
        simulation.take_frames(receiver);
        let text = text(&driver.id_of(&simulation, receiver));
        assert!(
            text.len() <= Limits::default().frame_bytes,
            "{}",
            text.len()
        );
        simulation.send(sender, text);
        let frames = simulation.take_frames(receiver);
        longest = longest.max(
            frames
                .iter()
                .map(|frame| frame.text.len())
                .max()
                .unwrap_or(0),
        );
    }
    longest
}

#[test]
fn repeated_sender_fields_do_not_lengthen_the_delivered_frame() {
    let nick = "n".repeat(128);
    let names = ",\"senderID\":0".repeat(18_000);
    let frame = |_: &str| format!("{{\"type\":\"message\",\"data\":\"\"{names}}}");
    let longest = longest_delivery("lightstream", &nick, frame);
    assert!(
        longest <= Limits::default().outbox_bytes / 2,
        "{longest} bytes"
    );
}

/// The limit of a translated frame: in `lightstream`, a delivered description is repeated in three fields.
fn translated_bytes_max() -> usize {
    4 * Limits::default().frame_bytes
}

#[test]
fn the_longest_description_fits_into_every_outbox() {
    for driver in &DRIVERS {
        let sdp = "\n".repeat(120_000);
        let frame = |to: &str| (driver.offer)(to, &sdp).to_string();
        let longest = longest_delivery(driver.name, "sender", frame);
        assert!(
            longest <= translated_bytes_max(),
            "from {}: {longest} bytes",
            driver.name
        );
    }
}

#[test]
fn the_longest_message_fits_into_every_outbox() {
    for driver in &DRIVERS {
        let Some(broadcast) = driver.broadcast else {
            continue;
        };
        let text = "\u{1}".repeat(40_000);
        let longest = longest_delivery(driver.name, "sender", |_| broadcast(&text).to_string());
        assert!(
            longest <= translated_bytes_max(),
            "from {}: {longest} bytes",
            driver.name
        );
    }
}

/// In `matchbox`, a candidate is JSON in a string, so it is quoted twice.
#[test]
fn the_longest_candidate_fits_into_every_outbox() {
    let candidate = "\"".repeat(60_000);
    let frame = |to: &str| {
        let init = json!({"candidate": candidate, "sdpMid": "0"});
        json!({"type": "ice-candidate", "targetID": to, "candidate": init}).to_string()
    };
    let longest = longest_delivery("lightstream", "sender", frame);
    assert!(longest <= translated_bytes_max(), "{longest} bytes");
    let frame = |to: &str| {
        let init = json!({"candidate": candidate, "sdpMid": "0"}).to_string();
        json!({"Signal": {"receiver": to, "data": {"IceCandidate": init}}}).to_string()
    };
    let longest = longest_delivery("matchbox", "sender", frame);
    assert!(longest <= translated_bytes_max(), "{longest} bytes");
}
