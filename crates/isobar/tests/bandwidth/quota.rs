//! What is somebody told who has used up what there is for a day?

use isobar_testkit::Client;

use crate::kit::held;

#[test]
fn a_quota_refuses_what_is_new_and_lets_end_what_has_begun() {
    let held = held("rate: 1MB/day, headers: true");
    held.nginx.put("some", &vec![b'x'; 400_000]);
    held.nginx.put("most", &vec![b'x'; 3_000_000]);
    let mut client = Client::connect(held.isobar.address()).unwrap();
    let mut ask = |path: &str, user: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-user: {user}\r\n\r\n");
        client.exchange(request).unwrap()
    };
    let first = ask("/some", "alice");
    let policy = "\"band\";q=1000000;w=86400;qu=\"content-bytes\"";
    assert_eq!((first.status, first.body.len()), (200, 400_000));
    assert_eq!(first.fields.value("ratelimit-policy"), Some(policy));
    assert_eq!(first.fields.value("ratelimit"), Some("\"band\";r=1000000"));
    // It goes past what is left, at full speed.
    assert_eq!(ask("/most", "alice").body.len(), 3_000_000);
    let refused = ask("/some", "alice");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.fields.value("ratelimit-policy"), Some(policy));
    // 2.4 MB are owed, a day's quota is a MB, and then it takes no more than a moment.
    let seconds: u64 = refused.fields.value("retry-after").unwrap().parse().unwrap();
    assert!((207_000..208_000).contains(&seconds), "{seconds}");
    assert_eq!(ask("/some", "bob").status, 200);
    let text = held.isobar.metrics().text().to_owned();
    assert!(
        text.contains("isobar_limit_decisions_total{limit=\"band\",outcome=\"refused\"} 1"),
        "{text}"
    );
}
