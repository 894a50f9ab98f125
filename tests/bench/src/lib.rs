//! What the benches of the volume share: mail to put on it, volumes to put it on, and the parts of each bench.
//!
//! A bench ends where a measurement cannot be made, so everything here panics instead of giving errors.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod churn;
pub mod mail;
pub mod mounts;
pub mod throughput;
