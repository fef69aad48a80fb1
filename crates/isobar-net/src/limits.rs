//! How many descriptors may this process have, and how many has it?

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
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_descriptor_limit().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(current.unwrap_or(u64::MAX), limit);
    }
}
