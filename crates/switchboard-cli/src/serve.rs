//! `switchboard serve` and `switchboard check`.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::{Context as _, anyhow};
use switchboard::{
    AdminKey, Config, Listener, Server,
    config::{Listening, Shutdown},
};

use crate::{
    args::Options,
    banner,
    certificate::Certificates,
    files,
    logging::{self, LevelSetter},
    redirect, reload, report, settings,
    stop::StopSignals,
    terminal,
};

/// Time that the runtime has to end. A thread that resolves a host name cannot be cancelled.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints the current settings, and their errors and warnings.
pub(crate) fn check(options: &Options) -> ExitCode {
    let (config, errors) = settings::read(options);
    terminal::print(&config.to_toml());
    if config.allows_every_origin() {
        terminal::print_error(&format!("note: {}", banner::ORIGINS_HINT));
    }
    for error in &errors {
        terminal::print_error(&report::chain(error));
    }
    for warning in warnings(&config) {
        terminal::print_error(&format!("warning: {warning}"));
    }
    let count = match errors.len() {
        0 => return ExitCode::SUCCESS,
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    terminal::print_error(&format!("switchboard: {count}"));
    report::USAGE.into()
}

/// Runs the server until a signal stops it.
pub(crate) fn serve(options: &Options) -> ExitCode {
    let (config, errors) = settings::read(options);
    let format = config.log.format;
    for error in &errors {
        report::config_error(format, error);
    }
    if !errors.is_empty() {
        return report::USAGE.into();
    }
    match start(options, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::report_failure(format, &error);
            report::FAILED.into()
        }
    }
}

/// The warnings about these settings. Also raises the limit of open files.
fn warnings(config: &Config) -> Vec<String> {
    let warnings = config.warnings();
    let mut warnings: Vec<_> = warnings.iter().map(|it| report::chain(it)).collect();
    warnings.extend(files::shortage(config, files::raise_limit()));
    warnings
}

fn start(options: &Options, config: Config) -> anyhow::Result<()> {
    let (_logging, level) = logging::start(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("cannot start the runtime")?;
    let result = runtime.block_on(run(options, config, level));
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    result
}

async fn run(options: &Options, config: Config, level: LevelSetter) -> anyhow::Result<()> {
    let mut stop = StopSignals::new()?;
    let listeners = config.listeners().into_iter().enumerate();
    let bound: Result<Vec<_>, _> = listeners.map(|(index, it)| bind(it, index == 0)).collect();
    let listeners = bound?;
    let (internal, internal_problem) = bind_internal(&config);
    let redirects = redirect::bind(&config)?;
    let certificates = Certificates::load(&config.tls)?;
    // Caught before the banner is printed: after that, a SIGHUP must reload and not end the process.
    let signal = reload::signal(options, certificates.as_ref())?;
    if let Some(certificates) = &certificates {
        certificates.keep_current();
    }
    let shutdown = config.shutdown;
    let mut warnings = warnings(&config);
    let main = listeners.first().map(|(listener, _)| listener.address());
    let main_certificates = certificates.as_ref().zip(main);
    warnings.extend(main_certificates.and_then(|(certificates, main)| certificates.warning(main)));
    warnings.extend(internal_problem);
    let (key, key_problem) = admin_key(&config, internal.is_some());
    warnings.extend(key_problem);
    let builder = Server::builder().config(config);
    let builder = match &key {
        Some(key) => builder.admin_key(key.clone()),
        None => builder,
    };
    let server = builder.build()?;
    for (listener, sole_dialect) in &listeners {
        let certificate = certificates.as_ref().map(Certificates::shown);
        banner::announce(&server, listener.address(), *sole_dialect, certificate);
    }
    if let Some(internal) = &internal {
        let file = key.as_ref().and_then(AdminKey::file);
        banner::announce_internal(&server, internal.address(), file);
    }
    banner::announce_engine(&server);
    match &certificates {
        Some(certificates) => banner::announce_certificate(&server, certificates.shown()),
        None => banner::announce_no_tls(&server, main),
    }
    if let Some(main) = main {
        redirect::announce(&server, &redirects, main);
    }
    banner::announce_origins(&server);
    banner::announce_ice(&server);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if let Some(internal) = internal {
        server.serve_internal(internal);
    }
    for (mut listener, sole_dialect) in listeners {
        if let Some(certificates) = &certificates {
            listener = listener.with_tls(certificates.tls());
        }
        match sole_dialect {
            Some(dialect) => drop(server.serve_dialect(listener, dialect)),
            None => server.serve(listener),
        }
    }
    if let (Some(certificates), Some(main)) = (&certificates, main) {
        redirect::serve(&server, redirects, certificates, main);
    }
    let manager = certificates.map(|certificates| certificates.manager().clone());
    reload::serve(&server, options, manager, level, signal);
    stop.recv().await;
    tokio::select! {
        () = end(&server, shutdown) => Ok(()),
        () = stop.recv() => Err(anyhow!("ended at once by a second signal")),
    }
}

/// Answers readiness probes with 503 for `shutdown.drain`, then closes all connections.
async fn end(server: &Server, shutdown: Shutdown) {
    tracing::info!(drain_secs = shutdown.drain.as_secs(), "stopping");
    server.begin_drain();
    tokio::time::sleep(shutdown.drain).await;
    if !server.shutdown(shutdown.grace).await {
        let grace_secs = shutdown.grace.as_secs();
        tracing::warn!(grace_secs, "stopped with open connections");
    }
}

/// Binds a listener. Also returns the dialect, if the listener serves only one.
fn bind(listening: Listening, is_main: bool) -> anyhow::Result<(Listener, Option<&'static str>)> {
    let setting = match is_main {
        true => "--addr and --port".to_owned(),
        false => listening.setting(),
    };
    Ok((bind_address(listening.address, &setting)?, listening.alone))
}

/// Binds an address. The error names the setting of the address.
pub(crate) fn bind_address(address: SocketAddr, setting: &str) -> anyhow::Result<Listener> {
    Listener::bind(address).map_err(|error| {
        let error = report::chain(&error);
        anyhow!("{error}; choose another address with {setting}")
    })
}

/// Binds the internal listener, if one is set. If its address cannot be bound, the server runs without it: the second
/// value is the warning.
fn bind_internal(config: &Config) -> (Option<Listener>, Option<String>) {
    let Some(address) = config.internal.listen else {
        return (None, None);
    };
    match Listener::bind(address) {
        Ok(listener) => (Some(listener), None),
        Err(error) => {
            let error = report::chain(&error);
            let warning = format!(
                "no internal listener with metrics and the admin API: {error}; choose another address with internal.listen, or switch it off with an empty one"
            );
            (None, Some(warning))
        }
    }
}

/// The admin key of the state folder, made if it is missing. There is none without an internal listener, or if a
/// configured authenticator can give `admin`. If it cannot be read or stored, the second value is the warning.
fn admin_key(config: &Config, has_internal: bool) -> (Option<AdminKey>, Option<String>) {
    if !has_internal || config.can_grant_admin() {
        return (None, None);
    }
    let made = AdminKey::default_file().and_then(|file| AdminKey::load_or_make(&file));
    match made {
        Ok(key) => (Some(key), None),
        Err(error) => {
            let error = report::chain(&error);
            (
                None,
                Some(format!(
                    "no admin key, so the admin API accepts no token: {error}"
                )),
            )
        }
    }
}
