//! Is a log exact, also where windows have edges?

use std::fs;
use std::time::{Duration, Instant};

use isobar_testkit::{Client, eventually};

use crate::kit::{self, ask, limited};

const WINDOW: Duration = Duration::from_secs(4);

/// Asks until the fixed window has no more, and then until its next one begins.
fn wait_for_edge(client: &mut Client) {
    let mut status = || ask(client, "/fixed", "x-user: probe\r\n").status;
    while status() == 200 {}
    eventually("an edge", || status() == 200);
}

/// How many of five requests of a user pass.
fn pass(client: &mut Client, path: &str, user: &str) -> usize {
    let statuses = (0..5).map(|_| ask(client, path, user).status);
    statuses.filter(|status| *status == 200).count()
}

/// Requests of one user before an edge.
struct Before {
    user: String,
    /// Just before the first and just after the last.
    sent: Instant,
    answered: Instant,
}

/// Five requests of a user for each limit in the last quarter of a window, and waits for its edge; none: it took so long that more
/// than one went by.
fn before_an_edge(client: &mut Client, user: String) -> Option<Before> {
    wait_for_edge(client);
    let edge = Instant::now();
    eventually("the last quarter of the window", || edge.elapsed() >= WINDOW * 3 / 4);
    let sent = Instant::now();
    let before = ["/exact", "/fixed", "/estimate"].map(|path| pass(client, path, &user));
    let answered = Instant::now();
    assert_eq!(before, [5, 5, 5]);
    wait_for_edge(client);
    (sent.elapsed() < WINDOW * 3 / 4).then_some(Before { user, sent, answered })
}

/// Five in the last quarter of a window of four seconds, and five more behind its edge. The fixed window lets all ten pass; the
/// estimate makes room evenly from the edge on; the log has no room before the first five are as old as the window is long, and
/// says so.
#[test]
fn five_in_any_window_are_five_around_its_edge() {
    let limit = |name: &str, algorithm: &str| {
        format!("{name}: {{ algorithm: {algorithm}, key: \"header:x-user\", rate: 5/4s, headers: true }}\n")
    };
    let limits = [
        limit("fixed", "fixed_window"),
        limit("estimate", "sliding_window"),
        limit("exact", "sliding_log"),
    ];
    let route = |name: &str| format!("- {{ match: {{ path: /{name} }}, upstream: web, limits: [{name}] }}\n");
    let routes = ["fixed", "estimate", "exact"].map(route).concat();
    let limited = kit::routed(limits.concat().trim_end(), routes.trim_end(), "request_limits: []");
    let mut client = limited.client();
    let mut users = (0..5).map(|number| format!("x-user: {number}\r\n"));
    let before = users.find_map(|user| before_an_edge(&mut client, user));
    let Before { user, sent, answered } = before.expect("five requests within a quarter of a window");
    assert_eq!(pass(&mut client, "/fixed", &user), 5, "ten in {:?}", sent.elapsed());
    // Half of the window later the estimate has let others pass, and the log has not.
    let edge = Instant::now();
    eventually("the middle of the window", || edge.elapsed() >= WINDOW / 2);
    assert!((1..5).contains(&pass(&mut client, "/estimate", &user)));
    let asked = sent.elapsed();
    let refused = ask(&mut client, "/exact", &user);
    let told = answered.elapsed();
    assert_eq!(refused.status, 429, "after {asked:?}");
    let seconds = |field: &str, text: &str| -> u64 {
        let value = refused.fields.value(field).unwrap();
        value.strip_prefix(text).and_then(|rest| rest.parse().ok()).unwrap()
    };
    let waits = [seconds("retry-after", ""), seconds("ratelimit", "\"exact\";r=0;t=")];
    // Whole seconds until the first one is as old as the window: it came between the two times that are known. A worker reads its
    // clock once for all that it does in a turn.
    let behind = Duration::from_millis(100);
    let least = WINDOW.saturating_sub(told + Duration::from_secs(1)).as_secs();
    let most = (WINDOW + behind).saturating_sub(asked).as_secs() + 1;
    assert!(waits.iter().all(|wait| (least..=most).contains(wait)), "{waits:?}");
    assert_eq!(refused.fields.value("ratelimit-policy"), Some("\"exact\";q=5;w=4"));

    eventually("room in the log", || ask(&mut client, "/exact", &user).status == 200);
    assert!(sent.elapsed() >= WINDOW, "{:?}", sent.elapsed());
    assert!(answered.elapsed() < WINDOW * 2, "{:?}", answered.elapsed());
}

/// Nobody is refused in shadow, and what would have been is counted; what another limit refuses comes back into the log.
#[test]
fn a_log_is_a_limit_like_any_other() {
    let limited = limited(
        "exact: { algorithm: sliding_log, key: \"header:x-user\", rate: 3/day }\n\
         shadow: { algorithm: sliding_log, key: \"header:x-user\", rate: 2/day, mode: shadow }\n\
         all: { rate: 7/day }",
        "[exact, shadow, all]",
    );
    assert_eq!(limited.passes("x-user: a\r\n", 5), 3);
    assert_eq!(limited.passes("x-user: b\r\n", 5), 3);
    assert_eq!(limited.passes("x-user: c\r\n", 5), 1);
    let outcomes =
        |limit| ["admitted", "refused", "shadow_refused", "returned"].map(|outcome| limited.decisions(limit, outcome));
    assert_eq!(outcomes("exact"), [7, 4, 0, 4]);
    assert_eq!(outcomes("shadow"), [5, 0, 2, 4]);
    assert_eq!(outcomes("all"), [7, 4, 0, 0]);
}

/// Logs have room for the largest rate of any key: where that changes they begin anew, and where it does not they stay.
#[test]
fn keys_with_larger_rates_have_longer_logs() {
    let limit = "algorithm: sliding_log, key: \"header:x-user\", rate: 2/day, max_keys: 6000";
    let (limited, rates) = kit::with_file(limit, "partner 9/day\nother 3/day\n");
    let passes = |user: &str, times| limited.passes(&format!("x-user: {user}\r\n"), times);
    let passed = [passes("partner", 12), passes("other", 12), passes("anybody", 12)];
    assert_eq!(passed, [9, 3, 2]);

    fs::write(&rates, "partner 9/day\nother 5/day\n").unwrap();
    limited.isobar.wait_for_log("limit user changed");
    let passed = [passes("partner", 12), passes("other", 12), passes("anybody", 12)];
    assert_eq!(passed, [0, 2, 0]);

    for (line, why) in [
        (
            "partner 1001/day",
            "line 1: a log has room for 1000 requests at most, and not for 1001",
        ),
        (
            "partner 1000/day",
            "line 1: logs of 1000 requests for 6000 keys take more than 64 MiB; `max_keys: 5000` would fit",
        ),
    ] {
        fs::write(&rates, format!("{line}\n")).unwrap();
        limited.isobar.wait_for_log(why);
    }
    assert_eq!(passes("partner", 12), 0);
    fs::write(&rates, "partner 20/day\n").unwrap();
    limited.isobar.wait_for_log("limit user counts anew");
    assert_eq!([passes("partner", 30), passes("anybody", 30)], [20, 2]);
}
