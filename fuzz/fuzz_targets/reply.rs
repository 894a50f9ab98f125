//! Replies of a server that says anything at all, each read by a session of its own, against the reference.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| penstock_exercises::reply(input));
