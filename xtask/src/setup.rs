//! `cargo xtask setup`: finds the tools that the tests need, and installs missing ones by `xtask/setup.sh` and npm. If
//! that fails, says what is missing and continues.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Options, Result, output, root, stage::heading};

const NODE_MAJOR_MIN: u32 = 20;

/// Programs with their Debian packages.
type Programs = &'static [(&'static str, &'static str)];

const NODE: Programs = &[("node", "nodejs"), ("npm", "npm")];

const OF_RUST_TESTS: Programs = &[
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("ip", "iproute2"),
    ("turnserver", "coturn"),
];

/// Most of them check the audio that voice sends. PulseAudio is the sound device of Firefox, and needs no hardware.
const OF_BROWSER_TESTS: Programs = &[
    ("opusinfo", "opus-tools"),
    ("ogginfo", "vorbis-tools"),
    ("ffmpeg", "ffmpeg"),
    ("espeak-ng", "espeak-ng"),
    ("pulseaudio", "pulseaudio"),
];

const CHROMIUM: Programs = &[
    ("chromium", "chromium"),
    ("chromium-browser", "chromium"),
    ("google-chrome", "chromium"),
    ("google-chrome-stable", "chromium"),
];

const FIREFOX: Programs = &[("firefox-esr", "firefox-esr"), ("firefox", "firefox-esr")];

/// The tools for the tests, or the reasons why they are missing.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) chromium: Result<PathBuf>,
    pub(crate) firefox: Result<PathBuf>,
    /// Whether compat/ can run its scripts.
    pub(crate) compat: Result<()>,
    /// Whether all tools are there that the options require.
    pub(crate) is_complete: bool,
}

pub(crate) fn run(options: Options) -> Tools {
    heading("setup");
    let browser = if options.no_browser {
        &[][..]
    } else {
        OF_BROWSER_TESTS
    };
    let wanted = [NODE, OF_RUST_TESTS, browser].concat();
    let mut packages: Vec<_> = missing(&wanted).collect();
    if !options.no_browser {
        let browsers = [("CHROMIUM", CHROMIUM), ("FIREFOX", FIREFOX)];
        let absent = browsers
            .iter()
            .filter(|(variable, names)| find_browser(variable, names).is_err());
        packages.extend(absent.map(|(_, names)| names[0].1));
        // Without a font, the text in screenshots is rendered as boxes.
        let has_fonts = Path::new("/usr/share/fonts/truetype").exists();
        packages.extend((!has_fonts).then_some("fonts-dejavu-core"));
    }
    if !packages.is_empty() && !options.no_install {
        let mut install = Command::new(root().join("xtask/setup.sh"));
        _ = run_visibly(install.args(&packages));
    }
    let mut tools = Tools {
        chromium: find_browser("CHROMIUM", CHROMIUM),
        firefox: find_browser("FIREFOX", FIREFOX),
        compat: install_compat(options),
        is_complete: true,
    };
    let absent = missing(&wanted).map(|package| format!("Debian package {package}"));
    let browsers = [&tools.chromium, &tools.firefox].map(|found| found.as_ref().err().cloned());
    let browsers = browsers
        .into_iter()
        .flatten()
        .filter(|_| !options.no_browser);
    for reason in absent.chain(browsers).chain(tools.compat.clone().err()) {
        println!("setup: MISSING: {reason}");
        tools.is_complete = false;
    }
    tools
}

/// The Debian packages of the programs that are not on PATH.
fn missing(programs: &[(&'static str, &'static str)]) -> impl Iterator<Item = &'static str> {
    let absent = programs
        .iter()
        .filter(|(program, _)| find(program).is_none());
    absent.map(|(_, package)| *package)
}

/// The program that an environment variable names, or the first program on PATH with one of these names.
fn find_browser(variable: &str, names: Programs) -> Result<PathBuf> {
    let named = std::env::var_os(variable).filter(|path| !path.is_empty());
    let found = match named {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
        None => names.iter().find_map(|(name, _)| find(name)),
    };
    found.ok_or_else(|| {
        format!(
            "neither {variable} nor PATH leads to this browser (Debian: {})",
            names[0].1
        )
    })
}

/// Installs the packages of compat/ if they are missing or older than the lock file.
fn install_compat(options: Options) -> Result<()> {
    if missing(NODE).next().is_some() {
        return Err("there is no node with npm on PATH (Debian: nodejs npm)".to_owned());
    }
    let version = output(Command::new("node").arg("--version"))?;
    let major = version.trim_start_matches('v').split('.').next();
    if major.and_then(|major| major.parse().ok()) < Some(NODE_MAJOR_MIN) {
        return Err(format!(
            "Node.js is {version}, the tests need {NODE_MAJOR_MIN} or newer"
        ));
    }
    let compat = root().join("compat");
    let modified = |file: &str| {
        compat
            .join(file)
            .metadata()
            .and_then(|file| file.modified())
            .ok()
    };
    // npm writes this file last.
    if modified("node_modules/.package-lock.json") >= modified("package-lock.json") {
        return Ok(());
    }
    if options.no_install {
        return Err(
            "compat/node_modules is missing or older than the lock; run `npm ci`".to_owned(),
        );
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    run_visibly(npm.current_dir(compat))
}

/// Runs a command that prints its output directly.
fn run_visibly(command: &mut Command) -> Result<()> {
    println!("setup: {command:?}");
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|error| format!("{command:?} could not be started: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed ({status})"))
}

/// Finds a program on PATH.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(program));
    candidates.find(|candidate| candidate.is_file())
}
