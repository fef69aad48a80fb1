//! How many descriptors may this process have, how many has it, and how much memory comes with each piece that is asked for?

use std::{fs, io};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::kernel;

/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Who gets huge pages: `[always]`, `[madvise]` or `[never]`.
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Raises the limit of open descriptors as far as this process may, and returns the limit that now holds.
///
/// The soft limit is often 1,024 for the sake of programs that use `select`; a proxy needs two descriptors a connection.
///
/// *Errors*: the kernel refused; the old limit stays, so going on is safe.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: maximum,
                maximum,
            },
        )?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

/// How many descriptors this process may have open, as of now.
///
/// *Cost*: a system call.
#[must_use]
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether a call failed because the process, or the machine, has as many descriptors as it may have.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Whether a call failed for want of something of this machine's: descriptors, ports or memory.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    is_out_of_descriptors(error) || matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::NOMEM | Errno::NOBUFS))
}

/// Has memory come in small pages from now on, whatever the machine prefers, but for what [`prefer_large_pages`] is told of.
///
/// With huge pages 2 MiB come at a time, of which an idle connection uses a few scattered pieces: some hundred bytes each over plain
/// connections, 11 KB over HTTP/2. Requests cost the same with either.
///
/// *Shape*: before Linux 6.18, where the machine has huge pages everywhere (`always`), there are then none at all.
///
/// *Errors*: the kernel refused; memory comes as before, so going on is safe.
pub fn use_small_pages() -> io::Result<()> {
    if kernel::use_small_pages_unless_advised().is_ok() {
        return Ok(());
    }
    // Elsewhere they come to those who ask for them, if at all.
    let is_only_asked_for = fs::read_to_string(HUGE_PAGES).is_ok_and(|modes| !modes.contains("[always]"));
    if is_only_asked_for {
        return Ok(());
    }
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// Asks for huge pages for memory that is about to be written, and read at random: with small ones a read there costs another to find
/// the page.
///
/// *Cost*: a system call where a whole huge page is in it, otherwise none.
pub fn prefer_large_pages(start: *const (), bytes: usize) {
    let end = start.addr().saturating_add(bytes) & !(HUGE_PAGE - 1);
    let start = start.addr().next_multiple_of(HUGE_PAGE);
    if start < end {
        kernel::advise_large_pages(start, end - start);
    }
}

/// Counts the descriptors this process has open.
///
/// *Cost*: one system call per descriptor or so; for tests and status pages, not for the request path.
pub fn open_descriptors() -> io::Result<usize> {
    let entries = fs::read_dir("/proc/self/fd")?.count();
    // The directory that is being read is one of them.
    Ok(entries.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether memory at an address may come in huge pages, as the kernel has it.
    fn is_eligible(address: usize) -> bool {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let is_there = |line: &str| {
            let (start, end) = line.split_once(' ')?.0.split_once('-')?;
            Some((number(start)?..number(end)?).contains(&address))
        };
        let mut lines = maps.lines().skip_while(|line| is_there(line) != Some(true));
        let eligible = lines.find_map(|line| line.strip_prefix("THPeligible:"));
        eligible.unwrap().trim() == "1"
    }

    #[test]
    fn memory_comes_in_small_pages_unless_large_ones_are_asked_for() {
        use_small_pages().unwrap();
        let mut words: Vec<u64> = Vec::with_capacity(1 << 20);
        let memory = words.spare_capacity_mut();
        let middle = memory.as_ptr().addr() + (4 << 20);
        assert!(!is_eligible(middle));
        prefer_large_pages(memory.as_ptr().cast(), 100);
        assert!(!is_eligible(middle), "there is no whole one in a hundred bytes");
        prefer_large_pages(memory.as_ptr().cast(), size_of_val(memory));
        if fs::read_to_string(HUGE_PAGES).is_ok_and(|modes| modes.contains("[madvise]")) {
            assert!(is_eligible(middle));
        }
        words.extend(0..1 << 20);
        assert_eq!(words.iter().sum::<u64>(), (1 << 19) * ((1 << 20) - 1));
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_descriptor_limit().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(current.unwrap_or(u64::MAX), limit);
        assert_eq!(descriptor_limit(), limit);
    }
}
