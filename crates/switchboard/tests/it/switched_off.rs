//! Dialects that are switched off: no path, parameter, subprotocol or first frame selects them.

use std::net::SocketAddr;

use switchboard::{Listener, Server};
use switchboard_dialects::{ALL, Dialect};

use crate::client::{Client, rejected_status, request, start};

/// The settings that switch a dialect off on the shared listener. True if the setting also forbids a listener of
/// this dialect alone.
const DISABLING_SETTINGS: [(&str, bool); 2] = [("enabled = false", true), ("paths = []", false)];

fn name(dialect: &dyn Dialect) -> &'static str {
    dialect.traits().name
}

/// A path of another dialect.
fn path_of_other_dialect(dialect: &dyn Dialect) -> &'static str {
    match name(dialect) {
        "singo" => "/ws",
        _ => "/connect",
    }
}

/// The first frame from which a dialect is detected, if it can be.
fn first_frame(dialect: &dyn Dialect) -> Option<&'static str> {
    let frame = match name(dialect) {
        "p2p" => r#"{"type":"IDENTIFY","username":"ada"}"#,
        "lightstream" => r#"{"type":"join","roomID":"r","senderID":"ada"}"#,
        "mesh" => r#"{"kind":"IdentifySelf"}"#,
        other => {
            assert!(
                !dialect.is_recognizable(),
                "{other} has no first frame here"
            );
            return None;
        }
    };
    Some(frame)
}

fn start_without(dialect: &dyn Dialect, setting: &str) -> (Server, SocketAddr) {
    start(&format!("[{}]\n{setting}\n", name(dialect)))
}

async fn status_by_subprotocol(address: SocketAddr, path: &str, dialect: &str) -> u16 {
    let mut request = request(address, path);
    let value = format!("switchboard.{dialect}").parse().expect("a header");
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", value);
    rejected_status(request).await
}

#[tokio::test]
async fn no_path_parameter_or_subprotocol_selects_a_disabled_dialect() {
    for dialect in ALL {
        for (setting, _) in DISABLING_SETTINGS {
            let (server, address) = start_without(*dialect, setting);
            let (name, other_path) = (name(*dialect), path_of_other_dialect(*dialect));
            let parameters = "key=peerjs&id=a&token=t&room=r";
            for path in [other_path, "/ws"] {
                let by_parameter = request(address, &format!("{path}?dialect={name}&{parameters}"));
                assert_eq!(rejected_status(by_parameter).await, 400, "{name} {setting}");
                let status = status_by_subprotocol(address, path, name).await;
                assert_eq!(status, 400, "{name} {setting}");
            }
            let config = server.config();
            let mut served = config.served().into_iter();
            let paths = served.find(|(served, _)| *served == name);
            assert!(paths.is_none_or(|(_, paths)| paths.is_empty()), "{name}");
            assert_eq!(server.rooms().list(), [], "{name} {setting}");
        }
    }
}

#[tokio::test]
async fn the_paths_of_a_disabled_dialect_are_not_served() {
    for dialect in ALL {
        let default_server = start("").0;
        let mut served = default_server.config().served().into_iter();
        let served_paths = served.find(|(served, _)| *served == name(*dialect));
        let (_, paths) = served_paths.expect("the dialect is served by default");
        for (setting, _) in DISABLING_SETTINGS {
            let (_server, address) = start_without(*dialect, setting);
            for path in paths.iter().filter(|path| *path != "/ws") {
                let status = rejected_status(request(address, path)).await;
                assert_eq!(status, 404, "{} {setting} {path}", name(*dialect));
            }
        }
    }
}

#[tokio::test]
async fn a_disabled_dialect_is_not_detected_from_the_first_frame() {
    for dialect in ALL {
        let Some(frame) = first_frame(*dialect) else {
            continue;
        };
        for (setting, _) in DISABLING_SETTINGS {
            let (server, address) = start_without(*dialect, setting);
            let mut client = Client::open(address, "/ws").await;
            client.send(frame).await;
            let response = client.next().await.to_string().to_ascii_lowercase();
            assert!(
                response.contains("error"),
                "{} {setting}: {response}",
                name(*dialect)
            );
            assert_eq!(server.rooms().list(), [], "{} {setting}", name(*dialect));
        }
    }
}

#[tokio::test]
async fn a_disabled_dialect_has_no_listener_and_no_router() {
    for dialect in ALL {
        for (setting, is_fully_disabled) in DISABLING_SETTINGS {
            let (server, _) = start_without(*dialect, setting);
            let name = name(*dialect);
            assert_eq!(
                server.router_of(name).is_none(),
                is_fully_disabled,
                "{name}"
            );
            let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
            let serves = server.serve_dialect(listener, name);
            assert_eq!(!serves, is_fully_disabled, "{name} {setting}");
        }
    }
}
