//! `gostream`: voice without WebRTC. HTTP requests, Server-Sent Events, raw audio up, a stream down.
//!
//! Who asks first: everybody opens `GET /messages` and is told there what happens; the caller asks
//! `POST /newCall`. Here are the texts of events and lists; requests and audio are the server's.
//! Wire page: `gostream.md`. Events are spelled as the reference spells them, spaces included; what
//! a user chose is quoted, which the reference forgets.

use switchboard_core::{Direction, DisplayName, RoomListing, User, VoiceEvent, VoiceRoomId};

/// How users are named on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserEncoding {
    /// By public keys. Events are a JSON string that holds the JSON text in hex.
    Keys,
    /// By a website's numbers. Events are JSON.
    Numbers,
}

/// One Server-Sent Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// The event's name.
    pub name: &'static str,
    /// Its data, one line.
    pub data: String,
}

/// One member of a voice room, as `/listMembers` shows it.
#[derive(Clone, Debug)]
pub struct RoomMember {
    /// Who.
    pub user: User,
    /// The name that the user gave itself. Ours; absent from the list if there is none.
    pub name: Option<DisplayName>,
    /// Whether a microphone is connected.
    pub mic: bool,
    /// Whether headphones are.
    pub headphones: bool,
    /// How loud it is now, 0 to 1. Ours; the reference's clients do not look at it.
    pub level: f32,
}

impl UserEncoding {
    /// The event that tells this. `sender` is the display name of [`VoiceEvent::sender`], if there is one: ours, as
    /// the member `name`, which the reference's clients do not look at.
    #[must_use]
    pub fn event(self, event: &VoiceEvent, sender: Option<&DisplayName>) -> SseEvent {
        let (name, mut text) = self.text(event);
        if let Some(sender) = sender {
            text.truncate(text.len() - 1);
            text.push_str(&format!(",\"name\": {}}}", quoted(sender.as_str())));
        }
        let data = match self {
            Self::Numbers => text,
            Self::Keys => format!("\"{}\"", hex(text.as_bytes())),
        };
        SseEvent { name, data }
    }

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
            VoiceEvent::AudioConf {
                from,
                room,
                mic,
                headphones,
            } => {
                let room = room.map_or(String::new(), |room| format!("\"roomid\": \"{room}\","));
                let step = match self {
                    Self::Keys => self.members(Some(""), Some(""), from),
                    Self::Numbers => self.members(None, None, from),
                };
                let (mic, headphones) = (u8::from(*mic), u8::from(*headphones));
                let text = format!("{{{step},{room}\"in\": \"{mic}\",\"out\": \"{headphones}\"}}");
                ("setAudioConf", text)
            }
            VoiceEvent::Replaced {
                room,
                other,
                direction: way,
                connection,
            } => (
                "replaced",
                self.replaced(*room, other.as_ref(), *way, connection),
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

    /// Ours: the connection that has ended because a newer one of the same user has taken over.
    fn replaced(
        self,
        room: Option<VoiceRoomId>,
        other: Option<&User>,
        way: Direction,
        connection: &str,
    ) -> String {
        let way = match way {
            Direction::Publish => "in",
            Direction::Subscribe => "out",
        };
        let mut text = format!(
            "{{\"way\": \"{way}\",\"connection\": {}",
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

    fn challenge_event(self, answer: Option<&str>, challenge: Option<&str>, from: &User) -> String {
        let members = match self {
            Self::Keys => self.members(answer, challenge, from),
            Self::Numbers => self.members(None, None, from),
        };
        format!("{{{members}}}")
    }

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

/// A JSON string of ASCII characters alone: the reference's clients decode the hex byte by byte.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            other => {
                let units = other.encode_utf16(&mut [0; 2]).to_vec();
                out.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    out.push('"');
    out
}

/// Lower-case hex, in which keys, signatures and events of keys are written.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use switchboard_core::RoomName;

    use super::*;

    fn user(name: &str) -> User {
        User::parse(name, 0).unwrap()
    }

    fn decoded(told: &SseEvent) -> serde_json::Value {
        let hex: String = serde_json::from_str(&told.data).unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        assert!(bytes.is_ascii());
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_replaced_connection_is_named_as_its_client_named_it() {
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
    fn a_site_s_events_are_json_with_numbers() {
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
        let conf = VoiceEvent::AudioConf {
            from: user("1"),
            room: None,
            mic: true,
            headphones: false,
        };
        assert_eq!(
            UserEncoding::Numbers.event(&conf, None).data,
            "{\"from\": 1,\"in\": \"1\",\"out\": \"0\"}"
        );
    }

    #[test]
    fn events_of_keys_are_hex_of_ascii_json() {
        let told = UserEncoding::Keys.event(
            &VoiceEvent::Ringing {
                from: user("02ab"),
                challenge: "x\",\"from\":\"FORGED é🚀\u{7f}\n".into(),
            },
            None,
        );
        assert_eq!(
            decoded(&told),
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
    fn a_display_name_is_one_more_member_and_injects_nothing() {
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
    fn a_room_s_name_injects_nothing() {
        let told = UserEncoding::Numbers.event(
            &VoiceEvent::NewRoom {
                id: VoiceRoomId::from(4),
                name: RoomName::parse("\", \"x\":\"y", 0).unwrap(),
                count: 1,
            },
            None,
        );
        let room: serde_json::Value = serde_json::from_str(&told.data).unwrap();
        assert_eq!(room["name"], "\", \"x\":\"y");
        assert_eq!(room["x"], serde_json::Value::Null);
    }
}
