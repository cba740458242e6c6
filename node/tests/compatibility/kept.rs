//! Kept data directories are opened by today's program.

use std::fs;
use std::process::Command;

use crate::common::cluster::Cluster;
use crate::{SETTINGS, archive, contents, one_at_a_time};

/// Each level's data directories, as a node left them that was stopped, and one that was killed.
const KEPT: &[&str] = &["level-1-stopped", "level-1-killed"];

#[test]
fn everything_is_found_in_data_of_earlier_versions() {
    let _alone = one_at_a_time();
    for name in KEPT {
        let cluster = Cluster::new(1, SETTINGS);
        fs::create_dir_all(cluster.data_dir(0)).expect("a directory");
        let unpacked = Command::new("tar")
            .arg("-xzf")
            .arg(archive(name))
            .arg("-C")
            .arg(cluster.data_dir(0))
            .status();
        assert!(unpacked.expect("tar runs").success(), "{name}");
        cluster.start_all();
        contents::check(&cluster);
        // What today's program has made of it, it opens again.
        cluster.restart(0);
        cluster.wait_until_equal();
        println!("{name}: everything found");
    }
}
