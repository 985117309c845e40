//! Installs what the tests need and a new machine lacks; where that cannot be done, says what to do and goes on.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::Options;
use crate::failure::Result;
use crate::workspace::{Workspace, words};

const NODE_MAJOR_MIN: u32 = 20;

/// What the web tests have to work with.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The browser, or why there is none.
    pub(crate) chromium: std::result::Result<PathBuf, String>,
    /// Whether compat/ can run its scripts, or why not.
    pub(crate) compat: std::result::Result<(), String>,
}

impl Tools {
    pub(crate) fn is_complete(&self) -> bool {
        self.chromium.is_ok() && self.compat.is_ok()
    }
}

pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<Tools> {
    let wanted = wanted_packages(options);
    if !wanted.is_empty() {
        install_packages(&wanted, options);
    }
    let chromium = if options.no_browser {
        Err("--no-browser".to_owned())
    } else {
        chromium_or_why()
    };
    let compat =
        node_or_why().and_then(|()| compat_or_why(&workspace.root.join("compat"), options));
    let tools = Tools { chromium, compat };
    say(
        "Chromium",
        tools
            .chromium
            .as_ref()
            .map(|path| path.display().to_string()),
    );
    say(
        "compat/",
        tools
            .compat
            .as_ref()
            .map(|()| "its packages are installed".to_owned()),
    );
    Ok(tools)
}

fn say(what: &str, found: std::result::Result<String, &String>) {
    match found {
        Ok(found) => println!("setup: {what}: {found}"),
        Err(why) => println!("setup: {what}: MISSING: {why}"),
    }
}

/// The Debian packages of what is not here.
fn wanted_packages(options: Options) -> Vec<&'static str> {
    let mut wanted = Vec::new();
    if !options.no_browser {
        if chromium_or_why().is_err() && std::env::var_os("CHROMIUM").is_none() {
            wanted.push("chromium");
        }
        // Without any font a page renders as boxes, and its screenshots are worth nothing.
        if !Path::new("/usr/share/fonts/truetype").exists() {
            wanted.push("fonts-dejavu-core");
        }
    }
    if find("node").is_none() {
        wanted.push("nodejs");
    }
    if find("npm").is_none() {
        wanted.push("npm");
    }
    wanted
}

fn install_packages(wanted: &[&str], options: Options) {
    let by_hand = format!(
        "apt-get install -y --no-install-recommends {}",
        wanted.join(" ")
    );
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

fn chromium_or_why() -> std::result::Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("CHROMIUM")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!(
                "CHROMIUM names {}, which is no file",
                path.display()
            ))
        };
    }
    [
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ]
    .iter()
    .find_map(|name| find(name))
    .ok_or_else(|| {
        "there is no Chromium on PATH (Debian: chromium), and CHROMIUM does not name one".to_owned()
    })
}

fn node_or_why() -> std::result::Result<(), String> {
    if find("npm").is_none() {
        return Err("there is no npm on PATH (Debian: npm)".to_owned());
    }
    let version = Command::new("node")
        .arg("--version")
        .output()
        .map_err(|_| "there is no node on PATH (Debian: nodejs)")?;
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
fn compat_or_why(compat: &Path, options: Options) -> std::result::Result<(), String> {
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
fn show(command: &mut Command) -> std::result::Result<(), String> {
    let line = words(command);
    println!("setup: {line}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` failed ({status})")),
        Err(error) => Err(format!("`{line}` could not be started: {error}")),
    }
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
    fn a_program_is_found_on_path() {
        assert!(find("sh").is_some());
        assert!(find("there-is-no-such-program").is_none());
    }
}
