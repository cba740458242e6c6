//! Topics and filters: a few that everybody fights for, many that are touched now and then.

use rand::Rng;

/// The topics of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topics {
    /// `hot/0` to `hot/<count - 1>`.
    pub hot_count: u32,
    /// `cold/0/0` to `cold/<count - 1>/<count - 1>`.
    pub cold_count: u32,
    /// How many of a hundred requests go to hot topics.
    pub hot_percent: u32,
}

impl Topics {
    /// A topic for state.
    pub fn state(&self, rng: &mut impl Rng) -> String {
        if rng.random_range(0..100) < self.hot_percent {
            return self.hot(rng);
        }
        let (one, other) = (
            rng.random_range(0..self.cold_count),
            rng.random_range(0..self.cold_count),
        );
        format!("cold/{one}/{other}")
    }

    /// A topic for an event. Some hold state too.
    pub fn event(&self, rng: &mut impl Rng) -> String {
        match rng.random_range(0..4) {
            0 => self.hot(rng),
            number => format!("event/{number}"),
        }
    }

    /// A filter for a list or a subscription.
    pub fn filter(&self, rng: &mut impl Rng) -> String {
        let cold = rng.random_range(0..self.cold_count);
        match rng.random_range(0..8) {
            0 | 1 => "#".to_owned(),
            2 => "hot/#".to_owned(),
            3 => self.hot(rng),
            4 => "cold/#".to_owned(),
            5 => format!("cold/{cold}/+"),
            6 => format!("+/{cold}/#"),
            _ => format!("cold/+/{cold}"),
        }
    }

    /// A filter for a delete: rarely much.
    pub fn filter_to_delete(&self, rng: &mut impl Rng) -> String {
        let cold = rng.random_range(0..self.cold_count);
        match rng.random_range(0..10) {
            0 => "hot/+".to_owned(),
            1 => "cold/#".to_owned(),
            2..=5 => format!("cold/{cold}/+"),
            _ => format!("cold/+/{cold}"),
        }
    }

    fn hot(&self, rng: &mut impl Rng) -> String {
        format!("hot/{}", rng.random_range(0..self.hot_count))
    }
}
