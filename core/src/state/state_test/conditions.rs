//! Conditions are decided first.

use super::*;

fn put_if(condition: Condition) -> Put {
    Put {
        condition,
        ..put("a", "x")
    }
}

fn delete_if(condition: Condition) -> Delete {
    Delete {
        condition,
        ..delete("a")
    }
}

#[test]
fn a_missing_topic() {
    let mut node = Harness::new();
    for condition in [Condition::Present, Condition::Revision(3)] {
        assert_eq!(node.run(put_if(condition)), Outcome::ConditionFailed { current: 0 });
        assert_eq!(node.run(delete_if(condition)), Outcome::ConditionFailed { current: 0 });
    }
    assert_eq!(node.run(delete_if(Condition::Absent)), Outcome::NotFound);
    assert_eq!(
        node.run(put_if(Condition::Absent)),
        Outcome::Applied {
            revision: 1,
            created: true
        }
    );
    assert_eq!(
        node.run(delete_if(Condition::Present)),
        Outcome::Deleted { revision: 2 }
    );
    assert_eq!(
        node.run(put_if(Condition::Revision(2))),
        Outcome::ConditionFailed { current: 0 },
        "a tombstone is no value"
    );
    assert_eq!(
        node.run(put_if(Condition::Revision(0))),
        Outcome::Applied {
            revision: 3,
            created: true
        }
    );
}

#[test]
fn a_topic_with_a_value() {
    let mut node = Harness::new();
    node.run(put("a", "1"));
    for condition in [Condition::Absent, Condition::Revision(0), Condition::Revision(2)] {
        assert_eq!(node.run(put_if(condition)), Outcome::ConditionFailed { current: 1 });
        assert_eq!(node.run(delete_if(condition)), Outcome::ConditionFailed { current: 1 });
    }
    assert_eq!(
        node.run(put_if(Condition::Revision(1))),
        Outcome::Applied {
            revision: 2,
            created: false
        }
    );
    assert_eq!(
        node.run(put_if(Condition::Present)),
        Outcome::Applied {
            revision: 3,
            created: false
        }
    );
    assert_eq!(
        node.run(delete_if(Condition::Revision(3))),
        Outcome::Deleted { revision: 4 }
    );
}

#[test]
fn a_met_condition_with_a_losing_timestamp_has_failed() {
    let mut node = Harness::new();
    node.run(put_at("a", "1", START_US));
    let late = Put {
        condition: Condition::Present,
        ..put_at("a", "2", START_US - 1)
    };
    assert_eq!(node.run(late), Outcome::ConditionFailed { current: 1 });
    let late = Delete {
        condition: Condition::Revision(1),
        ..delete_at("a", START_US - 1)
    };
    assert_eq!(node.run(late), Outcome::ConditionFailed { current: 1 });
    node.run(delete_at("a", START_US + 1));
    let late = Put {
        condition: Condition::Absent,
        ..put_at("a", "2", START_US)
    };
    assert_eq!(node.run(late), Outcome::ConditionFailed { current: 0 });
}
