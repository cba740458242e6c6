//! Reading entries: the newest from memory, older ones from the segments.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::error::{IoContext, LogError};
use super::index::Place;
use super::record::{LogEntry, Record, RecordKind, SegmentKey};
use super::segment;
use super::shared::{Shared, State};
use crate::storage::disk::DiskFile;

/// Longest read call for consecutive records, bytes.
const READ_BYTES_MAX: u64 = 1024 * 1024;

/// Records of one segment to be read with one call.
struct Plan {
    number: u64,
    key: SegmentKey,
    file: Arc<dyn DiskFile>,
    places: Vec<Place>,
}

/// Entries of `range` that the log holds, without a gap, at most `bytes_max` of payloads but at least one.
///
/// Payloads share the memory of the cache, or of what was read with one call.
///
/// # Errors
/// The disk's; damage. Both poison the log.
pub(super) fn read(
    shared: &Shared,
    dir: &Path,
    range: Range<u64>,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, LogError> {
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut bytes = 0;
    let mut truncations = None;
    loop {
        let plan = {
            let state = shared.state.lock();
            state.check()?;
            if *truncations.get_or_insert(state.truncations) != state.truncations {
                // What was read may belong to another log by now.
                truncations = None;
                entries.clear();
                bytes = 0;
                continue;
            }
            let first = state.first_index();
            if entries.first().is_some_and(|entry| entry.id.index < first) {
                entries.retain(|entry| entry.id.index >= first);
            }
            let next = entries
                .last()
                .map_or(range.start.max(first), |entry| entry.id.index + 1);
            let end = range.end.min(state.last.map_or(0, |last| last.index + 1));
            if next >= end || (bytes >= bytes_max && !entries.is_empty()) {
                return Ok(entries);
            }
            if next >= state.cache_start() {
                for entry in state.cached_from(next).take((end - next) as usize) {
                    if !entries.is_empty() && bytes + entry.payload.len() > bytes_max {
                        break;
                    }
                    bytes += entry.payload.len();
                    entries.push(entry.clone());
                }
                return Ok(entries);
            }
            let in_files = next..end.min(state.cache_start());
            match plan(&state, in_files, bytes_max.saturating_sub(bytes), entries.is_empty()) {
                Some(plan) if plan.places.is_empty() => return Ok(entries),
                Some(plan) => plan,
                None => {
                    let detail = format!("entry {next} is in no segment");
                    drop(state);
                    return Err(damaged(shared, dir.to_path_buf(), 0, detail));
                }
            }
        };
        match run(&plan, dir) {
            Ok(read) => {
                bytes += read.iter().map(|entry| entry.payload.len()).sum::<usize>();
                entries.extend(read);
            }
            Err(error) if is_dropped(shared, &plan) => {
                tracing::debug!(%error, "a segment was purged while it was read");
            }
            Err(error) => {
                shared.fail(&error);
                return Err(error);
            }
        }
    }
}

/// Which records to read for a first part of `range`: none if not even one fits into `bytes_max` and `one_at_least` is
/// not set. `None` if the first entry is in no segment.
fn plan(state: &State, range: Range<u64>, bytes_max: usize, one_at_least: bool) -> Option<Plan> {
    let segment = state.index.segment_of(range.start)?;
    let from = (range.start - segment.first) as usize;
    let to = segment.places.len().min((range.end - segment.first) as usize);
    let places = segment.places.get(from..to)?;
    let start = u64::from(places.first()?.offset);
    let span_max = READ_BYTES_MAX.min(bytes_max as u64);
    let fits = |place: &&Place| u64::from(place.offset) + u64::from(place.bytes) - start <= span_max;
    let count = places.iter().take_while(fits).count().max(usize::from(one_at_least));
    Some(Plan {
        number: segment.number,
        key: segment.key,
        file: Arc::clone(&segment.file),
        places: places[..count].to_vec(),
    })
}

fn run(plan: &Plan, dir: &Path) -> Result<Vec<LogEntry>, LogError> {
    let (Some(first), Some(last)) = (plan.places.first(), plan.places.last()) else {
        return Ok(Vec::new());
    };
    let path = segment::path(dir, plan.number);
    let mut buffer = vec![0; (last.offset + last.bytes - first.offset) as usize];
    plan.file
        .read_at(u64::from(first.offset), &mut buffer)
        .context("read", &path)?;
    let buffer = Bytes::from(buffer);
    let mut entries = Vec::with_capacity(plan.places.len());
    for place in &plan.places {
        let at = (place.offset - first.offset) as usize;
        let Some(Record {
            kind: RecordKind::Entry(kind),
            id,
            body,
            ..
        }) = Record::parse(&buffer[at..], &plan.key)
        else {
            let detail = "not a valid record any more".to_owned();
            return Err(LogError::Damaged {
                file: path,
                offset: u64::from(place.offset),
                detail,
            });
        };
        entries.push(LogEntry {
            id,
            kind,
            payload: buffer.slice_ref(body),
        });
    }
    Ok(entries)
}

/// Whether the segment was dropped, and its file perhaps reused, while it was read.
fn is_dropped(shared: &Shared, plan: &Plan) -> bool {
    !shared
        .state
        .lock()
        .index
        .segments
        .iter()
        .any(|segment| segment.number == plan.number)
}

fn damaged(shared: &Shared, file: std::path::PathBuf, offset: u64, detail: String) -> LogError {
    let error = LogError::Damaged { file, offset, detail };
    shared.fail(&error);
    error
}
