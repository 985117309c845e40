//! The folder in which the server keeps what it makes itself: its self-signed certificate and its admin key.

use std::{env, path::PathBuf};

/// The state folder of this process; `None` if none is known.
pub(crate) fn of_process() -> Option<PathBuf> {
    folder(|name| env::var_os(name).map(PathBuf::from))
}

/// The state folder of the systemd service; without one, that of the user.
pub(crate) fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
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
