//! From what happened to what is shown.

use std::collections::BTreeMap;

use super::timeline::{Answers, FaultRow, Lane, Mark, Reach, SLOTS, Span, Timeline, slot_us};
use crate::cluster::links::host;
use crate::faults::plan::Class;
use crate::run::Outcome;
use crate::trace::event::{Event, Timed};

/// Lines of the story.
const STORY_LINES: usize = 60;

/// What `outcome` looks like. `command` repeats it.
pub(super) fn timeline(outcome: &Outcome, command: &str) -> Timeline {
    let end = outcome.simulated_us.max(1);
    let violation = outcome.violation.as_ref().map(|violation| Mark {
        at: violation.at.min(end),
        name: violation.invariant.to_owned(),
        text: violation.message.clone(),
    });
    let healed = outcome.events.iter().find_map(|timed| match &timed.event {
        Event::Healed { core } => Some(Mark {
            at: timed.at,
            name: "healed".to_owned(),
            text: format!("All faults end; nodes {core:?} live on."),
        }),
        _ => None,
    });
    Timeline {
        title: format!("Seed {}", outcome.seed),
        plan: outcome.plan.describe(),
        command: command.to_owned(),
        violation,
        healed,
        end,
        lanes: (1..=outcome.plan.node_count + outcome.plan.spare_count())
            .map(|id| lane(outcome, id, end))
            .collect(),
        faults: faults(&outcome.events, end),
        story: story(outcome),
    }
}

fn story(outcome: &Outcome) -> Vec<(u64, String, String)> {
    let important: Vec<_> = outcome.trace.iter().filter(|line| line.matters()).collect();
    let from = important.len().saturating_sub(STORY_LINES);
    let lines = important[from..].iter();
    lines
        .map(|line| (line.at, line.place.clone(), line.text.clone()))
        .collect()
}

fn lane(outcome: &Outcome, id: u64, end: u64) -> Lane {
    let mut lane = Lane {
        name: host(id),
        down: Spans::default().follow(&outcome.events, end, |event| match event {
            Event::Down { node, how } if *node == id => Turn::Begins(how.clone()),
            Event::Up { node } if *node == id => Turn::Ends,
            _ => Turn::Nothing,
        }),
        reach: reach(
            &outcome.events,
            id,
            outcome.plan.node_count + outcome.plan.spare_count(),
            end,
        ),
        answers: answers(outcome, id, end),
        ..Lane::default()
    };
    let terms = Spans::default().follow(&outcome.events, end, |event| match event {
        Event::Leads { node, term } if *node == id => Turn::Begins(term.to_string()),
        Event::Leaves { node } | Event::Down { node, .. } if *node == id => Turn::Ends,
        _ => Turn::Nothing,
    });
    lane.leads = terms
        .into_iter()
        .filter_map(|span| span.text.parse().ok().map(|term| (span, term)))
        .collect();
    for (class, _) in Class::ALL {
        let spans = Spans::default().follow(&outcome.events, end, |event| match event {
            Event::Strikes {
                class: struck,
                nodes,
                text,
            } if *struck == class && nodes.contains(&id) => Turn::Begins(text.clone()),
            Event::Over { class: over } if *over == class => Turn::Ends,
            _ => Turn::Nothing,
        });
        lane.struck.extend(spans.into_iter().map(|span| (span, class.name())));
    }
    lane
}

fn faults(events: &[Timed], end: u64) -> Vec<FaultRow> {
    let rows = Class::ALL.into_iter().map(|(class, _)| FaultRow {
        name: class.name(),
        spans: Spans::default().follow(events, end, |event| match event {
            Event::Strikes {
                class: struck, text, ..
            } if *struck == class => Turn::Begins(text.clone()),
            Event::Over { class: over } if *over == class => Turn::Ends,
            _ => Turn::Nothing,
        }),
    });
    rows.filter(|row| !row.spans.is_empty()).collect()
}

/// What an event means to a span.
enum Turn {
    Begins(String),
    Ends,
    Nothing,
}

/// Spans that are opened and closed by events.
#[derive(Default)]
struct Spans {
    closed: Vec<Span>,
    open: Option<(u64, String)>,
}

impl Spans {
    fn follow(mut self, events: &[Timed], end: u64, turn: impl Fn(&Event) -> Turn) -> Vec<Span> {
        for timed in events {
            match turn(&timed.event) {
                Turn::Begins(text) => {
                    self.close(timed.at);
                    self.open = Some((timed.at, text));
                }
                Turn::Ends => self.close(timed.at),
                Turn::Nothing => {}
            }
        }
        self.close(end);
        self.closed
    }

    fn close(&mut self, at: u64) {
        if let Some((from, text)) = self.open.take() {
            self.closed.push(Span { from, to: at, text });
        }
    }
}

/// How the other nodes and the clients reach node `id`.
fn reach(events: &[Timed], id: u64, node_count: u64, end: u64) -> Vec<Reach> {
    let name = host(id);
    let whole = Reach {
        from: 0,
        to: 0,
        cut: 0,
        one_way: 0,
        held: 0,
        of: node_count as usize,
    };
    let mut links: BTreeMap<&[String; 2], ([bool; 2], bool)> = BTreeMap::new();
    let mut all = Vec::new();
    let mut current = whole;
    for timed in events {
        let Event::Link { hosts, cuts, held } = &timed.event else {
            continue;
        };
        if !hosts.contains(&name) {
            continue;
        }
        links.insert(hosts, (*cuts, *held));
        let count = |wanted: fn(&([bool; 2], bool)) -> bool| links.values().filter(|link| wanted(link)).count();
        let next = Reach {
            from: timed.at,
            cut: count(|(cuts, _)| cuts[0] && cuts[1]),
            one_way: count(|(cuts, _)| cuts[0] != cuts[1]),
            held: count(|(_, held)| *held),
            ..whole
        };
        all.push(Reach {
            to: timed.at,
            ..current
        });
        current = next;
    }
    all.push(Reach { to: end, ..current });
    all.retain(|reach| reach.cut + reach.one_way + reach.held > 0 && reach.to > reach.from);
    all
}

fn answers(outcome: &Outcome, id: u64, end: u64) -> Vec<Answers> {
    let mut slots = vec![Answers::default(); SLOTS as usize + 1];
    let operations = outcome
        .history
        .operations
        .iter()
        .filter(|operation| operation.node == id);
    for operation in operations {
        let slot = (operation.invoked_at / slot_us(end)).min(SLOTS) as usize;
        let answers = &mut slots[slot];
        match &operation.answer {
            answer if operation.is_unknown() || answer.is_none() => answers.unknown += 1,
            Some(answer) if answer.is_certain() => answers.acknowledged += 1,
            _ => answers.refused += 1,
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: u64, event: Event) -> Timed {
        Timed { at, event }
    }

    fn link(a: &str, b: &str, cuts: [bool; 2], held: bool) -> Event {
        Event::Link {
            hosts: [a.to_owned(), b.to_owned()],
            cuts,
            held,
        }
    }

    #[test]
    fn links_that_are_not_whole_are_counted_by_kind() {
        let events = [
            at(10, link("n1", "n2", [true, true], false)),
            at(20, link("n1", "n3", [true, false], false)),
            at(20, link("n2", "n3", [true, true], false)),
            at(30, link("n1", "n2", [false, false], false)),
            at(40, link("n1", "n3", [false, false], true)),
        ];
        let of_n1 = reach(&events, 1, 3, 50);
        let counts: Vec<_> = of_n1
            .iter()
            .map(|reach| (reach.from, reach.to, reach.cut, reach.one_way, reach.held))
            .collect();
        assert_eq!(
            counts,
            [
                (10, 20, 1, 0, 0),
                (20, 30, 1, 1, 0),
                (30, 40, 0, 1, 0),
                (40, 50, 0, 0, 1)
            ]
        );
    }

    #[test]
    fn what_has_no_end_lasts_to_the_end() {
        let strike = |text: &str| Event::Strikes {
            class: Class::Pause,
            nodes: vec![1],
            text: text.to_owned(),
        };
        let over = Event::Over { class: Class::Pause };
        let rows = faults(&[at(1, strike("one")), at(3, over), at(5, strike("two"))], 9);
        let spans: Vec<_> = rows[0]
            .spans
            .iter()
            .map(|span| (span.from, span.to, &*span.text))
            .collect();
        assert_eq!((rows.len(), spans), (1, vec![(1, 3, "one"), (5, 9, "two")]));
    }
}
