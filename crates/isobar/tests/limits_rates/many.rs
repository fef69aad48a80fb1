//! What becomes of a limit when very many keys are made up?

use std::thread;

use isobar_testkit::Client;

use crate::kit::{ask, limited};

/// Keys that are made up: twenty times as many as the table is sure to have room for.
const MADE_UP: usize = 20_000;

#[test]
fn made_up_keys_free_nobody_and_take_no_memory() {
    let limited = limited(
        "user: { key: \"header:x-user\", rate: 5/day, max_keys: 1000 }",
        "[user]",
    );
    let known = || limited.passes("x-user: known\r\n", 2);
    assert_eq!(limited.passes("x-user: offender\r\n", 50), 5);
    assert_eq!(known(), 2);
    let bytes = limited.metrics().sum("isobar_limit_table_bytes", &[]).unwrap();
    assert!(bytes <= 1_000.0 * 64.0 * 1.5, "{bytes}");
    let address = limited.isobar.address();
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                let mut client = Client::connect(address).unwrap();
                for key in (part..MADE_UP).step_by(4) {
                    ask(&mut client, "/", &format!("x-user: made-up-{key}\r\n"));
                }
            });
        }
    });
    assert_eq!(
        limited.passes("x-user: offender\r\n", 20),
        0,
        "who is refused stays refused"
    );
    assert_eq!(known(), 2, "who is known stays known");
    let metrics = limited.metrics();
    assert_eq!(metrics.sum("isobar_limit_table_bytes", &[]), Some(bytes));
    let keys = metrics.sum("isobar_limit_keys", &[]).unwrap();
    assert!((1_000.0..=2_000.0).contains(&keys), "{keys}");
    assert!(metrics.sum("isobar_limit_estimated_total", &[]).unwrap() > 0.0);
}
