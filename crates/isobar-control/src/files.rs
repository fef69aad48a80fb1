//! Have the files changed that the plan names, such as certificates?
//!
//! They are looked at from time to time: there can be thousands of them, more than the kernel watches, and nobody waits for a
//! new certificate. What is in them is not known here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use crate::stamp::Stamp;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long they must stay as they are before a change counts: a certificate and its key are written one after the other.
const QUIET: Duration = Duration::from_millis(300);

/// Tells when one of several files was written, replaced or removed.
#[derive(Debug, Default)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
}

impl Files {
    /// These are looked at from now on; a change to one that was looked at before is not lost.
    pub(crate) fn follow<'a>(&mut self, paths: impl Iterator<Item = &'a str>) {
        let mut paths: Vec<_> = paths.map(PathBuf::from).collect();
        paths.sort();
        paths.dedup();
        if paths != self.paths {
            let before = |path: &Path| self.paths.iter().position(|known| known == path);
            let stamp = |path: &PathBuf| before(path).map_or_else(|| Stamp::of(path), |at| self.seen.get(at).copied()?);
            self.seen = paths.iter().map(stamp).collect();
            self.paths = paths;
        }
    }

    /// Returns after the next change, when it is over. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        loop {
            sleep(LOOK).await;
            let mut now = self.look().await;
            if now == self.seen {
                continue;
            }
            loop {
                sleep(QUIET).await;
                let later = self.look().await;
                if later == now {
                    break;
                }
                now = later;
            }
            self.seen = now;
            return;
        }
    }

    async fn look(&self) -> Vec<Option<Stamp>> {
        let paths = self.paths.clone();
        let stamps = move || paths.iter().map(|path| Stamp::of(path)).collect();
        tokio::task::spawn_blocking(stamps)
            .await
            .unwrap_or_else(|_| self.seen.clone())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// Time is paused: it passes whenever everybody waits.
    #[tokio::test(start_paused = true)]
    async fn a_change_of_any_file_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (a, b) = (path("a"), path("b"));
        std::fs::write(&a, "1").unwrap();
        let mut files = Files::default();
        assert!(
            timeout(LOOK * 5, files.changed()).await.is_err(),
            "there is nothing to look at"
        );
        files.follow([&*a, &*b, &*a].into_iter());
        assert!(timeout(LOOK * 5, files.changed()).await.is_err(), "nothing has changed");
        for change in [
            &(|| std::fs::write(&b, "new").unwrap()) as &dyn Fn(),
            &|| std::fs::write(&a, "longer").unwrap(),
            &|| std::fs::remove_file(&b).unwrap(),
        ] {
            change();
            files.follow([&*a, &*b].into_iter());
            assert!(timeout(LOOK * 5, files.changed()).await.is_ok());
            assert!(timeout(LOOK * 5, files.changed()).await.is_err(), "it was told");
        }
    }
}
