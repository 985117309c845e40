//! The file of a secret key: its number in hex, readable by its owner only.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use switchboard::SecretKey;

use super::output;

/// Maximum length read from a key file, in bytes.
const LENGTH_MAX: u64 = 1024;

/// The path of the key file without `--key`.
pub(super) fn default_path() -> anyhow::Result<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|config| config.join("switchboard/voice.key"))
        .context("no home directory: neither XDG_CONFIG_HOME nor HOME is an absolute path; use --key FILE")
}

/// Reads a key. A missing file is created only if `create_missing` is set: a mistyped path must not become a new
/// identity.
pub(super) fn load(path: &Path, create_missing: bool) -> anyhow::Result<SecretKey> {
    let text = match read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !create_missing => {
            let path = path.display();
            return Err(anyhow!(
                "there is no key {path}; to make one: switchboard voice key --key {path}"
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create(path).with_context(|| format!("cannot make {}", path.display()))?;
            read(path)
        }
        other => other,
    };
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    SecretKey::from_hex(text.trim()).with_context(|| {
        let path = path.display();
        format!("{path} holds no key: 64 hex digits are expected. Move the file away to get a new key, or use another with --key FILE")
    })
}

fn read(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        output::print_status(&format!(
            "warning: other users can read your secret key; fix: chmod 600 {path}"
        ));
    }
    let mut text = String::new();
    file.take(LENGTH_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Creates the file atomically. Keeps the file if another process has created it meanwhile.
fn create(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    // Removes a draft that a crash left behind. A link of another user is not followed, because the file must
    // be new.
    drop(fs::remove_file(&draft));
    let created = write(&draft).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&draft).and(created)
}

fn write(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", SecretKey::generate().to_hex())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a folder that other users can write to, the key is not written to a file of theirs.
    #[test]
    fn key_is_not_written_through_a_link() {
        let process = std::process::id();
        let folder = env::temp_dir().join(format!("switchboard-key-{process}"));
        fs::create_dir_all(&folder).expect("a folder");
        let (path, theirs) = (folder.join("voice.key"), folder.join("theirs"));
        fs::write(&theirs, "theirs").expect("written");
        let draft = folder.join(format!("voice.key.{process}"));
        std::os::unix::fs::symlink(&theirs, draft).expect("a link");
        let created = load(&path, true).map(|key| key.to_hex().len());
        let kept = fs::read_to_string(&theirs);
        fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(kept.expect("a file"), "theirs");
        assert_eq!(created.expect("a key"), 64);
    }
}
