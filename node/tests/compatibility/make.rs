//! Makes the kept data directories. Run with the program of the version whose data are to be kept, before its successor writes
//! otherwise; `node/tests/data/README.md` says when.
//!
//! ```text
//! BANYAN_PROGRAM=…/banyan BANYAN_ARCHIVE=level-1 cargo test -p banyan-node --test compatibility -- --ignored make
//! ```

use std::process::Command;

use crate::common::cluster::Cluster;
use crate::{SETTINGS, archive, contents, one_at_a_time};

#[test]
#[ignore = "writes node/tests/data, with the program of another version"]
fn make() {
    let _alone = one_at_a_time();
    let program = std::env::var_os("BANYAN_PROGRAM").expect("BANYAN_PROGRAM: the program that writes");
    let name = std::env::var("BANYAN_ARCHIVE").expect("BANYAN_ARCHIVE: what the archives are called");
    for is_stopped in [true, false] {
        let cluster = Cluster::new(1, SETTINGS);
        cluster.use_program(0, &program);
        cluster.start_all();
        let written = contents::write(cluster.mqtt(0));
        if is_stopped {
            assert!(cluster.stop(0).success());
        } else {
            cluster.kill(0);
        }
        drop(written);
        let how = if is_stopped { "stopped" } else { "killed" };
        let packed = Command::new("tar")
            .args(["--sort=name", "--owner=0", "--group=0", "--exclude=./lock"])
            .args(["-I", "gzip -9n", "-cf"])
            .arg(archive(&format!("{name}-{how}")))
            .arg("-C")
            .arg(cluster.data_dir(0))
            .arg(".")
            .status();
        assert!(packed.expect("tar runs").success());
    }
}
