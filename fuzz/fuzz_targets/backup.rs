//! See [`banyan_fuzz::backup`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("backup"),
    |data: &[u8]| banyan_fuzz::backup::run(data)
);
