//! Compression of what a box unpacks when it starts.

use std::io::Write as _;

use flate2::{Compression, GzBuilder};

/// Compresses without a name and without a time.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    // Writing to memory does not fail; if it did, what comes out would be short, and nothing would unpack it.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
