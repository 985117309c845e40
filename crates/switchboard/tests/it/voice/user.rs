//! A test user: a key, its tickets, and its event stream.

use std::net::SocketAddr;

use switchboard::SecretKey;

use super::{
    http::{BodyPart, HttpRequest, HttpResponse, encoded},
    listener::Listener,
    source::Source,
};

/// A user that is a public key (identity `keys`), with a ticket: a challenge of the server, which the key signs to
/// authenticate requests.
pub(super) struct User {
    key: SecretKey,
    pub(super) address: SocketAddr,
    ticket: String,
}

impl User {
    pub(super) async fn new(address: SocketAddr) -> Self {
        let mut user = Self {
            key: SecretKey::generate(),
            address,
            ticket: String::new(),
        };
        let request = HttpRequest::get("/getCallTicket").header("PKey", &user.id());
        let (status, ticket) = request.text(address).await;
        assert_eq!(status, 200, "{ticket}");
        user.ticket = ticket;
        user
    }

    pub(super) async fn two(address: SocketAddr) -> (Self, Self) {
        (Self::new(address).await, Self::new(address).await)
    }

    pub(super) fn id(&self) -> String {
        self.key.public().to_string()
    }

    pub(super) fn sign(&self, challenge: &str) -> String {
        self.key
            .sign(challenge)
            .expect("the challenge cannot be signed")
    }

    /// The key and its signature over the ticket, as query parameters.
    pub(super) fn proof(&self) -> String {
        encoded(&[
            ("PKey", &self.id()),
            ("Signature", &self.sign(&self.ticket)),
        ])
    }

    /// A path with these parameters and the proof.
    pub(super) fn path(&self, path: &str, parameters: &[(&str, &str)]) -> String {
        format!("{path}?{}&{}", encoded(parameters), self.proof())
    }

    pub(super) fn up_room(&self, room: &str) -> String {
        self.path("/upRoom", &[("roomID", room)])
    }

    pub(super) fn up_call(&self, other: &Self) -> String {
        self.path("/upCall", &[("otherID", &other.id())])
    }

    pub(super) fn join_room(&self, room: &str, format: &str) -> HttpRequest {
        HttpRequest::post(self.path("/joinRoom", &[("roomID", room), ("format", format)]))
    }

    pub(super) fn join_call(&self, other: &Self, format: &str) -> HttpRequest {
        HttpRequest::post(self.path("/joinCall", &[("otherID", &other.id()), ("format", format)]))
    }

    /// Connects a source to a room.
    pub(super) async fn speak(&self, room: &str) -> Source {
        Source::websocket(self.address, &self.up_room(room)).await
    }

    /// Connects a listener to a room.
    pub(super) async fn listen(&self, room: &str, format: &str) -> Listener {
        Listener::of(self.join_room(room, format).send(self.address).await)
    }

    /// Connects a source to the call with `other`.
    pub(super) async fn speak_to(&self, other: &Self) -> Source {
        Source::websocket(self.address, &self.up_call(other)).await
    }

    /// Connects a listener to the call with `other`.
    pub(super) async fn listen_to(&self, other: &Self, format: &str) -> Listener {
        Listener::of(self.join_call(other, format).send(self.address).await)
    }

    pub(super) async fn events(&self) -> Events {
        Events::open(self.address, &format!("/messages?PKey={}", self.id())).await
    }

    /// Posts a form as this user.
    pub(super) async fn post(&self, path: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        let request = HttpRequest::post(path).header("PKey", &self.id());
        request
            .url_encoded(encoded(parameters))
            .text(self.address)
            .await
    }

    /// The challenge that this user sends when it rings. It is derived from the key of the user, so that no two users
    /// send the same one.
    fn challenge(&self) -> String {
        self.id().chars().rev().take(16).collect()
    }

    /// Rings a user. Returns the response, whether or not it is a success.
    pub(super) async fn ring(&mut self, other: &Self) -> (u16, String) {
        let signature = self.sign(&self.ticket);
        let parameters = [
            ("Destination", &*other.id()),
            ("challenge", &*self.challenge()),
            ("signature", &signature),
        ];
        let (status, text) = self.post("/newCall", &parameters).await;
        if status == 200 {
            self.ticket.clone_from(&text);
        }
        (status, text)
    }

    /// Accepts the call of a caller that rings.
    pub(super) async fn accept(&self, caller: &Self) -> (u16, String) {
        let parameters = [
            ("From", &*caller.id()),
            ("signature", &*self.sign(&caller.challenge())),
        ];
        self.post("/acceptCall", &parameters).await
    }

    pub(super) async fn hang_up(&self, other: &Self) -> (u16, String) {
        let parameters = [
            ("otherID", &*other.id()),
            ("signature", &self.sign(&self.ticket)),
        ];
        self.post("/hangupCall", &parameters).await
    }

    /// Establishes a call, from the ring to its acceptance.
    pub(super) async fn call(&mut self, other: &Self) {
        let mut events = other.events().await;
        let (status, text) = self.ring(other).await;
        assert_eq!(status, 200, "{text}");
        assert_eq!(events.next().await.name, "newCall");
        let (status, text) = other.accept(self).await;
        assert_eq!(status, 200, "{text}");
    }
}

/// Two new users in a call.
pub(super) async fn in_call(address: SocketAddr) -> (User, User) {
    let (mut ada, bob) = User::two(address).await;
    ada.call(&bob).await;
    (ada, bob)
}

/// An event with its data as sent on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

impl Event {
    /// The JSON text, decoded from the hex that users with keys receive.
    pub(super) fn text(&self) -> String {
        let Ok(hex) = serde_json::from_str::<String>(&self.data) else {
            return self.data.clone();
        };
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("not hex");
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        let text = String::from_utf8(bytes).expect("not UTF-8");
        assert!(text.is_ascii(), "clients decode byte by byte: {text}");
        text
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).expect("not JSON")
    }
}

/// An open event stream.
pub(super) struct Events {
    answer: HttpResponse,
    /// Received text that is not parsed yet.
    text: String,
    pub(super) server_key: String,
}

impl Events {
    pub(super) async fn open(address: SocketAddr, target: &str) -> Self {
        let answer = HttpRequest::get(target).send(address).await;
        assert_eq!(answer.status, 200, "{target}");
        Self::of(answer).await
    }

    /// Reads the event stream in the body of a response; its first event is the key of the server.
    pub(super) async fn of(answer: HttpResponse) -> Self {
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        let mut events = Self {
            answer,
            text: String::new(),
            server_key: String::new(),
        };
        let first = events.next().await;
        let is_uncompressed = first.data.len() == 130 && first.data.starts_with("04");
        assert!(first.name == "pubkey" && is_uncompressed, "{first:?}");
        events.server_key = first.data;
        events
    }

    /// The next event; skips comments.
    pub(super) async fn next(&mut self) -> Event {
        self.next_or_end()
            .await
            .expect("the event stream has ended")
    }

    /// The next event, skipping those of other names.
    pub(super) async fn next_of(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.name == name {
                return event;
            }
        }
    }

    /// The next event, or how the stream ended.
    pub(super) async fn next_or_end(&mut self) -> Result<Event, BodyPart> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                match parse_event(&block) {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            match self.answer.body.next().await {
                BodyPart::Bytes(bytes) => self
                    .text
                    .push_str(&String::from_utf8(bytes).expect("not UTF-8")),
                end @ (BodyPart::End | BodyPart::Cut) => return Err(end),
            }
        }
    }
}

/// Parses one event. `None` for a comment.
fn parse_event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let line = block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.strip_prefix(' ').unwrap_or(line).to_owned())
    };
    Some(Event {
        name: field("event")?,
        data: field("data")?,
    })
}
