//! A serial line that says anything at all to the console of the firmware, or of stage 0.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| penstock_exercises::console(input));
