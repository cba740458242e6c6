//! Every target on its seeds, and on the inputs of past findings (`regressions/TARGET/`).

use std::fs;
use std::path::Path;

fn check(target: &str, run: fn(&[u8])) {
    let seeds = banyan_fuzz::seeds::of(target);
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| run(seed));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target);
    for file in fs::read_dir(folder).into_iter().flatten() {
        run(&fs::read(file.unwrap().path()).unwrap());
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
    command_decode
    connection
    #[cfg(feature = "node")]
    log_record
    packet_decode
    record_decode
    topic_filter
    topic_name
}
