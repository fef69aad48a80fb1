//! How does a worker thread run, and on which core?
//!
//! It knows threads and cores; what the worker does is the caller's future.

use std::future::Future;
use std::io;
use std::thread::available_parallelism;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, LocalOptions};

use crate::ring;

/// How many tasks are polled between two looks at the reactor while there is always another task to poll.
///
/// tokio's default of 61 makes a worker with many ready connections call `epoll_wait` in the middle of a batch. A batch
/// that is finished first costs fewer calls, and with some 15 µs a task it delays new events by 4 ms at most.
const TASKS_PER_REACTOR_LOOK: u32 = 256;

/// How many tasks are polled between two looks at the queue that other threads wake tasks through.
///
/// Other threads wake a worker for reloads, hand-offs and shutdown only, and an idle worker looks at once.
const TASKS_PER_REMOTE_LOOK: u32 = 127;

/// How one worker thread runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkerRuntime {
    /// The core it stays on; none: the kernel decides.
    pub core: Option<usize>,
    /// How its streams move bytes.
    pub io: Io,
}

/// How the streams of a thread move bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Io {
    /// Each asks for itself when the reactor says that it may.
    #[default]
    Epoll,
    /// Through an io_uring they share, as far as messages are small: one system call for many of them.
    IoUring,
}

/// Whether this process may have an io_uring as it is needed here; if not, why.
///
/// *Errors*: the kernel is older than Linux 6.1 or does not let this process have one, as in many containers.
pub fn io_uring_allowed() -> io::Result<()> {
    crate::kernel::Uring::new().map(drop)
}

/// The ways to move bytes that there are for this process.
#[must_use]
pub fn ways() -> &'static [Io] {
    if io_uring_allowed().is_ok() {
        &[Io::Epoll, Io::IoUring]
    } else {
        &[Io::Epoll]
    }
}

/// Runs a future to its end on this thread's own runtime, on the core of its options.
///
/// `main` is called inside the runtime, so that it can register sockets and spawn local tasks. Tasks that are left when
/// the future ends are dropped. A core that cannot be had is no error: the thread then runs anywhere (see [`pin`]).
///
/// *Errors*: the kernel gave no epoll or event descriptor, or no io_uring where one is wanted.
pub fn run<F: Future>(options: WorkerRuntime, main: impl FnOnce() -> F) -> io::Result<F::Output> {
    if let Some(core) = options.core {
        // Cores can be taken away at any time; a worker that floats serves as well, only slower.
        let _ = pin(core);
    }
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .event_interval(TASKS_PER_REACTOR_LOOK)
        .global_queue_interval(TASKS_PER_REMOTE_LOOK)
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        if options.io == Io::IoUring {
            let ring = ring::install()?;
            tokio::task::spawn_local(ring.drive());
        }
        Ok(main().await)
    })
}

/// Binds the calling thread to one core.
///
/// *Errors*: this process may not run on that core, or there is no such core.
pub fn pin(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// The cores the calling thread may run on, in ascending order; at least one.
#[must_use]
pub fn cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(allowed) => (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect(),
        // The kernel refuses where it has more cores than the set has bits: count instead.
        Err(_) => (0..available_parallelism().map_or(1, usize::from)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn cores_of_a_worker(core: Option<usize>) -> Vec<usize> {
        thread::spawn(move || run(WorkerRuntime { core, io: Io::Epoll }, || async { cores() }).unwrap())
            .join()
            .unwrap()
    }

    #[test]
    fn a_worker_stays_on_its_core() {
        for core in cores() {
            assert_eq!(cores_of_a_worker(Some(core)), [core]);
        }
        assert_eq!(cores_of_a_worker(None), cores());
    }

    #[test]
    fn a_core_that_does_not_exist_is_no_error() {
        let all = cores();
        assert_eq!(cores_of_a_worker(Some(CpuSet::MAX_CPU - 1)), all);
        assert_eq!(cores_of_a_worker(Some(usize::MAX)), all);
    }

    #[test]
    fn local_tasks_run() {
        let value = run(WorkerRuntime::default(), || async {
            let cell = std::rc::Rc::new(7);
            tokio::task::spawn_local(async move { *cell }).await.unwrap()
        });
        assert_eq!(value.unwrap(), 7);
    }
}
