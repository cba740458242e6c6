//! Who may enter, and under which address.

use super::certificates::{Authority, CLIENT, SERVER};
use super::common::banyanctl;
use super::*;

#[test]
fn who_may_not_enter_is_told_why() {
    let _alone = one_at_a_time();
    let cluster = Cluster::growing(4, 1, &[]);
    cluster.start_node(0);
    let other = Cluster::start(1, &[]);
    wait_for_feature_level(&cluster);
    wait_for_feature_level(&other);
    let asked = &[0];

    println!("# a token is good for one node\n");
    let added = banyanctl::ok(&cluster, asked, "member add --learner --no-wait");
    start_new(&cluster, 1, &added);
    wait_for_role(&cluster, 0, 1, "learner");
    start_new(&cluster, 2, &added);
    let (code, said) = end_of(&cluster, 2);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(said.contains("node 2 has entered with the join token"), "{said}");

    println!("# a token of another cluster, and one that has expired\n");
    let foreign = banyanctl::ok(&other, &[0], "member add --no-wait");
    let mut settings = entry(&foreign);
    settings[0].1 = cluster.peer(0).to_string();
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    cluster.spawn_with(2, &settings);
    let (code, said) = end_of(&cluster, 2);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(said.contains("the node belongs to another cluster"), "{said}");
    let short = banyanctl::ok(&cluster, asked, "member add --expires 1 --no-wait");
    wait::until("expired token", READY_TIMEOUT, || {
        let list = banyanctl::run_quietly(&cluster, asked, "member list -o json");
        list.stdout.contains("\"tokens\": []").then_some(())
    });
    start_new(&cluster, 2, &short);
    let (code, said) = end_of(&cluster, 2);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(said.contains("expired"), "{said}");

    println!("# a second start ignores how the node entered, with the token of another cluster it is refused\n");
    cluster.stop(1);
    cluster.spawn(1);
    cluster.wait_until_ready(1);
    cluster.stop(1);
    cluster.spawn_with(1, &settings);
    let (code, said) = end_of(&cluster, 1);
    println!("{said}\n");
    assert_eq!(code, Some(2));
    assert!(said.contains("give this node an empty data directory"), "{said}");

    println!("# a node that lost its data does not come back under its id\n");
    std::fs::remove_dir_all(cluster.data_dir(1)).expect("its data");
    let again = banyanctl::ok(&cluster, asked, "member add --no-wait");
    start_new(&cluster, 1, &again);
    let (code, said) = end_of(&cluster, 1);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(
        said.contains("node 2 is a member already, with another data directory"),
        "{said}"
    );

    println!("# nor does one that was removed\n");
    banyanctl::ok(&cluster, asked, "member remove 2");
    start_new(&cluster, 1, &again);
    let (code, said) = end_of(&cluster, 1);
    println!("{said}\n");
    assert_eq!(code, Some(REFUSED));
    assert!(said.contains("ids are never used again"), "{said}");

    println!("# the last voter stays\n");
    // That the other one is gone is noted a moment after it has left.
    wait::until("the former change done", READY_TIMEOUT, || {
        let ran = banyanctl::run_quietly(&cluster, asked, "member remove 1 --dry-run");
        (!ran.stderr.contains("one change at a time")).then_some(())
    });
    let ran = banyanctl::run(&cluster, asked, "member remove 1");
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("the last voter"), "{}", ran.stderr);
    let ran = banyanctl::run(&cluster, asked, "member promote 9");
    assert_eq!(ran.code, 3);
}

/// A founder without its data would not know whom it voted for.
#[test]
fn a_founder_that_lost_its_data_does_not_begin_anew() {
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[]);
    let lost = (0..3)
        .find(|index| *index != cluster.wait_for_leader())
        .expect("a follower");
    cluster.kill(lost);
    std::fs::remove_dir_all(cluster.data_dir(lost)).expect("its data");
    // Who does not answer it within a second does not know it.
    let others = cluster.indexes().filter(|index| *index != lost);
    others.for_each(|index| cluster.wait_until_ready(index));
    cluster.spawn(lost);
    let (code, said) = end_of(&cluster, lost);
    println!("{said}");
    assert_eq!(code, Some(REFUSED));
    assert!(
        said.contains("has been a member, and its data directory is empty now"),
        "{said}"
    );
}

/// One token, and the new node has the vote of the dead one: under mutual TLS, where a node without a certificate is not even heard.
#[test]
fn a_dead_node_is_replaced_with_one_token_where_nodes_show_certificates() {
    let _alone = one_at_a_time();
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("nodes");
    let files = authority.issue("node", &[SERVER, CLIENT]).write(dir.path());
    let text = |path: &std::path::Path| path.display().to_string();
    let certificates = [
        ("peer_certificate", text(&files.certificate)),
        ("peer_key", text(&files.key)),
        ("peer_ca", text(&authority.write(dir.path(), "ca.pem"))),
    ];
    let settings = certificates.each_ref().map(|(key, value)| (*key, value.as_str()));
    let cluster = Cluster::growing(4, 3, &settings);
    (0..3).for_each(|index| cluster.spawn(index));
    (0..3).for_each(|index| cluster.wait_until_ready(index));
    wait_for_feature_level(&cluster);
    let dies = leader(&cluster, 0);
    let asked: Vec<usize> = (0..3).filter(|index| *index != dies).collect();
    cluster.kill(dies);

    let added = banyanctl::ok(
        &cluster,
        &asked,
        &format!("member add --replace {} --no-wait", cluster.id(dies)),
    );
    start_new(&cluster, 3, &added);
    wait_for_role(&cluster, asked[0], 3, "voter");
    wait::until("members without the dead one", READY_TIMEOUT, || {
        let members = members(&cluster, asked[0]);
        (members.len() == 3 && members.iter().all(|member| member.id != cluster.id(dies))).then_some(())
    });
    println!("# the dead node comes back\n");
    cluster.spawn(dies);
    assert_removed(&cluster, dies);
    cluster.wait_until_ready(3);
}

/// Addresses are attributes: a node that starts with another one is found by it.
#[test]
fn a_node_moves_to_another_address() {
    let _alone = one_at_a_time();
    let cluster = Cluster::start(3, &[]);
    let new_port = super::common::ports::ReservedPort::new();
    let address = format!("127.0.0.1:{}", new_port.number());
    let moving = (0..3)
        .find(|index| *index != cluster.wait_for_leader())
        .expect("a follower");
    cluster.stop(moving);
    cluster.spawn_moved(moving, &address);
    cluster.wait_until_ready(moving);
    wait::until("new address in the membership", READY_TIMEOUT, || {
        let members = members(&cluster, (moving + 1) % 3);
        members
            .iter()
            .any(|member| member.peer_address == address)
            .then_some(())
    });
    cluster.wait_until_equal();
}
