//! How much of its work does an instance get done when it is asked for five times as much?
//!
//! The table in docs/overload.md comes from here: `cargo test -p isobar --test overload -- --nocapture goodput`.

#[path = "overload/crowd.rs"]
mod crowd;
#[path = "overload/limits.rs"]
mod limits;
#[path = "overload/order.rs"]
mod order;

use std::time::Duration;

use crowd::{Crowd, Machine, Report, SERVICE, TIMEOUT};
use isobar_testkit::{Configuration, Isobar, binary};

const ROUTES: &str = "- { match: { path: /health }, upstream: web, priority: critical }\n- upstream: web";

/// What is done about overload.
struct Protection {
    name: &'static str,
    /// What is written about the server beside its address.
    server: &'static str,
    upstream: &'static str,
}

const NOTHING: Protection = Protection {
    name: "nothing",
    server: "",
    upstream: "keep_alive: { max_idle: 64 }",
};

const LIMIT: Protection = Protection {
    name: "max_connections of the server",
    server: ", max_connections: 6",
    upstream: "keep_alive: { max_idle: 64 }",
};

const ADAPTIVE: Protection = Protection {
    name: "adaptive_concurrency",
    server: "",
    upstream: "adaptive_concurrency: {}",
};

const UPSTREAM: Protection = Protection {
    name: "max_requests of the upstream",
    server: "",
    upstream: "limits: { max_requests: 6 }",
};

const DEADLINES: Protection = Protection {
    name: "adaptive_concurrency, order: deadline",
    server: "",
    upstream: "adaptive_concurrency: {}\nqueue: { order: deadline }",
};

fn start(machine: &Machine, protection: &Protection) -> Isobar {
    let server = format!("{{ address: \"{}\"{} }}", machine.address(), protection.server);
    let configuration = Configuration::default().server(server);
    binary!().run(&configuration.routes(ROUTES).upstream(protection.upstream))
}

/// Half of what the machine can do for a while, five times as much for longer, and half again.
fn measure(protection: &Protection) -> Report {
    let machine = Machine::start();
    let isobar = start(&machine, protection);
    let report = Crowd::default().run(isobar.address(), &machine);
    limits::nothing_is_left(&isobar);
    assert_eq!(isobar.health()["status"], "pass");
    report
}

#[test]
fn goodput_under_five_times_overload() {
    eprintln!("{:<38} {}", "protection", Report::HEADER);
    let unprotected = measure(&NOTHING);
    eprintln!("{:<38} {unprotected}", NOTHING.name);
    assert!(unprotected.goodput() < 0.5, "the crowd is no overload: {unprotected}");
    for protection in [LIMIT, UPSTREAM, ADAPTIVE, DEADLINES] {
        let report = measure(&protection);
        let name = protection.name;
        eprintln!("{name:<38} {report}");
        assert!(report.goodput() >= 0.9, "{name}: {report}");
        assert!(report.worst_second() >= 0.7, "{name}: {report}");
        assert!(report.critical() >= 0.999, "{name}: {report}");
        assert!(report.recovery() <= Duration::from_secs(1), "{name}: {report}");
        assert!(report.p99() <= TIMEOUT, "{name}: {report}");
        assert!(report.before() >= SERVICE, "{name}: {report}");
    }
}
