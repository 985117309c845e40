//! A frame must not grow so much on its way that the receiver's outbox is full with it: whose outbox
//! is full is thrown out, and that must not be in a sender's hand.

use serde_json::json;
use switchboard_core::Limits;
use switchboard_testkit::Simulation;

use crate::drivers::ACCENTS;

/// Sends `text` from a member that speaks `dialect` to a member of each dialect, and gives the bytes
/// of the longest frame that anybody is sent for it.
fn longest(dialect: &str, nick: &str, text: impl Fn(&str) -> String) -> usize {
    let accent = crate::drivers::accent(dialect);
    let mut longest = 0;
    for there in &ACCENTS {
        let mut world = Simulation::new(1);
        let hearer = there.enter(&mut world, "room", "hearer");
        let sender = accent.enter(&mut world, "room", nick);
        world.take_frames(hearer);
        let text = text(&accent.id_of(&world, hearer));
        assert!(
            text.len() <= Limits::default().frame_bytes,
            "{}",
            text.len()
        );
        world.send(sender, text);
        let frames = world.take_frames(hearer);
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
fn a_sender_named_a_thousand_times_is_not_named_so_often_to_others() {
    let nick = "n".repeat(128);
    let names = ",\"senderID\":0".repeat(18_000);
    let frame = |_: &str| format!("{{\"type\":\"message\",\"data\":\"\"{names}}}");
    let longest = longest("lightstream", &nick, frame);
    assert!(
        longest <= Limits::default().outbox_bytes / 2,
        "{longest} bytes"
    );
}

/// What a translation may make of a frame: `lightstream` is told a description in three places.
fn most() -> usize {
    4 * Limits::default().frame_bytes
}

#[test]
fn the_longest_description_fits_into_every_outbox() {
    for accent in &ACCENTS {
        let sdp = "\n".repeat(120_000);
        let frame = |to: &str| (accent.offer)(to, &sdp).to_string();
        let longest = longest(accent.name, "sender", frame);
        assert!(longest <= most(), "from {}: {longest} bytes", accent.name);
    }
}

#[test]
fn the_longest_message_fits_into_every_outbox() {
    for accent in &ACCENTS {
        let Some(shout) = accent.shout else { continue };
        let words = "\u{1}".repeat(40_000);
        let longest = longest(accent.name, "sender", |_| shout(&words).to_string());
        assert!(longest <= most(), "from {}: {longest} bytes", accent.name);
    }
}

/// In `matchbox` a candidate is JSON in a text: it is quoted twice.
#[test]
fn the_longest_candidate_fits_into_every_outbox() {
    let candidate = "\"".repeat(60_000);
    let frame = |to: &str| {
        let init = json!({"candidate": candidate, "sdpMid": "0"});
        json!({"type": "ice-candidate", "targetID": to, "candidate": init}).to_string()
    };
    let longest = longest("lightstream", "sender", frame);
    assert!(longest <= most(), "{longest} bytes");
    let frame = |to: &str| {
        let init = json!({"candidate": candidate, "sdpMid": "0"}).to_string();
        json!({"Signal": {"receiver": to, "data": {"IceCandidate": init}}}).to_string()
    };
    let longest = self::longest("matchbox", "sender", frame);
    assert!(longest <= most(), "{longest} bytes");
}
