//! The folder in which the server keeps its self-signed certificate, its ACME account and its admin key.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The state folder of the systemd service; without one, that of the user. `None` if neither is known.
pub(crate) fn folder() -> Option<PathBuf> {
    folder_in(|name| env::var_os(name).map(PathBuf::from))
}

fn folder_in(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let folder = |name| variable(name).filter(|folder: &PathBuf| folder.is_absolute());
    // systemd creates the folders of `StateDirectory=` and separates them by colons in this variable.
    let first = |folders: PathBuf| folders.to_str()?.split(':').next().map(PathBuf::from);
    let of_service = folder("STATE_DIRECTORY").and_then(first);
    let of_user = || {
        let state = folder("XDG_STATE_HOME");
        let state = state.or_else(|| Some(folder("HOME")?.join(".local/state")));
        state.map(|state| state.join("switchboard"))
    };
    of_service.or_else(of_user)
}

/// Atomically writes a file that only its owner may read. A reader sees the old file or the complete new one, even
/// after a crash of the machine.
pub(super) fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // Removes a temporary file that a crash left. `create_new` does not follow a symbolic link of another user.
    drop(fs::remove_file(&new));
    let written = options
        .open(&new)
        .and_then(|mut out| {
            out.write_all(text.as_bytes())?;
            out.sync_all()
        })
        .and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        drop(fs::remove_file(&new));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_is_that_of_the_service_or_of_the_user() {
        let file = |set: &[(&str, &str)]| {
            let found = folder_in(|name| {
                let of_name = set.iter().find(|(key, _)| *key == name);
                of_name.map(|(_, value)| value.into())
            });
            found.map(|file| file.display().to_string())
        };
        let home = ("HOME", "/u/ada");
        for (set, expected) in [
            (&[home][..], "/u/ada/.local/state/switchboard"),
            (&[home, ("XDG_STATE_HOME", "/s")], "/s/switchboard"),
            (
                &[home, ("STATE_DIRECTORY", "/var/lib/sb:/var/lib/other")],
                "/var/lib/sb",
            ),
        ] {
            assert_eq!(file(set).as_deref(), Some(expected));
        }
        assert_eq!(file(&[("HOME", ""), ("XDG_STATE_HOME", "relative")]), None);
    }
}
