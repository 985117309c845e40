//! The directory for the files of a run.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// A temporary directory, removed on drop unless it is kept.
#[derive(Debug)]
pub(crate) struct TempDir {
    path: PathBuf,
    is_kept: bool,
}

impl TempDir {
    pub(crate) fn create() -> Self {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("switchboard-cluster-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self {
            path,
            is_kept: false,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn keep(&mut self) -> &Path {
        self.is_kept = true;
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !self.is_kept && !std::thread::panicking() {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
