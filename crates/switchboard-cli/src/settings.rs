//! Reads the settings from file, environment and flags.

use std::path::Path;

use switchboard::{Config, config::ConfigError};

use crate::args::Options;

/// Reads the settings of a file and of the environment, for a command that is no server. Also returns their errors.
pub(crate) fn read_for_command(file: Option<&Path>) -> (Config, Vec<ConfigError>) {
    let mut config = Config::default();
    let mut errors = file.map_or_else(Vec::new, |path| config.read_file(path));
    errors.extend(config.read_environment(std::env::vars_os()));
    errors.extend(config.validate());
    errors.sort();
    (config, errors)
}

/// Reads the settings. Also returns their errors, sorted by source.
pub(crate) fn read(options: &Options) -> (Config, Vec<ConfigError>) {
    let mut config = Config::default();
    let path = options.config.as_deref();
    let mut errors = path.map_or_else(Vec::new, |path| config.read_file(path));
    errors.extend(config.read_environment(std::env::vars_os()));
    let listen = options.listen.join(",");
    let flags = [
        ("--addr", "server.addr", options.addr.as_deref()),
        ("--port", "server.port", options.port.as_deref()),
        (
            "--listen",
            "server.listen",
            Some(&*listen).filter(|_| !options.listen.is_empty()),
        ),
        ("--web-root", "server.web_root", options.web_root.as_deref()),
        (
            "--tls-self-signed",
            "tls.self_signed",
            options.tls_self_signed.then_some("true"),
        ),
        ("--engine", "engine.url", options.engine.as_deref()),
        ("--log-format", "log.format", options.log_format.as_deref()),
        ("--log-level", "log.level", options.log_level.as_deref()),
    ];
    let set_flags = flags.into_iter();
    let set_flags = set_flags.filter_map(|(flag, key, value)| Some((flag, key, value?)));
    errors.extend(config.read_flags(set_flags));
    errors.extend(config.validate());
    errors.sort();
    (config, errors)
}
