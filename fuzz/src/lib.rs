//! What each fuzz target does with an input: an ordinary function that panics on a finding.
//!
//! `fuzz_targets/` hands these functions to libfuzzer; the tests here run them on their seeds and on the inputs of past
//! findings. See `README.md`.

pub mod apply;
#[cfg(feature = "node")]
pub mod backup;
pub mod choices;
#[cfg(feature = "codecs")]
pub mod codec_diff;
pub mod command_decode;
pub mod connection;
#[cfg(feature = "node")]
pub mod log_record;
pub mod naive;
pub mod packet_decode;
pub mod record_decode;
pub mod seeds;
pub mod topic_filter;
pub mod topic_name;
