//! Wrong credentials are answered later and later; valid ones at once. Rates of connections and requests by address.
//! Loopback is exempt, so the clients connect through a trusted proxy.

use std::{net::SocketAddr, time::Duration};

use tokio::time::{Instant, timeout};

use crate::client::{Client, http, metrics as metrics_of, rejected_status, request, start};

const PROXIED: &str = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

const KEYS: &str =
    "[access]\nauthenticators = [\"keys\"]\nkeys = [{ key = \"a valid key of this test\" }]\n";

async fn ask(address: SocketAddr, client: &str, token: &str) -> String {
    let head = format!(
        "GET /ice-servers HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    http(address, &head).await
}

#[tokio::test]
async fn a_wrong_credential_is_delayed_after_the_first_and_a_valid_one_is_not() {
    let (_server, address) = start(&format!("{PROXIED}{KEYS}"));
    let wrong = "wrong-token";
    assert!(
        ask(address, "192.0.2.1", wrong)
            .await
            .starts_with("HTTP/1.1 401 ")
    );
    let start = Instant::now();
    let second = ask(address, "192.0.2.1", wrong).await;
    assert!(second.starts_with("HTTP/1.1 401 "), "{second}");
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "the second is delayed"
    );
    // The third would wait for 2 s and the fourth for 4 s. Meanwhile a valid key of the same address passes.
    let held = [
        ask(address, "192.0.2.1", wrong),
        ask(address, "192.0.2.1", wrong),
    ];
    let [third, fourth] = held.map(|asked| tokio::spawn(asked));
    let mut admitted = request(address, "/ws?access_token=a+valid+key+of+this+test");
    let from = "192.0.2.1".parse().expect("a header");
    admitted.headers_mut().insert("x-forwarded-for", from);
    assert!(Client::try_open(admitted).await.is_ok());
    assert!(!fourth.is_finished(), "the wrong credentials still wait");
    let metrics = metrics_of(address).await;
    for expected in ["failed_auth_total 4", "failed_auth_delayed_total 3"] {
        assert!(
            metrics.contains(&format!("switchboard_{expected}\n")),
            "{metrics}"
        );
    }
    third.abort();
    fourth.abort();
}

#[tokio::test]
async fn many_wrong_credentials_are_refused_at_once() {
    let (_server, address) = start(&format!("{PROXIED}{KEYS}"));
    let asked = (0..40).map(|_| tokio::spawn(ask(address, "2001:db8::7", "wrong-token")));
    let asked: Vec<_> = asked.collect();
    let mut refused = 0;
    for asked in asked {
        // Those that are held for long are not awaited.
        let Ok(answer) = timeout(Duration::from_millis(500), asked).await else {
            continue;
        };
        let answer = answer.expect("a response");
        refused +=
            usize::from(answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: "));
    }
    assert!(refused >= 20, "{refused} of 40 are refused at once");
    let metrics = metrics_of(address).await;
    assert!(
        metrics.contains("refusals_total{reason=\"failed_auth\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn requests_and_websockets_of_an_address_have_a_rate() {
    let limits = "[limits]\nhttp_requests_per_second = 1\nhttp_requests_burst = 3\nconnections_per_second = 1\nconnections_burst = 3\n";
    let (_server, address) = start(&format!("{PROXIED}{limits}"));
    let mut refused = 0;
    for _ in 0..20 {
        let answer = ask(address, "192.0.2.1", "x").await;
        let is_refused = answer.starts_with("HTTP/1.1 429 ");
        assert!(
            !is_refused || answer.contains("retry-after: 1\r\n"),
            "{answer}"
        );
        refused += usize::from(is_refused);
    }
    assert!((1..=17).contains(&refused), "{refused}");
    let socket = || {
        let mut request = request(address, "/ws");
        let from = "192.0.2.1".parse().expect("a header");
        request.headers_mut().insert("x-forwarded-for", from);
        request
    };
    // The requests have not used up the connections.
    let first = Client::try_open(socket()).await;
    assert!(first.is_ok());
    let mut status = None;
    for _ in 0..20 {
        if let Err(tokio_tungstenite::tungstenite::Error::Http(response)) =
            Client::try_open(socket()).await
        {
            status = Some((
                response.status().as_u16(),
                response.headers().contains_key("retry-after"),
            ));
        }
    }
    assert_eq!(status, Some((429, true)));
    let mut other = request(address, "/nothing");
    other
        .headers_mut()
        .insert("x-forwarded-for", "192.0.2.2".parse().expect("a header"));
    assert_eq!(rejected_status(other).await, 404, "another address is free");
    let metrics = metrics_of(address).await;
    for reason in ["http_requests_per_second", "connections_per_second"] {
        assert!(
            metrics.contains(&format!("refusals_total{{reason=\"{reason}\"}}")),
            "{metrics}"
        );
    }
}
