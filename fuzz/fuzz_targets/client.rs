//! A server that says anything at all, in pieces of any size, to a client session whose caller does what it likes, in
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| penstock_exercises::client(input));
