//! `cargo xtask setup`: installs the tools that the tests need. If a tool cannot be installed, prints the reason and the
//! next step, and continues.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::Options;
use crate::workspace::{Workspace, command_line};

const NODE_MAJOR_MIN: u32 = 20;

/// A program and its Debian package.
type Program = (&'static str, &'static str);

const NODE: &[Program] = &[("node", "nodejs"), ("npm", "npm")];

/// The tools that check the audio that voice sends. Tests without one are skipped.
const AUDIO_TOOLS: &[Program] = &[
    ("opusinfo", "opus-tools"),
    ("opusdec", "opus-tools"),
    ("ogginfo", "vorbis-tools"),
    ("oggdec", "vorbis-tools"),
    ("ffprobe", "ffmpeg"),
    ("ffmpeg", "ffmpeg"),
    ("espeak-ng", "espeak-ng"),
];

/// The store of a cluster, and the tool that disconnects a node from it. Tests without one are reported as skipped.
const STORE: &[Program] = &[
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("ip", "iproute2"),
];

/// The TURN server with which credentials are tested. The test is reported as skipped without it.
const TURN_SERVER: &[Program] = &[("turnserver", "coturn")];

/// The sound server for Firefox in the voice tests. It needs no hardware.
const SOUND_SERVER: &[Program] = &[("pulseaudio", "pulseaudio")];

/// A tool that was found, or the reason why it is missing.
type Found<T> = Result<T, String>;

/// The tools for the tests.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) chromium: Found<PathBuf>,
    pub(crate) firefox: Found<PathBuf>,
    /// Whether compat/ can run its scripts.
    pub(crate) compat: Found<()>,
    audio_tools: Found<()>,
    sound_server: Found<()>,
    store: Found<()>,
    turn_server: Found<()>,
}

impl Tools {
    /// Whether all tools are there that the options require.
    pub(crate) fn is_complete(&self, options: Options) -> bool {
        let programs = [&self.chromium, &self.firefox]
            .iter()
            .all(|found| found.is_ok());
        let browser = programs && self.audio_tools.is_ok() && self.sound_server.is_ok();
        let always = [&self.compat, &self.store, &self.turn_server];
        always.iter().all(|found| found.is_ok()) && (browser || options.no_browser)
    }
}

pub(crate) fn run(workspace: &Workspace, options: Options) -> Tools {
    install_packages(&wanted_packages(options), options);
    let compat = workspace.root.join("compat");
    let tools = Tools {
        chromium: find_chromium(),
        firefox: find_firefox(),
        audio_tools: find_all(AUDIO_TOOLS),
        sound_server: find_all(SOUND_SERVER),
        store: find_all(STORE),
        turn_server: find_all(TURN_SERVER),
        compat: find_node().and_then(|()| find_compat(&compat, options)),
    };
    let compat = tools.compat.as_ref();
    report("compat/", compat.map(|()| "its packages are installed"));
    report("Redis", tools.store.as_ref().map(|()| "installed"));
    report("coturn", tools.turn_server.as_ref().map(|()| "installed"));
    if !options.no_browser {
        report(
            "Chromium",
            tools.chromium.as_ref().map(|path| path.display()),
        );
        report("Firefox", tools.firefox.as_ref().map(|path| path.display()));
        report(
            "sound tools",
            tools.audio_tools.as_ref().map(|()| "installed"),
        );
        let device = tools.sound_server.as_ref();
        report("PulseAudio", device.map(|()| "installed"));
    }
    tools
}

fn report(name: &str, found: Result<impl Display, &String>) {
    match found {
        Ok(found) => println!("setup: {name}: {found}"),
        Err(reason) => println!("setup: {name}: MISSING: {reason}"),
    }
}

/// The Debian packages of the missing programs.
fn wanted_packages(options: Options) -> Vec<&'static str> {
    let always = missing(NODE)
        .chain(missing(STORE))
        .chain(missing(TURN_SERVER));
    let mut wanted: Vec<_> = always.map(|(_, package)| package).collect();
    if !options.no_browser {
        if find_chromium().is_err() && std::env::var_os("CHROMIUM").is_none() {
            wanted.push("chromium");
        }
        if find_firefox().is_err() && std::env::var_os("FIREFOX").is_none() {
            wanted.push("firefox-esr");
        }
        // Without a font, the text in screenshots is rendered as boxes.
        if !Path::new("/usr/share/fonts/truetype").exists() {
            wanted.push("fonts-dejavu-core");
        }
        wanted.extend(
            missing(AUDIO_TOOLS)
                .chain(missing(SOUND_SERVER))
                .map(|(_, package)| package),
        );
        wanted.dedup();
    }
    wanted
}

fn install_packages(wanted: &[&str], options: Options) {
    let by_hand = format!(
        "apt-get install -y --no-install-recommends {}",
        wanted.join(" ")
    );
    if wanted.is_empty() {
        return;
    }
    if options.no_install {
        println!("setup: --no-install: not installed: {}", wanted.join(" "));
        return;
    }
    if find("apt-get").is_none() {
        println!(
            "setup: apt-get is missing; install these Debian packages, or those with the same programs, by hand: {}",
            wanted.join(" ")
        );
        return;
    }
    let Some(privilege) = privilege() else {
        println!(
            "setup: no permission to install packages; run this, then try again:\n\n    sudo {by_hand}\n"
        );
        return;
    };
    // Each package separately, so that a missing one does not prevent the others.
    let mut lines = vec![apt(privilege, &["update"])];
    for package in wanted {
        lines.push(apt(
            privilege,
            &["install", "-y", "--no-install-recommends", package],
        ));
    }
    for mut line in lines {
        if let Err(reason) = run_visibly(&mut line) {
            println!("setup: {reason}; continuing without it");
        }
    }
}

/// The prefix of a command that needs root: empty for root, `sudo` if it needs no password. `None` otherwise.
fn privilege() -> Option<&'static [&'static str]> {
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if is_root {
        return Some(&[]);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sudo.status()
        .is_ok_and(|status| status.success())
        .then_some(&["sudo", "-n"])
}

fn apt(privilege: &[&str], arguments: &[&str]) -> Command {
    // `env`, because sudo does not pass the environment on.
    let mut line: Vec<&str> = privilege.to_vec();
    line.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    line.extend([
        "-q",
        "-o",
        "Acquire::Retries=3",
        "-o",
        "DPkg::Lock::Timeout=120",
    ]);
    line.extend(arguments);
    let mut command = Command::new(line[0]);
    command.args(&line[1..]);
    command
}

fn find_chromium() -> Found<PathBuf> {
    const NAMES: &[&str] = &[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    find_browser(
        "CHROMIUM",
        NAMES,
        "there is no Chromium on PATH (Debian: chromium)",
    )
}

fn find_firefox() -> Found<PathBuf> {
    const NAMES: &[&str] = &["firefox-esr", "firefox"];
    find_browser(
        "FIREFOX",
        NAMES,
        "there is no Firefox on PATH (Debian: firefox-esr)",
    )
}

/// The program that an environment variable names, or the first program on PATH with one of these names.
fn find_browser(variable: &str, names: &[&str], missing: &str) -> Found<PathBuf> {
    if let Some(path) = std::env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!(
                "{variable} is {}, which is not a file",
                path.display()
            ))
        };
    }
    names
        .iter()
        .find_map(|name| find(name))
        .ok_or_else(|| format!("{missing}, and {variable} is not set"))
}

fn find_node() -> Found<()> {
    find_all(NODE)?;
    let version = Command::new("node").arg("--version").output();
    let version = version.map_err(|error| format!("node could not be started: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    match major(&version) {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        Some(_) => Err(format!(
            "Node.js is {version}, the tests need {NODE_MAJOR_MIN} or newer"
        )),
        None => Err(format!("`node --version` printed no version: `{version}`")),
    }
}

/// The major version of a version text, such as 20 of `v20.19.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Installs the packages of compat/ if they are missing or older than the lock file.
fn find_compat(compat: &Path, options: Options) -> Found<()> {
    let lock = compat.join("package-lock.json");
    let Some(locked) = modified(&lock) else {
        return Err("compat/package-lock.json is missing".to_owned());
    };
    // npm writes this file last.
    let is_fresh = || {
        modified(&compat.join("node_modules/.package-lock.json"))
            .is_some_and(|installed| installed >= locked)
    };
    if is_fresh() {
        return Ok(());
    }
    if options.no_install {
        return Err(
            "compat/node_modules is missing or older than the lock; run `npm ci` in compat/"
                .to_owned(),
        );
    }
    let mut npm = Command::new("npm");
    npm.current_dir(compat)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    run_visibly(&mut npm)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
}

/// Runs a command that prints its output directly.
fn run_visibly(command: &mut Command) -> Found<()> {
    let line = command_line(command);
    println!("setup: {line}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` failed ({status})")),
        Err(error) => Err(format!("`{line}` could not be started: {error}")),
    }
}

fn find_all(programs: &'static [Program]) -> Found<()> {
    let missing: Vec<_> = missing(programs)
        .map(|(program, package)| format!("{program} (Debian: {package})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("not on PATH: {}", missing.join(", ")))
}

fn missing(programs: &'static [Program]) -> impl Iterator<Item = Program> {
    let missing = |(program, _): &Program| find(program).is_none();
    programs.iter().copied().filter(missing)
}

/// Finds a program on PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_is_parsed() {
        assert_eq!(major("v20.19.2"), Some(20));
        assert_eq!(major("v8"), Some(8));
        assert_eq!(major("20.1.0"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn apt_is_noninteractive_with_and_without_sudo() {
        assert!(
            command_line(&apt(&[], &["update"]))
                .starts_with("env DEBIAN_FRONTEND=noninteractive apt-get ")
        );
        assert!(
            command_line(&apt(&["sudo", "-n"], &["update"]))
                .starts_with("sudo -n env DEBIAN_FRONTEND=")
        );
    }

    #[test]
    fn missing_program_is_named_with_its_package() {
        assert_eq!(find_all(&[("sh", "dash")]), Ok(()));
        assert_eq!(
            find_all(&[("sh", "dash"), ("there-is-no-such-program", "dreams")]),
            Err("not on PATH: there-is-no-such-program (Debian: dreams)".to_owned())
        );
    }

    #[test]
    fn browser_tools_are_not_required_without_browser_tests() {
        let tools = Tools {
            chromium: Err("none".to_owned()),
            firefox: Err("none".to_owned()),
            compat: Ok(()),
            audio_tools: Err("none".to_owned()),
            sound_server: Err("none".to_owned()),
            store: Ok(()),
            turn_server: Ok(()),
        };
        let no_browser = Options {
            no_browser: true,
            ..Options::default()
        };
        assert!(tools.is_complete(no_browser));
        assert!(!tools.is_complete(Options::default()));
    }
}
