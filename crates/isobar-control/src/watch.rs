//! Has the configuration file changed?
//!
//! Watches directories rather than the file, because editors and ConfigMaps replace files instead of writing them: a
//! watch on the file would stay with the old one. Knows nothing of the contents; whoever is told compares them.

mod links;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

use crate::stamp::Stamp;

/// How long it must be quiet before a change counts: editors write in several steps.
const QUIET: Duration = Duration::from_millis(100);
/// How long a change waits at most when it never becomes quiet.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the file is looked at when the kernel tells nothing.
const POLL: Duration = Duration::from_secs(2);
/// How often it is looked at even so: network file systems and directories that were moved away tell nothing.
const SAFETY_POLL: Duration = Duration::from_secs(10);

/// Tells when a file was written, replaced, or reached through other links.
#[derive(Debug)]
pub struct Watcher {
    changes: mpsc::Receiver<()>,
}

impl Watcher {
    /// Begins to watch. Needs a tokio runtime; ends when dropped.
    #[must_use]
    pub fn start(path: &Path) -> Self {
        Self::run(Watch::new(path))
    }

    fn run(watch: Watch) -> Self {
        let (tell, changes) = mpsc::channel(1);
        tokio::spawn(watch.run(tell));
        Self { changes }
    }

    /// Returns after the next change. Several changes at once are one. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

struct Watch {
    path: PathBuf,
    seen: Option<Stamp>,
    wake: Arc<Notify>,
    kernel: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let wake = Arc::new(Notify::new());
        let kernel = kernel_watcher(Arc::clone(&wake));
        let seen = Stamp::of(&path);
        let mut watch = Self {
            path,
            seen,
            wake,
            kernel,
            directories: BTreeSet::new(),
        };
        watch.follow_links();
        watch
    }

    async fn run(mut self, tell: mpsc::Sender<()>) {
        loop {
            let poll = if self.kernel.is_some() { SAFETY_POLL } else { POLL };
            tokio::select! {
                () = self.wake.notified() => self.quiet().await,
                () = sleep(poll) => {}
                () = tell.closed() => return,
            }
            let now = Stamp::of(&self.path);
            if now == self.seen {
                continue;
            }
            self.seen = now;
            self.follow_links();
            // Full means that a change is waiting to be noticed already, and it will see this one too.
            let _ = tell.try_send(());
        }
    }

    async fn quiet(&self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && timeout(QUIET, self.wake.notified()).await.is_ok() {}
    }

    /// Watches the directories through which the file is reached now, and no others.
    fn follow_links(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        let wanted = links::directories(&self.path);
        for gone in self.directories.difference(&wanted) {
            // The directory may be deleted, and its watch with it.
            let _ = kernel.unwatch(gone);
        }
        for new in wanted.difference(&self.directories) {
            if let Err(error) = kernel.watch(new, RecursiveMode::NonRecursive) {
                warn_polling(&error);
                self.kernel = None;
                return;
            }
        }
        self.directories = wanted;
    }
}

fn kernel_watcher(wake: Arc<Notify>) -> Option<RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        // Reading is no change; everything else, errors and lost events included, is worth a look.
        let only_read = |kind| matches!(kind, EventKind::Access(access) if !is_end_of_write(access));
        if !event.is_ok_and(|event| only_read(event.kind)) {
            wake.notify_one();
        }
    };
    notify::recommended_watcher(on_event).inspect_err(warn_polling).ok()
}

fn warn_polling(error: &notify::Error) {
    let seconds = POLL.as_secs();
    tracing::warn!("the kernel does not watch the configuration file ({error}); looking every {seconds} s instead");
}

fn is_end_of_write(access: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    access == AccessKind::Close(AccessMode::Write)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time is paused: it passes whenever everybody waits.
    #[tokio::test(start_paused = true)]
    async fn without_the_kernel_the_file_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("isobar.yaml");
        std::fs::write(&path, "a").unwrap();
        let watch = Watch {
            kernel: None,
            ..Watch::new(&path)
        };
        let mut watcher = Watcher::run(watch);
        assert!(
            timeout(POLL * 5, watcher.changed()).await.is_err(),
            "nothing has changed yet"
        );
        std::fs::write(&path, "bb").unwrap();
        assert!(
            timeout(POLL * 2, watcher.changed()).await.is_ok(),
            "a change is noticed at the next look"
        );
    }
}
