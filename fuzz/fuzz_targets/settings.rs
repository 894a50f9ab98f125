//! A settings file that holds anything at all: settings, or problems that a person can read.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| penstock_exercises::settings(input));
