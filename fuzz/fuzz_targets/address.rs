//! What somebody writes where an address belongs: taken or not, it can never become another command, another parameter or
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| penstock_exercises::address(input));
