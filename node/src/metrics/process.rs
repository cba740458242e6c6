//! What the operating system says of this process: memory, time, open files, files on disk.

use std::fs;
use std::path::Path;

use super::Families;
use super::families::Unit;

/// Bytes of the files in `directory` and all beneath it. What goes meanwhile counts for nothing.
fn bytes_in(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Bytes that are free for the node where `directory` is, and all there are.
#[must_use]
pub fn disk_space(directory: &Path) -> Option<(u64, u64)> {
    let told = rustix::fs::statvfs(directory).ok()?;
    Some((
        told.f_bavail.saturating_mul(told.f_frsize),
        told.f_blocks.saturating_mul(told.f_frsize),
    ))
}

/// Bytes of memory that are this process's and in use.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Seconds that this process has had a processor, and when it began, in seconds since the Unix epoch.
fn times() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in parentheses and may hold spaces.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let used_s = (field(14)? + field(15)?) as f64 / ticks;
    let boot_s: u64 = fs::read_to_string("/proc/stat")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .parse()
        .ok()?;
    Some((used_s, boot_s as f64 + field(22)? as f64 / ticks))
}

fn open_files_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Adds what there is to say of the process, under the names that all Prometheus clients use, and of the disk that its data is
/// on. Reads files, and blocks meanwhile.
pub fn gather(families: &mut Families, data_dir: &Path) {
    if let Some((used_s, started_s)) = times() {
        families.counter_of(
            "process_cpu",
            Unit::Seconds,
            "Time that the process has had a processor.",
            &[],
            used_s,
        );
        families.gauge_of(
            "process_start_time",
            Unit::Seconds,
            "When the process began, since the Unix epoch.",
            &[],
            started_s,
        );
    }
    if let Some(bytes) = resident_bytes() {
        let help = "Memory of the process that is in use.";
        families.gauge_of("process_resident_memory", Unit::Bytes, help, &[], bytes as f64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        families.gauge(
            "process_open_fds",
            "Files and sockets that are open.",
            open.count() as u64,
        );
    }
    if let Some(most) = open_files_max() {
        families.gauge("process_max_fds", "Files and sockets that may be open.", most);
    }
    for part in ["log", "state"] {
        families.gauge_of(
            "banyan_disk_used",
            Unit::Bytes,
            "Files of the log and of the state.",
            &[("part", part)],
            bytes_in(&data_dir.join(part)) as f64,
        );
    }
    if let Some((free, size)) = disk_space(data_dir) {
        let help = "What is free on the file system of the data directory.";
        families.gauge_of("banyan_disk_free", Unit::Bytes, help, &[], free as f64);
        let help = "Size of the file system of the data directory.";
        families.gauge_of("banyan_disk_size", Unit::Bytes, help, &[], size as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_there() {
        let mut families = Families::default();
        gather(&mut families, &std::env::temp_dir());
        let names: Vec<_> = families.into_inner().iter().map(|family| family.name).collect();
        for name in [
            "process_cpu",
            "process_start_time",
            "process_resident_memory",
            "process_open_fds",
            "process_max_fds",
            "banyan_disk_free",
        ] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
    }
}
