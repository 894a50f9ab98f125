//! A volume that somebody forged, with right CRCs over lies: mounted, read, worked on and mounted again.
//!
//! The input is a recipe of `crates/spool/tests/hostile/forge.rs`, which the spool's own tests try too.
#![no_main]
#![allow(dead_code, reason = "the spool's tests use more of what is shared")]

#[path = "../../crates/spool/tests/common/mod.rs"]
mod common;
#[path = "../../crates/spool/tests/hostile/forge.rs"]
mod forge;
#[path = "../../crates/spool/tests/hostile/records.rs"]
mod records;

libfuzzer_sys::fuzz_target!(|recipe: &[u8]| forge::exercise(&forge::forge(recipe)));
