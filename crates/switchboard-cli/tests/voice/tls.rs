//! Servers with TLS, trusted or not. The certificates in `tls/` are for `localhost`, from an authority that is in no
//! trust store; they have no other use.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{Home, fixed_response_server};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/voice/tls")
        .join(name)
}

/// Starts a server with this certificate that answers every request with a ticket.
fn secure_server(certificate: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a bound address");
    let chain = vec![CertificateDer::from_pem_file(file(certificate)).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a key that fits");
    let config = Arc::new(config);
    thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut connection = ServerConnection::new(config.clone()).expect("a session");
            let mut stream = Stream::new(&mut connection, &mut socket);
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n")
                && stream.read(&mut byte).is_ok_and(|count| count > 0)
            {
                head.extend(byte);
            }
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nabcdefgh"));
        }
    });
    address
}

fn query(home: &Home, host: &str, address: SocketAddr, args: &[&str]) -> crate::VoiceCommand {
    let url = format!("https://{host}:{}", address.port());
    home.start(
        &[&["key", "--query", "--url", &url], args].concat(),
        Stdio::null(),
    )
}

#[test]
fn server_is_trusted_with_its_ca_or_insecure() {
    let home = Home::new("tls-trust");
    let address = secure_server("server.pem");
    let authority = file("ca.pem");
    let ca = ["--ca", authority.to_str().expect("text")];
    for args in [&ca[..], &["--insecure"]] {
        let output = query(&home, "localhost", address, args).output();
        assert!(output.contains("Signature="), "{output}");
    }
    let other = query(&home, "127.0.0.1", address, &["--insecure"]).output();
    assert!(other.contains("Signature="), "{other}");
}

#[test]
fn tls_failure_is_named() {
    let home = Home::new("tls-failures");
    let authority = file("ca.pem");
    let ca = ["--ca", authority.to_str().expect("text")];
    let good = secure_server("server.pem");
    let expired = secure_server("expired.pem");
    let plain = fixed_response_server("HTTP/1.1 200 OK\r\n\r\n");
    let other_authority = file("expired.pem");
    let other_ca = ["--ca", other_authority.to_str().expect("text")];
    for (host, address, args, text) in [
        ("localhost", good, &other_ca, "unknown issuer"),
        ("127.0.0.1", good, &ca, "another host name"),
        ("localhost", expired, &ca, "has expired"),
        ("localhost", plain, &ca, "no TLS is spoken there"),
    ] {
        let printed = query(&home, host, address, args).expect_failure();
        assert!(printed.contains(text), "{printed}");
        assert!(
            printed.contains("no secure connection to https://"),
            "{printed}"
        );
    }
}

#[test]
fn ca_file_without_certificates_is_named() {
    let home = Home::new("tls-ca");
    let address = secure_server("server.pem");
    for (name, text) in [
        ("server.key", "no certificate in PEM"),
        ("nowhere.pem", "nowhere.pem"),
    ] {
        let path = file(name);
        let printed = query(
            &home,
            "localhost",
            address,
            &["--ca", path.to_str().expect("text")],
        )
        .expect_failure();
        assert!(
            printed.contains(text) && printed.contains("--ca"),
            "{printed}"
        );
    }
}
