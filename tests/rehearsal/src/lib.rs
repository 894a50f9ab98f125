//! Our sender and the model of Exchange in simulated time: weeks of outage take seconds, and every run is the same.
//!
//! [`Appliance`] is a party in the model's world: `penstock_release` decides, `penstock_smtp` talks. It is what the daemon
//! is around them, without sockets, flash and threads. [`judge`] holds what the appliance says became of its mail against
//! what lies in mailboxes. [`drain`] measures how a backlog goes, for tuning the control law: see the README.
//!
//! Whether the daemon does the same on real sockets is `tests/peers`' affair.

// This crate is a test from end to end: a panic is its verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod appliance;
mod bystander;
mod connection;
mod counters;
pub mod drain;
mod judge;
mod mail;
mod sending;

pub use appliance::{Act, Appliance, Knowledge, config};
pub use bystander::Bystander;
pub use judge::{Judgement, judge};
pub use mail::{Fate, Held, Mail};
