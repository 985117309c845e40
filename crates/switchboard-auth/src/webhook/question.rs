//! The bodies of the requests with which the webhook is asked. Fields that Ayame has too are named as Ayame's webhooks
//! name them.

use std::collections::BTreeMap;

use http::header;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{CredentialPlace, Credentials};

/// Bytes of a header that is passed on. A longer one is cut.
const HEADER_BYTES_MAX: usize = 1024;

/// The question whether a client may connect.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectQuestion<'a> {
    event: &'static str,
    id: &'a str,
    dialect: &'a str,
    path: &'a str,
    query: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_place: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

/// The body of the question whether a client may connect. `id` is that of the request.
#[must_use]
pub fn connect_question(id: &str, dialect: &str, credentials: &Credentials) -> String {
    let query = credentials.uri.query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes()).into_owned();
    let token = credentials.token.as_ref();
    let question = ConnectQuestion {
        event: "connect",
        id,
        dialect,
        path: credentials.uri.path(),
        // Of repeated parameters the last one is passed on. The token is a field of its own.
        query: query
            .filter(|(name, _)| !credentials.is_credential_parameter(name))
            .collect(),
        token: token.map(|token| &*token.text),
        token_place: token.map(|token| place_name(token.place)),
        address: credentials.address.map(|address| address.to_string()),
        user_agent: header_text(credentials, &header::USER_AGENT),
        origin: header_text(credentials, &header::ORIGIN),
    };
    to_json(&question)
}

fn place_name(place: CredentialPlace) -> &'static str {
    match place {
        CredentialPlace::Header => "header",
        CredentialPlace::Query => "query",
        CredentialPlace::Subprotocol => "subprotocol",
        CredentialPlace::Cookie => "cookie",
        CredentialPlace::Dialect => "dialect",
    }
}

fn header_text(credentials: &Credentials, name: &header::HeaderName) -> Option<String> {
    let value = credentials.headers.get(name)?.as_bytes();
    let value = &value[..value.len().min(HEADER_BYTES_MAX)];
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The question whether a client may join a room.
#[derive(Clone, Copy, Debug)]
pub struct JoinQuestion<'a> {
    /// The id of the request.
    pub id: &'a str,
    /// The name of the room.
    pub room: &'a str,
    /// The namespace of the room; empty for the default one.
    pub space: &'a str,
    /// The address that the client wants in the room, if it is known.
    pub client: Option<&'a str>,
    /// The id of the connection.
    pub connection: &'a str,
    /// The subject of the principal, if there is one.
    pub subject: Option<&'a str>,
    /// The dialect of the client.
    pub dialect: &'a str,
    /// The metadata of the principal, as JSON text.
    pub metadata: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JoinQuestionBody<'a> {
    event: &'static str,
    id: &'a str,
    room_id: &'a str,
    space: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    connection_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    dialect: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authn_metadata: Option<&'a RawValue>,
}

impl JoinQuestion<'_> {
    /// The body of the request.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json(&JoinQuestionBody {
            event: "join",
            id: self.id,
            room_id: self.room,
            space: self.space,
            client_id: self.client,
            connection_id: self.connection,
            subject: self.subject,
            dialect: self.dialect,
            authn_metadata: self
                .metadata
                .and_then(|text| serde_json::from_str(text).ok()),
        })
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and maps of texts have a JSON form")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn connect_question_has_the_token_once() {
        let uri = "/ws?room=r&access_token=abc".parse().expect("a URI");
        let headers = [
            (header::USER_AGENT, "x".repeat(2000)),
            (header::ORIGIN, "https://a.example".to_owned()),
        ];
        let headers = headers.map(|(name, value)| (name, value.parse().expect("a value")));
        let address = "192.0.2.1".parse().ok();
        let headers = headers.into_iter().collect();
        let credentials = Credentials::of_request(&uri, &headers, address, "").expect("valid");
        let body: Value =
            serde_json::from_str(&connect_question("e1", "mesh", &credentials)).expect("JSON");
        let agent = "x".repeat(HEADER_BYTES_MAX);
        let expected = json!({
            "event": "connect", "id": "e1", "dialect": "mesh", "path": "/ws", "query": { "room": "r" },
            "token": "abc", "tokenPlace": "query", "address": "192.0.2.1", "userAgent": agent,
            "origin": "https://a.example",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn query_has_no_parameter_with_a_credential() {
        let uri = "/ws?room=own&token=own&access_token=general&to%6ben=b&Token=c&tokens=d";
        let uri = uri.parse().expect("a URI");
        let credentials = Credentials::of_request(&uri, &http::HeaderMap::new(), None, "");
        let mut credentials = credentials.expect("one token");
        let query = |credentials: &Credentials| {
            let question = connect_question("e1", "mesh", credentials);
            let body: Value = serde_json::from_str(&question).expect("JSON");
            body["query"].clone()
        };
        let of_no_dialect = json!({ "room": "own", "token": "b", "Token": "c", "tokens": "d" });
        assert_eq!(query(&credentials), of_no_dialect);
        credentials.own_parameters = vec!["token"];
        credentials.add_of_dialect("own").expect("short");
        let expected = json!({ "room": "own", "tokens": "d" });
        assert_eq!(query(&credentials), expected, "no token that was not used");
    }

    #[test]
    fn join_question_has_the_fields_of_ayame() {
        let question = JoinQuestion {
            id: "e2",
            room: "team",
            space: "",
            client: Some("ada"),
            connection: "c1",
            subject: None,
            dialect: "ayame",
            metadata: Some("{\"a\":1}"),
        };
        let body: Value = serde_json::from_str(&question.to_json()).expect("JSON");
        let expected = json!({
            "event": "join", "id": "e2", "roomId": "team", "space": "", "clientId": "ada",
            "connectionId": "c1", "dialect": "ayame", "authnMetadata": { "a": 1 },
        });
        assert_eq!(body, expected);
    }
}
