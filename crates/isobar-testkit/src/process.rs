//! What does a child process say, cost and end with?

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::PATIENCE;

/// A child process whose outputs are kept; it is killed by its id when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: [thread::JoinHandle<Option<()>>; 2],
}

impl Process {
    /// Starts the command with nothing to read and both outputs kept.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = [keep(child.stdout.take(), &stdout), keep(child.stderr.take(), &stderr)];
        Ok(Self {
            child,
            stdout,
            stderr,
            readers,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its standard output so far, in whole lines.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it wrote to its standard error so far, in whole lines.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(kill_process(id, signal)?)
    }

    /// Waits for it to end, and then for the last of what it wrote; none: it still runs after that time.
    pub fn wait(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + within;
        let status = loop {
            match self.child.try_wait()? {
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                status => break status,
            }
        };
        if status.is_some() {
            // A child of its own may hold the outputs open for longer than it lived.
            let last = Instant::now() + PATIENCE;
            while !self.readers.iter().all(thread::JoinHandle::is_finished) && Instant::now() < last {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(status)
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(self.proc("fd"))?.count())
    }

    /// How much memory it occupies, in bytes.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(self.proc("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// How much of that is in huge pages.
    pub fn huge_bytes(&self) -> io::Result<u64> {
        let rollup = fs::read_to_string(self.proc("smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
        let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// How many established connections to a local port each of its epoll instances watches, without those that watch none.
    ///
    /// Descriptors of one instance watch the same sockets and count once.
    /// *Source*: `tfd` lines of `/proc/PID/fdinfo` (proc(5)), joined with `/proc/net/tcp` by inode.
    pub fn connections_by_poller(&self, port: u16) -> io::Result<Vec<usize>> {
        let sockets = established(port)?;
        let mut pollers = BTreeSet::new();
        for entry in fs::read_dir(self.proc("fdinfo"))? {
            // A descriptor may be closed between the listing and the look.
            let Ok(info) = fs::read_to_string(entry?.path()) else {
                continue;
            };
            let watched = info
                .lines()
                .filter_map(|line| line.strip_prefix("tfd:")?.split_whitespace().next());
            let inodes = watched.filter_map(|fd| self.socket_inode(fd));
            pollers.insert(inodes.filter(|inode| sockets.contains(inode)).collect::<BTreeSet<_>>());
        }
        Ok(pollers.iter().map(BTreeSet::len).filter(|&count| count > 0).collect())
    }

    fn socket_inode(&self, descriptor: &str) -> Option<String> {
        let target = fs::read_link(self.proc("fd").join(descriptor)).ok()?;
        Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn established(port: u16) -> io::Result<HashSet<String>> {
    const ESTABLISHED: &str = "01";
    let suffix = format!(":{port:04X}");
    let inode = |line: &str| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        let ours = words.get(1)?.ends_with(&suffix) && *words.get(3)? == ESTABLISHED;
        ours.then(|| words.get(9).map(|&inode| inode.to_owned()))?
    };
    Ok(fs::read_to_string("/proc/net/tcp")?.lines().filter_map(inode).collect())
}

fn keep(output: Option<impl Read + Send + 'static>, kept: &Arc<Mutex<String>>) -> thread::JoinHandle<Option<()>> {
    let kept = Arc::clone(kept);
    thread::spawn(move || {
        let mut reader = BufReader::new(output?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).ok()? > 0 {
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Some(())
    })
}
