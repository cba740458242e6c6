//! Measuring, and telling it to Prometheus.
//!
//! Each part of the node counts what it does by itself, with relaxed atomics, and is asked when somebody scrapes: nothing is
//! registered, nothing is kept up to date for nobody. What times many things at once fills a [`Tally`] and adds it in one go.
//!
//! | module | responsibility |
//! |---|---|
//! | [`histogram`] | durations, counted in buckets |
//! | [`window`] | what was recorded lately |
//! | [`gauge`] | how many of something there are |
//! | [`families`] | what a scrape has gathered |
//! | [`exposition`] | it as text; the only place that names the Prometheus library |
//! | [`process`] | what the operating system says of this process |
//!
//! Names are `banyan_WHAT_UNIT`, counters end in `_total`; `process_…` are those that every Prometheus client has. Labels are few
//! and bounded: kinds of listeners, services, outcomes, and members of the cluster; never topics or clients.

pub mod exposition;
pub mod families;
pub mod gauge;
pub mod histogram;
pub mod process;
pub mod window;

pub use families::Families;
pub use gauge::{Counted, Gauge};
pub use histogram::{Histogram, Recorded, Tally};
pub use window::Window;
