//! The workloads against the floor. They check counts, not times.

use std::{thread, time::Duration};

use switchboard_bench::{
    BenchDialect, BenchError, BenchOptions, Report, Workload, floor::Floor, run,
};

/// A floor on a thread that ends with the process.
fn start_floor() -> String {
    let floor = Floor::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let url = format!("ws://{}", floor.local_address());
    thread::spawn(|| floor.serve());
    url
}

fn measure(
    workload: Workload,
    change: impl FnOnce(&mut BenchOptions),
) -> Result<Report, BenchError> {
    let mut options = BenchOptions::new(workload, start_floor(), BenchDialect::Floor);
    options.clients = 6;
    options.warm_up = Duration::from_millis(50);
    options.duration = Duration::from_millis(200);
    change(&mut options);
    run(&options, &mut |_| ())
}

#[test]
fn every_workload_delivers_all_messages() {
    for workload in Workload::ALL {
        // The floor serves neither several dialects nor voice.
        if matches!(workload, Workload::Mixed | Workload::Voice) {
            continue;
        }
        let report = measure(workload, |_| ()).expect("a report");
        assert!(report.is_clean(), "{report:#?}");
        let text = report.to_string();
        assert!(
            text.contains(report.unit) && text.contains("per second"),
            "{text}"
        );
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["workload"], workload.name());
        assert_eq!(json["units"], report.units);
    }
}

#[test]
fn messages_are_sent_on_a_schedule() {
    for (workload, deliveries) in [(Workload::Relay, 1), (Workload::Fanout, 5)] {
        let report = measure(workload, |options| options.rate = 100.0).expect("a report");
        assert!(
            report.is_clean() && report.latency_is_corrected,
            "{report:#?}"
        );
        // 20 turns are due in 0.2 s.
        assert_eq!(report.units, 20 * deliveries, "{report:#?}");
    }
}

#[test]
fn several_messages_are_in_flight_in_a_window() {
    for workload in [Workload::Relay, Workload::Fanout] {
        let report = measure(workload, |options| options.window = 8).expect("a report");
        assert!(report.is_clean(), "{report:#?}");
    }
}

#[test]
fn own_process_is_observed() {
    let report = measure(Workload::Relay, |options| {
        options.pid = Some(std::process::id())
    });
    let server = report.expect("a report").server.expect("the server");
    assert!(server.rss_before > 0 && server.rss_after > 0, "{server:?}");
    assert_eq!(server.instructions_per_unit, None);
}

#[test]
fn process_that_is_not_under_callgrind_is_an_error() {
    let refused = measure(Workload::Relay, |options| {
        options.pid = Some(std::process::id());
        options.callgrind = true;
    });
    let Err(BenchError::Process { problem, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(problem.contains("callgrind"), "{problem}");
}
