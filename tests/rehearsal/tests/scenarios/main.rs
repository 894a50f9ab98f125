//! What becomes of mail in outages, rebuilds and accidents of days, as the product promises it.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod faults;
mod figures;
mod outages;
mod properties;
mod rebuild;
