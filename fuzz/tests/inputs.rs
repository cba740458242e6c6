//! Every target on its seeds, and on the inputs of past findings (`regressions/TARGET/`). With `BANYAN_FUZZ_CORPUS=1` also on
//! the corpus that `fuzz/run` has grown.

use std::path::Path;
use std::{env, fs};

fn check(target: &str, run: fn(&[u8])) {
    let seeds = banyan_fuzz::seeds::of(target);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| run(seed));
    let mut folders = vec!["regressions"];
    if env::var_os("BANYAN_FUZZ_CORPUS").is_some() {
        folders.push("corpus");
    }
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
        for file in fs::read_dir(folder).into_iter().flatten() {
            run(&fs::read(file.unwrap().path()).unwrap());
        }
    }
}

/// A test of the target's name that checks it.
macro_rules! targets {
    ($($(#[$attribute:meta])* $target:ident)*) => {
        $($(#[$attribute])* #[test] fn $target() {
            check(stringify!($target), banyan_fuzz::$target::run);
        })*
    };
}

targets! {
    apply
    #[cfg(feature = "node")]
    backup
    #[cfg(feature = "codecs")]
    codec_diff
    command_decode
    connection
    #[cfg(feature = "node")]
    log_record
    packet_decode
    record_decode
    topic_filter
    topic_name
}
