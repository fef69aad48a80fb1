//! Every way in which people and machines replace a configuration file is noticed.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use isobar_control::Watcher;
use tokio::time::timeout;

async fn noticed(watcher: &mut Watcher, what: &str) {
    assert!(
        timeout(Duration::from_secs(20), watcher.changed()).await.is_ok(),
        "{what} was not noticed"
    );
}

#[tokio::test]
async fn written_renamed_over_and_brought_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("isobar.yaml");
    fs::write(&path, "a").unwrap();
    let mut watcher = Watcher::start(&path);

    fs::write(&path, "bb").unwrap();
    noticed(&mut watcher, "a write").await;

    let new = directory.path().join("new");
    fs::write(&new, "ccc").unwrap();
    fs::rename(&new, &path).unwrap();
    noticed(&mut watcher, "a rename over it").await;

    fs::remove_file(&path).unwrap();
    noticed(&mut watcher, "a removal").await;

    fs::write(&path, "dddd").unwrap();
    noticed(&mut watcher, "its return").await;
}

#[tokio::test]
async fn the_data_link_of_a_config_map_is_swapped() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for (version, text) in [("..1", "a"), ("..2", "b"), ("..3", "c")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("isobar.yaml"), text).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/isobar.yaml", at("isobar.yaml")).unwrap();
    let mut watcher = Watcher::start(&at("isobar.yaml"));
    for version in ["..2", "..3"] {
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        noticed(&mut watcher, "a swap").await;
        assert!(
            fs::canonicalize(at("isobar.yaml"))
                .unwrap()
                .starts_with(fs::canonicalize(at(version)).unwrap())
        );
    }
}

#[tokio::test]
async fn other_files_are_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("isobar.yaml");
    fs::write(&path, "a").unwrap();
    let mut watcher = Watcher::start(&path);
    for round in 0..20 {
        fs::write(directory.path().join("other.yaml"), format!("{round}")).unwrap();
        fs::read(&path).unwrap();
    }
    // Several times the debounce: a change would have been told by now.
    assert!(timeout(Duration::from_millis(600), watcher.changed()).await.is_err());
    fs::write(&path, "bb").unwrap();
    noticed(&mut watcher, "a write after all that").await;
}
