//! The first and only file system of a box: the one binary, and what the kernel and the system's libraries look for.
//!
//! There is no shell in it and nothing else that runs.

use crate::cpio::Archive;
use crate::gzip::gzip;

/// The users of a box. The daemon and the console run as their own; `penstock init` gives them their numbers.
const PASSWD: &str = "\
root:x:0:0:root:/:/bin/penstock
penstock:x:100:100:Penstock:/run/penstock:/bin/penstock
console:x:101:100:serial console:/:/bin/penstock
";
const GROUP: &str = "\
root:x:0:
penstock:x:100:console
";

/// Packs the binary and what it needs around it.
pub fn pack(penstock: &[u8]) -> Vec<u8> {
    let mut archive = Archive::new();
    for directory in ["bin", "dev", "etc", "proc", "run", "sys"] {
        archive.directory(directory, 0o755);
    }
    archive.file("bin/penstock", 0o755, penstock);
    // What the kernel opens for the first process, before that mounts anything.
    archive.device("dev/console", 0o600, 5, 1);
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes());
    archive.file("etc/group", 0o644, GROUP.as_bytes());
    gzip(&archive.finish())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn it_holds_the_binary_and_nothing_of_this_machine() {
        let packed = pack(b"an executable");
        assert_eq!(packed, pack(b"an executable"));
        // Flags and time of the gzip header (RFC 1952): no name, no time.
        assert_eq!(packed[3..8], [0; 5]);
        let mut archive = Vec::new();
        GzDecoder::new(packed.as_slice()).read_to_end(&mut archive).unwrap();
        assert!(archive.windows(13).any(|window| window == b"an executable"));
    }
}
