//! What does finding a rule cost? Prints nanoseconds per look-up for tables of different shape and size.
//!
//! `cargo run --release -p isobar-route --example find_cost`
#![expect(clippy::print_stdout, reason = "prints a table")]

use std::hint::black_box;
use std::time::Instant;

use isobar_route::{HostPattern, PathPattern, RouteTable, Rule, canonical_target};

const ROUNDS: u32 = 7;
const LOOK_UPS: usize = 200_000;

/// What tells the rules of a measured table apart; each takes the request of the same number.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Their exact hosts.
    Hosts,
    /// Their wildcards.
    Wildcards,
    /// Their exact paths, on any host.
    Paths,
    /// Their paths by segments, on one host, half of them below another.
    Segments,
}

impl Shape {
    fn rule(self, number: usize) -> (String, String) {
        match self {
            Self::Hosts => (format!("host-{number}.example.com"), "/api/*".into()),
            Self::Wildcards => (format!("*.tenant-{number}.example.com"), "*".into()),
            Self::Paths => ("*".into(), format!("/service-{number}/v1/users")),
            Self::Segments if number.is_multiple_of(2) => ("www.example.com".into(), format!("/service-{number}/*")),
            Self::Segments => ("www.example.com".into(), format!("/service-{}/v1/*", number - 1)),
        }
    }

    fn request(self, number: usize) -> (String, String) {
        match self {
            Self::Hosts => (format!("host-{number}.example.com"), "/api/v1/users".into()),
            Self::Wildcards => (format!("www.tenant-{number}.example.com:8080"), "/api/v1/users".into()),
            Self::Paths => ("www.example.com".into(), format!("/service-{number}/v1/users")),
            Self::Segments if number.is_multiple_of(2) => {
                ("www.example.com".into(), format!("/service-{number}/v2/users"))
            }
            Self::Segments => ("www.example.com".into(), format!("/service-{}/v1/users", number - 1)),
        }
    }
}

/// The fastest of some rounds: what disturbs a measurement only ever adds to it.
fn nanoseconds(mut look_up: impl FnMut(usize)) -> f64 {
    let mut round = || {
        let start = Instant::now();
        // A stride that visits everything in an order that no cache foresees.
        (0..LOOK_UPS).for_each(|turn| look_up(turn.wrapping_mul(7919)));
        start.elapsed().as_secs_f64() * 1e9 / LOOK_UPS as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn find(shape: Shape, count: usize) -> f64 {
    let rule = |(host, path): (String, String)| Rule {
        host: HostPattern::parse(&host).expect("a valid host"),
        path: PathPattern::parse(&path).expect("a valid path"),
    };
    let rules: Vec<Rule> = (0..count).map(|number| rule(shape.rule(number))).collect();
    let requests: Vec<(String, String)> = (0..count).map(|number| shape.request(number)).collect();
    let table = RouteTable::new(&rules);
    nanoseconds(|turn| {
        let number = turn % count;
        let (host, path) = &requests[number];
        assert_eq!(
            table.find(black_box(host.as_bytes()), black_box(path.as_bytes())),
            Some(number)
        );
    })
}

fn main() {
    println!("ns per look-up; {ROUNDS} rounds, the fastest\n");
    println!("{:<12} {:>8} {:>8} {:>8}", "rules by", "10", "1,000", "10,000");
    for shape in [Shape::Hosts, Shape::Wildcards, Shape::Paths, Shape::Segments] {
        let cost = [10, 1_000, 10_000].map(|count| find(shape, count));
        println!(
            "{:<12} {:>8.1} {:>8.1} {:>8.1}",
            format!("{shape:?}"),
            cost[0],
            cost[1],
            cost[2]
        );
    }
    println!("\n{:<48} {:>8}", "canonical path of", "ns");
    let mut scratch = Vec::new();
    for target in [
        "/",
        "/api/v1/users/1234567?expand=orders",
        "/a%20file%2Fname.txt",
        "/a/../%7Euser/./file?q",
    ] {
        let cost = nanoseconds(|_| {
            black_box(canonical_target(black_box(target.as_bytes()), &mut scratch)).expect("a valid target");
        });
        println!("{target:<48} {cost:>8.1}");
    }
}
