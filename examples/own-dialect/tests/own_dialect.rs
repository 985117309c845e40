//! The dialect meets another one, and the engine writes its trail.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use own_dialect::{AuditTrail, LINES};
use switchboard::{
    BuildError, Server,
    testing::{ClientDialect, TestClient, TestServer},
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Memory that the test reads and the engine writes. The flag says that it is full: then writing fails.
#[derive(Clone, Default)]
struct Trail(Arc<Mutex<(Vec<u8>, bool)>>);

impl Trail {
    fn text(&self) -> String {
        let trail = self.0.lock().expect("no panic");
        String::from_utf8_lossy(&trail.0).into_owned()
    }
}

impl Write for Trail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut trail = self.0.lock().expect("no panic");
        if trail.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        trail.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn server() -> Result<(TestServer, Trail), Box<dyn std::error::Error>> {
    let trail = Trail::default();
    let engine = Arc::new(AuditTrail::new(trail.clone()));
    let builder = Server::builder().dialect(&LINES).engine(engine, None);
    Ok((TestServer::start(builder)?, trail))
}

async fn join(server: &TestServer, name: &str) -> TestClient {
    let frames = [format!("join team {name}")];
    let joined = server.join_with("lines", "/lines", &frames, "team").await;
    joined.expect("the client becomes a member")
}

#[tokio::test]
async fn members_of_the_own_dialect_and_of_others_chat() -> TestResult {
    let (server, _trail) = server()?;
    let mut ada = join(&server, "ada").await;
    assert_eq!(ada.receive().await.as_deref(), Some("joined team"));
    let mut bob = join(&server, "bob").await;
    assert_eq!(bob.receive().await.as_deref(), Some("joined team"));
    assert_eq!(bob.receive().await.as_deref(), Some("+ ada"));
    assert_eq!(ada.receive().await.as_deref(), Some("+ bob"));
    let mut eve = server
        .join(ClientDialect::Lightstream, "team", "eve")
        .await?;
    assert_eq!(ada.receive().await.as_deref(), Some("+ eve"));

    ada.send("Hello: all.").await?;
    assert_eq!(
        bob.receive_containing("Hello").await.as_deref(),
        Some("ada: Hello: all.")
    );
    let frame = eve.receive_containing("Hello").await.expect("a frame");
    assert!(frame.contains(r#""data":"Hello: all.""#), "{frame}");
    eve.send(r#"{"type":"message","data":"Good day."}"#).await?;
    assert_eq!(ada.receive().await.as_deref(), Some("eve: Good day."));
    eve.close().await;
    assert_eq!(ada.receive().await.as_deref(), Some("- eve"));
    Ok(())
}

#[tokio::test]
async fn a_client_of_the_own_dialect_gets_its_errors_in_lines() -> TestResult {
    let (server, _trail) = server()?;
    let mut ada = server.open("/ws?dialect=lines").await?;
    for (line, error) in [
        ("hello", "error not-in-room: Join a room first."),
        (
            "join team",
            "error bad-field: The field \"name\" is missing or of the wrong type.",
        ),
        (
            "join team server",
            "error reserved: This name is reserved for the server.",
        ),
    ] {
        ada.send(line).await?;
        assert_eq!(ada.receive().await.as_deref(), Some(error), "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn a_join_that_the_engine_cannot_write_is_rejected() -> TestResult {
    let (server, trail) = server()?;
    let mut ada = join(&server, "ada").await;
    let id = ada.member().peer;
    trail.0.lock().expect("no panic").1 = true;
    let mut bob = server.open("/lines").await?;
    bob.send("join team bob").await?;
    let line = bob.receive().await.expect("a line");
    assert!(line.starts_with("error unavailable: "), "{line}");
    trail.0.lock().expect("no panic").1 = false;
    ada.send("bye").await?;
    ada.close().await;
    // The server answers the close of a connection after its leave, so the line is written.
    assert_eq!(trail.text(), format!("ada joins team\n{id} leaves team\n"));
    Ok(())
}

#[test]
fn a_dialect_is_added_once() {
    let builder = Server::builder().dialect(&LINES).dialect(&LINES);
    let error = builder.build().expect_err("the name is in use");
    assert!(matches!(error, BuildError::DialectName(_)), "{error}");
}
