//! Which paths the daemon may open, by Landlock.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _,
    RulesetStatus, make_bitflags, path_beneath_rules,
};
use penstock_settings::{Reserve, Settings};

use super::Missing;

/// The newest rights that are asked for; what a kernel does not know yet is left out. Device ioctls are the last of them.
const RIGHTS: ABI = ABI::V5;
/// What the system's libraries read to resolve a name and to load what does that, and what the kernel tells of devices and
/// processes.
const READ: [&str; 7] = ["/etc", "/lib", "/lib64", "/usr/lib", "/proc", "/sys", "/run/systemd/resolve"];
/// Where devices are.
const DEVICES: &str = "/dev";

/// Restricts this thread, and all that it will start.
pub(super) fn restrict<'f>(
    settings: &Settings,
    files: impl Iterator<Item = &'f Path>,
) -> Result<(), Missing> {
    let refused = |error: landlock::RulesetError| Missing::Refused(error.to_string());
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    // A disk that is unplugged and plugged in again is another file in the same directory; which devices may be opened at
    // all is for their permissions to say.
    let devices = if places(settings).any(|place| place.is_none_or(|path| path.starts_with(DEVICES))) {
        read | make_bitflags!(AccessFs::{WriteFile | IoctlDev})
    } else {
        read
    };
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(RIGHTS))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(READ, read)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(files.filter_map(directory), read)))
        .and_then(|rules| rules.add_rules(path_beneath_rules([DEVICES], devices)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(written(settings), write())))
        .and_then(RulesetCreated::restrict_self)
        .map_err(refused)?;
    match status.ruleset {
        // A kernel that knows fewer rights enforces those that it knows.
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(Missing::NotInKernel),
    }
}

/// What may be done where volume and socket are: files and sockets, no devices, no links, nothing executed.
fn write() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | RemoveFile | MakeReg | MakeSock})
}

/// The directories of the volumes, where a new one is made beside its place, and of the control socket.
fn written(settings: &Settings) -> Vec<PathBuf> {
    let socket = Path::new(settings.system.control_socket.as_str());
    let volumes = places(settings).flatten().filter(|path| !path.starts_with(DEVICES));
    iter::once(socket).chain(volumes).filter_map(directory).collect()
}

/// Where the volumes are; `None` stands for a partition of raw flash.
fn places(settings: &Settings) -> impl Iterator<Item = Option<&Path>> {
    let reserve = match &settings.volume.reserve {
        Reserve::None => None,
        Reserve::Partition(_) => Some(None),
        Reserve::Path(path) => Some(Some(Path::new(path.as_str()))),
    };
    iter::once(Some(Path::new(settings.volume.path.as_str()))).chain(reserve)
}

/// The directory in which a file really is, or will be.
fn directory(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real.parent().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    fn settings(folder: &Path) -> Settings {
        let folder = folder.display();
        Settings::parse(&format!(
            "[system]\nhostname = \"mx.example\"\ncontrol_socket = \"{folder}/run/control\"\n\
             [volume]\npath = \"{folder}/mail/volume\"\n[domains]\naccepted = [\"example.com\"]\n\
             [[next_hop]]\nname = \"a\"\naddress = \"192.0.2.1\"\n"
        ))
        .unwrap()
    }

    #[test]
    fn only_the_folders_of_volume_and_socket_can_be_written_and_nothing_else_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["mail", "run", "other"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("other/secret"), "secret").unwrap();
        let settings = settings(folder.path());
        // It holds for a thread, which ends with the test.
        thread::scope(|scope| {
            scope.spawn(|| {
                match restrict(&settings, iter::empty()) {
                    Ok(()) => {}
                    // Then nothing is restricted, and that is what must be said.
                    Err(Missing::NotInKernel) => return assert!(fs::read(at("other/secret")).is_ok()),
                    Err(why) => panic!("{why}"),
                }
                fs::write(at("mail/volume.new"), "mail").unwrap();
                fs::rename(at("mail/volume.new"), at("mail/volume")).unwrap();
                UnixListener::bind(at("run/control")).unwrap();
                fs::remove_file(at("run/control")).unwrap();
                fs::read("/etc/passwd").unwrap();
                for refused in [
                    fs::read(at("other/secret")).map(drop),
                    fs::write(at("other/new"), ""),
                    fs::write("/etc/penstock-was-here", ""),
                    fs::read_dir("/").map(drop),
                    std::os::unix::fs::symlink("/etc/passwd", at("mail/link")),
                    std::process::Command::new("/bin/true").status().map(drop),
                ] {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
                }
            });
        });
    }
}
