//! The devices that mail is kept on: given to the daemon, also one that comes later than the box starts.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use penstock_flash_linux::Mtd;
use penstock_settings::{Reserve, Settings};

use super::log::say;
use super::{DAEMON_ID, Error};

/// The devices. What is on them is for the daemon to find out.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// Those that could not be given yet.
    missing: Vec<PathBuf>,
}

impl Volumes {
    /// Gives the daemon what is there. One volume of two will do.
    ///
    /// # Errors
    /// Why there is none to keep mail on.
    pub(super) fn give(settings: &Settings) -> Result<Self, Error> {
        let mut volumes = Self::default();
        let mut trouble = Vec::new();
        let disk = settings.volume.is_device().then(|| Ok(settings.volume.path.as_str().into()));
        let reserve = match &settings.volume.reserve {
            Reserve::Partition(name) => Some(Mtd::find(name).map_err(Error::from)),
            Reserve::Path(path) if path.as_str().starts_with("/dev/") => Some(Ok(path.as_str().into())),
            Reserve::Path(_) | Reserve::None => None,
        };
        let wanted: Vec<Result<PathBuf, Error>> = disk.into_iter().chain(reserve).collect();
        let count = wanted.len();
        for device in wanted {
            let given = device.and_then(|device| match give(&device) {
                Ok(()) => Ok(()),
                Err(error) => {
                    volumes.missing.push(device);
                    Err(error)
                }
            });
            trouble.extend(given.err());
        }
        if count > 0 && trouble.len() == count {
            // The disk's comes first.
            return Err(trouble.swap_remove(0));
        }
        trouble.iter().for_each(|error| say(&format!("{error}; mail is kept without it")));
        Ok(volumes)
    }

    /// Gives what has come since. The daemon finds it by itself.
    pub(super) fn tend(&mut self) {
        self.missing.retain(|device| match give(device) {
            Ok(()) => {
                say(&format!("{} is there now", device.display()));
                false
            }
            Err(_) => true,
        });
    }
}

fn give(device: &Path) -> Result<(), Error> {
    let give = || -> std::io::Result<()> {
        if std::fs::metadata(device)?.uid() != DAEMON_ID {
            chown(device, Some(DAEMON_ID), Some(DAEMON_ID))?;
        }
        Ok(())
    };
    give().map_err(|source| Error::Disk { path: device.to_owned(), source })
}
