//! What a scrape has gathered: families of samples, in the order in which they are told.

use super::histogram::Recorded;

/// Labels of a sample.
pub type Labels = Vec<(&'static str, String)>;

/// What is measured, and in which unit; the unit is the end of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A count of things.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// A value with its kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Grows from 0 on.
    Counter(f64),
    /// Comes and goes.
    Gauge(f64),
    /// Durations.
    Histogram(Box<Recorded>),
    /// 1: what there is to say is in the labels.
    Info,
}

/// A metric: what all its samples have in common, and these.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Name without unit and `_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Of all samples.
    pub unit: Unit,
    /// At least one.
    pub samples: Vec<(Labels, Value)>,
}

/// Collects families.
#[derive(Debug, Default)]
pub struct Families(Vec<Family>);

impl Families {
    /// Adds a sample to the family `name`, which begins with it or is the one added to last.
    fn push(&mut self, name: &'static str, unit: Unit, help: &'static str, labels: Labels, value: Value) {
        match self.0.last_mut() {
            Some(last) if last.name == name && last.unit == unit => last.samples.push((labels, value)),
            _ => self.0.push(Family {
                name,
                help,
                unit,
                samples: vec![(labels, value)],
            }),
        }
    }

    /// Something that grows.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.counter_of(name, Unit::None, help, &[], value as f64);
    }

    /// Something that grows, with labels or a unit.
    pub fn counter_of(
        &mut self,
        name: &'static str,
        unit: Unit,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.push(name, unit, help, owned(labels), Value::Counter(value));
    }

    /// Something that comes and goes.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.gauge_of(name, Unit::None, help, &[], value as f64);
    }

    /// Something that comes and goes, with labels or a unit.
    pub fn gauge_of(
        &mut self,
        name: &'static str,
        unit: Unit,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.push(name, unit, help, owned(labels), Value::Gauge(value));
    }

    /// Durations.
    pub fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: Recorded,
    ) {
        self.push(
            name,
            Unit::Seconds,
            help,
            owned(labels),
            Value::Histogram(Box::new(value)),
        );
    }

    /// Something that is told by its labels.
    pub fn info(&mut self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) {
        self.push(name, Unit::None, help, owned(labels), Value::Info);
    }

    /// What was gathered.
    #[must_use]
    pub fn into_inner(self) -> Vec<Family> {
        self.0
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}
