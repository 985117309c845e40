//! Translation of ICE candidates between every two dialects: the values and field names that existing clients use, and
//! the answer to a candidate that cannot be translated.

use serde_json::{Value, json};
use switchboard_testkit::{ClientId, Simulation};

use crate::drivers::{ClientEvent, DRIVERS, DialectDriver};

const CANDIDATE: &str = "candidate:1 1 udp 2130706431 192.0.2.1 9 typ host";

/// The frame in which a client sends a candidate.
fn frame_of(driver: &DialectDriver, to: &str, init: &Value) -> Value {
    match driver.name {
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
fn candidate_in(driver: &DialectDriver, frame: &Value) -> Option<Value> {
    let path = match driver.name {
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

struct DialectPair {
    simulation: Simulation,
    from: &'static DialectDriver,
    to: &'static DialectDriver,
    sender: ClientId,
    receiver: ClientId,
}

impl DialectPair {
    /// Two members of different dialects. The sender has sent an offer, because PeerJS accepts candidates only for a
    /// connection that it knows.
    fn new(from: &'static DialectDriver, to: &'static DialectDriver) -> Self {
        let mut simulation = Simulation::new(1);
        let receiver = to.connect_and_join(&mut simulation, "room", "bob");
        let sender = from.connect_and_join(&mut simulation, "room", "alice");
        let mut pair = Self {
            simulation,
            from,
            to,
            sender,
            receiver,
        };
        let offer = (from.offer)(&pair.receivers_id(), "v=0");
        pair.simulation.send(sender, offer.to_string());
        assert_eq!(
            pair.simulation.take_error_codes(sender),
            [""; 0],
            "{}",
            pair.names()
        );
        pair.simulation.take_frames(receiver);
        pair.simulation.take_frames(sender);
        pair
    }

    fn receivers_id(&self) -> String {
        self.from.id_of(&self.simulation, self.receiver)
    }

    fn names(&self) -> String {
        format!("{} to {}", self.from.name, self.to.name)
    }

    /// Sends a candidate. Returns the candidates that the receiver gets, and the error codes of the sender.
    fn send(&mut self, init: &Value) -> (Vec<Value>, Vec<&'static str>) {
        let frame = frame_of(self.from, &self.receivers_id(), init);
        self.simulation.send(self.sender, frame.to_string());
        let frames = self.simulation.received(self.receiver);
        let candidates = frames
            .iter()
            .filter_map(|frame| candidate_in(self.to, frame));
        (
            candidates.collect(),
            self.simulation.take_error_codes(self.sender),
        )
    }
}

/// All pairs of two different dialects that carry candidates.
fn pairs() -> impl Iterator<Item = DialectPair> {
    let carries = |driver: &&DialectDriver| driver.name != "y-webrtc";
    DRIVERS.iter().filter(carries).flat_map(move |from| {
        let others = DRIVERS.iter().filter(carries);
        let others = others.filter(|to| to.name != from.name);
        others.map(|to| DialectPair::new(from, to))
    })
}

#[test]
fn candidate_values_are_converted_as_in_a_browser() {
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
            let (candidates, error_codes) = pair.send(&init);
            let [candidate] = &candidates[..] else {
                panic!("{}, {init}: {candidates:?} {error_codes:?}", pair.names());
            };
            let received = ["candidate", "sdpMid", "sdpMLineIndex"].map(|key| &candidate[key]);
            let expected = [&json!(CANDIDATE), &expected_mid, &expected_index];
            assert_eq!(received, expected, "{}, {init}", pair.names());
        }
    }
}

#[test]
fn alternative_field_names_are_understood() {
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
            let (candidates, error_codes) = pair.send(&init);
            let [candidate] = &candidates[..] else {
                panic!("{}, {init}: {candidates:?} {error_codes:?}", pair.names());
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
            let (candidates, error_codes) = pair.send(&init);
            assert_eq!(candidates, [Value::Null; 0], "{}, {init}", pair.names());
            // singo checks the candidate before its target.
            let is_checked_first = pair.from.name == "singo" && error_codes == ["bad-field"];
            assert!(
                is_checked_first || error_codes == ["not-understood"],
                "{}, {init}: {error_codes:?}",
                pair.names()
            );
            let events = pair.from.take_events(&mut pair.simulation, pair.sender);
            let is_reported = matches!(&events[..], [ClientEvent::Error(_)]);
            assert!(
                is_reported || !pair.from.reports_member_errors,
                "{}, {init}: {events:?}",
                pair.names()
            );
        }
    }
}

#[test]
fn the_end_of_candidates_is_neither_delivered_nor_an_error() {
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

/// Some lightstream clients put the fields of a description or candidate directly into the message.
#[test]
fn flat_descriptions_and_candidates_of_lightstream_are_read() {
    for mut pair in pairs().filter(|pair| pair.from.name == "lightstream") {
        let to = pair.receivers_id();
        for sdp in [json!("v=0\r\n"), json!({"type": "offer", "sdp": "v=0\r\n"})] {
            let offer = json!({"type": "offer", "targetID": to, "sdp": sdp});
            pair.simulation.send(pair.sender, offer.to_string());
            let events = pair.to.take_events(&mut pair.simulation, pair.receiver);
            let [ClientEvent::Offer { sdp, .. }] = &events[..] else {
                panic!("{}: {events:?}", pair.names());
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
            pair.simulation.send(pair.sender, frame.to_string());
            let frames = pair.simulation.received(pair.receiver);
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

/// A broadcast that cannot be translated for several members is answered with one error.
#[test]
fn a_broadcast_that_cannot_be_translated_is_answered_once() {
    let mut simulation = Simulation::new(1);
    let connect_and_join = |simulation: &mut Simulation, name, nick| {
        crate::drivers::driver_of(name).connect_and_join(simulation, "room", nick)
    };
    let same = connect_and_join(&mut simulation, "lightstream", "same");
    let others = [0, 1].map(|_| connect_and_join(&mut simulation, "singo", ""));
    let sender = connect_and_join(&mut simulation, "lightstream", "sender");
    for client in simulation.ids() {
        simulation.take_frames(client);
    }
    simulation.send(sender, r#"{"type":"offer","data":"no description"}"#);
    assert_eq!(simulation.take_error_codes(sender), ["not-understood"]);
    assert_eq!(simulation.received(sender)[0]["code"], "not-understood");
    assert_eq!(simulation.received(same).len(), 1);
    for other in others {
        assert_eq!(simulation.received(other).len(), 0);
    }
}
