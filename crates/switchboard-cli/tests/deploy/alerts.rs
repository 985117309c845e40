//! The Prometheus configuration and the alerts.

use std::process::Command;

use crate::{output, repository};

#[test]
#[cfg_attr(not(has_promtool), ignore = "needs promtool (Debian: prometheus)")]
fn the_alerts_fire_as_their_tests_say() {
    let tests = repository("deploy/prometheus-alerts.test.yml");
    output(Command::new("promtool").args(["test", "rules"]).arg(tests));
}

#[test]
#[cfg_attr(not(has_promtool), ignore = "needs promtool (Debian: prometheus)")]
fn prometheus_accepts_the_configuration() {
    let configuration = repository("deploy/prometheus.yml");
    let mut promtool = Command::new("promtool");
    let report = output(promtool.args(["check", "config"]).arg(configuration));
    assert!(report.contains("1 rule files found"), "{report}");
}
