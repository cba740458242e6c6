//! The trace of a run: one line for every event that matters, in order, the same bytes for the same seed.
//!
//! ```text
//!     12.345678 n2   leadership term=3 leader=2
//! ```
//!
//! Lines come from the run itself (faults, crashes, violations) and from what nodes log at level `INFO` and above. Beside them
//! it keeps [events](event), which `--report` draws.

pub mod event;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use self::event::{Event as Happened, Timed};
use crate::components::clock::simulated_us;
use crate::history::Time;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Time,
    /// Where: a node, `clients`, or `-` for the run itself.
    pub place: String,
    /// What.
    pub text: String,
}

impl Line {
    /// Whether it belongs into the story of a failure; the others only tell one run from another.
    #[must_use]
    pub fn matters(&self) -> bool {
        !self.text.contains(" bytes, ") && !self.text.contains("in flight again")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.at / 1_000_000, self.at % 1_000_000);
        write!(f, "{seconds:>6}.{micros:06} {:<4} {}", self.place, self.text)
    }
}

/// A trace that is being written. Clones write the same one.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    lines: Vec<Line>,
    events: Vec<Timed>,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event of `place`.
    pub fn add(&self, at: Time, place: &str, text: impl Into<String>) {
        self.0.lock().lines.push(Line {
            at,
            place: place.to_owned(),
            text: text.into(),
        });
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.lock().lines.clone()
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().lines.len()
    }

    /// Whether nothing happened yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the run itself said from line `from` on.
    #[must_use]
    pub fn said_since(&self, from: usize) -> String {
        let written = self.0.lock();
        let own = written.lines[from..].iter().filter(|line| line.place == "-");
        own.map(|line| line.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// Adds an event for the picture of the run.
    pub fn mark(&self, at: Time, event: Happened) {
        self.0.lock().events.push(Timed { at, event });
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Timed> {
        self.0.lock().events.clone()
    }
}

thread_local! {
    /// What nodes log on this thread goes here.
    static CURRENT: RefCell<Option<Trace>> = const { RefCell::new(None) };
    /// The host that is running.
    static PLACE: Cell<Option<u64>> = const { Cell::new(None) };
    /// Names of hosts by span. Spans are numbered by thread: a host's span is entered on no other.
    static SPANS: RefCell<BTreeMap<u64, String>> = const { RefCell::new(BTreeMap::new()) };
    static SPAN_NEXT: Cell<u64> = const { Cell::new(1) };
}

/// Takes what nodes log on this thread into `trace`, until called with `None`.
pub fn follow(trace: Option<Trace>) {
    CURRENT.set(trace);
}

/// Makes [`follow`] work in this process. `verbose`: everything of ours at level `DEBUG` too.
pub fn install(verbose: bool) {
    // A second call finds the first one's work done.
    let _ = tracing::subscriber::set_global_default(Capture { verbose });
}

/// Takes events of Banyan, and the spans in which turmoil runs its hosts.
struct Capture {
    verbose: bool,
}

impl Subscriber for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            return metadata.name() == "node" && metadata.target().starts_with("turmoil");
        }
        let level = if self.verbose { Level::DEBUG } else { Level::INFO };
        let counted = metadata.target() == "banyan_node::origin" && *metadata.level() <= Level::DEBUG;
        metadata.target().starts_with("banyan") && (*metadata.level() <= level || counted)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut text = String::new();
        attributes.record(&mut Text(&mut text));
        let id = SPAN_NEXT.get();
        SPAN_NEXT.set(id + 1);
        // `name="n1"`
        let name = text.trim().trim_start_matches("name=").trim_matches('"').to_owned();
        SPANS.with_borrow_mut(|spans| spans.insert(id, name));
        Id::from_u64(id)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        CURRENT.with_borrow(|trace| {
            let Some(trace) = trace else { return };
            let mut text = String::new();
            if *event.metadata().level() <= Level::WARN {
                let _ = write!(text, "{}: ", event.metadata().level());
            }
            event.record(&mut Text(&mut text));
            let place = PLACE
                .get()
                .and_then(|id| SPANS.with_borrow(|spans| spans.get(&id).cloned()));
            trace.add(simulated_us(), place.as_deref().unwrap_or("-"), text);
        });
    }

    fn enter(&self, span: &Id) {
        PLACE.set(Some(span.into_u64()));
    }

    fn exit(&self, _span: &Id) {
        PLACE.set(None);
    }

    fn try_close(&self, span: Id) -> bool {
        SPANS.with_borrow_mut(|spans| spans.remove(&span.into_u64()));
        true
    }
}

/// Writes the fields of an event: the message as it is, all others as `name=value`.
struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !self.0.is_empty() && !self.0.ends_with(' ') {
            self.0.push(' ');
        }
        // Writing into a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{name}={value:?}"),
        };
    }
}
