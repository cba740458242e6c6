//! I-28: a subscriber gets the state of one moment R, then every later change, in order, none missing, none older.
//!
//! R is not older than anything that anybody had seen before the SUBSCRIBE, unless it asked for `consistency=local`. With
//! `since`, the state is each topic's latest change after it. What expires may be left out on the way. Where the state began
//! anew (`reset=on`), it is that of the marker's revision.

use std::collections::BTreeMap;

use crate::history::{Delivery, Finished, Invariant, Subscription, Time, Violation};
use crate::linearizability::Floors;
use crate::model::{Change, Replay};

const ID: &str = "I-28";

/// What was committed this long before the end must have arrived at a subscriber that lived until then, microseconds.
const ARRIVAL_US: Time = 2_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Subscriptions;

impl Invariant for Subscriptions {
    fn id(&self) -> &'static str {
        ID
    }

    fn finish(&mut self, finished: &Finished<'_>) -> Result<(), Violation> {
        let floors = Floors::of(finished.history);
        for subscription in &finished.history.subscriptions {
            let checked = match finished.replay {
                Some(replay) => Check::new(subscription, replay).run(&floors),
                None => in_order(subscription, &floors),
            };
            checked.map_err(|(at, wrong)| Violation {
                invariant: ID,
                at,
                message: format!(
                    "client {}'s subscription of {} at node {} {wrong}",
                    subscription.client, subscription.filter, subscription.node
                ),
            })?;
        }
        Ok(())
    }
}

type Checked = Result<(), (Time, String)>;

/// R is not too old.
fn fresh(subscription: &Subscription, floors: &Floors) -> Checked {
    let Some((at, revision)) = subscription.granted else {
        return match subscription.deliveries.first() {
            Some(delivery) => Err((delivery.at, "got a message before it was granted".to_owned())),
            None => Ok(()),
        };
    };
    let floor = floors.before(subscription.subscribed_at);
    if !subscription.local && revision < floor {
        let wrong = format!("was granted at revision {revision}, after revision {floor} had been seen");
        return Err((at, wrong));
    }
    Ok(())
}

/// What can be said without the log: live messages have increasing revisions, all after R.
fn in_order(subscription: &Subscription, floors: &Floors) -> Checked {
    fresh(subscription, floors)?;
    let (Some((_, granted)), Some((retained, revision))) = (subscription.granted, subscription.marker) else {
        return Ok(());
    };
    let mut last = revision.max(granted);
    for delivery in &subscription.deliveries[retained..] {
        let Some(revision) = delivery.revision else { continue };
        // A delete by filter gives several topics one revision.
        if revision < last || (revision == last && delivery.serial.is_some()) {
            return Err((
                delivery.at,
                format!("got revision {revision} of {} after {last}", delivery.topic),
            ));
        }
        last = revision;
    }
    Ok(())
}

/// One subscription against the log.
struct Check<'a> {
    subscription: &'a Subscription,
    replay: &'a Replay,
}

impl<'a> Check<'a> {
    const fn new(subscription: &'a Subscription, replay: &'a Replay) -> Self {
        Self { subscription, replay }
    }

    fn run(&self, floors: &Floors) -> Checked {
        fresh(self.subscription, floors)?;
        let Some((at, granted)) = self.subscription.granted else {
            return Ok(());
        };
        if granted > self.replay.last_revision() {
            return Err((
                at,
                format!("was granted at revision {granted}, which was never reached"),
            ));
        }
        let Subscription {
            deliveries,
            resets,
            marker,
            ..
        } = self.subscription;
        let Some((retained, revision)) = *marker else {
            // It ended before the state was complete.
            return if resets.is_empty() {
                self.part_of_state(deliveries, granted)
            } else {
                Ok(())
            };
        };
        match resets.first() {
            None if revision != granted => {
                return Err((
                    at,
                    format!("was granted at revision {granted} and got the state of {revision}"),
                ));
            }
            None => {
                self.part_of_state(&deliveries[..retained], granted)?;
                self.whole_state(&deliveries[..retained], granted, self.subscription.since)?;
            }
            Some((first, _)) => {
                self.part_of_state(&deliveries[..*first], granted)?;
                self.whole_state(&deliveries[*first..retained], revision, None)?;
            }
        }
        self.live(&deliveries[retained..], revision, floors)
    }

    /// What the state of `revision` consists of: what a message of each topic must say.
    fn state(&self, revision: u64, since: Option<u64>) -> BTreeMap<&'a str, &'a Change> {
        let filter = &self.subscription.filter;
        let mut state = self.replay.latest_changes(since.unwrap_or(0), revision, filter);
        if since.is_none() {
            state.retain(|_, change| crate::model::seen(change).is_some());
        }
        state
    }

    /// Each retained message is of the state, and none comes twice.
    fn part_of_state(&self, deliveries: &[Delivery], revision: u64) -> Checked {
        let mut state = self.state(revision, self.subscription.since);
        for delivery in deliveries {
            let expected = state.remove(delivery.topic.as_str());
            if !expected.is_some_and(|change| says(delivery, change)) {
                let wrong = format!(
                    "got {} as retained, which is not of the state of {revision}",
                    show(delivery)
                );
                return Err((delivery.at, wrong));
            }
        }
        Ok(())
    }

    /// The last retained messages of each topic are the whole state of `revision`.
    fn whole_state(&self, deliveries: &[Delivery], revision: u64, since: Option<u64>) -> Checked {
        let last: BTreeMap<&str, &Delivery> = deliveries.iter().map(|one| (one.topic.as_str(), one)).collect();
        let state = self.state(revision, since);
        let at = deliveries
            .last()
            .map_or(self.subscription.subscribed_at, |delivery| delivery.at);
        for (topic, change) in &state {
            match last.get(topic) {
                Some(delivery) if says(delivery, change) => {}
                Some(delivery) => {
                    let wrong = format!(
                        "got {} at last, which is not of the state of {revision}",
                        show(delivery)
                    );
                    return Err((delivery.at, wrong));
                }
                None if change.expires() => {}
                None => {
                    let wrong = format!("got the state of {revision} without {topic} of {}", change.revision);
                    return Err((at, wrong));
                }
            }
        }
        // What has expired or was deleted while the state began anew.
        let gone = |topic: &&&str| !state.contains_key(**topic) && self.subscription.resets.is_empty();
        match last.keys().find(gone) {
            Some(topic) => Err((at, format!("got {topic}, which is not of the state of {revision}"))),
            None => Ok(()),
        }
    }

    /// Everything after `revision`, in order.
    fn live(&self, deliveries: &[Delivery], revision: u64, floors: &Floors) -> Checked {
        let mut expected = self.replay.changes_after(revision, &self.subscription.filter);
        for delivery in deliveries {
            loop {
                match expected.next() {
                    Some(change) if says(delivery, change) => break,
                    Some(change) if change.expires() => {}
                    Some(change) => {
                        let wrong = format!(
                            "got {} where the change of {} at revision {} was next",
                            show(delivery),
                            change.topic,
                            change.revision
                        );
                        return Err((delivery.at, wrong));
                    }
                    None => {
                        return Err((
                            delivery.at,
                            format!("got {}, which the log does not have", show(delivery)),
                        ));
                    }
                }
            }
        }
        let Some(ended_at) = self.subscription.ended_at.filter(|_| self.subscription.alive_at_end) else {
            return Ok(());
        };
        let seen_by_others = floors.before(ended_at.saturating_sub(ARRIVAL_US));
        match expected.find(|change| change.revision <= seen_by_others && !change.expires()) {
            Some(change) => Err((
                ended_at,
                format!(
                    "ended without the change of {} at revision {}",
                    change.topic, change.revision
                ),
            )),
            None => Ok(()),
        }
    }
}

/// Whether the message tells of the change.
fn says(delivery: &Delivery, change: &Change) -> bool {
    delivery.topic == change.topic
        && delivery.serial == change.serial()
        && delivery.retain == change.is_state()
        && delivery.revision.is_none_or(|revision| revision == change.revision)
}

fn show(delivery: &Delivery) -> String {
    let what = match (delivery.serial, delivery.retain) {
        (Some(serial), _) => format!("{} = {serial}", delivery.topic),
        (None, true) => format!("a deletion of {}", delivery.topic),
        (None, false) => format!("an empty event of {}", delivery.topic),
    };
    match delivery.revision {
        Some(revision) => format!("{what} of revision {revision}"),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use banyan_core::command::Put;

    use super::super::testing::*;
    use super::*;
    use crate::model::testing::{IntoOperation, delete, delete_filter, event, put};

    /// 1: a, 2: b, 3: event, 4: delete a, 5: b.
    fn run() -> Run {
        let mut run = Run::new();
        run.log
            .batch(&[put("a", 1).into_operation(), put("b", 2).into_operation()]);
        run.log.batch(&[
            event("e", 3),
            delete("a").into_operation(),
            put("b", 4).into_operation(),
        ]);
        run
    }

    fn check(revision: u64, change: impl FnOnce(&mut Subscription)) -> [bool; 2] {
        let mut run = run();
        change(run.subscription("#", revision));
        [
            run.finish(&mut Subscriptions).is_ok(),
            run.finish_without_log(&mut Subscriptions).is_ok(),
        ]
    }

    /// A good one: the state of 2, then everything.
    fn whole(subscription: &mut Subscription) {
        subscription.deliveries = vec![
            delivery(11, "b", 2, 2),
            delivery(12, "a", 1, 1),
            delivered_event(13, "e", 3),
            delivery(14, "a", 0, 4),
            delivery(15, "b", 4, 5),
        ];
        subscription.marker = Some((2, 2));
    }

    #[test]
    fn state_then_changes() {
        assert_eq!(check(2, whole), [true, true]);
        let cut = |subscription: &mut Subscription| {
            whole(subscription);
            subscription.deliveries.truncate(4);
        };
        assert_eq!(check(2, cut), [true, true]);
        let unfinished = |subscription: &mut Subscription| {
            whole(subscription);
            subscription.deliveries.truncate(1);
            subscription.marker = None;
        };
        assert_eq!(check(2, unfinished), [true, true]);
    }

    #[test]
    fn gaps_and_disorder() {
        for missing in [0, 2, 3] {
            let gap = |subscription: &mut Subscription| {
                whole(subscription);
                subscription.deliveries.remove(missing);
                subscription.marker = Some((2 - usize::from(missing < 2), 2));
            };
            assert!(!check(2, gap)[0], "{missing} missing");
        }
        let swapped = |subscription: &mut Subscription| {
            whole(subscription);
            subscription.deliveries.swap(3, 4);
        };
        assert_eq!(check(2, swapped), [false, false]);
        let twice = |subscription: &mut Subscription| {
            whole(subscription);
            subscription.deliveries.push(delivery(16, "b", 4, 5));
        };
        assert_eq!(check(2, twice), [false, false]);
        let stale = |subscription: &mut Subscription| {
            whole(subscription);
            subscription.deliveries[0] = delivery(11, "b", 4, 5);
        };
        assert!(!check(2, stale)[0]);
        let flag = |subscription: &mut Subscription| {
            whole(subscription);
            subscription.deliveries[4].retain = false;
        };
        assert!(!check(2, flag)[0]);
    }

    #[test]
    fn the_moment_is_not_too_old() {
        let mut run = run();
        run.operation(put_call("b", 4), 0, 4, written(5));
        whole(run.subscription("#", 2));
        assert!(run.finish(&mut Subscriptions).is_err());
        assert!(run.finish_without_log(&mut Subscriptions).is_err());
        run.history.subscriptions[0].local = true;
        assert!(run.finish(&mut Subscriptions).is_ok());
        run.history.subscriptions[0].local = false;
        run.history.subscriptions[0].subscribed_at = 3;
        assert!(run.finish(&mut Subscriptions).is_ok());
    }

    #[test]
    fn resumed_since() {
        let resumed = |subscription: &mut Subscription| {
            subscription.since = Some(2);
            subscription.deliveries = vec![delivery(11, "a", 0, 4), delivery(12, "b", 4, 5)];
            subscription.marker = Some((2, 5));
        };
        assert_eq!(check(5, resumed), [true, true]);
        let without_deletion = |subscription: &mut Subscription| {
            resumed(subscription);
            subscription.deliveries.remove(0);
            subscription.marker = Some((1, 5));
        };
        assert!(!check(5, without_deletion)[0]);
    }

    #[test]
    fn begun_anew() {
        let anew = |subscription: &mut Subscription| {
            subscription.deliveries = vec![delivery(11, "a", 1, 1), delivery(12, "b", 4, 5)];
            subscription.resets = vec![(1, None)];
            subscription.marker = Some((2, 5));
        };
        assert_eq!(check(2, anew), [true, true]);
        let untold = |subscription: &mut Subscription| {
            anew(subscription);
            subscription.resets.clear();
        };
        assert!(!check(2, untold)[0]);
    }

    #[test]
    fn what_expires_may_be_left_out() {
        let mut run = Run::new();
        let expiring = Put {
            expiry_s: Some(5),
            ..put("a", 1)
        };
        run.log.batch(&[
            expiring.into_operation(),
            put("b", 2).into_operation(),
            delete_filter("#"),
        ]);
        let subscription = run.subscription("#", 0);
        subscription.marker = Some((0, 0));
        subscription.deliveries = vec![
            delivery(11, "b", 2, 2),
            delivery(12, "a", 0, 3),
            delivery(13, "b", 0, 3),
        ];
        assert!(run.finish(&mut Subscriptions).is_ok());
        assert!(run.finish_without_log(&mut Subscriptions).is_ok());
    }

    #[test]
    fn who_lives_to_the_end_gets_everything() {
        let mut run = run();
        run.operation(put_call("b", 4), 20, 21, written(5));
        let subscription = run.subscription("#", 2);
        whole(subscription);
        subscription.deliveries.truncate(4);
        subscription.ended_at = Some(30 + ARRIVAL_US);
        assert!(run.finish(&mut Subscriptions).is_ok());
        run.history.subscriptions[0].alive_at_end = true;
        assert!(run.finish(&mut Subscriptions).is_err());
        run.history.subscriptions[0].deliveries.push(delivery(15, "b", 4, 5));
        assert!(run.finish(&mut Subscriptions).is_ok());
    }
}
