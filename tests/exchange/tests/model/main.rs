//! What is known of Exchange, sentence by sentence, held against the model in simulated time.

// Everything here is a test: a panic is its verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;
mod delivery;
mod faces;
mod faults;
mod hostile;
mod limits;
mod load;
mod pressure;
mod proof;
mod rebuild;
mod smtp;
