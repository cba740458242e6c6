//! See [`banyan_fuzz::packet_decode`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("packet_decode"),
    |data: &[u8]| banyan_fuzz::packet_decode::run(data)
);
