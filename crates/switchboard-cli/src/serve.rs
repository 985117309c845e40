//! `switchboard serve` and `switchboard check`.

use std::{net::SocketAddr, time::Duration};

use switchboard::{
    Config, Listener, Server,
    config::{Listening, Mistake, Shutdown, VoiceIdentity},
};

use crate::{args::Options, logging, stop::Stop, terminal};

/// How long the runtime is waited for when all is done: a thread that looks up a name cannot be ended.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints the settings in force. Fails if anything is wrong with them, naming all of it.
pub(crate) fn check(options: &Options) -> Result<(), String> {
    let (config, mistakes) = settings(options)?;
    terminal::print(&config.to_toml());
    for mistake in &mistakes {
        terminal::print_error(&mistake.to_string());
    }
    match mistakes.len() {
        0 => Ok(()),
        1 => Err("1 mistake".to_owned()),
        count => Err(format!("{count} mistakes")),
    }
}

/// Serves until a signal says to stop.
pub(crate) fn serve(options: &Options) -> Result<(), String> {
    let (config, mistakes) = settings(options)?;
    if let Some(first) = mistakes.first() {
        let more = mistakes.len() - 1;
        let more = if more == 0 {
            String::new()
        } else {
            format!(" (and {more} more: see `switchboard check`)")
        };
        return Err(format!("{first}{more}"));
    }
    let _logging = logging::start(config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let done = runtime.block_on(run(config));
    runtime.shutdown_timeout(RUNTIME_TIMEOUT);
    done
}

/// The settings in force, and what is wrong with them.
pub(crate) fn settings(options: &Options) -> Result<(Config, Vec<Mistake>), String> {
    let mut config = Config::default();
    let mut mistakes = match &options.config {
        Some(path) => config.read_file(path)?,
        None => Vec::new(),
    };
    mistakes.extend(config.read_environment(std::env::vars_os()));
    let listen = options
        .listen
        .iter()
        .map(SocketAddr::to_string)
        .collect::<Vec<_>>()
        .join(",");
    let flags = [
        ("--addr", "server.addr", options.addr.as_deref()),
        ("--port", "server.port", options.port.as_deref()),
        (
            "--listen",
            "server.listen",
            Some(&*listen).filter(|listen| !listen.is_empty()),
        ),
        ("--web-root", "server.web_root", options.web_root.as_deref()),
        ("--engine", "engine.url", options.engine.as_deref()),
        ("--log-format", "log.format", options.log_format.as_deref()),
        ("--log-level", "log.level", options.log_level.as_deref()),
    ];
    for (flag, key, value) in flags {
        mistakes.extend(value.and_then(|value| config.set(flag, key, value).err()));
    }
    mistakes.extend(config.contradictions());
    Ok((config, mistakes))
}

async fn run(config: Config) -> Result<(), String> {
    let mut stop = Stop::new()?;
    let bound: Result<Vec<_>, _> = config.listeners().into_iter().map(bind).collect();
    let listeners = bound?;
    let shutdown = config.shutdown;
    let server = Server::builder().config(config).build();
    for (listener, alone) in &listeners {
        announce(&server, listener.address(), *alone);
    }
    announce_engine(&server);
    for (listener, alone) in listeners {
        match alone {
            Some(dialect) => drop(server.serve_dialect(listener, dialect)),
            None => server.serve(listener),
        }
    }
    stop.asked().await;
    tokio::select! {
        () = end(&server, shutdown) => Ok(()),
        () = stop.asked() => Err("ended at once by a second signal".to_owned()),
    }
}

/// Lets load balancers notice, then closes what is open.
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

/// Prints what is served, as addresses to use.
fn announce(server: &Server, address: SocketAddr, alone: Option<&'static str>) {
    let host = match address {
        address if address.ip().is_unspecified() => format!("localhost:{}", address.port()),
        address => address.to_string(),
    };
    if let Some(dialect) = alone {
        let path = Config::served_alone(dialect).unwrap_or_default();
        return terminal::print_briefly(&format!(
            "Switchboard listens on {address} for {dialect} alone\n  {dialect:<14} ws://{host}{path}\n"
        ));
    }
    let mut lines = format!("Switchboard listens on {address}\n  call page      http://{host}/\n");
    if server.config().voice.gostream.identity != VoiceIdentity::Off {
        lines.push_str(&format!("  voice          http://{host}/voice\n"));
    }
    for (dialect, paths) in server.config().served() {
        for path in paths {
            lines.push_str(&format!("  {dialect:<14} ws://{host}{path}\n"));
        }
    }
    terminal::print_briefly(&lines);
}

/// Prints what makes this node one of several, if anything does.
fn announce_engine(server: &Server) {
    let Some(url) = server.advertised_url() else {
        return;
    };
    let engine = &server.config().engine.url;
    terminal::print_briefly(&format!(
        "  engine         {engine} (other nodes reach this one at {url})\n"
    ));
}
