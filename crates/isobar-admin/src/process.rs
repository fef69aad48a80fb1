//! What does the kernel say about this process?
//!
//! Whatever cannot be read is left out; nothing here fails.

use std::fs;
use std::sync::OnceLock;

/// Figures of this process under the names that Prometheus clients of all languages use.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Process {
    /// When it started, in seconds since 1970.
    pub(crate) start_time_seconds: Option<f64>,
    /// Memory that is in RAM.
    pub(crate) resident_memory_bytes: Option<u64>,
    /// Time on a processor, in user mode and in the kernel.
    pub(crate) cpu_seconds: Option<f64>,
    /// Open descriptors.
    pub(crate) open_fds: Option<u64>,
    /// Descriptors that may be open.
    pub(crate) max_fds: Option<u64>,
}

impl Process {
    /// Reads the figures of this process. Blocks for as long as `/proc` takes.
    pub(crate) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|stat| Stat::parse(&stat));
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        Self {
            start_time_seconds: stat
                .and_then(|stat| Some(boot_time()? as f64 + seconds(stat.started, ticks_per_second))),
            resident_memory_bytes: stat
                .map(|stat| stat.resident_pages.saturating_mul(rustix::param::page_size() as u64)),
            cpu_seconds: stat.map(|stat| seconds(stat.cpu, ticks_per_second)),
            open_fds: open_descriptors(),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        }
    }
}

fn seconds(ticks: u64, per_second: u64) -> f64 {
    ticks as f64 / per_second as f64
}

/// The fields of `/proc/[pid]/stat` that are of use (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    /// Ticks on a processor.
    cpu: u64,
    /// Ticks from the machine's start to the process's.
    started: u64,
    /// Pages in RAM.
    resident_pages: u64,
}

impl Stat {
    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything; the third follows the last one.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu: field(14)? + field(15)?,
            started: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine started, in seconds since 1970. Read once: `/proc/stat` is long and the answer does not change.
fn boot_time() -> Option<u64> {
    static BOOT_TIME: OnceLock<Option<u64>> = OnceLock::new();
    let read = || {
        fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|stat| parse_boot_time(&stat))
    };
    *BOOT_TIME.get_or_init(read)
}

fn parse_boot_time(stat: &str) -> Option<u64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

/// Since Linux 6.2 the directory's size is the number of open descriptors; before, it is zero and they are counted.
fn open_descriptors() -> Option<u64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }
    // The one the directory itself is read through is gone afterwards.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::{Process, Stat, parse_boot_time};

    #[test]
    fn stat() {
        let check = |text: &str, expected: Option<(u64, u64, u64)>| {
            let stat = Stat::parse(text).map(|stat| (stat.cpu, stat.started, stat.resident_pages));
            assert_eq!(stat, expected, "{text}");
        };
        let fields = "S 1 2 3 4 5 6 7 8 9 10 70 30 16 17 18 19 20 21 900 23 55 25";
        check(&format!("42 (isobar) {fields}"), Some((100, 900, 55)));
        check(&format!("42 (a ) (b) {fields}\n"), Some((100, 900, 55)));
        check("42 (isobar) S 1", None);
        check("", None);
    }

    #[test]
    fn boot_time() {
        assert_eq!(
            parse_boot_time("cpu 1 2\nbtime 1700000000\nprocesses 3\n"),
            Some(1_700_000_000)
        );
        assert_eq!(parse_boot_time("cpu 1 2\n"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let process = Process::read();
        assert!(
            process.resident_memory_bytes.is_some_and(|bytes| bytes > 100_000),
            "{process:?}"
        );
        assert!(process.open_fds.is_some_and(|fds| fds >= 3), "{process:?}");
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds >= 0.0), "{process:?}");
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock after 1970")
            .as_secs_f64();
        assert!(
            process
                .start_time_seconds
                .is_some_and(|start| (now - start).abs() < 86_400.0),
            "{process:?}"
        );
    }
}
