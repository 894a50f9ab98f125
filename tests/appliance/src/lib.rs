//! End-to-end tests of the image of a box.
//!
//! [`machine`] is a box under QEMU with all that a person can reach of it, [`bundles`] are updates for it that nobody would
//! ship, [`later`] volumes that a later version has written, [`console`] is its serial line, [`disk`] a disk
//! that can be taken out, [`monitor`] speaks with QEMU itself, [`time_server`] tells the box what time it is, and [`storm`]
//! pulls the plug under load. [`powercut`] records what a box asks of its disk ([`nbd`]) and what it tells its clients, makes
//! the disk as a power cut at any moment would have left it ([`replay`]), and holds what is on that against what was told
//! ([`judge`]). Clients, next hop and ledger are those of `penstock-peers`.

// This crate is a test from end to end: a panic is its verdict, and it prints what it saw.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod bundles;
pub mod console;
pub mod disk;
pub mod judge;
pub mod later;
pub mod machine;
pub mod monitor;
pub mod nbd;
pub mod powercut;
pub mod replay;
pub mod storm;
pub mod time_server;
