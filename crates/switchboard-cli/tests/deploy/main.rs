//! The files of `deploy/`, with the programs that read them: the Debian package and its service, the container file, the
//! reverse proxies, and the alerts.

mod alerts;
mod container;
mod package;
mod proxies;
#[path = "../server_process/mod.rs"]
mod server_process;
mod service;
mod test_dir;
mod versions;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let path = PathBuf::from(root).join(path);
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a command that must succeed. Returns its standard output.
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{errors}");
    out
}
