//! See [`banyan_fuzz::command_decode`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("command_decode"),
    |data: &[u8]| banyan_fuzz::command_decode::run(data)
);
