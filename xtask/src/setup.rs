//! Installs what the tests need and a new machine lacks; where that cannot be done, says what to do and goes on.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::Options;
use crate::workspace::{Workspace, words};

const NODE_MAJOR_MIN: u32 = 20;

/// A program, and its package in Debian.
type Program = (&'static str, &'static str);

const NODE: &[Program] = &[("node", "nodejs"), ("npm", "npm")];

/// They check what voice sends; a test that misses one is skipped.
const SOUND: &[Program] = &[
    ("opusinfo", "opus-tools"),
    ("opusdec", "opus-tools"),
    ("ogginfo", "vorbis-tools"),
    ("oggdec", "vorbis-tools"),
    ("ffprobe", "ffmpeg"),
    ("ffmpeg", "ffmpeg"),
    ("espeak-ng", "espeak-ng"),
];

/// The store of a cluster, and what cuts a node off from it; a test that misses one is skipped, and
/// says so.
const STORE: &[Program] = &[
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("ip", "iproute2"),
];

/// The TURN server that credentials are tried at; the test that misses it is skipped, and says so.
const RELAY: &[Program] = &[("turnserver", "coturn")];

/// The sound device of Firefox in the tests of voice: a daemon of their own, without hardware.
const SOUND_DEVICE: &[Program] = &[("pulseaudio", "pulseaudio")];

/// What was found, or why it is not there.
type Found<T> = Result<T, String>;

/// What the tests in compat/ have to work with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) chromium: Found<PathBuf>,
    pub(crate) firefox: Found<PathBuf>,
    /// Whether compat/ can run its scripts.
    pub(crate) compat: Found<()>,
    sound: Found<()>,
    sound_device: Found<()>,
    store: Found<()>,
    relay: Found<()>,
}

impl Tools {
    /// Whether everything is there that was asked for.
    pub(crate) fn is_complete(&self, options: Options) -> bool {
        let programs = [&self.chromium, &self.firefox]
            .iter()
            .all(|found| found.is_ok());
        let browser = programs && self.sound.is_ok() && self.sound_device.is_ok();
        let always = [&self.compat, &self.store, &self.relay];
        always.iter().all(|found| found.is_ok()) && (browser || options.no_browser)
    }
}

pub(crate) fn run(workspace: &Workspace, options: Options) -> Tools {
    install_packages(&wanted_packages(options), options);
    let compat = workspace.root.join("compat");
    let tools = Tools {
        chromium: chromium_or_why(),
        firefox: firefox_or_why(),
        sound: all_or_why(SOUND),
        sound_device: all_or_why(SOUND_DEVICE),
        store: all_or_why(STORE),
        relay: all_or_why(RELAY),
        compat: node_or_why().and_then(|()| compat_or_why(&compat, options)),
    };
    let compat = tools.compat.as_ref();
    say("compat/", compat.map(|()| "its packages are installed"));
    say("Redis", tools.store.as_ref().map(|()| "installed"));
    say("coturn", tools.relay.as_ref().map(|()| "installed"));
    if !options.no_browser {
        say(
            "Chromium",
            tools.chromium.as_ref().map(|path| path.display()),
        );
        say("Firefox", tools.firefox.as_ref().map(|path| path.display()));
        say("sound tools", tools.sound.as_ref().map(|()| "installed"));
        let device = tools.sound_device.as_ref();
        say("PulseAudio", device.map(|()| "installed"));
    }
    tools
}

fn say(what: &str, found: Result<impl Display, &String>) {
    match found {
        Ok(found) => println!("setup: {what}: {found}"),
        Err(why) => println!("setup: {what}: MISSING: {why}"),
    }
}

/// The Debian packages of what is not here.
fn wanted_packages(options: Options) -> Vec<&'static str> {
    let always = missing(NODE).chain(missing(STORE)).chain(missing(RELAY));
    let mut wanted: Vec<_> = always.map(|(_, package)| package).collect();
    if !options.no_browser {
        if chromium_or_why().is_err() && std::env::var_os("CHROMIUM").is_none() {
            wanted.push("chromium");
        }
        if firefox_or_why().is_err() && std::env::var_os("FIREFOX").is_none() {
            wanted.push("firefox-esr");
        }
        // Without any font a page renders as boxes, and its screenshots are worth nothing.
        if !Path::new("/usr/share/fonts/truetype").exists() {
            wanted.push("fonts-dejavu-core");
        }
        wanted.extend(
            missing(SOUND)
                .chain(missing(SOUND_DEVICE))
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
            "setup: there is no apt-get here; install with this system's own tools what Debian calls: {}",
            wanted.join(" ")
        );
        return;
    }
    let Some(privilege) = privilege() else {
        println!(
            "setup: no right to install packages here; run this, then try again:\n\n    sudo {by_hand}\n"
        );
        return;
    };
    // One at a time: where one cannot be had, the others still can.
    let mut lines = vec![apt(privilege, &["update"])];
    for package in wanted {
        lines.push(apt(
            privilege,
            &["install", "-y", "--no-install-recommends", package],
        ));
    }
    for mut line in lines {
        if let Err(why) = show(&mut line) {
            println!("setup: {why}; going on without");
        }
    }
}

/// What to put before a command that needs root: nothing as root, `sudo` where it asks for no password.
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
    // `env`, because sudo hands on no environment.
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

fn chromium_or_why() -> Found<PathBuf> {
    const NAMES: &[&str] = &[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ];
    browser_or_why(
        "CHROMIUM",
        NAMES,
        "there is no Chromium on PATH (Debian: chromium)",
    )
}

fn firefox_or_why() -> Found<PathBuf> {
    const NAMES: &[&str] = &["firefox-esr", "firefox"];
    browser_or_why(
        "FIREFOX",
        NAMES,
        "there is no Firefox on PATH (Debian: firefox-esr)",
    )
}

/// The program that an environment variable names, or the first of these names on PATH.
fn browser_or_why(variable: &str, names: &[&str], missing: &str) -> Found<PathBuf> {
    if let Some(path) = std::env::var_os(variable)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!(
                "{variable} names {}, which is no file",
                path.display()
            ))
        };
    }
    names
        .iter()
        .find_map(|name| find(name))
        .ok_or_else(|| format!("{missing}, and {variable} does not name one"))
}

fn node_or_why() -> Found<()> {
    all_or_why(NODE)?;
    let version = Command::new("node").arg("--version").output();
    let version = version.map_err(|error| format!("node could not be started: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    match major(&version) {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        Some(_) => Err(format!(
            "Node.js is {version}, the tests need {NODE_MAJOR_MIN} or newer"
        )),
        None => Err(format!("node does not tell its version (`{version}`)")),
    }
}

/// 20, of `v20.19.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// Installs the packages of compat/ where they are missing or older than the lock.
fn compat_or_why(compat: &Path, options: Options) -> Found<()> {
    let lock = compat.join("package-lock.json");
    let Some(locked) = modified(&lock) else {
        return Err("there is no compat/package-lock.json".to_owned());
    };
    // npm writes this one last.
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
    show(&mut npm)
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .ok()
}

/// Runs a command whose output is for the person.
fn show(command: &mut Command) -> Found<()> {
    let line = words(command);
    println!("setup: {line}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` failed ({status})")),
        Err(error) => Err(format!("`{line}` could not be started: {error}")),
    }
}

fn all_or_why(programs: &'static [Program]) -> Found<()> {
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

/// A program on PATH.
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
    fn the_major_version_is_read() {
        assert_eq!(major("v20.19.2"), Some(20));
        assert_eq!(major("v8"), Some(8));
        assert_eq!(major("20.1.0"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn apt_asks_nothing_whoever_runs_it() {
        assert!(
            words(&apt(&[], &["update"]))
                .starts_with("env DEBIAN_FRONTEND=noninteractive apt-get ")
        );
        assert!(
            words(&apt(&["sudo", "-n"], &["update"])).starts_with("sudo -n env DEBIAN_FRONTEND=")
        );
    }

    #[test]
    fn a_program_that_is_not_on_path_is_named_with_its_package() {
        assert_eq!(all_or_why(&[("sh", "dash")]), Ok(()));
        assert_eq!(
            all_or_why(&[("sh", "dash"), ("there-is-no-such-program", "dreams")]),
            Err("not on PATH: there-is-no-such-program (Debian: dreams)".to_owned())
        );
    }

    #[test]
    fn what_was_not_asked_for_is_not_missed() {
        let tools = Tools {
            chromium: Err("none".to_owned()),
            firefox: Err("none".to_owned()),
            compat: Ok(()),
            sound: Err("none".to_owned()),
            sound_device: Err("none".to_owned()),
            store: Ok(()),
            relay: Ok(()),
        };
        let no_browser = Options {
            no_browser: true,
            ..Options::default()
        };
        assert!(tools.is_complete(no_browser));
        assert!(!tools.is_complete(Options::default()));
    }
}
