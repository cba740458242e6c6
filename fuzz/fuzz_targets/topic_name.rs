//! See [`banyan_fuzz::topic_name`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("topic_name"),
    |data: &[u8]| banyan_fuzz::topic_name::run(data)
);
