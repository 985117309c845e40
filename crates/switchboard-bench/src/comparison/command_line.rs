//! Commands that run, and that the report shows.

use std::{
    ffi::OsStr,
    fmt,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Replaces itself by a command that is killed when the thread that has started it ends.
const END_WITH_PARENT: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

fn has_setpriv() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    let [program, arguments @ ..] = END_WITH_PARENT;
    *HAS.get_or_init(|| {
        let mut command = Command::new(program);
        let trial = command.args(arguments).arg("true").stdin(Stdio::null());
        trial.output().is_ok_and(|output| output.status.success())
    })
}

/// A command with its variables. It is shown without the folders of absolute paths, which are those of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CommandLine {
    variables: Vec<(&'static str, String)>,
    words: Vec<String>,
}

impl CommandLine {
    /// A command on these cores, in the notation of `taskset`; `None` for any.
    pub(super) fn on_cores(cores: Option<&str>) -> Self {
        let pin = cores.map(|cores| ["taskset", "-c", cores].map(str::to_owned));
        Self {
            variables: Vec::new(),
            words: pin.into_iter().flatten().collect(),
        }
    }

    pub(super) fn word(mut self, word: impl fmt::Display) -> Self {
        self.words.push(word.to_string());
        self
    }

    /// Adds the words of a text.
    pub(super) fn words(mut self, words: &str) -> Self {
        self.words
            .extend(words.split_whitespace().map(str::to_owned));
        self
    }

    pub(super) fn path(mut self, path: &Path) -> Self {
        self.words.push(path.to_string_lossy().into_owned());
        self
    }

    pub(super) fn variable(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.variables.push((name, value.to_string()));
        self
    }

    /// The command without an input. Settings in the environment of this process are not passed on. The process ends with this
    /// one, also if this one is killed, where the system has `setpriv`.
    pub(super) fn command(&self) -> Command {
        let prefix: &[&str] = if has_setpriv() { &END_WITH_PARENT } else { &[] };
        let prefix = prefix.iter().copied();
        let mut words = prefix.chain(self.words.iter().map(String::as_str));
        let mut command = Command::new(words.next().expect("a command has a program"));
        command.args(words).stdin(Stdio::null());
        let is_setting = |name: &OsStr| {
            let name = name.to_string_lossy();
            let prefixes = ["SWITCHBOARD_", "NODE_", "TOKIO_", "RUST_LOG"];
            name == "PORT" || prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.variables.iter();
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        let words = self.words.iter().map(|word| without_folders(word));
        let all: Vec<String> = variables.chain(words).collect();
        f.write_str(&all.join(" "))
    }
}

fn without_folders(word: &str) -> String {
    let path = Path::new(word);
    let name = path.file_name().filter(|_| path.is_absolute());
    name.map_or_else(
        || word.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_shown_without_folders_of_this_machine() {
        let line = CommandLine::on_cores(Some("0"))
            .variable("A", 1)
            .path(Path::new("/opt/x/switchboard"))
            .words("bench relay")
            .word("http://127.0.0.1:9")
            .word("/");
        let shown = "A=1 taskset -c 0 switchboard bench relay http://127.0.0.1:9 /";
        assert_eq!(line.to_string(), shown);
        let command = line.command();
        let mut words = [command.get_program()]
            .into_iter()
            .chain(command.get_args());
        let first = if has_setpriv() { "setpriv" } else { "taskset" };
        assert_eq!(words.next().expect("a program"), first);
        assert!(words.all(|word| word != "A=1"));
        assert_eq!(CommandLine::on_cores(None).word("a").to_string(), "a");
    }
}
