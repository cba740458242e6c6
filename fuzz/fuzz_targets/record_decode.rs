//! See [`banyan_fuzz::record_decode`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("record_decode"),
    |data: &[u8]| banyan_fuzz::record_decode::run(data)
);
