//! Are servers with names found, and is one that cannot be found no more than a missing server?

use isobar_testkit::{Configuration, Origin, binary, get};

/// Probes so far apart that no second one comes to the rescue.
const RARELY: &str = "health: { path: /health, interval: 1h, timeout: 1s }";

#[test]
fn a_name_serves_as_soon_as_the_process_is_ready() {
    let origin = Origin::named("found");
    let named = format!("\"localhost:{}\"", origin.address().port());
    let configuration = Configuration::default().server(&named).upstream(RARELY);
    let isobar = binary!().run(&configuration);
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "found");
}

#[test]
fn a_name_that_comes_with_a_reload_serves_at_once() {
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let isobar = binary!().run(&Configuration::to(&[first.address()]).upstream(RARELY));
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "first");
    let named = format!("\"localhost:{}\"", second.address().port());
    let said = isobar.reload(&Configuration::default().server(&named).upstream(RARELY).yaml());
    assert!(said.contains("configuration applied"), "{said}");
    assert_eq!(get(isobar.address(), "/").unwrap().text(), "second");
}

#[test]
fn a_name_that_does_not_resolve_is_a_missing_server_and_nothing_else() {
    let origin = Origin::named("here");
    // RFC 6761 section 6.4: this name never exists.
    let configuration = Configuration::to(&[origin.address()])
        .server("\"nowhere.invalid:80\"")
        .upstream(RARELY);
    let isobar = binary!().run(&configuration);
    for _ in 0..10 {
        assert_eq!(get(isobar.address(), "/").unwrap().text(), "here");
    }
    isobar.wait_for_log("nowhere.invalid does not resolve");
}
