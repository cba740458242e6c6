//! See [`banyan_fuzz::log_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("log_record"),
    |data: &[u8]| banyan_fuzz::log_record::run(data)
);
