//! How does work beside the workers go on: on a thread with a reactor of its own, in tasks that follow what there is?
//!
//! What the work is, its users know.

use std::future::Future;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};

use isobar_net::runtime::{self, WorkerRuntime};
use isobar_upstream::Upstream;
use tokio::task::AbortHandle;

/// Starts a thread that runs a future to its end, and waits until it has a reactor.
///
/// *Errors*: there can be no further thread, or no descriptor is left for its reactor.
pub(crate) fn thread<F: Future<Output = ()>>(
    name: &str,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (tell, told) = mpsc::sync_channel(1);
    let body = move || {
        let begun = tell.clone();
        let ran = runtime::run(WorkerRuntime::default(), move || {
            let work = main();
            // Whoever started the thread waits for this.
            let _ = begun.send(Ok(()));
            work
        });
        if let Err(error) = ran {
            let _ = tell.send(Err(error));
        }
    };
    let thread = Builder::new().name(name.to_owned()).spawn(body)?;
    match told.recv() {
        Ok(begun) => begun.map(|()| thread),
        Err(_) => Err(io::Error::other("the thread ended as it began")),
    }
}

/// A task, and what it is for. It ends when this is dropped.
pub(crate) struct Task<K> {
    pub(crate) of: K,
    handle: AbortHandle,
}

impl<K> Task<K> {
    /// Starts a task on this thread.
    pub(crate) fn start(of: K, work: impl Future<Output = ()> + 'static) -> Self {
        let handle = tokio::task::spawn_local(work).abort_handle();
        Self { of, handle }
    }
}

impl<K> Drop for Task<K> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// A task for each upstream.
#[derive(Default)]
pub(crate) struct PerUpstream(Vec<Task<Arc<Upstream>>>);

impl PerUpstream {
    /// Has a task for each of these upstreams and no others; those there are go on.
    pub(crate) fn follow<'u, F: Future<Output = ()> + 'static>(
        &mut self,
        upstreams: impl Iterator<Item = &'u Arc<Upstream>>,
        work: impl Fn(Arc<Upstream>) -> F,
    ) {
        let mut last = std::mem::take(&mut self.0);
        let task = |upstream: &Arc<Upstream>| {
            let same = last.iter().position(|task| Arc::ptr_eq(&task.of, upstream));
            same.map_or_else(
                || Task::start(Arc::clone(upstream), work(Arc::clone(upstream))),
                |position| last.swap_remove(position),
            )
        };
        self.0 = upstreams.map(task).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_thread_has_begun_when_it_is_started() {
        let (ended, end) = (Arc::new(AtomicBool::new(false)), tokio::sync::Notify::new());
        let (seen, end) = (Arc::clone(&ended), Arc::new(end));
        let wait = Arc::clone(&end);
        let thread = thread("test", move || async move {
            wait.notified().await;
            seen.store(true, Ordering::Release);
        });
        assert!(!ended.load(Ordering::Acquire));
        end.notify_one();
        thread.unwrap().join().unwrap();
        assert!(ended.load(Ordering::Acquire));
    }

    #[test]
    fn a_thread_that_fails_to_begin_is_an_error() {
        let failed = thread("test", || -> std::future::Ready<()> { panic!("on purpose") });
        assert!(failed.is_err());
    }
}
