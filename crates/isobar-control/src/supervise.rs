//! What happens between the start of the process and its end?
//!
//! One loop turns signals and file changes into reloads, and the wish to stop into a drain. Knows nothing of how any
//! of them is done.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::files::Files;
use crate::{Reloader, Signal, Signals, Target, Watcher};

/// How long the target has to end what it was draining after a second signal to stop.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What was there was finished, but for the connections that took too long.
    Drained {
        /// How many those were.
        cut: u32,
    },
    /// A second signal asked for the end at once.
    AtOnce,
}

/// Everything that is watched while the process runs.
pub struct Supervisor {
    /// The signals.
    pub signals: Signals,
    /// The file, where the configuration is in one.
    pub file: Option<(Watcher, Reloader)>,
    /// What is drained at the end.
    pub target: Arc<dyn Target>,
    /// How long that may take where no file says otherwise.
    pub drain_timeout: Duration,
}

enum Wish {
    Changed,
    NamedFilesChanged,
    Signal(Signal),
}

impl Supervisor {
    /// Runs until a signal asks to stop.
    pub async fn run(mut self) -> Ending {
        // The file may have changed after it was read and before it was watched.
        self.reload_if_changed().await;
        let mut named = Files::default();
        loop {
            if let Some((_, reloader)) = &self.file {
                named.follow(reloader.named_files());
            }
            match self.next_wish(&mut named).await {
                Wish::Changed => self.reload_if_changed().await,
                Wish::NamedFilesChanged => {
                    tracing::info!("files that the configuration names have changed");
                    self.reload().await;
                }
                Wish::Signal(Signal::Reload) => self.reload().await,
                Wish::Signal(Signal::ReopenLogs) => {
                    self.target.reopen_logs();
                    tracing::info!("log files opened again");
                }
                Wish::Signal(Signal::Stop) => return self.drain().await,
            }
        }
    }

    async fn next_wish(&mut self, named: &mut Files) -> Wish {
        let changed = async {
            match &mut self.file {
                Some((watcher, _)) => watcher.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = self.signals.next() => Wish::Signal(signal),
            () = changed => Wish::Changed,
            () = named.changed() => Wish::NamedFilesChanged,
        }
    }

    async fn reload(&mut self) {
        match &mut self.file {
            Some((_, reloader)) => {
                reloader.reload().await;
            }
            None => tracing::warn!("nothing to reload: the configuration is on the command line"),
        }
    }

    async fn reload_if_changed(&mut self) {
        if let Some((_, reloader)) = &mut self.file {
            reloader.reload_if_changed().await;
        }
    }

    async fn drain(mut self) -> Ending {
        let deadline = self
            .file
            .as_ref()
            .map_or(self.drain_timeout, |(_, reloader)| reloader.drain_timeout());
        tracing::info!("draining: connections have {} s to finish", deadline.as_secs_f64());
        let target = Arc::clone(&self.target);
        let mut drained = tokio::task::spawn_blocking(move || target.drain(deadline));
        loop {
            tokio::select! {
                // A drain that panicked leaves nothing to wait for.
                cut = &mut drained => return cut.map_or(Ending::AtOnce, |cut| Ending::Drained { cut }),
                signal = self.signals.next() => if signal == Signal::Stop { break },
            }
        }
        let target = Arc::clone(&self.target);
        tokio::task::spawn_blocking(move || target.drain(Duration::ZERO));
        // What is cut short is still logged; a target that does not come to an end is left behind.
        let _ = timeout(LAST_WORDS, drained).await;
        Ending::AtOnce
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}
