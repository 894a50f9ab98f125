//! What the kernel says about the device under a path.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What the kernel says about a device. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The disk's name, such as `sda` or `mmcblk0`; of a partition, the disk that it is on.
    pub name: Option<String>,
    /// What its maker calls it.
    pub model: Option<String>,
    /// Whether it turns.
    pub rotational: Option<bool>,
    /// `write back` if it has a volatile cache, `write through` if not.
    pub write_cache: Option<String>,
    /// Whether a single write can be forced to the medium.
    pub fua: Option<bool>,
    /// Its physical block in bytes.
    pub physical_block_bytes: Option<u32>,
    /// The file system, where it is one that has no device of its own.
    pub file_system: Option<&'static str>,
}

impl Attributes {
    /// Of the device at a path, or of the one that a file or folder is on.
    ///
    /// # Errors
    /// If the path cannot be examined.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        let device = if metadata.file_type().is_block_device() { metadata.rdev() } else { metadata.dev() };
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let Ok(link) = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else {
            return Ok(Self { file_system: file_system(path), ..Self::default() });
        };
        // A partition is a folder within that of its disk.
        let disk = if link.join("queue").exists() {
            link
        } else {
            link.parent().map(PathBuf::from).unwrap_or_default()
        };
        let read = |name: &str| {
            let text = fs::read_to_string(disk.join(name)).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let flag = |name: &str| read(name).map(|text| text != "0");
        Ok(Self {
            name: disk.file_name().map(|name| name.to_string_lossy().into_owned()),
            model: read("device/model").or_else(|| read("device/name")),
            rotational: flag("queue/rotational"),
            write_cache: read("queue/write_cache"),
            fua: flag("queue/fua"),
            physical_block_bytes: read("queue/physical_block_size").and_then(|text| text.parse().ok()),
            file_system: None,
        })
    }

    /// What the device is if it is none of its own.
    pub fn virtual_kind(&self) -> Option<&'static str> {
        const KINDS: [(&str, &str); 9] = [
            ("vd", "a virtio disk of a virtual machine"),
            ("xvd", "a Xen disk of a virtual machine"),
            ("loop", "a loop device on a file"),
            ("dm-", "a device-mapper volume (LVM, encryption) on other disks"),
            ("md", "a software RAID on other disks"),
            ("nbd", "a disk across the network"),
            ("rbd", "a disk across the network"),
            ("drbd", "a disk mirrored across the network"),
            ("bcache", "a cache in front of another disk"),
        ];
        const HYPERVISORS: [&str; 4] = ["QEMU", "VBOX", "Virtual", "VMware"];
        let name = self.name.as_deref()?;
        let by_name = KINDS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, kind)| *kind);
        let model = self.model.as_deref().unwrap_or_default();
        let by_model =
            HYPERVISORS.iter().any(|word| model.contains(word)).then_some("a disk of a virtual machine");
        by_name.or(by_model)
    }

    /// What it is if it is memory.
    pub(super) fn volatile_memory(&self) -> Option<&'static str> {
        let name = self.name.as_deref().unwrap_or_default();
        if name.starts_with("ram") || name.starts_with("zram") {
            return Some("a disk in memory");
        }
        (self.file_system == Some("tmpfs")).then_some("a file system in memory")
    }
}

/// The name of a file system without a device, if it is one that people put files on.
fn file_system(path: &Path) -> Option<&'static str> {
    // linux/magic.h
    match u64::try_from(rustix::fs::statfs(path).ok()?.f_type).ok()? {
        0x0102_1994 => Some("tmpfs"),
        0x794C_7630 => Some("overlay"),
        0x9123_683E => Some("btrfs"),
        0x2FC1_2FC1 => Some("zfs"),
        0x6969 => Some("nfs"),
        0x0102_1997 => Some("9p"),
        0x6573_5546 => Some("fuse"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_its_device_or_its_file_system() {
        let attributes = Attributes::of(&std::env::temp_dir()).unwrap();
        assert!(attributes.name.is_some() || attributes.file_system.is_some(), "{attributes:?}");
        assert!(Attributes::of(Path::new("/nonexistent")).is_err());
        let memory = Attributes::of(Path::new("/dev/shm")).unwrap();
        assert_eq!(memory.file_system, Some("tmpfs"));
    }
}
