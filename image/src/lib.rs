//! The image of a box: what is built from a kernel, the one binary and a board, and how QEMU is started on it.
//!
//! The same input gives the same bytes, on any machine and in any folder: nothing here asks for the time, for a user or
//! for the order in which a folder lists its files. Compiling is left to cargo and to `build-kernel`; `scripts/image` puts
//! them together. Who signs may be somebody else, elsewhere: [`bundle::sign`].

pub mod board;
pub mod bundle;
pub mod cpio;
mod error;
pub mod flash;
pub mod flat;
mod gzip;
pub mod initramfs;
pub mod inspect;
pub mod keys;
pub mod qemu;
pub mod sbom;
pub mod slot;

pub use error::Error;
