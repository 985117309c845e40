//! Runs a workload.

use std::{io, rc::Rc};

use tokio::task::LocalSet;

use crate::{
    BenchError, BenchOptions, Progress, Report, Workload,
    client::Net,
    progress::Reporter,
    server_process::Probe,
    target::BenchTarget,
    workload::{churn, idle, join, messages, mixed, voice},
};

/// Open files of the run that are not connections.
const OTHER_FILES: u64 = 64;

/// Runs a workload, and reports on its progress about once a second. Blocks until the run ends: after the warm-up and the
/// duration, and the time to connect and to close.
///
/// # Errors
/// If an option is invalid, the server cannot be reached or refuses the clients, or its process cannot be observed. Faults
/// during the load are counted in the report.
pub fn run(
    options: &BenchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, BenchError> {
    options.validate()?;
    let target = BenchTarget::resolve(options)?;
    raise_file_limit(options.clients)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| io_error("cannot start", source))?;
    let mut reporter = Reporter::new(progress);
    LocalSet::new().block_on(&runtime, run_on(options, target, &mut reporter))
}

async fn run_on(
    options: &BenchOptions,
    target: BenchTarget,
    reporter: &mut Reporter<'_>,
) -> Result<Report, BenchError> {
    let mut probe = Probe::new(options.pid, options.callgrind)?;
    let Some(wire) = options.dialect.wire() else {
        return voice::run(&target, options, &mut probe, reporter).await;
    };
    let net = Rc::new(Net::new(wire, target));
    match options.workload {
        Workload::Relay | Workload::Fanout => {
            messages::run(&net, options, &mut probe, reporter).await
        }
        Workload::Join => join::run(&net, options, &mut probe, reporter).await,
        Workload::Idle => idle::run(&net, options, &mut probe, reporter).await,
        Workload::Churn => churn::run(&net, options, &mut probe, reporter).await,
        Workload::Mixed => mixed::run(options, &mut probe, reporter).await,
        Workload::Voice => voice::run(&net.target, options, &mut probe, reporter).await,
    }
}

/// Allows this process as many open files as it needs.
fn raise_file_limit(clients: usize) -> Result<(), BenchError> {
    let needed = clients as u64 + OTHER_FILES;
    let limit = rlimit::increase_nofile_limit(needed);
    let limit = limit.map_err(|source| io_error("limit of open files", source))?;
    if limit < needed {
        let problem = format!(
            "{clients} connections need {needed} open files, and {limit} are allowed: ulimit -n {needed}"
        );
        return Err(BenchError::option("--clients", problem));
    }
    Ok(())
}

fn io_error(action: &'static str, source: io::Error) -> BenchError {
    BenchError::Io { action, source }
}
