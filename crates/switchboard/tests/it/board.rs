//! The Grafana board and the Prometheus alerts of `deploy/` use only metrics that a server has.

use std::collections::BTreeSet;

use switchboard::Server;

use crate::{
    client::{Client, config, rejected_status, request},
    nodes::SharedEngine,
};

const BOARD: &str = include_str!("../../../../deploy/grafana-dashboard.json");
const ALERTS: &str = include_str!("../../../../deploy/prometheus-alerts.yml");
const ALERT_TESTS: &str = include_str!("../../../../deploy/prometheus-alerts.test.yml");

/// The metric names in a text, without the suffixes of histograms.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_of_name = |byte: char| byte.is_ascii_lowercase() || byte == '_' || byte.is_ascii_digit();
    let words = text.split(|byte| !is_of_name(byte));
    let names = words.filter(|word| word.starts_with("switchboard_"));
    names
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .collect()
}

#[tokio::test]
async fn every_metric_of_the_board_and_the_alerts_exists() {
    let webhook = "[access.webhook]\nurl = \"http://127.0.0.1:1/\"\nsecret = \"secret-of-the-webhooks\"\nevents = [\"connect\"]\n";
    let builder = Server::builder().config(config(webhook));
    let node = SharedEngine::new().serve(builder);
    // A metric with labels exists when it has been counted.
    let refused = request(node.address, "/ws?dialect=klingon");
    assert_eq!(rejected_status(refused).await, 400);
    let (mut client, _) = Client::join(node.address, "lobby", "ada").await;
    client.send("{}").await;
    client.next_of("error").await;
    client.close().await;
    let ended = "# TYPE switchboard_connections_ended_total counter";
    let metrics = crate::metrics::wait_for(node.address, ended).await;
    let types = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let existing: BTreeSet<_> = types.filter_map(|line| line.split(' ').next()).collect();
    for (file, text) in [("the board", BOARD), ("the alerts", ALERTS)] {
        let used = names_in(text);
        assert!(used.len() > 10, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&existing).collect();
        assert!(
            unknown.is_empty(),
            "{file} uses unknown metrics: {unknown:?}"
        );
    }
}

#[test]
fn the_board_is_valid_json_and_its_panels_have_ids_of_their_own() {
    let board: serde_json::Value = serde_json::from_str(BOARD).expect("JSON");
    let panels = board["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("targets");
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            assert!(expression.contains(r#"job="$job""#), "{expression}");
        }
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let alerts = ALERTS.lines().filter_map(|line| line.split_once("alert: "));
    for (_, name) in alerts {
        let silent = format!("- {{ alertname: {name}, eval_time: 30m, exp_alerts: [] }}");
        let fires = format!("- alertname: {name}\n");
        assert!(ALERT_TESTS.contains(&silent), "{name}");
        assert!(ALERT_TESTS.contains(&fires), "{name}");
    }
}
