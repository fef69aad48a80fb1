//! Through which directories is a file reached?

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links followed at most, as the kernel does.
const MAX_LINKS: usize = 40;

/// The directories in which something must change for `path` to become another file: its own, and those of every
/// symbolic link on the way.
///
/// *Shape*: absolute when `path` is. A path that ends nowhere yields the directories up to there.
pub(super) fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut pending: Vec<PathBuf> = steps(path);
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(step) = pending.pop() {
        let next = at.join(&step);
        match fs::read_link(&next) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                found.insert(at.clone());
                pending.extend(steps(&target));
            }
            _ if pending.is_empty() => {
                found.insert(at.clone());
            }
            _ => at = climb(next),
        }
    }
    found.retain(|directory| directory.is_dir());
    found
}

/// The steps of a path, last first, so that they can be popped.
fn steps(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .filter(|c| *c != Component::CurDir)
        .map(|c| PathBuf::from(c.as_os_str()))
        .collect()
}

/// A `..` at the end leads to the parent; what stands before it is no link any more, so it can be taken literally.
fn climb(path: PathBuf) -> PathBuf {
    if path.ends_with("..") {
        return path
            .parent()
            .and_then(Path::parent)
            .map_or(path.clone(), Path::to_owned);
    }
    path
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::directories;

    fn relative(root: &Path, file: &str) -> Vec<String> {
        let within = |path: &Path| path.strip_prefix(root).map(|p| p.display().to_string()).ok();
        directories(&root.join(file))
            .iter()
            .filter_map(|path| within(path))
            .collect()
    }

    #[test]
    fn every_link_on_the_way_counts() {
        let temporary = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(temporary.path()).unwrap();
        fs::create_dir_all(root.join("map/..2026")).unwrap();
        fs::create_dir_all(root.join("releases/7")).unwrap();
        fs::write(root.join("map/..2026/a.yaml"), "").unwrap();
        fs::write(root.join("releases/7/b.yaml"), "").unwrap();
        symlink("..2026", root.join("map/..data")).unwrap();
        symlink("..data/a.yaml", root.join("map/a.yaml")).unwrap();
        symlink(root.join("releases/7"), root.join("current")).unwrap();
        symlink("../current/b.yaml", root.join("map/b.yaml")).unwrap();
        symlink("loop", root.join("loop")).unwrap();

        let check = |file: &str, expected: &[&str]| assert_eq!(relative(&root, file), expected, "{file}");
        check("map/..2026/a.yaml", &["map/..2026"]);
        check("map/a.yaml", &["map", "map/..2026"]);
        check("map/b.yaml", &["", "map", "releases/7"]);
        check("map/missing.yaml", &["map"]);
        check("missing/a.yaml", &[]);
        check("loop", &[""]);
    }
}
