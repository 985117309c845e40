//! `gostream`, the dialect of voice without WebRTC: HTTP requests, Server-Sent Events, raw PCM audio to the server, and
//! an audio stream from it.
//!
//! Every client opens `GET /messages` and gets its events there; a caller sends `POST /newCall`. This module encodes
//! events and lists; requests and audio are handled elsewhere. Events have the format of the reference server, the
//! original implementation, spaces included. Unlike there, texts from users are escaped as JSON.

use base16ct::lower;
use switchboard_core::DisplayName;

use crate::{
    id::{User, VoiceRoomId},
    signaling::{Direction, RoomListing, VoiceEvent},
};

/// The encoding of users on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserEncoding {
    /// Public keys. The data of an event is a JSON string with the JSON text in hex.
    Keys,
    /// The user numbers of a website. The data of an event is JSON.
    Numbers,
}

/// A Server-Sent Event (HTML standard, section 9.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The name of the event.
    pub name: &'static str,
    /// The data of the event, one line.
    pub data: String,
}

/// A member of a voice room, as listed by `/listMembers`.
#[derive(Clone, Debug)]
pub struct RoomMember {
    /// The user that is the member.
    pub user: User,
    /// The display name of the user. An extension of this server; absent from the list if there is none.
    pub name: Option<DisplayName>,
    /// Whether a microphone is connected.
    pub mic: bool,
    /// Whether headphones are connected.
    pub headphones: bool,
    /// The current audio level, 0 to 1. An extension of this server; clients of the reference ignore it.
    pub level: f32,
}

impl UserEncoding {
    /// Encodes a voice event. `sender` is the display name of [`VoiceEvent::sender`], if there is one. It becomes
    /// the field `name`, an extension of this server that clients of the reference ignore.
    #[must_use]
    pub fn event(self, event: &VoiceEvent, sender: Option<&DisplayName>) -> SseEvent {
        let (name, mut text) = self.text(event);
        if let Some(sender) = sender {
            text.truncate(text.len() - 1);
            text.push_str(&format!(",\"name\": {}}}", quoted(sender.as_str())));
        }
        let data = match self {
            Self::Numbers => text,
            Self::Keys => format!("\"{}\"", lower::encode_string(text.as_bytes())),
        };
        SseEvent { name, data }
    }

    /// The name of an event and its JSON text.
    fn text(self, event: &VoiceEvent) -> (&'static str, String) {
        match event {
            VoiceEvent::Ringing { from, challenge } => {
                ("newCall", self.challenge_event(None, Some(challenge), from))
            }
            VoiceEvent::Answered {
                from,
                signature,
                challenge,
            } => (
                "answer",
                self.challenge_event(Some(signature), Some(challenge), from),
            ),
            VoiceEvent::Confirmed {
                from,
                signature,
                challenge,
            } => (
                "answer2",
                self.challenge_event(Some(signature), Some(challenge), from),
            ),
            VoiceEvent::Accepted { from, signature } => (
                "acceptedCall",
                self.challenge_event(Some(signature), Some(""), from),
            ),
            VoiceEvent::Declined { from, signature } => (
                "declineCall",
                self.challenge_event(Some(signature), None, from),
            ),
            VoiceEvent::AudioState {
                from,
                room,
                mic,
                headphones,
            } => {
                let room = room.map_or(String::new(), |room| format!("\"roomid\": \"{room}\","));
                let members = match self {
                    Self::Keys => self.members(Some(""), Some(""), from),
                    Self::Numbers => self.members(None, None, from),
                };
                let (mic, headphones) = (u8::from(*mic), u8::from(*headphones));
                let text =
                    format!("{{{members},{room}\"in\": \"{mic}\",\"out\": \"{headphones}\"}}");
                ("setAudioConf", text)
            }
            VoiceEvent::Replaced {
                room,
                other,
                direction,
                connection,
            } => (
                "replaced",
                self.replaced(*room, other.as_ref(), *direction, connection),
            ),
            VoiceEvent::NewRoom { id, name, count } => {
                let name = quoted(name.as_str());
                let text = format!(
                    "{{\"roomid\": {id},\"name\": {name},\"type\": \"no type\",\"desc\": \"no desc\",\"count\": {count}}}"
                );
                ("newRoom", text)
            }
        }
    }

    /// The event for a connection that a newer one of the same user has replaced. An extension of this server.
    fn replaced(
        self,
        room: Option<VoiceRoomId>,
        other: Option<&User>,
        direction: Direction,
        connection: &str,
    ) -> String {
        let direction = match direction {
            Direction::Publish => "in",
            Direction::Subscribe => "out",
        };
        let mut text = format!(
            "{{\"way\": \"{direction}\",\"connection\": {}",
            quoted(connection)
        );
        if let Some(room) = room {
            text.push_str(&format!(",\"roomid\": \"{room}\""));
        }
        if let Some(other) = other {
            text.push_str(&format!(",\"from\": {}", self.user(other)));
        }
        text.push('}');
        text
    }

    /// An event of the call setup. `answer` is the signature.
    fn challenge_event(self, answer: Option<&str>, challenge: Option<&str>, from: &User) -> String {
        let members = match self {
            Self::Keys => self.members(answer, challenge, from),
            Self::Numbers => self.members(None, None, from),
        };
        format!("{{{members}}}")
    }

    /// The JSON members `answer` (the signature), `challenge` and `from`, without braces.
    fn members(self, answer: Option<&str>, challenge: Option<&str>, from: &User) -> String {
        let mut text = String::new();
        for (key, value) in [("answer", answer), ("challenge", challenge)] {
            if let Some(value) = value {
                text.push_str(&format!("\"{key}\": {},", quoted(value)));
            }
        }
        text.push_str(&format!("\"from\": {}", self.user(from)));
        text
    }

    fn user(self, user: &User) -> String {
        match self {
            Self::Keys => quoted(user.as_str()),
            Self::Numbers => user.to_string(),
        }
    }

    /// The answer to `/listRoom`, JSON.
    #[must_use]
    pub fn list_rooms(self, rooms: impl Iterator<Item = RoomListing>) -> String {
        let room = |room: RoomListing| {
            format!(
                "{{ \"id\" : {}, \"name\" : {}, \"desc\" : \"no desc\", \"count\" : {}}}",
                room.id,
                quoted(room.name.as_str()),
                room.count
            )
        };
        list(rooms.map(room))
    }

    /// The answer to `/listMembers`, JSON.
    #[must_use]
    pub fn list_members(self, members: impl Iterator<Item = RoomMember>) -> String {
        let key = match self {
            Self::Keys => "pubkey",
            Self::Numbers => "user",
        };
        let member = |member: RoomMember| {
            let name = member.name.as_ref().map_or(String::new(), |name| {
                format!(", \"name\" : {}", quoted(name.as_str()))
            });
            format!(
                "{{ \"{key}\" : {}, \"mic\" : {}, \"hds\" : {}, \"level\" : {:.3}{name}}}",
                self.user(&member.user),
                u8::from(member.mic),
                u8::from(member.headphones),
                member.level
            )
        };
        list(members.map(member))
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// A JSON string of only ASCII characters, because clients of the reference decode the hex byte by byte.
fn quoted(text: &str) -> String {
    let mut output = String::with_capacity(text.len() + 2);
    output.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => output.extend(['\\', character]),
            ' '..='~' => output.push(character),
            other => {
                let units = other.encode_utf16(&mut [0; 2]).to_vec();
                output.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    output.push('"');
    output
}

#[cfg(test)]
mod tests {
    use switchboard_core::RoomName;

    use super::*;

    fn user(name: &str) -> User {
        User::parse(name).unwrap()
    }

    fn decoded(event: &SseEvent) -> serde_json::Value {
        let hex: String = serde_json::from_str(&event.data).unwrap();
        let bytes = lower::decode_vec(hex).unwrap();
        assert!(bytes.is_ascii());
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_replaced_event_has_the_name_that_the_client_gave_the_connection() {
        let replaced = |room, other| VoiceEvent::Replaced {
            room,
            other,
            direction: Direction::Subscribe,
            connection: "a\"1".into(),
        };
        let in_room = UserEncoding::Numbers.event(&replaced(Some(7.into()), None), None);
        assert_eq!(in_room.name, "replaced");
        assert_eq!(
            in_room.data,
            r#"{"way": "out","connection": "a\"1","roomid": "7"}"#
        );
        let in_call = UserEncoding::Keys.event(&replaced(None, Some(user("03ab"))), None);
        assert_eq!(
            decoded(&in_call),
            serde_json::json!({ "way": "out", "connection": "a\"1", "from": "03ab" })
        );
    }

    #[test]
    fn events_with_user_numbers_are_plain_json() {
        let ringing = VoiceEvent::Ringing {
            from: user("12"),
            challenge: "".into(),
        };
        assert_eq!(
            UserEncoding::Numbers.event(&ringing, None),
            SseEvent {
                name: "newCall",
                data: "{\"from\": 12}".to_owned()
            }
        );
        let state = VoiceEvent::AudioState {
            from: user("1"),
            room: None,
            mic: true,
            headphones: false,
        };
        assert_eq!(
            UserEncoding::Numbers.event(&state, None).data,
            "{\"from\": 1,\"in\": \"1\",\"out\": \"0\"}"
        );
    }

    #[test]
    fn events_with_public_keys_are_hex_of_ascii_json() {
        let event = UserEncoding::Keys.event(
            &VoiceEvent::Ringing {
                from: user("02ab"),
                challenge: "x\",\"from\":\"FORGED é🚀\u{7f}\n".into(),
            },
            None,
        );
        assert_eq!(
            decoded(&event),
            serde_json::json!({"challenge": "x\",\"from\":\"FORGED é🚀\u{7f}\n", "from": "02ab"})
        );
        let declined = UserEncoding::Keys.event(
            &VoiceEvent::Declined {
                from: user("02ab"),
                signature: "30".into(),
            },
            None,
        );
        assert_eq!(
            decoded(&declined),
            serde_json::json!({"answer": "30", "from": "02ab"})
        );
    }

    #[test]
    fn a_display_name_is_an_escaped_extra_field() {
        let name = DisplayName::parse("\",\"from\":\"é", 0).unwrap();
        let ringing = VoiceEvent::Ringing {
            from: user("02ab"),
            challenge: "7".into(),
        };
        assert_eq!(
            decoded(&UserEncoding::Keys.event(&ringing, Some(&name))),
            serde_json::json!({"challenge": "7", "from": "02ab", "name": name.as_str()})
        );
        let present = |name| RoomMember {
            user: user("02ab"),
            name,
            mic: true,
            headphones: false,
            level: 0.0,
        };
        let list =
            UserEncoding::Keys.list_members([present(None), present(Some(name))].into_iter());
        let bare = "{ \"pubkey\" : \"02ab\", \"mic\" : 1, \"hds\" : 0, \"level\" : 0.000}";
        assert!(list.starts_with(&format!("[{bare},")), "{list}");
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!(list[1]["name"], "\",\"from\":\"é");
        assert_eq!(list[1]["pubkey"], "02ab");
    }

    #[test]
    fn a_room_name_is_escaped() {
        let event = UserEncoding::Numbers.event(
            &VoiceEvent::NewRoom {
                id: VoiceRoomId::from(4),
                name: RoomName::parse("\", \"x\":\"y", 0).unwrap(),
                count: 1,
            },
            None,
        );
        let room: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(room["name"], "\", \"x\":\"y");
        assert_eq!(room["x"], serde_json::Value::Null);
    }
}
