//! `/metrics`: the names and labels of metrics, which dashboards use, and their values after a session.

use std::net::SocketAddr;

use crate::client::{Client, TEST_TIMEOUT, metrics, start};

/// The metrics without labels. Dashboards and alerts use their names, so no name may change.
const NAMES: [&str; 22] = [
    "connections",
    "connections_refused_total",
    "connections_total",
    "frames_in_total",
    "frames_out_total",
    "joins_total",
    "leaves_total",
    "members",
    "paused_total",
    "protocol_errors_total",
    "refused_total",
    "rooms",
    "slow_total",
    "tls_handshakes_failed_total",
    "unfinished_bytes",
    "voice_calls_total",
    "voice_event_streams",
    "voice_forwards_refused_total",
    "voice_listeners",
    "voice_sources",
    "webhooks_failed_total",
    "webhooks_total",
];

/// Reads the metrics until they contain this line. Returns them.
pub(crate) async fn wait_for(address: SocketAddr, line: &str) -> String {
    let read = async {
        loop {
            let metrics = metrics(address).await;
            if metrics.lines().any(|found| found == line) {
                return metrics;
            }
            tokio::task::yield_now().await;
        }
    };
    let read = tokio::time::timeout(TEST_TIMEOUT, read).await;
    read.unwrap_or_else(|_| panic!("the metrics never contain `{line}`"))
}

#[tokio::test]
async fn every_metric_has_its_name_type_and_help() {
    let (_server, address) = start("");
    let metrics = metrics(address).await;
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    for name in NAMES {
        let is_total = name.ends_with("_total");
        let kind = if is_total { "counter" } else { "gauge" };
        for line in [
            format!("\n# HELP switchboard_{name} "),
            format!("\n# TYPE switchboard_{name} {kind}\n"),
            format!("\nswitchboard_{name} 0\n"),
        ] {
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
    }
}

#[tokio::test]
async fn a_session_is_counted_by_dialect_and_code_and_measured() {
    let (_server, address) = start("");
    let (mut client, _) = Client::join(address, "lobby", "ada").await;
    for line in ["switchboard_rooms 1", "switchboard_members 1"] {
        wait_for(address, line).await;
    }
    client.send("{}").await;
    client.next_of("error").await;
    client.close().await;
    let ended = r#"switchboard_connections_ended_total{code="1005",dialect="lightstream"} 1"#;
    let metrics = wait_for(address, ended).await;
    for line in [
        r#"switchboard_joins_by_dialect_total{dialect="lightstream"} 1"#,
        "switchboard_joins_total 1",
        "switchboard_rooms 0",
        "switchboard_members 0",
        "switchboard_join_seconds_count 1",
        r#"switchboard_join_seconds_bucket{le="+Inf"} 1"#,
        "switchboard_refused_total 1",
        "switchboard_frames_in_total 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    let is_counted = |start: &str| {
        let mut lines = metrics.lines();
        lines.any(|line| line.starts_with(start) && !line.ends_with(" 0"))
    };
    assert!(is_counted("switchboard_errors_total{code="), "{metrics}");
    assert!(is_counted("switchboard_frame_seconds_count"), "{metrics}");
    assert!(is_counted("switchboard_outbox_events_count"), "{metrics}");
}

#[tokio::test]
async fn a_reset_connection_is_counted_as_abnormal() {
    let (_server, address) = start("");
    let (client, _) = Client::join(address, "lobby", "ada").await;
    client.reset();
    let ended = r#"switchboard_connections_ended_total{code="1006",dialect="lightstream"} 1"#;
    wait_for(address, ended).await;
}
