//! Does the demonstration of limits show what limits are for?

use std::process::Stdio;
use std::thread;

use isobar_testkit::binary;
use serde_json::Value;

/// The objects that a scene prints.
#[track_caller]
fn shown(arguments: &[&str]) -> Vec<Value> {
    let fixed = ["demo", "limits", "--listen", "127.0.0.1:0", "--json"];
    let outcome = binary!().outcome(&[&fixed, arguments].concat());
    assert!(outcome.status.success(), "{arguments:?}: {}", outcome.stderr);
    let lines = outcome.stdout.lines();
    let objects: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends: Vec<_> = objects.iter().map(|object| object["end"] == true).collect();
    assert!(
        ends.len() > 1 && ends.iter().position(|end| *end) == Some(ends.len() - 1),
        "{ends:?}"
    );
    objects
}

fn user<'a>(object: &'a Value, name: &str) -> &'a Value {
    let users = object["users"].as_array().unwrap();
    users.iter().find(|user| user["name"] == name).unwrap()
}

fn count(user: &Value, what: &str) -> u64 {
    user[what].as_u64().unwrap()
}

#[test]
fn the_good_user_gets_all_and_the_bad_one_what_the_limit_gives() {
    let check = |algorithm: &str, most: u64| {
        let objects = shown(&["--algorithm", algorithm, "--duration", "4s"]);
        let last = objects.last().unwrap();
        assert!(last["rules"].as_str().unwrap().contains(algorithm), "{last}");
        let (good, bad) = (user(last, "good"), user(last, "bad"));
        assert_eq!(
            (count(good, "429"), count(good, "failed")),
            (0, 0),
            "{algorithm}: {last}"
        );
        assert!(count(good, "200") > 5, "{algorithm}: {last}");
        assert!(count(bad, "429") > 20, "{algorithm}: {last}");
        assert!((10..=most).contains(&count(bad, "200")), "{algorithm}: {last}");
        assert!(bad["left"].is_u64(), "{algorithm}: {last}");
    };
    let algorithms = [
        // Ten at once and ten a second.
        ("gcra", 60),
        ("token_bucket", 60),
        // Windows begin with the process, and may be cut at both ends.
        ("fixed_window", 70),
        ("sliding_window", 70),
        ("sliding_log", 60),
        // Two at once, of about 80 ms each.
        ("concurrency", 200),
    ];
    // Each takes four seconds, in which it has little to do.
    for two in algorithms.chunks(2) {
        thread::scope(|scope| {
            for &(algorithm, most) in two {
                scope.spawn(move || check(algorithm, most));
            }
        });
    }
}

#[test]
fn fair_share_protects_three_from_a_fourth() {
    let objects = shown(&["--scene", "fair-share", "--duration", "5s"]);
    let last = objects.last().unwrap();
    for name in ["anna", "ben", "cleo"] {
        let customer = user(last, name);
        assert_eq!((count(customer, "429"), count(customer, "failed")), (0, 0), "{last}");
        assert!(count(customer, "200") > 10, "{last}");
    }
    let greedy = user(last, "dora");
    assert!(
        count(greedy, "200") > 20 && count(greedy, "429") > count(greedy, "200"),
        "{last}"
    );

    let objects = shown(&["--scene", "fair-share", "--unfair", "--duration", "4s"]);
    let last = objects.last().unwrap();
    let lost: u64 = ["anna", "ben", "cleo"]
        .iter()
        .map(|name| count(user(last, name), "failed"))
        .sum();
    assert!(lost > 0, "nobody needs protection: {last}");
}

#[test]
fn without_a_terminal_there_are_lines_and_a_signal_ends_it() {
    let mut command = binary!().command();
    command.args(["demo", "limits", "--listen", "127.0.0.1:0"]);
    let mut demo = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(demo.stdout.take().unwrap()));
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("algorithm: gcra, rate: 10/s: good "), "{first}");
    let id = demo.id().to_string();
    let told = std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(told.success());
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(demo.wait().unwrap().success());
    let [.., title, good, bad] = rest.as_slice() else {
        panic!("{rest:?}")
    };
    assert!(title.starts_with("algorithm: gcra, rate: 10/s after "), "{title}");
    assert!(good.contains("good") && good.contains("100.0 % served"), "{good}");
    assert!(bad.contains("bad"), "{bad}");
}

/// On a terminal, keys take the next algorithm, the next scene, and fair share away.
#[test]
fn keys_change_what_is_shown() {
    let program = binary!().command().get_program().to_string_lossy().into_owned();
    let demo = format!("stty cols 100 rows 30; exec {program} demo limits --listen 127.0.0.1:0");
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &demo, "/dev/null"]).env("TERM", "xterm");
    let mut terminal = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let shown = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let seen = std::sync::Arc::clone(&shown);
    let reader = thread::spawn(move || {
        let mut screen = screen;
        let mut bytes = [0; 4096];
        while let Ok(count) = std::io::Read::read(&mut screen, &mut bytes) {
            if count == 0 {
                return;
            }
            seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    let mut press = |key: &[u8]| std::io::Write::write_all(&mut keys, key).unwrap();
    let appears = |text: &str| {
        isobar_testkit::eventually(text, || shown.lock().unwrap().contains(text));
        shown.lock().unwrap().clear();
    };
    appears("algorithm: gcra");
    press(b"a");
    appears("algorithm: token_bucket");
    press(b"n");
    appears("fair_share: \"header:x-user\"");
    press(b"f");
    appears("fair_share: none");
    press(b"n");
    appears("algorithm: token_bucket");
    press(b"q");
    appears("after ");
    assert!(terminal.wait().unwrap().success());
    reader.join().unwrap();
}
