//! Mail servers that Debian cannot install beside Postfix: `scripts/setup` has unpacked them into the cache folder.

use std::path::PathBuf;

/// The path of a file that was unpacked.
pub fn unpacked(path: &str) -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = folder("PENSTOCK_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("penstock")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/penstock")))
        .expect("HOME is set");
    let file = cache.join(path);
    assert!(file.exists(), "no {}: run scripts/setup", file.display());
    file
}
