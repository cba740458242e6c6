//! See [`banyan_fuzz::codec_diff`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("codec_diff"),
    |data: &[u8]| banyan_fuzz::codec_diff::run(data)
);
