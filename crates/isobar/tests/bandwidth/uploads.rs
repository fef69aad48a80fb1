//! How fast do bodies of requests go?

use crate::kit::{Fetching, held};

#[test]
fn uploads_of_one_key_share_its_rate_and_downloads_are_free() {
    let held = held("rate: 2MB/s, burst: 100kB, direction: upload");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, vec![b'y'; 3_000_000]).unwrap();
    let uploads: Vec<_> = (0..2)
        .map(|number| {
            let url = format!("http://{}/up{number}", held.isobar.address());
            Fetching::begin(&["-H", "x-user: alice", "-T", file.to_str().unwrap(), &url])
        })
        .collect();
    let other = format!("http://{}/other", held.isobar.address());
    let other = Fetching::begin(&["-H", "x-user: bob", "-T", file.to_str().unwrap(), &other]);
    let whole = held.curl("alice", &[]).end();
    assert_eq!((whole.exit, whole.received), (0, 96 << 20), "{whole:?}");
    for upload in uploads {
        let upload = upload.end();
        assert_eq!(
            (upload.exit, upload.status, upload.sent),
            (0, 201, 3_000_000),
            "{upload:?}"
        );
        // What is in the buffers of the kernel is read a little later than it was sent.
        assert!((2.5..4.0).contains(&upload.seconds), "{upload:?}");
    }
    let other = other.end();
    assert!((1.2..2.5).contains(&other.seconds), "{other:?}");
    assert!(held.metric("isobar_limit_upload_bytes_total") >= 9_000_000.0);
    assert_eq!(held.metric("isobar_limit_download_bytes_total"), 0.0);
}
