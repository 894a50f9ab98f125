//! Archives that the kernel unpacks into its first file system: "newc" cpio (Documentation/driver-api/early-userspace/
//! buffer-format.rst of Linux).
//!
//! Times are zero, everything belongs to root, and inode numbers count up, so that an archive depends on its content and
//! on nothing else.

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

/// What an entry is, besides its name and permissions.
enum Kind<'a> {
    Directory,
    File(&'a [u8]),
    /// A character device by its major and minor number.
    Device(u32, u32),
}

impl Archive {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory. What is in it must come after it.
    pub fn directory(&mut self, name: &str, permissions: u32) {
        self.entry(name, permissions, &Kind::Directory);
    }

    /// Adds a file.
    ///
    /// # Panics
    /// If it is of 4 GiB or more, for which the format has no room.
    pub fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, permissions, &Kind::File(content));
    }

    /// Adds a character device.
    pub fn device(&mut self, name: &str, permissions: u32, major: u32, minor: u32) {
        self.entry(name, permissions, &Kind::Device(major, minor));
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = u32::MAX;
        self.header("TRAILER!!!", 0, 1, 0, (0, 0));
        self.bytes
    }

    fn entry(&mut self, name: &str, permissions: u32, kind: &Kind<'_>) {
        let (type_bits, links, content, device): (u32, u32, &[u8], _) = match kind {
            Kind::Directory => (0o040_000, 2, &[], (0, 0)),
            Kind::File(content) => (0o100_000, 1, content, (0, 0)),
            Kind::Device(major, minor) => (0o020_000, 1, &[], (*major, *minor)),
        };
        assert!(u32::try_from(content.len()).is_ok(), "{name} is too large for a cpio archive");
        self.header(name, type_bits | permissions, links, content.len() as u32, device);
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn header(&mut self, name: &str, mode: u32, links: u32, size_bytes: u32, device: (u32, u32)) {
        self.inode = self.inode.wrapping_add(1);
        let name_len = name.len() as u32 + 1;
        // inode, mode, uid, gid, links, time, size, device of the file (2), device that it is (2), name, checksum
        let fields = [self.inode, mode, 0, 0, links, 0, size_bytes, 0, 0, device.0, device.1, name_len, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
    }

    /// Names and contents end at a multiple of four.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new();
        archive.directory("dev", 0o755);
        archive.device("dev/console", 0o600, 5, 1);
        archive.file("odd", 0o640, b"12345");
        archive.file("empty", 0o644, b"");
        archive.finish()
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bytes = sample();
        assert!(bytes.len().is_multiple_of(4));
        let first = "070701\
            00000001000041ED00000000000000000000000200000000000000000000000000000000000000000000000000000004\
            00000000dev\0\0\0";
        assert_eq!(&bytes[..first.len()], first.as_bytes());
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }

    #[test]
    fn another_implementation_reads_the_same() {
        let mut cpio = Command::new("cpio")
            .args(["--list", "--verbose", "--quiet", "--numeric-uid-gid"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/setup installs cpio");
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let listed = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let lines: Vec<_> = listed.lines().collect();
        assert_eq!(lines.len(), 4, "{listed}");
        assert!(lines[1].starts_with("crw-------") && lines[1].contains("5,   1"), "{listed}");
        assert!(lines[2].starts_with("-rw-r-----") && lines[2].ends_with("odd"), "{listed}");
    }
}
