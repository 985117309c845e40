//! Detects changes of files without reading them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The metadata that change with the content of a file, or with the target of a link to it. `None` while a file is
/// missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileStamps(Vec<Option<FileStamp>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    /// The path without links: the tools that renew certificates change a link.
    target: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
    /// Device, inode, and the time of the last change of the metadata.
    #[cfg(unix)]
    identity: [i64; 4],
}

impl FileStamps {
    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        Self(
            files
                .into_iter()
                .map(|file| FileStamp::of(file).ok())
                .collect(),
        )
    }
}

impl FileStamp {
    fn of(file: &Path) -> std::io::Result<Self> {
        let metadata = fs::metadata(file)?;
        Ok(Self {
            target: fs::canonicalize(file)?,
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            identity: {
                use std::os::unix::fs::MetadataExt as _;
                [
                    metadata.dev().cast_signed(),
                    metadata.ino().cast_signed(),
                    metadata.ctime(),
                    metadata.ctime_nsec(),
                ]
            },
        })
    }
}
