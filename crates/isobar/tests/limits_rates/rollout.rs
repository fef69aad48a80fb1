//! How is a limit brought in, changed, and taken away?

use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use isobar_testkit::{Client, Isobar, Signal, eventually, serde_json};

use crate::kit::{self, limited};

#[test]
fn a_shadow_counts_and_refuses_nobody() {
    let limited = limited("trial: { rate: 3/day, mode: shadow }", "[trial]");
    assert_eq!(limited.statuses("/", "", 10), [200; 10]);
    assert_eq!(limited.decisions("trial", "admitted"), 3);
    assert_eq!(limited.decisions("trial", "shadow_refused"), 7);
    assert_eq!(limited.decisions("trial", "refused"), 0);
    let named = |line: &&String| line.contains("\"limit_shadow\":\"trial\"");
    eventually("seven lines name it", || {
        limited.log_lines().iter().filter(named).count() == 7
    });
}

#[test]
fn a_limit_is_enforced_for_a_part_of_its_keys() {
    let limited = limited("ramp: { key: \"header:x-user\", rate: 1/day, enforce: 10% }", "[ramp]");
    let mut client = limited.client();
    let mut second = |user: usize| {
        let lines = format!("x-user: {user}\r\n");
        assert_eq!(kit::ask(&mut client, "/", &lines).status, 200);
        kit::ask(&mut client, "/", &lines).status
    };
    let refused = (0..1_000).filter(|user| second(*user) == 429).count();
    // Three standard deviations of a thousand keys are 2.8 in a hundred.
    assert!((70..=130).contains(&refused), "{refused} of 1000 keys");
    assert_eq!(limited.decisions("ramp", "shadow_refused"), 1_000 - refused);
}

/// A time so long from now, as it is written.
fn in_seconds(seconds: u64) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds;
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{at}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_limit_ends_when_its_time_is_over() {
    let limits = format!(
        "emergency: {{ rate: 1/day, expires: \"{}\", owner: network, reason: a flood }}",
        in_seconds(3)
    );
    let limited = limited(&limits, "[emergency]");
    assert_eq!(limited.statuses("/", "", 2), [200, 429]);
    eventually("it has ended", || limited.client().get("/").unwrap().status == 200);
    assert_eq!(limited.statuses("/", "", 5), [200; 5]);
    limited
        .isobar
        .wait_for_log("limit emergency has expired: it is not asked any more; ask network; it is there for: a flood");
    let state = [("limit", "emergency"), ("state", "expired")];
    assert_eq!(limited.metrics().sum("isobar_limit_state", &state), Some(1.0));
    assert!(limited.decisions("emergency", "ended") >= 5);
}

#[test]
fn a_limit_that_refuses_too_much_disarms_itself() {
    let limited = limited(
        "wrong: { rate: 10/day, owner: payments, disarm_above: { share: 20%, min_requests: 50 } }",
        "[wrong]",
    );
    let statuses = limited.statuses("/", "", 200);
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!((39..=41).contains(&refused), "ten of fifty pass: {refused}");
    assert_eq!(statuses[60..], [200; 140]);
    limited
        .isobar
        .wait_for_log("limit wrong refused more than its `disarm_above` allows and has disarmed itself");
    let state = |state| {
        limited
            .metrics()
            .sum("isobar_limit_state", &[("limit", "wrong"), ("state", state)])
    };
    assert_eq!((state("disarmed"), state("enforced")), (Some(1.0), Some(0.0)));
    // Reading the same rules again changes nothing; somebody who has looked does.
    limited.isobar.signal(Signal::HUP);
    limited.isobar.wait_for_log("configuration applied: generation 2");
    assert_eq!(limited.statuses("/", "", 5), [200; 5]);
    let armed = rearm(&limited.isobar, "wrong");
    assert_eq!(
        (armed["state"].as_str(), armed["was"].as_str()),
        (Some("enforced"), Some("disarmed"))
    );
    limited.isobar.wait_for_log("limit wrong is in force; ask payments");
    assert_eq!(limited.statuses("/", "", 49), [429; 49], "what was taken stays taken");
    assert_eq!(limited.statuses("/", "", 9)[1..], [200; 8], "it is watched again");
    eventually("it is disarmed", || state("disarmed") == Some(1.0));
    assert_eq!(rearm(&limited.isobar, "other")["error"], "there is no limit `other`");
    // Other rules are watched anew.
    let log = limited.reload("rate: 10/day", "rate: 11/day");
    assert!(log.contains("limit wrong counts anew"), "{log}");
    assert_eq!(limited.passes("", 20), 11);
}

fn rearm(isobar: &Isobar, limit: &str) -> serde_json::Value {
    let mut client = Client::connect(isobar.admin()).unwrap();
    let answer = client.post(&format!("/limits/{limit}/rearm"), b"").unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

#[test]
fn one_that_refuses_little_stays_in_force() {
    let limited = limited(
        "right: { key: \"header:x-user\", rate: 5/day, disarm_above: { share: 20%, min_requests: 50 } }",
        "[right]",
    );
    let mut client = limited.client();
    for user in 0..200 {
        assert_eq!(kit::ask(&mut client, "/", &format!("x-user: {user}\r\n")).status, 200);
    }
    assert_eq!(limited.passes("x-user: many\r\n", 40), 5);
}

#[test]
fn what_was_counted_outlives_a_reload_that_leaves_the_counting_alone() {
    let limited = limited("day: { rate: 10/day }\nother: { rate: 100/day }", "[day, other]");
    assert_eq!(limited.passes("", 6), 6);
    let log = limited.reload("rate: 100/day", "rate: 200/day");
    assert!(
        log.contains("limit other counts anew") && !log.contains("limit day"),
        "{log}"
    );
    let text = limited
        .configuration
        .yaml()
        .replace("day: { rate: 10/day }", "day: { rate: 10/day, headers: true }");
    let log = limited.isobar.reload(&text);
    assert!(log.contains("limit day changed"), "{log}");
    assert_eq!(limited.passes("", 10), 4);
    let log = limited.isobar.reload(&text.replace("10/day", "12/day"));
    assert!(log.contains("limit day counts anew"), "{log}");
    assert_eq!(limited.passes("", 20), 12);
    assert_eq!(limited.decisions("day", "admitted"), 22, "metrics go on");
}

/// Reloads come while clients ask all the time: not one more passes than the limit promises.
#[test]
fn reloads_give_nobody_more() {
    let limited = limited("day: { rate: 500/day }", "[day]");
    let address = limited.isobar.address();
    let passed: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = Client::connect(address).unwrap();
                    (0..400).filter(|_| client.get("/").unwrap().status == 200).count()
                })
            })
            .collect();
        for number in 0..5 {
            let text = limited
                .configuration
                .yaml()
                .replace("rate: 500/day", &format!("rate: 500/day, reason: \"{number}\""));
            limited.isobar.reload(&text);
            thread::yield_now();
        }
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(passed, 500);
}

#[test]
fn a_limit_that_is_not_there_cannot_be_named() {
    let limited = limited("day: { rate: 1/day }", "[day]");
    let log = limited.reload("[day]", "[days]");
    assert!(
        log.contains("there is no limit `days`") && log.contains("did you mean `day`?"),
        "{log}"
    );
    assert_eq!(limited.statuses("/", "", 2), [200, 429], "the old one stays in service");
}
