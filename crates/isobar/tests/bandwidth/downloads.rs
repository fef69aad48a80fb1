//! How fast do answers go?

use isobar_testkit::serde_json::{self, Value};
use isobar_testkit::{eventually, wait_for};

use crate::kit::{Held, Reader, held, rates, share};

/// A line of the access log of somebody who fetched less than all.
fn line(held: &Held) -> Value {
    wait_for("a line in the access log", || {
        let text = std::fs::read_to_string(held.isobar.directory().join("access.log")).ok()?;
        serde_json::from_str(text.lines().next()?).ok()
    })
}

#[test]
fn downloads_of_one_key_share_its_rate_and_others_have_their_own() {
    let held = held("rate: 4MB/s, burst: 100kB");
    let mine: Vec<_> = (0..8).map(|_| Reader::of(held.isobar.address(), "alice")).collect();
    let other = [Reader::of(held.isobar.address(), "bob")];
    eventually("all receive", || mine.iter().all(|reader| reader.count() > 150_000));
    // Both at once, each for two seconds.
    let (mine, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| rates(&other, 2));
        (rates(&mine, 2), other.join().unwrap())
    });
    share(&mine, 4_000_000.0);
    share(&other, 4_000_000.0);
}

#[test]
fn curls_get_the_burst_and_the_rate_and_the_line_says_how_long_they_waited() {
    let held = held("rate: 2MB/s, burst: 500kB");
    let curls: Vec<_> = (0..4).map(|_| held.curl("alice", &["--max-time", "3"])).collect();
    let fetched: Vec<_> = curls.into_iter().map(crate::kit::Fetching::end).collect();
    let total: u64 = fetched.iter().map(|fetched| fetched.received).sum();
    assert!((5_700_000..6_900_000).contains(&total), "{fetched:?}");
    let counted = held.metric("isobar_limit_download_bytes_total");
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let received = total as f64;
    // With the heads, and what was on its way when they left.
    assert!(
        (received..received + 8_000_000.0).contains(&counted),
        "{counted} of {received}"
    );
    let line = line(&held);
    assert!(
        line["throttled_ms"]
            .as_f64()
            .is_some_and(|ms| (1_000.0..4_000.0).contains(&ms)),
        "{line}"
    );
    assert!(held.metric("isobar_limit_throttled_seconds_sum") > 4.0);
}

#[test]
fn streams_of_http2_are_held_as_connections_are() {
    let held = held("rate: 2MB/s, burst: 100kB");
    let url = format!("http://{}/big", held.isobar.address());
    let curls: Vec<_> = (0..2)
        .map(|_| {
            let twice = [
                "--http2-prior-knowledge",
                "-Z",
                "--max-time",
                "3",
                "--output",
                "/dev/null",
                &url,
            ];
            held.curl("alice", &twice)
        })
        .collect();
    let fetched: Vec<_> = curls.into_iter().map(crate::kit::Fetching::end).collect();
    let total: u64 = fetched.iter().map(|fetched| fetched.received).sum();
    // A window of each stream is on its way at most.
    assert!((5_400_000..6_600_000).contains(&total), "{fetched:?}");
}

#[test]
fn a_limit_in_shadow_keeps_nobody_waiting_and_says_what_was_too_much() {
    let held = held("rate: 1MB/s, mode: shadow");
    let fetched = held.curl("alice", &[]).end();
    assert_eq!((fetched.exit, fetched.received), (0, 96 << 20), "{fetched:?}");
    assert!(held.metric("isobar_limit_download_bytes_total") >= f64::from(96 << 20));
    assert!(held.metric("isobar_limit_excess_bytes_total") > f64::from(60 << 20));
    assert_eq!(held.metric("isobar_limit_throttled_seconds_count"), 0.0);
}
