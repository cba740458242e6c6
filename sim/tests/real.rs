//! Faults on real processes, in short: about a minute of what `banyan-sim real` does for as long as it is told.
//!
//! `BANYAN_REAL_MINUTES` and `BANYAN_REAL_SEED` make it longer, or another one.

use std::path::PathBuf;

use banyan_sim::real::{self, Options, RealError};

fn number(variable: &str, default: f64) -> f64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// The program of the node that was built with this test: it lies beside the directory of test programs.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("the directory of the profile");
    profile.join("banyan")
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_while_processes_links_disks_and_clocks_fail() {
    if !binary().exists() {
        println!(
            "NOT RUN: {} is not built; run `cargo build -p banyan-node` before",
            binary().display()
        );
        return;
    }
    for missing in real::missing().expect("a directory for temporary files") {
        println!("WITHOUT {missing}");
    }
    let options = Options {
        minutes: number("BANYAN_REAL_MINUTES", 0.7),
        seed: number("BANYAN_REAL_SEED", 1.0) as u64,
        nodes: 3,
        binary: Some(binary()),
        faults: None,
        measure_failover: None,
        volume_mib: 128,
        loopback: false,
        keep: false,
    };
    let report = match real::run(&options).await {
        // The machine was busy with something else for a moment: that says nothing about Banyan.
        Err(RealError::Start(reason)) => {
            println!("AGAIN: {reason}");
            real::run(&options).await
        }
        done => done,
    };
    let report = report.expect("a run");
    println!("{report}");
    assert!(report.violations.is_empty(), "{report}");
    assert_eq!(report.unchecked, None, "{report}");
    assert!(report.faults >= 4, "{report}");
    assert!(report.operations.writes >= 100, "{report}");
}
