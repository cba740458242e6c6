//! See [`banyan_fuzz::topic_filter`].
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: banyan_fuzz::seeds::write("topic_filter"),
    |data: &[u8]| banyan_fuzz::topic_filter::run(data)
);
