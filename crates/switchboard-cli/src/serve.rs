//! `switchboard serve` and `switchboard check`.

use std::{process::ExitCode, time::Duration};

use switchboard::{
    Config, Listener, Server,
    config::{Listening, Shutdown},
};

use crate::{
    args::Options, banner, certificate::Certificate, files, logging, report, settings,
    stop::StopSignals, terminal,
};

/// How long the runtime is waited for at the end: a thread that resolves a host name cannot be cancelled.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints the settings in force, their mistakes and their warnings.
pub(crate) fn check(options: &Options) -> ExitCode {
    let (config, mistakes) = settings::read(options);
    terminal::print(&config.to_toml());
    for mistake in &mistakes {
        terminal::print_error(&mistake.to_string());
    }
    for warning in warnings(&config) {
        terminal::print_error(&format!("warning: {warning}"));
    }
    let count = match mistakes.len() {
        0 => return ExitCode::SUCCESS,
        1 => "1 mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    terminal::print_error(&format!("switchboard: {count}"));
    report::USAGE.into()
}

/// Serves until a signal says to stop.
pub(crate) fn serve(options: &Options) -> ExitCode {
    let (config, mistakes) = settings::read(options);
    let format = config.log.format;
    for mistake in &mistakes {
        report::config_error(format, mistake);
    }
    if !mistakes.is_empty() {
        return report::USAGE.into();
    }
    match start(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            report::report_failure(format, &words);
            report::FAILED.into()
        }
    }
}

/// The warnings about these settings. Raises the number of files that may be open.
fn warnings(config: &Config) -> Vec<String> {
    let warnings = config.warnings();
    let mut warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    warnings.extend(files::shortage(config, files::raise_limit()));
    warnings
}

fn start(config: Config) -> Result<(), String> {
    let _logging = logging::start(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let done = runtime.block_on(run(config));
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    done
}

async fn run(config: Config) -> Result<(), String> {
    let mut stop = StopSignals::new()?;
    let bound: Result<Vec<_>, _> = config.listeners().into_iter().map(bind).collect();
    let listeners = bound?;
    let certificate = Certificate::load(&config.tls)?;
    let shutdown = config.shutdown;
    let mut warnings = warnings(&config);
    let main = listeners.first().map(|(listener, _)| listener.address());
    let certified = certificate.as_ref().zip(main);
    warnings.extend(certified.and_then(|(certificate, main)| certificate.warning(main)));
    let server = Server::builder().config(config).build();
    for (listener, alone) in &listeners {
        let certificate = certificate.as_ref().map(Certificate::shown);
        banner::announce(&server, listener.address(), *alone, certificate);
    }
    banner::announce_engine(&server);
    match &certificate {
        Some(certificate) => banner::announce_certificate(&server, certificate.shown()),
        None => banner::announce_no_tls(&server, main),
    }
    banner::announce_ice(&server);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    for (mut listener, alone) in listeners {
        if let Some(certificate) = &certificate {
            listener = listener.with_tls(certificate.tls());
        }
        match alone {
            Some(dialect) => drop(server.serve_dialect(listener, dialect)),
            None => server.serve(listener),
        }
    }
    if let Some(certificate) = certificate {
        certificate.reload_on_signal()?;
    }
    stop.asked().await;
    tokio::select! {
        () = end(&server, shutdown) => Ok(()),
        () = stop.asked() => Err("ended at once by a second signal".to_owned()),
    }
}

/// Answers readiness probes with 503 for `shutdown.drain`, then closes all connections.
async fn end(server: &Server, shutdown: Shutdown) {
    tracing::info!(drain_secs = shutdown.drain.as_secs(), "stopping");
    server.begin_drain();
    tokio::time::sleep(shutdown.drain).await;
    if !server.shutdown(shutdown.grace).await {
        tracing::warn!("some connections did not end in time");
    }
}

/// A listener, and the dialect that it is for if it is not for all.
fn bind(listening: Listening) -> Result<(Listener, Option<&'static str>), String> {
    let another = match listening.alone {
        Some(_) => listening.setting(),
        None => "--addr and --port".to_owned(),
    };
    let listener = Listener::bind(listening.address);
    let listener = listener.map_err(|error| format!("{error}; choose another with {another}"))?;
    Ok((listener, listening.alone))
}
