//! A client that sends anything at all, in pieces of any size, to a server session whose caller says yes and no.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| penstock_exercises::server(input));
