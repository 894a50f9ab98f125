//! A folder for one test: gone when the test passed, left for inspection when it did not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that lives as long as the test needs it.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a folder under `PENSTOCK_SCRATCH`, or else under `/var/tmp`, which is on a disk, where `/tmp` may be
    /// memory, and which other users (Postfix) can reach.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let base =
            std::env::var_os("PENSTOCK_SCRATCH").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("penstock-{name}-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for inspection: {}", self.path.display());
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}
