//! End-to-end tests and benchmarks of the daemon against the mail software that people use.
//!
//! The parts are small and stand alone: [`recorder`] stands between any client and the daemon and knows what was
//! acknowledged, [`sink`] is a next hop that knows what it was given, [`ledger`] holds one against the other.
//! [`daemon`] is the only module that knows how the daemon is started and asked; [`postfix`] and [`exim`] run the
//! peers as private instances on loopback ports. The tests themselves are in `tests/`, the benchmarks in `src/bin`.
//!
//! What is promised, and how it must hold, is the tests' affair; what belongs to one crate is tested beside it.

// This crate is a test from end to end: a panic is its verdict, and it prints what it saw.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod certificate;
pub mod client;
pub mod content;
pub mod daemon;
pub mod drain;
pub mod envelope;
pub mod exim;
pub mod flood;
pub mod group_commit;
pub mod hop;
pub mod ledger;
pub mod letter;
pub mod listener;
pub mod load;
pub mod memory;
pub mod opensmtpd;
pub mod postfix;
pub mod process;
pub mod random;
pub mod recorder;
pub mod scratch;
pub mod sink;
pub mod storm;
pub mod submitter;
pub mod unpacked;
