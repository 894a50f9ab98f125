//! The file systems of the kernel, and what is set through them.

use std::fs;

use rustix::mount::{MountFlags, mount as mount_at};

use super::Error;

/// The file system type, where it goes, and its options. Nothing on them is started and no device is a device, but for
/// those of the kernel's own.
const FILE_SYSTEMS: [(&str, &str, MountFlags, Option<&std::ffi::CStr>); 4] = [
    ("proc", "/proc", NOTHING_RUNS, None),
    ("sysfs", "/sys", NOTHING_RUNS, None),
    ("devtmpfs", "/dev", MountFlags::NOSUID.union(MountFlags::NOEXEC), Some(c"mode=0755")),
    ("tmpfs", "/run", NOTHING_RUNS, Some(c"mode=0755,size=16m")),
];
const NOTHING_RUNS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Mounts them all.
pub(super) fn mount() -> Result<(), Error> {
    for (kind, target, flags, options) in FILE_SYSTEMS {
        mount_at(kind, target, kind, flags, options).map_err(|source| Error::Mount { target, source })?;
    }
    Ok(())
}

/// Sets a parameter of the kernel.
pub(super) fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/{name}");
    fs::write(&path, value).map_err(|source| Error::File { path: path.into(), source })
}
