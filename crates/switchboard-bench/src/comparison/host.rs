//! The machine of the comparison.

use std::{fs, process::Command};

use serde::Serialize;

/// The facts about the machine that the figures depend on, and the cores of servers and loads.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Host {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    /// The load average of the last minute before the first load.
    pub(super) load_average: String,
    /// The core of a server with one worker; `None` if commands cannot be pinned to cores.
    pub(super) server_core: Option<String>,
    /// The cores of a server with two workers.
    pub(super) two_server_cores: Option<String>,
    /// The core of the load. On two cores the second worker of a server shares it.
    pub(super) load_core: Option<String>,
}

impl Host {
    pub(super) fn observe() -> Self {
        let status = read("/proc/self/status");
        let allowed = value(&status, "Cpus_allowed_list:").unwrap_or_default();
        let cores = parse_cores(&allowed);
        let has_taskset = Command::new("taskset").arg("--version").output().is_ok();
        let pinned = if has_taskset { &cores[..] } else { &[] };
        let [server, load, two] = share(pinned);
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: cores.len(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load_average(),
            server_core: server,
            two_server_cores: two,
            load_core: load,
        }
    }
}

/// The load average of the last minute.
pub(super) fn load_average() -> String {
    let all = read("/proc/loadavg");
    all.split(' ').next().unwrap_or_default().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first line that begins with a name. A colon may stand before it.
fn value(text: &str, name: &str) -> Option<String> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

/// The numbers of a list like `0-2,5`.
fn parse_cores(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The cores of a server, of the load, and of a server with two workers.
fn share(cores: &[usize]) -> [Option<String>; 3] {
    match cores {
        [] | [_] => [None, None, None],
        [first, second] => [
            first.to_string(),
            second.to_string(),
            format!("{first},{second}"),
        ]
        .map(Some),
        [first, second, third, ..] => [
            first.to_string(),
            third.to_string(),
            format!("{first},{second}"),
        ]
        .map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_load_have_cores_of_their_own_where_there_are_two() {
        let shared = |list| share(&parse_cores(list)).map(Option::unwrap_or_default);
        assert_eq!(shared("0"), ["", "", ""]);
        assert_eq!(shared("0-1"), ["0", "1", "0,1"]);
        assert_eq!(shared("2,4-6"), ["2", "5", "2,4"]);
        assert_eq!(shared(""), ["", "", ""]);
    }

    #[test]
    fn facts_are_read_from_the_files_of_the_kernel() {
        let text = "processor\t: 0\nmodel name\t: A B\nmodel name\t: C\n";
        assert_eq!(value(text, "model name").as_deref(), Some("A B"));
        assert_eq!(value(text, "Cpus"), None);
        assert!(Host::observe().cores > 0);
    }
}
