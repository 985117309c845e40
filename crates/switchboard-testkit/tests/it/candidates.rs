//! ICE candidates between every two dialects: the values and names that clients in the wild use, and the
//! answer to a candidate that cannot be translated.

use serde_json::{Value, json};
use switchboard_testkit::{ClientId, Simulation};

use crate::drivers::{ACCENTS, ClientEvent, DialectDriver};

const CANDIDATE: &str = "candidate:1 1 udp 2130706431 192.0.2.1 9 typ host";

/// The frame in which a client sends a candidate.
fn frame_of(accent: &DialectDriver, to: &str, init: &Value) -> Value {
    match accent.name {
        "lightstream" => json!({"type": "ice-candidate", "targetID": to, "data": init}),
        "p2p" => json!({"type": "ICE_CANDIDATE", "toPeerId": to, "iceCandidate": init}),
        "singo" => {
            let mut payload = init.clone();
            if payload.is_null() {
                payload = json!({"candidate": null});
            }
            payload["client_id"] = json!(to);
            json!({"type": "ice-candidate", "payload": payload})
        }
        "mesh" => {
            json!({"kind": "ICECandidate", "reach": "OnePeer", "peerID": to, "content": init})
        }
        "ayame" => json!({"type": "candidate", "ice": init}),
        "matchbox" => {
            let init = init.to_string();
            json!({"Signal": {"receiver": to, "data": {"IceCandidate": init}}})
        }
        "peerjs" => {
            let payload = json!({"candidate": init, "type": "data", "connectionId": "dc_1"});
            json!({"type": "CANDIDATE", "dst": to, "payload": payload})
        }
        other => panic!("{other} carries no candidates"),
    }
}

/// The candidate in a frame that a client receives.
fn candidate_in(accent: &DialectDriver, frame: &Value) -> Option<Value> {
    let path = match accent.name {
        "lightstream" => "/data",
        "p2p" => "/iceCandidate",
        "singo" => "/payload",
        "mesh" => "/content",
        "ayame" => "/ice",
        "matchbox" => "/Signal/data/IceCandidate",
        "peerjs" => "/payload/candidate",
        other => panic!("{other} carries no candidates"),
    };
    let value = frame.pointer(path)?;
    match value.as_str() {
        Some(json) => serde_json::from_str(json).ok(),
        None => Some(value.clone()),
    }
}

struct Pair {
    world: Simulation,
    from: &'static DialectDriver,
    to: &'static DialectDriver,
    sender: ClientId,
    receiver: ClientId,
}

impl Pair {
    /// Two members of different dialects. The sender has offered a connection: PeerJS takes candidates
    /// only for one that it knows.
    fn new(from: &'static DialectDriver, to: &'static DialectDriver) -> Self {
        let mut world = Simulation::new(1);
        let receiver = to.enter(&mut world, "room", "bob");
        let sender = from.enter(&mut world, "room", "alice");
        let mut pair = Self {
            world,
            from,
            to,
            sender,
            receiver,
        };
        let offer = (from.offer)(&pair.receivers_id(), "v=0");
        pair.world.send(sender, offer.to_string());
        assert_eq!(
            pair.world.take_error_codes(sender),
            [""; 0],
            "{}",
            pair.names()
        );
        pair.world.take_frames(receiver);
        pair.world.take_frames(sender);
        pair
    }

    fn receivers_id(&self) -> String {
        self.from.id_of(&self.world, self.receiver)
    }

    fn names(&self) -> String {
        format!("{} to {}", self.from.name, self.to.name)
    }

    /// The candidates that the receiver gets for this one, and the codes with which it is refused.
    fn send(&mut self, init: &Value) -> (Vec<Value>, Vec<&'static str>) {
        let frame = frame_of(self.from, &self.receivers_id(), init);
        self.world.send(self.sender, frame.to_string());
        let frames = self.world.received(self.receiver);
        let candidates = frames
            .iter()
            .filter_map(|frame| candidate_in(self.to, frame));
        (
            candidates.collect(),
            self.world.take_error_codes(self.sender),
        )
    }
}

/// Every two dialects that carry candidates and differ.
fn pairs() -> impl Iterator<Item = Pair> {
    let carries = |accent: &&DialectDriver| accent.name != "y-webrtc";
    ACCENTS.iter().filter(carries).flat_map(move |from| {
        let others = ACCENTS.iter().filter(carries);
        let others = others.filter(|to| to.name != from.name);
        others.map(|to| Pair::new(from, to))
    })
}

#[test]
fn values_are_converted_as_in_a_browser() {
    for mut pair in pairs() {
        for (mid, index, expected_mid, expected_index) in [
            (json!("0"), json!(0), json!("0"), json!(0)),
            (json!("0"), json!("0"), json!("0"), json!(0)),
            (json!("0"), json!(0.0), json!("0"), json!(0)),
            (json!("0"), json!(-1), json!("0"), json!(65_535)),
            (json!("0"), json!(65_537), json!("0"), json!(1)),
            (json!("0"), json!("video"), json!("0"), json!(0)),
            (json!(0), json!(0), json!("0"), json!(0)),
            (json!(1.5), json!(true), json!("1.5"), json!(1)),
            (json!(null), json!(1), json!(null), json!(1)),
            (json!("audio"), json!(null), json!("audio"), json!(null)),
            (json!(null), json!(null), json!(null), json!(0)),
        ] {
            let init = json!({"candidate": CANDIDATE, "sdpMid": mid, "sdpMLineIndex": index});
            let (candidates, refused) = pair.send(&init);
            let [candidate] = &candidates[..] else {
                panic!("{}, {init}: {candidates:?} {refused:?}", pair.names());
            };
            let received = ["candidate", "sdpMid", "sdpMLineIndex"].map(|key| &candidate[key]);
            let expected = [&json!(CANDIDATE), &expected_mid, &expected_index];
            assert_eq!(received, expected, "{}, {init}", pair.names());
        }
    }
}

#[test]
fn other_names_of_the_fields_are_understood() {
    for mut pair in pairs() {
        for (init, mid, index) in [
            (
                json!({"candidate": CANDIDATE, "label": 1, "id": "video"}),
                json!("video"),
                json!(1),
            ),
            (
                json!({"candidate": CANDIDATE, "label": "1", "id": 1}),
                json!("1"),
                json!(1),
            ),
            (
                json!({"sdp": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0}),
                json!("0"),
                json!(0),
            ),
            (
                json!({"sdp": CANDIDATE, "label": 0, "mid": "a"}),
                json!("a"),
                json!(0),
            ),
            (
                json!({"candidate": CANDIDATE, "mid": "a"}),
                json!("a"),
                json!(null),
            ),
            (
                json!({"candidate": CANDIDATE, "id": "a"}),
                json!("a"),
                json!(null),
            ),
            (
                json!({"candidate": CANDIDATE, "sdpMLineIndex": 0, "id": "x"}),
                json!(null),
                json!(0),
            ),
            (
                json!({"candidate": CANDIDATE, "sdpMid": "0", "mid": "1", "id": "2"}),
                json!("0"),
                json!(null),
            ),
        ] {
            let (candidates, refused) = pair.send(&init);
            let [candidate] = &candidates[..] else {
                panic!("{}, {init}: {candidates:?} {refused:?}", pair.names());
            };
            let received = ["candidate", "sdpMid", "sdpMLineIndex"].map(|key| &candidate[key]);
            assert_eq!(
                received,
                [&json!(CANDIDATE), &mid, &index],
                "{}, {init}",
                pair.names()
            );
        }
    }
}

#[test]
fn a_candidate_that_cannot_be_translated_is_answered() {
    for mut pair in pairs() {
        for init in [
            json!({"sdpMid": "0", "sdpMLineIndex": 0}),
            json!({"candidate": 7, "sdpMid": "0"}),
            json!({"candidate": {"candidate": {}}}),
            json!({"candidate": CANDIDATE, "sdpMid": {}}),
            json!({"candidate": CANDIDATE, "sdpMLineIndex": [0]}),
            json!({"candidate": CANDIDATE, "sdpMid": "0", "usernameFragment": []}),
        ] {
            let (candidates, refused) = pair.send(&init);
            assert_eq!(candidates, [Value::Null; 0], "{}, {init}", pair.names());
            // singo checks the candidate before its target.
            let is_own = pair.from.name == "singo" && refused == ["bad-field"];
            assert!(
                is_own || refused == ["not-understood"],
                "{}, {init}: {refused:?}",
                pair.names()
            );
            let told = pair.from.told(&mut pair.world, pair.sender);
            let is_told = matches!(&told[..], [ClientEvent::Error(_)]);
            assert!(
                is_told || !pair.from.answers_members,
                "{}, {init}: {told:?}",
                pair.names()
            );
        }
    }
}

#[test]
fn the_end_of_candidates_is_no_error() {
    for mut pair in pairs() {
        for init in [
            json!(null),
            json!({"candidate": ""}),
            json!({"candidate": null}),
            json!({"candidate": "", "sdpMid": null, "sdpMLineIndex": null}),
        ] {
            let nothing = (Vec::new(), Vec::new());
            assert_eq!(pair.send(&init), nothing, "{}, {init}", pair.names());
        }
    }
}

/// A lightstream client that spreads its description or candidate into the message.
#[test]
fn flat_frames_of_lightstream_are_read() {
    for mut pair in pairs().filter(|pair| pair.from.name == "lightstream") {
        let to = pair.receivers_id();
        for sdp in [json!("v=0\r\n"), json!({"type": "offer", "sdp": "v=0\r\n"})] {
            let offer = json!({"type": "offer", "targetID": to, "sdp": sdp});
            pair.world.send(pair.sender, offer.to_string());
            let told = pair.to.told(&mut pair.world, pair.receiver);
            let [ClientEvent::Offer { sdp, .. }] = &told[..] else {
                panic!("{}: {told:?}", pair.names());
            };
            assert_eq!(sdp, "v=0\r\n", "{}", pair.names());
        }
        for fields in [
            json!({"candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0}),
            json!({"candidate": CANDIDATE, "id": "0", "label": 0}),
            json!({"sdp": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": "0"}),
        ] {
            let mut frame = fields;
            frame["type"] = json!("ice-candidate");
            frame["targetID"] = json!(to);
            pair.world.send(pair.sender, frame.to_string());
            let frames = pair.world.received(pair.receiver);
            let [delivered] = &frames[..] else {
                panic!("{}, {frame}: {frames:?}", pair.names());
            };
            let candidate = candidate_in(pair.to, delivered).expect("a candidate");
            let expected = [&json!(CANDIDATE), &json!("0"), &json!(0)];
            let received = ["candidate", "sdpMid", "sdpMLineIndex"].map(|key| &candidate[key]);
            assert_eq!(received, expected, "{}, {frame}", pair.names());
        }
    }
}

/// A frame for all is answered once if a member of another dialect cannot be sent it.
#[test]
fn a_broadcast_that_cannot_be_translated_is_answered_once() {
    let mut world = Simulation::new(1);
    let enter = |world: &mut Simulation, name, nick| {
        crate::drivers::accent(name).enter(world, "room", nick)
    };
    let same = enter(&mut world, "lightstream", "same");
    let others = [0, 1].map(|_| enter(&mut world, "singo", ""));
    let sender = enter(&mut world, "lightstream", "sender");
    for client in world.ids() {
        world.take_frames(client);
    }
    world.send(sender, r#"{"type":"offer","data":"no description"}"#);
    assert_eq!(world.take_error_codes(sender), ["not-understood"]);
    assert_eq!(world.received(sender)[0]["code"], "not-understood");
    assert_eq!(world.received(same).len(), 1);
    for other in others {
        assert_eq!(world.received(other).len(), 0);
    }
}
