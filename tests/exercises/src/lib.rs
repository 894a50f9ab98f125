//! What must hold for any bytes that a peer or a file can hand to us, as one function a target: [`server`], [`client`],
//! [`reply`], [`address`], [`settings`], [`console`]. A function returns if all holds and panics if anything does not.
//!
//! They are fuzz targets (`fuzz/`, run by `scripts/fuzz`), and `tests/bounded.rs` gives them the seeds, everything that
//! fuzzing ever found, and some thousand inputs of [`generate`], so that what must hold is written once. Where there is
//! a right answer, it is computed a second time in the plainest way there is ([`mod@reference`]). The seventh target, `volume`,
//! is beside the spool's tests.

// This crate is a test from end to end: a panic is its verdict, and it says what it saw.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod address;
mod client;
mod console;
mod cuts;
pub mod generate;
pub mod reference;
mod reply;
mod server;
mod settings;

pub use address::address;
pub use client::client;
pub use console::console;
pub use reply::reply;
pub use server::server;
pub use settings::settings;

/// A target: its name, as `scripts/fuzz` has it, what tries an input, and what draws one.
pub type Target = (&'static str, fn(&[u8]), fn(&mut generate::Random) -> Vec<u8>);

/// All targets of this crate.
pub const TARGETS: [Target; 6] = [
    ("server", server, generate::dialogue),
    ("client", client, generate::replies_with_choices),
    ("reply", reply, generate::replies),
    ("address", address, generate::address),
    ("settings", settings, generate::settings),
    ("console", console, generate::typed),
];
