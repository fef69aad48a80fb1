//! What a scraper gets.

use isobar_observe::catalogue;
use isobar_testkit::{curl, promtool_check_metrics};

use crate::fake::Admin;

const OPEN_METRICS: &str = "accept: application/openmetrics-text; version=1.0.0, text/plain; q=0.5";

fn scrape(admin: &Admin, arguments: &[&str]) -> String {
    let url = admin.url("/metrics");
    let answer = curl(&[&[url.as_str()], arguments].concat());
    assert_eq!((answer.status, answer.exit), (200, 0), "{}", answer.heads);
    String::from_utf8(answer.body).expect("metrics are UTF-8")
}

/// The page with what differs from run to run and from version to version left out.
fn steady(page: &str) -> String {
    let mut steady = String::new();
    for line in page.lines() {
        let (name, value) = line.rsplit_once(' ').unwrap_or((line, ""));
        let value = if name.starts_with("process_") {
            "(a number)"
        } else {
            value
        };
        steady.push_str(&name.replace(env!("CARGO_PKG_VERSION"), "(the version)"));
        steady.push(' ');
        steady.push_str(value);
        steady.push('\n');
    }
    steady
}

#[test]
fn promtool_has_nothing_to_say() {
    let page = scrape(&Admin::start(), &[]);
    assert_eq!(promtool_check_metrics(&page), "");
}

#[test]
fn every_metric_of_the_catalogue_is_there() {
    let page = scrape(&Admin::start(), &[]);
    for metric in catalogue::metrics() {
        assert_eq!(
            page.matches(&format!("# TYPE {} ", metric.name)).count(),
            1,
            "{}",
            metric.name
        );
    }
}

#[test]
fn the_prometheus_text_format() {
    insta::assert_snapshot!("prometheus", steady(&scrape(&Admin::start(), &[])));
}

/// The page was read without complaint by the parser of the Python client (prometheus_client.openmetrics), which is the
/// reference implementation of OpenMetrics.
#[test]
fn open_metrics() {
    insta::assert_snapshot!(
        "open_metrics",
        steady(&scrape(&Admin::start(), &["--header", OPEN_METRICS]))
    );
}

#[test]
fn the_format_is_negotiated() {
    let admin = Admin::start();
    let check = |accept: &str, expected: &str| {
        let answer = curl(&["--header", accept, &admin.url("/metrics")]);
        assert!(
            answer.heads.contains(&format!("content-type: {expected}\r\n")),
            "{accept}: {}",
            answer.heads
        );
    };
    check("accept:", "text/plain; version=0.0.4; charset=utf-8");
    check("accept: */*", "text/plain; version=0.0.4; charset=utf-8");
    check(
        OPEN_METRICS,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    );
}
