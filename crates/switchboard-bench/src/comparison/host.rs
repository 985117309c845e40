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
    /// Whether server and load run on threads of one physical core; `None` if the system does not tell.
    pub(super) share_physical_core: Option<bool>,
}

impl Host {
    pub(super) fn observe() -> Self {
        let status = read("/proc/self/status");
        let allowed = value(&status, "Cpus_allowed_list:").unwrap_or_default();
        let cores = parse_cores(&allowed);
        let has_taskset = Command::new("taskset").arg("--version").output().is_ok();
        let pinned = if has_taskset { &cores[..] } else { &[] };
        let [server, load, two] = share(pinned);
        let pair = server.as_deref().zip(load.as_deref());
        let share_physical_core = pair.and_then(|(server, load)| {
            let siblings =
                format!("/sys/devices/system/cpu/cpu{server}/topology/thread_siblings_list");
            is_sibling(&read(&siblings), load)
        });
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: cores.len(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: load_average(),
            server_core: server,
            two_server_cores: two,
            load_core: load,
            share_physical_core,
        }
    }
}

impl Host {
    /// The sentence on the cores of servers and load.
    pub(super) fn placement(&self) -> String {
        let (Some(server), Some(load)) = (&self.server_core, &self.load_core) else {
            return "servers and load share all cores".to_owned();
        };
        let topology = match self.share_physical_core {
            Some(true) => "two threads of one physical core, which slow each other down",
            Some(false) => "two physical cores",
            None => "of unknown topology",
        };
        format!("the servers on core {server}, the load on core {load} ({topology})")
    }
}

/// Whether a core is in the list of threads of another one's physical core; `None` if there is no list.
fn is_sibling(list: &str, core: &str) -> Option<bool> {
    let siblings = parse_cores(list.trim());
    let core: usize = core.parse().ok()?;
    (!siblings.is_empty()).then(|| siblings.contains(&core))
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
    fn threads_of_one_physical_core_are_found() {
        for (list, is_shared) in [("0-1\n", Some(true)), ("0,4\n", Some(false)), ("", None)] {
            assert_eq!(is_sibling(list, "1"), is_shared, "{list}");
        }
        let host = Host {
            server_core: Some("0".to_owned()),
            load_core: Some("1".to_owned()),
            share_physical_core: Some(true),
            ..Host::observe()
        };
        let placement = host.placement();
        assert!(placement.contains("one physical core"), "{placement}");
    }

    #[test]
    fn facts_are_read_from_the_files_of_the_kernel() {
        let text = "processor\t: 0\nmodel name\t: A B\nmodel name\t: C\n";
        assert_eq!(value(text, "model name").as_deref(), Some("A B"));
        assert_eq!(value(text, "Cpus"), None);
        assert!(Host::observe().cores > 0);
    }
}
