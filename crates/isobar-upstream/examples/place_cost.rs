//! What does a request pay for its place at a server, and for outlier detection that counts how it ended?
//!
//! One number a line, in nanoseconds from the choice of a server to the place given back, the median of nine runs: by one
//! worker and by two, among one server, where they meet at its counters each time, and among eight.

#[path = "../tests/places/plain.rs"]
mod plain;

use std::hint::black_box;
use std::io::Write as _;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use isobar_balance::{Chance, LatencyRule, Outcome};
use isobar_plan::{OutlierSettings, Outliers};
use isobar_upstream::{Ask, Local, Upstream, moment};

const REQUESTS: u32 = 2_000_000;

fn main() {
    let rules = OutlierSettings::DEFAULT;
    let with_latency = OutlierSettings {
        latency: Some(LatencyRule::DEFAULT),
        ..rules
    };
    for (workers, servers) in [(1, 1), (2, 1), (2, 8)] {
        let all = [
            ("off", None),
            ("by outcome", Some(rules)),
            ("and by latency", Some(with_latency)),
        ];
        for (name, rules) in all {
            let mut runs: Vec<f64> = (0..9).map(|_| run(workers, servers, rules)).collect();
            runs.sort_by(f64::total_cmp);
            let median = runs.get(4).copied().unwrap_or_default();
            let line = format!("{workers} workers, {servers} servers, detection {name}: {median:.1} ns\n");
            let _ = std::io::stdout().write_all(line.as_bytes());
        }
    }
}

fn run(workers: usize, servers: usize, rules: Option<OutlierSettings>) -> f64 {
    let upstream = Arc::new(Upstream::new(settings(servers, rules), workers));
    let ready = Barrier::new(workers);
    let worker = || {
        let (local, mut chance) = (Local::<()>::new(Arc::clone(&upstream)), Chance::new(1));
        let at = Instant::now();
        let ask = Ask {
            now: moment(at),
            ..Ask::default()
        };
        ready.wait();
        let began = Instant::now();
        for _ in 0..REQUESTS {
            if let Ok(place) = local.view().place(&ask, &mut chance) {
                place.finished(at, black_box(Duration::from_micros(200)), Outcome::Success);
            }
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS)
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let costs: Vec<f64> = all.into_iter().filter_map(|thread| thread.join().ok()).collect();
        costs.iter().sum::<f64>() / costs.len().max(1) as f64
    })
}

fn settings(servers: usize, rules: Option<OutlierSettings>) -> isobar_plan::Upstream {
    let servers = (0..servers).map(|number| plain::server(&number.to_string(), None));
    isobar_plan::Upstream {
        outliers: rules.map(|rules| Outliers { rules, min_servers: 1 }),
        ..plain::settings(servers.collect())
    }
}
