//! See [`banyan_fuzz::connection`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("connection"),
    |data: &[u8]| banyan_fuzz::connection::run(data)
);
