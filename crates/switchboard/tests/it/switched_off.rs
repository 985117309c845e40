//! Dialects that are switched off: none of the ways to a dialect leads to them.

use std::net::SocketAddr;

use switchboard::{Listener, Server};
use switchboard_dialects::{ALL, Dialect};

use crate::client::{Client, refused_status, request, start};

/// How a dialect can be switched off, for all listeners or for those that it shares.
const WAYS_OFF: [(&str, bool); 2] = [("enabled = false", true), ("paths = []", false)];

fn name(dialect: &dyn Dialect) -> &'static str {
    dialect.traits().name
}

/// A path that another dialect is served on, if this one is off.
fn path_beside(dialect: &dyn Dialect) -> &'static str {
    match name(dialect) {
        "singo" => "/ws",
        _ => "/connect",
    }
}

/// The first frame of a client of a dialect that is recognized by it.
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

fn without(dialect: &dyn Dialect, way: &str) -> (Server, SocketAddr) {
    start(&format!("[{}]\n{way}\n", name(dialect)))
}

async fn status_by_subprotocol(address: SocketAddr, path: &str, dialect: &str) -> u16 {
    let mut request = request(address, path);
    let value = format!("switchboard.{dialect}").parse().expect("a header");
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", value);
    refused_status(request).await
}

#[tokio::test]
async fn no_path_parameter_or_subprotocol_leads_to_a_dialect_that_is_off() {
    for dialect in ALL {
        for (way, _) in WAYS_OFF {
            let (server, address) = without(*dialect, way);
            let (name, beside) = (name(*dialect), path_beside(*dialect));
            let parameters = "key=peerjs&id=a&token=t&room=r";
            for path in [beside, "/ws"] {
                let by_parameter = request(address, &format!("{path}?dialect={name}&{parameters}"));
                assert_eq!(refused_status(by_parameter).await, 400, "{name} {way}");
                let status = status_by_subprotocol(address, path, name).await;
                assert_eq!(status, 400, "{name} {way}");
            }
            let config = server.config();
            let mut served = config.served().into_iter();
            let paths = served.find(|(served, _)| *served == name);
            assert!(paths.is_none_or(|(_, paths)| paths.is_empty()), "{name}");
            assert_eq!(server.rooms().list(), [], "{name} {way}");
        }
    }
}

#[tokio::test]
async fn the_paths_of_a_dialect_that_is_off_are_free_or_of_another_dialect() {
    for dialect in ALL {
        let with_it = start("").0;
        let mut served = with_it.config().served().into_iter();
        let own = served.find(|(served, _)| *served == name(*dialect));
        let (_, paths) = own.expect("it is served by default");
        for (way, _) in WAYS_OFF {
            let (_server, address) = without(*dialect, way);
            for path in paths.iter().filter(|path| *path != "/ws") {
                let status = refused_status(request(address, path)).await;
                assert_eq!(status, 404, "{} {way} {path}", name(*dialect));
            }
        }
    }
}

#[tokio::test]
async fn the_first_frame_of_a_dialect_that_is_off_is_not_recognized() {
    for dialect in ALL {
        let Some(frame) = first_frame(*dialect) else {
            continue;
        };
        for (way, _) in WAYS_OFF {
            let (server, address) = without(*dialect, way);
            let mut client = Client::open(address, "/ws").await;
            client.send(frame).await;
            let answer = client.next().await.to_string().to_ascii_lowercase();
            assert!(
                answer.contains("error"),
                "{} {way}: {answer}",
                name(*dialect)
            );
            assert_eq!(server.rooms().list(), [], "{} {way}", name(*dialect));
        }
    }
}

#[tokio::test]
async fn a_dialect_that_is_off_has_no_listener_and_no_router() {
    for dialect in ALL {
        for (way, is_off_everywhere) in WAYS_OFF {
            let (server, _) = without(*dialect, way);
            let name = name(*dialect);
            assert_eq!(
                server.router_of(name).is_none(),
                is_off_everywhere,
                "{name}"
            );
            let listener = Listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
            let serves = server.serve_dialect(listener, name);
            assert_eq!(!serves, is_off_everywhere, "{name} {way}");
        }
    }
}
