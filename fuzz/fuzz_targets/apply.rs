//! See [`banyan_fuzz::apply`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("apply"),
    |data: &[u8]| banyan_fuzz::apply::run(data)
);
