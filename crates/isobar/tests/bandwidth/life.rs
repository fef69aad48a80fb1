//! What becomes of those who wait when something else changes?

use std::time::{Duration, Instant};

use isobar_testkit::{Signal, eventually};

use crate::kit::{Reader, held, rates, share, with};

#[test]
fn a_reload_changes_the_rate_of_what_is_under_way() {
    let held = held("rate: 200kB/s, burst: 20kB");
    let readers = [
        Reader::of(held.isobar.address(), "alice"),
        Reader::of(held.isobar.address(), "alice"),
    ];
    eventually("both receive", || readers.iter().all(|reader| reader.count() > 30_000));
    let log = held.reload("rate: 200kB/s, burst: 20kB", "rate: 4MB/s, burst: 100kB");
    assert!(log.contains("limit band counts anew"), "{log}");
    let before: Vec<_> = readers.iter().map(Reader::count).collect();
    eventually("both go on faster", || {
        let went = readers
            .iter()
            .zip(&before)
            .map(|(reader, before)| reader.count() - before);
        went.min() > Some(400_000)
    });
    share(&rates(&readers, 2), 4_000_000.0);
}

#[test]
fn a_limit_that_is_taken_away_holds_nobody_any_more() {
    let held = held("rate: 100kB/s, burst: 10kB");
    let reader = Reader::of(held.isobar.address(), "alice");
    eventually("it receives", || reader.count() > 20_000);
    let text = held.configuration.yaml();
    let text: String = text
        .lines()
        .filter(|line| !line.contains("band"))
        .map(|line| format!("{line}\n"))
        .collect();
    held.isobar.reload(&text);
    eventually("it has all of it", || reader.count() > 96 << 20);
}

#[test]
fn to_wait_for_a_turn_is_not_to_be_late() {
    // Six that share ten pieces a second: each waits longer for its turn than any client may take.
    let held = with(
        "rate: 10kB/s, burst: 1kB, direction: both",
        "timeouts: { write: 1s, body: 1s, idle: 1s }",
    );
    held.nginx.put("small", &[b'x'; 6_000]);
    let began = Instant::now();
    let url = format!("http://{}/small", held.isobar.address());
    let curls: Vec<_> = (0..6)
        .map(|_| crate::kit::Fetching::begin(&["-H", "x-user: alice", &url]))
        .collect();
    for curl in curls {
        let fetched = curl.end();
        assert_eq!(
            (fetched.exit, fetched.status, fetched.received),
            (0, 200, 6_000),
            "{fetched:?}"
        );
    }
    assert!(began.elapsed() > Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_client_that_leaves_while_it_waits_leaves_nothing_behind() {
    let held = held("rate: 1kB/s, burst: 1kB");
    for _ in 0..3 {
        let fetched = held.curl("alice", &["--max-time", "1"]).end();
        assert_eq!(fetched.exit, 28, "{fetched:?}");
    }
    held.isobar.comes_to_rest();
    eventually("three lines say so", || {
        let text = std::fs::read_to_string(held.isobar.directory().join("access.log")).unwrap_or_default();
        text.matches("\"cause\":\"client_closed\"").count() == 3
    });
}

#[test]
fn what_waits_may_end_in_a_drain() {
    let mut held = held("rate: 1MB/s, burst: 100kB");
    held.nginx.put("small", &[b'x'; 1_500_000]);
    let url = format!("http://{}/small", held.isobar.address());
    let curl = crate::kit::Fetching::begin(&["-H", "x-user: alice", &url]);
    eventually("it is under way", || {
        held.metric("isobar_limit_download_bytes_total") > 200_000.0
    });
    held.isobar.signal(Signal::TERM);
    let fetched = curl.end();
    assert_eq!((fetched.exit, fetched.received), (0, 1_500_000), "{fetched:?}");
    assert!(fetched.seconds > 1.2, "{fetched:?}");
    assert!(held.isobar.ends(Duration::from_secs(5)).success());
}
