//! Is this still the same file?
//!
//! A stamp is what the file system says of a file without opening it. Two equal stamps mean that nobody replaced or
//! wrote the file in between; it knows nothing of the contents.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the file system says of a file, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    // Also moves with permissions and owner: a file that became readable is worth another try.
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file at `path` now; none: there is no such file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}
