//! The timeline of one seed as a picture: one HTML file that needs nothing else, no network and no script.
//!
//! | module | concept |
//! |---|---|
//! | `collect` | from what happened to what is shown |
//! | `timeline` | what is shown: spans and marks on one axis of time |
//! | `picture` | the drawing, SVG |
//! | `page` | the page around it, with its styles and its legend |

mod collect;
mod page;
mod picture;
mod timeline;

use std::io;
use std::path::Path;

use crate::run::Outcome;

/// Writes the picture of `outcome` to `path`. `command` repeats the run.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, outcome: &Outcome, command: &str) -> io::Result<()> {
    std::fs::write(path, page::page(&collect::timeline(outcome, command)))
}
