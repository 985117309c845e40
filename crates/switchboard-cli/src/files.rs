//! The limit of open files. Each connection needs one.

use rlimit::Resource;
use switchboard::Config;

/// Open files that are not connections: standard streams, listeners, sockets of the engine, served pages.
const OTHER_FILES: u64 = 64;

/// Raises the limit of open files of this process as far as the system allows it. Returns the new limit, if it is
/// known.
pub(crate) fn raise_limit() -> Option<u64> {
    let raised = rlimit::increase_nofile_limit(u64::MAX).ok();
    raised.or_else(|| Resource::NOFILE.get_soft().ok())
}

/// A warning if `files_max` open files are too few for `limits.connections`.
pub(crate) fn shortage(config: &Config, files_max: Option<u64>) -> Option<String> {
    let connections = u64::try_from(config.limits.connections).unwrap_or(u64::MAX);
    let files_max = files_max?;
    let is_certain = config.origins.is_certain("limits.connections");
    if !is_certain || connections == 0 || connections.saturating_add(OTHER_FILES) <= files_max {
        return None;
    }
    let origin = config.origins.of("limits.connections");
    let origin = origin.map_or("the default".to_owned(), ToString::to_string);
    Some(format!(
        "limits.connections = {connections} ({origin}) needs more open files than the {files_max} that the system allows; \
         raise that (`ulimit -n`, LimitNOFILE= of systemd, --ulimit nofile= of Docker) or lower the setting"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_limit_above_the_open_file_limit_is_a_warning() {
        let mut config = Config::default();
        config.limits.connections = 1000;
        assert_eq!(shortage(&config, Some(1000 + OTHER_FILES)), None);
        assert_eq!(shortage(&config, None), None);
        let warning = shortage(&config, Some(1000)).expect("too few");
        assert!(warning.contains("= 1000 (the default)"), "{warning}");
        config.limits.connections = 0;
        assert_eq!(shortage(&config, Some(1)), None);
    }
}
