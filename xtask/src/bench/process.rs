//! What does a process cost, and how is it kept on its core?

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Sub;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the calling thread, and every process it starts from now on, on one core.
pub(super) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("failed to stay on core {core}"))
}

/// Allows as many open descriptors as this user may have.
pub(super) fn raise_descriptor_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("failed to raise the limit of descriptors")
}

/// Asks to be ended when the thread that started this process ends.
pub(super) fn end_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).context("failed to follow the parent")
}

/// A process that ends with this value.
pub(super) struct Running(Child);

impl Running {
    /// Starts a command on a core; the calling thread goes back to `home`.
    pub(super) fn start(command: &mut Command, core: usize, home: usize) -> Result<Self> {
        pin(core)?;
        let child = command.stdin(Stdio::null()).spawn();
        pin(home)?;
        Ok(Self(child.with_context(|| {
            format!("failed to start {:?}", command.get_program())
        })?))
    }

    /// The first line that the process prints; its standard output has to be piped.
    pub(super) fn first_line(&mut self) -> Result<String> {
        let output = self.0.stdout.take().context("the output is not piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Fails if the process has ended.
    pub(super) fn ensure_running(&mut self) -> Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the process ended with {status}"),
        }
    }

    /// The number of the process.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// This process and everything below it.
    pub(super) fn family(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|id| Some((id, stat_fields(id)?.get(1)?.parse().ok()?)))
            .collect();
        let mut family = vec![self.id()];
        let mut next = 0;
        while let Some(&parent) = family.get(next) {
            family.extend(parents.iter().filter(|&&(_, of)| of == parent).map(|&(id, _)| id));
            next += 1;
        }
        family
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for the end, and enforces it when it takes too long.
    pub(super) fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        self.wait();
    }
}

/// CPU time of processes: exact in sum; the division comes from the same clock where the kernel accounts exactly, and
/// from its ticks otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CpuTime {
    /// All of it, in nanoseconds (`/proc/PID/task/TID/schedstat`).
    pub(super) total_ns: u64,
    /// Own code, in ticks (`/proc/PID/stat`).
    pub(super) user_ticks: u64,
    /// The kernel on its behalf, in ticks.
    pub(super) system_ticks: u64,
}

impl CpuTime {
    /// What these processes have used until now.
    pub(super) fn of(processes: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for &id in processes {
            let fields = stat_fields(id).with_context(|| format!("process {id} is gone"))?;
            let tick = |index: usize| {
                fields
                    .get(index)
                    .and_then(|field| field.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            sum.user_ticks += tick(11);
            sum.system_ticks += tick(12);
            for task in fs::read_dir(format!("/proc/{id}/task"))? {
                let text = fs::read_to_string(task?.path().join("schedstat"))?;
                let on_cpu = text.split(' ').next().and_then(|field| field.parse::<u64>().ok());
                sum.total_ns += on_cpu.context("odd schedstat")?;
            }
        }
        Ok(sum)
    }

    /// The part of the time that was the processes' own code, from 0 to 1.
    pub(super) fn user_part(self) -> f64 {
        let ticks = self.user_ticks + self.system_ticks;
        if ticks == 0 {
            0.0
        } else {
            self.user_ticks as f64 / ticks as f64
        }
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

/// Memory of processes that is in use right now, in bytes (`VmRSS`; pages shared between them count for each).
pub(super) fn resident_bytes(processes: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for id in processes {
        let text = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().context("odd VmRSS")?;
        sum += kibibytes * 1024;
    }
    Ok(sum)
}

/// The fields of `/proc/PID/stat` that follow the name of the program; the first is the state.
fn stat_fields(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_costs_time_and_memory() {
        let me = [std::process::id()];
        let before = CpuTime::of(&me).unwrap();
        let mut sum = 0_u64;
        while CpuTime::of(&me).unwrap().total_ns <= before.total_ns {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(resident_bytes(&me).unwrap() > 100_000);
    }

    #[test]
    fn a_process_ends_with_its_value() {
        let mut command = Command::new("sleep");
        let child = command.arg("60").spawn().unwrap();
        let running = Running(child);
        let id = running.id();
        assert_eq!(running.family(), [id]);
        drop(running);
        assert_eq!(stat_fields(id), None);
    }
}
