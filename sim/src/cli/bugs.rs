//! `bugs`: plants each bug in turn, and shows that it is found, by whom it must be, and found again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::apart::{self, Told};
use crate::bugs::{self, BUGS, PlantedBug};

/// What is told who asks for a bug that is not there.
pub(super) const NOT_BUILT_IN: &str = "this program was built without bugs; build it with `--features planted-bugs`";
/// Between the seeds that independent searches begin with.
const BASE_DISTANCE: u64 = 1_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Bugs, such as P03; all if none is given
    ids: Vec<String>,
    /// Seeds that run at a time, each in a process of its own; the first that breaks a promise counts
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Independent searches for each bug, a million seeds apart
    #[arg(long, default_value_t = 3)]
    bases: u64,
}

/// How a search for a bug ended.
enum Search {
    Found {
        seeds: u64,
        seed: u64,
        invariant: String,
        expected: bool,
        replayed: bool,
    },
    Missed,
}

/// Returns whether all bugs were found.
pub(super) fn run(arguments: &Arguments) -> Result<bool, String> {
    if cfg!(not(feature = "planted-bugs")) {
        return Err(NOT_BUILT_IN.to_owned());
    }
    let bugs: Vec<&PlantedBug> = match arguments.ids.as_slice() {
        [] => BUGS.iter().collect(),
        ids => ids
            .iter()
            .map(|id| bugs::find(id).ok_or_else(|| format!("there is no bug `{id}`")))
            .collect::<Result<_, _>>()?,
    };
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    println!(
        "{:<7} {:<12} {:>16} {:<9} what",
        "id", "seen as", "seeds / budget", "replayed"
    );
    let mut all_found = true;
    for bug in bugs {
        let searches = (0..arguments.bases)
            .map(|base| search(bug, arguments.from + base * BASE_DISTANCE, &program, arguments.jobs))
            .collect::<Result<Vec<_>, _>>()?;
        all_found &= searches.iter().all(Search::is_right);
        print(bug, &searches);
    }
    Ok(all_found)
}

impl Search {
    fn is_right(&self) -> bool {
        matches!(
            self,
            Self::Found {
                expected: true,
                replayed: true,
                ..
            }
        )
    }
}

fn print(bug: &PlantedBug, searches: &[Search]) {
    let mut seen: Vec<_> = searches
        .iter()
        .map(|search| match search {
            Search::Found { invariant, .. } => invariant.as_str(),
            Search::Missed => "MISSED",
        })
        .collect();
    seen.sort_unstable();
    seen.dedup();
    let seeds: Vec<_> = searches
        .iter()
        .map(|search| match search {
            Search::Found { seeds, .. } => seeds.to_string(),
            Search::Missed => "-".to_owned(),
        })
        .collect();
    let replayed = searches
        .iter()
        .all(|search| matches!(search, Search::Found { replayed: true, .. }));
    println!(
        "{:<7} {:<12} {:>16} {:<9} {}",
        bug.id,
        seen.join(" "),
        format!("{} / {}", seeds.join(" "), bug.budget),
        if replayed { "yes" } else { "NO" },
        bug.what
    );
    for search in searches {
        if let Search::Found {
            seed,
            invariant,
            expected: false,
            ..
        } = search
        {
            println!(
                "        seed {seed}: {invariant} is none of {}",
                bug.invariants.join(", ")
            );
        }
    }
}

/// Runs seeds from `base` on until one breaks a promise: the first of them, however many run at a time.
fn search(bug: &PlantedBug, base: u64, program: &Path, jobs: usize) -> Result<Search, String> {
    let run = |seed| apart::run(program, seed, &["--bug", bug.id]);
    let next = AtomicU64::new(base);
    let stop = AtomicBool::new(false);
    let found = parking_lot::Mutex::new(Ok(None::<Told>));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= base + bug.budget {
                        return;
                    }
                    let told = run(seed);
                    if matches!(&told, Ok(told) if told.violation.is_none()) {
                        continue;
                    }
                    stop.store(true, Ordering::Relaxed);
                    let mut found = found.lock();
                    match (&*found, &told) {
                        (Err(_), _) => {}
                        (Ok(Some(earlier)), Ok(told)) if earlier.seed < told.seed => {}
                        _ => *found = told.map(Some),
                    }
                }
            });
        }
    });
    let Some(told) = found.into_inner()? else {
        return Ok(Search::Missed);
    };
    let again = run(told.seed)?;
    let Some(violation) = told.violation else {
        return Ok(Search::Missed);
    };
    eprintln!("{} seed {}: {}", bug.id, told.seed, violation.text);
    Ok(Search::Found {
        seeds: told.seed - base + 1,
        seed: told.seed,
        expected: bug.invariants.contains(&violation.invariant.as_str()),
        invariant: violation.invariant,
        replayed: told.trace == again.trace,
    })
}
