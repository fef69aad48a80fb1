//! How many descriptors may this process have, how many has it, and how much memory comes with each piece that is asked for?

use std::{fs, io};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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

/// Has memory come in small pages from now on, whatever the machine prefers.
///
/// With huge pages 2 MiB come at a time, of which an idle connection uses a few scattered pieces: some hundred bytes each over plain
/// connections, 11 KB over HTTP/2. Requests cost the same with either.
///
/// *Errors*: the kernel refused; memory comes as before, so going on is safe.
pub fn use_small_pages() -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
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

    #[test]
    fn small_pages_are_used() {
        use_small_pages().unwrap();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
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
