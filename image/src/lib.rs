//! The image of a box: what is built from a kernel, the one binary and a board, and how QEMU is started on it.
//!
//! The same input gives the same bytes, on any machine and in any folder: nothing here asks for the time, for a user or
//! for the order in which a folder lists its files. Compiling is left to cargo and to `build-kernel`; `scripts/image` puts
//! them together. Signing is left to whoever holds the key.

pub mod board;
pub mod bundle;
pub mod cpio;
mod error;
pub mod flash;
pub mod initramfs;
pub mod manifest;
pub mod qemu;
pub mod sbom;

pub use error::Error;
