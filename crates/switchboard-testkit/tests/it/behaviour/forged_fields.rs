//! Frames that name a forged sender or target.

use serde_json::{Value, json};

use super::Pair;
use crate::drivers::{ACCENTS, DialectDriver};

/// Every way to write the key at the end of `path`, with every way to say it several times.
fn forged(path: &[&str], offer: &Value, victim: &str) -> Vec<String> {
    let key = path.last().expect("a key");
    let escaped = format!(
        "{}\\u{:04x}",
        &key[..key.len() - 1],
        key.as_bytes()[key.len() - 1]
    );
    let spellings = [
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
    for spelling in &spellings {
        for value in &values {
            frames.push(format!("{{\"{spelling}\":{value},{rest}"));
            frames.push(format!("{whole},\"{spelling}\":{value}}}"));
            frames.push(format!(
                "{whole},\"{spelling}\":{value},\"{spelling}\":{value}}}"
            ));
            frames.push(format!(
                "{{ \n\"{key}\" : {value} ,\"{spelling}\":{value},{rest}"
            ));
        }
    }
    let whole = |frame: String| format!("{before}{frame}{after}");
    frames.into_iter().map(whole).collect()
}

/// All values under keys that spell `key`, in any case, anywhere on the way to the sender.
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
    for accent in ACCENTS.iter().filter(|accent| accent.names_others) {
        let mut pair = Pair::new(accent);
        let carol = accent.enter(&mut pair.world, "room", "carol");
        pair.forget();
        let (alice, carol) = (pair.id(pair.alice), pair.id(carol));
        let offer = (accent.offer)(&pair.id(pair.bob), "v=0");
        for frame in forged(accent.sender, &offer, &carol) {
            pair.world.send(pair.alice, frame.clone());
            for delivered in pair.world.received(pair.bob) {
                let senders = values_of(&delivered, accent.sender);
                assert!(!senders.is_empty(), "{}: {delivered}", accent.name);
                for sender in senders {
                    assert_eq!(*sender, *alice, "{}: {frame}\n{delivered}", accent.name);
                }
            }
            pair.world.take_frames(pair.alice);
        }
    }
}

/// The key of the target, where delivered frames have one.
fn target_of(accent: &DialectDriver) -> Option<&'static [&'static str]> {
    match accent.name {
        "lightstream" => Some(&["targetID"]),
        "p2p" => Some(&["toPeerId"]),
        "mesh" => Some(&["peerID"]),
        "matchbox" => Some(&["Signal", "receiver"]),
        "peerjs" => Some(&["dst"]),
        // In singo the sender takes its place; ayame and y-webrtc have none.
        _ => None,
    }
}

#[test]
fn no_receiver_reads_another_target_than_the_frame_was_routed_by() {
    for accent in &ACCENTS {
        let Some(path) = target_of(accent) else {
            continue;
        };
        let mut pair = Pair::new(accent);
        let carol = accent.enter(&mut pair.world, "room", "carol");
        pair.forget();
        let offer = (accent.offer)(&pair.id(pair.bob), "v=0");
        for frame in forged(path, &offer, &pair.id(carol)) {
            pair.world.send(pair.alice, frame.clone());
            for client in [pair.bob, carol] {
                let id = pair.id(client);
                for delivered in pair.world.received(client) {
                    for target in values_of(&delivered, path) {
                        assert_eq!(*target, *id, "{}: {frame}\n{delivered}", accent.name);
                    }
                }
            }
            pair.world.take_frames(pair.alice);
        }
        pair.must_work();
    }
}
