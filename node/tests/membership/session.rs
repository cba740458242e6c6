//! A cluster grows, loses a node, has it replaced and shrinks again, under load.

use std::time::{Duration, Instant};

use super::common::banyanctl;
use super::common::cluster::{Cluster, READY_TIMEOUT};
use super::common::evidence::{Evidence, read_state};
use super::common::load::{Load, LoadOptions, WriterLog};
use super::common::{number_from_environment, wait};
use super::*;

#[test]
fn from_one_node_to_five_and_back_to_three_under_load() {
    let writes = number_from_environment("BANYAN_WRITES", 300) as u64;
    let _alone = one_at_a_time();
    let cluster = Cluster::growing(6, 1, SMALL_FILES);
    let started = Instant::now();
    cluster.start_node(0);
    let options = LoadOptions {
        faithful_writers: 0,
        roaming_writers: 4,
        window: 8,
        ..LoadOptions::default()
    };
    let ctl = |asked: &[usize], line: &str| banyanctl::ok(&cluster, asked, line);
    let mut last = 0;
    let writers = Load::run(&cluster, options, |load| {
        let let_write = || load.wait_until_acknowledged(load.acknowledged() + writes, PATIENCE);
        let_write();
        wait_for_feature_level(&cluster);
        println!("# one node becomes three\n");
        ctl(&[0], "member list");
        for index in [1, 2] {
            let added = ctl(&[0], "member add --no-wait");
            start_new(&cluster, index, &added);
            wait_for_role(&cluster, 0, index, "voter");
            let_write();
        }
        ctl(&[1], "member list");

        println!("# three become five, both at a time\n");
        let (fourth, fifth) = (ctl(&[1], "member add --no-wait"), ctl(&[2], "member add --no-wait"));
        start_new(&cluster, 3, &fourth);
        start_new(&cluster, 4, &fifth);
        wait_for_role(&cluster, 0, 3, "voter");
        wait_for_role(&cluster, 0, 4, "voter");
        let_write();
        ctl(&[3], "member list");

        println!("# one of them dies and is replaced\n");
        let dead = (0..5)
            .rev()
            .find(|index| *index != leader(&cluster, 0))
            .expect("a follower");
        let alive: Vec<usize> = (0..5).filter(|index| *index != dead).collect();
        cluster.kill(dead);
        let_write();
        wait::until("dead node", READY_TIMEOUT, || {
            let members = members(&cluster, alive[0]);
            members.iter().any(|member| !member.reachable).then_some(())
        });
        ctl(&alive, "member list");
        let learner = ctl(&alive, "member add --learner --no-wait");
        start_new(&cluster, 5, &learner);
        wait_for_role(&cluster, alive[0], 5, "learner");
        ctl(&alive, &format!("member replace {} 6 --dry-run", cluster.id(dead)));
        ctl(&alive, &format!("member replace {} 6", cluster.id(dead)));
        let_write();
        ctl(&alive, "member list");
        // The dead node comes back, and hears that it is no member any more.
        cluster.spawn(dead);
        assert_removed(&cluster, dead);
        println!();

        println!("# five become three, the leader goes first\n");
        let mut present: Vec<usize> = (0..6).filter(|index| *index != dead).collect();
        for _ in 0..2 {
            let leading = leader(&cluster, present[0]);
            let others: Vec<usize> = present.iter().copied().filter(|index| *index != leading).collect();
            // The node that goes may be the one that is asked.
            ctl(&[leading], &format!("member remove {}", cluster.id(leading)));
            assert_removed(&cluster, leading);
            println!();
            present = others;
            let_write();
        }
        ctl(&present, "member list");
        let leading = leader(&cluster, present[0]);
        ctl(&present, "leader transfer");
        let leading = wait::until("another leader", READY_TIMEOUT, || {
            Some(leader(&cluster, present[0])).filter(|now| *now != leading)
        });
        let_write();

        println!("# what would lose the quorum is refused\n");
        let mut followers = present.iter().copied().filter(|index| *index != leading);
        let (follower, other) = (followers.next().expect("one"), followers.next().expect("one"));
        let asked: Vec<usize> = present.iter().copied().filter(|index| *index != follower).collect();
        cluster.kill(follower);
        wait::until("dead node that the leader has noticed", READY_TIMEOUT, || {
            let line = format!("member remove {} --dry-run", cluster.id(other));
            let ran = banyanctl::run_quietly(&cluster, &asked, &line);
            let is_refused = ran.code == 1 && ran.stderr.contains("nothing could be written any more");
            is_refused.then(|| ran.show(&line))
        });
        cluster.spawn(follower);
        cluster.wait_until_ready(follower);
        let_write();
        last = present[0];
    });
    cluster.wait_until_equal();
    let state = read_state(&cluster, last);
    let summary = Evidence {
        writers: &writers,
        observers: &[],
        state: &state,
    }
    .check();
    println!("{summary}");
    println!(
        "longest time without an acknowledged write: {} ms; the session took {} s",
        longest_gap(&writers).as_millis(),
        started.elapsed().as_secs()
    );
}

/// The longest time between two acknowledgements of any writers.
fn longest_gap(writers: &[WriterLog]) -> Duration {
    let attempts = writers.iter().flat_map(|writer| &writer.attempts);
    let mut times: Vec<Instant> = attempts.filter_map(|attempt| Some(attempt.acknowledged?.at)).collect();
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}
