//! The admin key: a random token with the grant `admin`, in a file that only the operator of the machine reads.

use std::{
    fmt, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::tls::state_folder;

/// The name of the file in the state folder.
const FILE: &str = "admin-token";

/// The random bytes of a key.
const KEY_BYTES: usize = 32;

/// The shortest key that is accepted from a file.
const KEY_TEXT_MIN: usize = 16;

/// A token that grants `admin`. Its `Debug` output does not show it.
#[derive(Clone)]
pub struct AdminKey {
    text: Arc<str>,
    file: Option<Arc<Path>>,
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminKey")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The admin key cannot be read or stored.
#[derive(Debug, Error)]
pub enum AdminKeyError {
    /// No state folder is known.
    #[error("no state folder is known: set STATE_DIRECTORY, XDG_STATE_HOME or HOME")]
    NoFolder,
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The path of the file.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// The file has no key.
    #[error(
        "{0} has no key of at least {KEY_TEXT_MIN} characters; remove the file to get a new one"
    )]
    Malformed(String),
}

impl AdminKey {
    /// A key of the host program.
    #[must_use]
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            file: None,
        }
    }

    /// The file of the key in the state folder.
    ///
    /// # Errors
    /// If no state folder is known.
    pub fn default_file() -> Result<PathBuf, AdminKeyError> {
        let folder = state_folder().ok_or(AdminKeyError::NoFolder)?;
        Ok(folder.join(FILE))
    }

    /// Reads the key of a file, or makes a random one and stores it there, readable for its owner only.
    ///
    /// # Errors
    /// If the file cannot be read or written, or has no key.
    pub fn load_or_make(file: &Path) -> Result<Self, AdminKeyError> {
        match Self::load(file) {
            Err(AdminKeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                make(file)?;
                // Another server may have made its key at the same time: both use the one that is stored.
                Self::load(file)
            }
            loaded => loaded,
        }
    }

    /// Reads the key of a file.
    ///
    /// # Errors
    /// If the file cannot be read or has no key.
    pub fn load(file: &Path) -> Result<Self, AdminKeyError> {
        let text = fs::read_to_string(file).map_err(|source| file_error(file, source))?;
        let text = text.trim();
        if text.len() < KEY_TEXT_MIN {
            return Err(AdminKeyError::Malformed(file.display().to_string()));
        }
        Ok(Self {
            text: text.into(),
            file: Some(file.into()),
        })
    }

    /// The text of the key.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file of the key.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether a token is this key. The digests are compared in constant time.
    pub(crate) fn is(&self, token: &str) -> bool {
        let digest = |text: &str| -> [u8; 32] { Sha256::digest(text.as_bytes()).into() };
        digest(&self.text).ct_eq(&digest(token)).into()
    }
}

fn file_error(file: &Path, source: io::Error) -> AdminKeyError {
    AdminKeyError::File {
        path: file.display().to_string(),
        source,
    }
}

/// Stores a random key, unless the file exists meanwhile. It is written under another name first, so that no reader
/// sees a part of it.
fn make(file: &Path) -> Result<(), AdminKeyError> {
    let bytes: [u8; KEY_BYTES] = rand::rng().random();
    let text = base16ct::lower::encode_string(&bytes);
    let suffix = base16ct::lower::encode_string(&rand::rng().random::<[u8; 8]>());
    let temporary = file.with_extension(suffix);
    let written = write(&temporary, &text).and_then(|()| fs::hard_link(&temporary, file));
    let removed = fs::remove_file(&temporary);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(file_error(file, error)),
        Ok(()) | Err(_) => removed.map_err(|error| file_error(&temporary, error)),
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_made_once_and_readable_for_its_owner_only() {
        let folder = std::env::temp_dir().join(format!("switchboard-key-{}", std::process::id()));
        let file = folder.join("state/admin-token");
        let made = AdminKey::load_or_make(&file).expect("a key");
        assert_eq!(made.text().len(), 2 * KEY_BYTES);
        let again = AdminKey::load_or_make(&file).expect("the same key");
        assert!(again.is(made.text()) && !again.is("") && !again.is(&made.text()[1..]));
        assert!(!format!("{made:?}").contains(made.text()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&file).expect("it exists").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let entries = fs::read_dir(file.parent().expect("a folder")).expect("readable");
        assert_eq!(entries.count(), 1, "no temporary file is left");
        fs::write(&file, "short\n").expect("written");
        let malformed = AdminKey::load_or_make(&file);
        assert!(matches!(malformed, Err(AdminKeyError::Malformed(_))));
        fs::remove_dir_all(folder).expect("removed");
    }
}
