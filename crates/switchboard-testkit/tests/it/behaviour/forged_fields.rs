//! Frames that name a forged sender or target.

use serde_json::{Value, json};

use super::MemberPair;
use crate::drivers::{DRIVERS, DialectDriver};

/// Copies of an offer with a forged value for the key at the end of `path`: the key in all variants of case and
/// escaping, and once or several times.
fn forged(path: &[&str], offer: &Value, victim: &str) -> Vec<String> {
    let key = path.last().expect("a key");
    let escaped = format!(
        "{}\\u{:04x}",
        &key[..key.len() - 1],
        key.as_bytes()[key.len() - 1]
    );
    let variants = [
        (*key).to_owned(),
        key.to_uppercase(),
        key.to_lowercase(),
        key[..1].to_uppercase() + &key[1..],
        escaped,
    ];
    let values = [
        json!(victim).to_string(),
        json!("server").to_string(),
        "7".into(),
        "null".into(),
        "{\"id\":1}".into(),
        "\"\\u0073erver\"".into(),
    ];
    // Where the path names an inner object, the key in that object is forged.
    let (before, offer, after) = match path {
        [outer, _] => {
            let kind = offer.get("type").map(|kind| format!("\"type\":{kind},"));
            let before = format!("{{{}\"{outer}\":", kind.unwrap_or_default());
            (before, offer[outer].to_string(), "}")
        }
        _ => (String::new(), offer.to_string(), ""),
    };
    let rest = &offer[1..];
    let whole = &offer[..offer.len() - 1];
    let mut frames = Vec::new();
    for variant in &variants {
        for value in &values {
            frames.push(format!("{{\"{variant}\":{value},{rest}"));
            frames.push(format!("{whole},\"{variant}\":{value}}}"));
            frames.push(format!(
                "{whole},\"{variant}\":{value},\"{variant}\":{value}}}"
            ));
            frames.push(format!(
                "{{ \n\"{key}\" : {value} ,\"{variant}\":{value},{rest}"
            ));
        }
    }
    let whole = |frame: String| format!("{before}{frame}{after}");
    frames.into_iter().map(whole).collect()
}

/// The values at `path` in a frame, with keys in any case.
fn values_of<'v>(frame: &'v Value, path: &[&str]) -> Vec<&'v Value> {
    let Some((key, rest)) = path.split_first() else {
        return vec![frame];
    };
    let fields = frame.as_object().into_iter().flatten();
    fields
        .filter(|(name, _)| name.eq_ignore_ascii_case(key))
        .flat_map(|(_, value)| values_of(value, rest))
        .collect()
}

#[test]
fn no_delivered_frame_names_a_forged_sender() {
    for driver in DRIVERS.iter().filter(|driver| driver.has_member_ids) {
        let mut pair = MemberPair::new(driver);
        let carol = driver.connect_and_join(&mut pair.simulation, "room", "carol");
        pair.discard_output();
        let (alice, carol) = (pair.id(pair.alice), pair.id(carol));
        let offer = (driver.offer)(&pair.id(pair.bob), "v=0");
        for frame in forged(driver.sender, &offer, &carol) {
            pair.simulation.send(pair.alice, frame.clone());
            for delivered in pair.simulation.received(pair.bob) {
                let senders = values_of(&delivered, driver.sender);
                assert!(!senders.is_empty(), "{}: {delivered}", driver.name);
                for sender in senders {
                    assert_eq!(*sender, *alice, "{}: {frame}\n{delivered}", driver.name);
                }
            }
            pair.simulation.take_frames(pair.alice);
        }
    }
}

/// The path of the target in a delivered frame, if the dialect's frames have one.
fn target_of(driver: &DialectDriver) -> Option<&'static [&'static str]> {
    match driver.name {
        "lightstream" => Some(&["targetID"]),
        "p2p" => Some(&["toPeerId"]),
        "mesh" => Some(&["peerID"]),
        "matchbox" => Some(&["Signal", "receiver"]),
        "peerjs" => Some(&["dst"]),
        // In singo, the key holds the sender in delivered frames; ayame and y-webrtc have none.
        _ => None,
    }
}

#[test]
fn a_delivered_frame_names_only_the_target_it_was_routed_to() {
    for driver in &DRIVERS {
        let Some(path) = target_of(driver) else {
            continue;
        };
        let mut pair = MemberPair::new(driver);
        let carol = driver.connect_and_join(&mut pair.simulation, "room", "carol");
        pair.discard_output();
        let offer = (driver.offer)(&pair.id(pair.bob), "v=0");
        for frame in forged(path, &offer, &pair.id(carol)) {
            pair.simulation.send(pair.alice, frame.clone());
            for client in [pair.bob, carol] {
                let id = pair.id(client);
                for delivered in pair.simulation.received(client) {
                    for target in values_of(&delivered, path) {
                        assert_eq!(*target, *id, "{}: {frame}\n{delivered}", driver.name);
                    }
                }
            }
            pair.simulation.take_frames(pair.alice);
        }
        pair.assert_offers_arrive();
    }
}
