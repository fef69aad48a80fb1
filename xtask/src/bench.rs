//! How much CPU does a request cost: Isobar, a floor that parses nothing, HAProxy and nginx, on the same machine in the same minutes?
//!
//! One proxy at a time is under load, on a core of its own; client and server share another. Proxies take turns within
//! a round, so that a disturbance of the machine meets all of them. It knows nothing of how Isobar works.

mod client;
mod floor;
mod measure;
mod origin;
mod poll;
mod process;
mod proxy;
mod report;
mod slots;
mod workload;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use self::process::Running;
use self::proxy::{OUR_CORE, Proxy, Started};
use self::report::{Machine, ProxyResult, Report, RowResult};
use self::workload::Row;
use crate::Outcome;
use crate::cargo::{cargo, metadata};
use crate::packages;

/// What is measured, how long, and where it goes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench --quick                        a first look
  cargo xtask bench --only small,busy              two rows
  cargo xtask bench --write                        everything, into docs/benchmarks.md
  cargo xtask bench --proxies floor,isobar --json result.json")]
pub(crate) struct BenchOptions {
    /// Measures only these rows.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW")]
    only: Vec<Row>,
    /// Measures only these proxies.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PROXY")]
    proxies: Vec<Proxy>,
    /// How often each proxy is measured.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// How long each time.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    seconds: f64,
    /// Two rounds of one second each.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Writes every sample into this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the results into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
}

/// Where the floor forwards to.
#[derive(clap::Args)]
pub(crate) struct FloorOptions {
    /// The server.
    to: SocketAddr,
}

/// Builds everything for speed and measures; in an unoptimised build it hands over to the optimised one.
pub(crate) fn run(options: &BenchOptions) -> Result<Outcome> {
    if cfg!(debug_assertions) {
        return run_optimised();
    }
    ensure!(
        std::thread::available_parallelism()?.get() >= 2,
        "two cores are needed, one of them for the proxy alone"
    );
    let proxies = proxies(options);
    // Pinned to one core, this process would see only that.
    let machine = Machine::read(&proxies);
    process::raise_descriptor_limit()?;
    process::pin(OUR_CORE)?;
    let (rounds, seconds) = if options.quick {
        (2, 1.0)
    } else {
        (options.rounds, options.seconds)
    };
    let mut origin = Running::start(ourselves("bench-origin")?.stdout(Stdio::piped()), OUR_CORE, OUR_CORE)?;
    let address = origin
        .first_line()?
        .parse()
        .context("the server did not say where it is")?;
    let bench = Bench {
        origin: address,
        rounds,
        time: Duration::from_secs_f64(seconds),
    };
    let mut report = Report {
        machine,
        rounds,
        seconds,
        rows: Vec::new(),
    };
    for row in Row::value_variants()
        .iter()
        .filter(|row| options.only.is_empty() || options.only.contains(row))
    {
        println!("\nmeasuring: {}", row.workload().title);
        let result = bench.row(*row, &proxies);
        println!("\n{}", result.markdown());
        report.rows.push(result);
    }
    println!("allocations per request are counted by the tests of isobar-l7, which fail unless they are none");
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    if options.write {
        report.write_page()?;
    }
    Ok(Outcome::Passed)
}

/// Serves until it is killed.
pub(crate) fn run_origin() -> Result<Outcome> {
    let listener = announced()?;
    origin::run(&listener)?;
    Ok(Outcome::Passed)
}

/// Forwards until it is killed.
pub(crate) fn run_floor(options: &FloorOptions) -> Result<Outcome> {
    let listener = announced()?;
    floor::run(&listener, options.to)?;
    Ok(Outcome::Passed)
}

/// A listener whose address is printed for the process that started this one.
fn announced() -> Result<TcpListener> {
    process::end_with_parent()?;
    let listener = poll::listen()?;
    println!("{}", listener.local_addr()?);
    Ok(listener)
}

/// This program again, with another chore.
fn ourselves(chore: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(chore);
    Ok(command)
}

fn run_optimised() -> Result<Outcome> {
    println!("building for speed");
    let status = cargo()
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "xtask",
            "--package",
            "isobar",
        ])
        .status();
    if !status.context("failed to start cargo")?.success() {
        return Ok(Outcome::Failed);
    }
    let program = metadata()?.target_directory.join("release").join("xtask");
    let status = Command::new(program).args(std::env::args_os().skip(1)).status();
    Ok(if status.context("failed to start the optimised build")?.success() {
        Outcome::Passed
    } else {
        Outcome::Failed
    })
}

/// The proxies that are wanted and here.
fn proxies(options: &BenchOptions) -> Vec<Proxy> {
    for package in packages::missing(packages::FOR_BENCH) {
        println!(
            "not here, and left out: {} (package {}): {}",
            package.program, package.package, package.why
        );
    }
    let wanted = |proxy: &Proxy| options.proxies.is_empty() || options.proxies.contains(proxy);
    Proxy::value_variants()
        .iter()
        .copied()
        .filter(wanted)
        .filter(|proxy| proxy.is_here())
        .collect()
}

/// What the rows have in common.
struct Bench {
    origin: SocketAddr,
    rounds: usize,
    time: Duration,
}

impl Bench {
    /// Measures one row; a proxy that fails is reported and left out of the rest of it.
    fn row(&self, row: Row, proxies: &[Proxy]) -> RowResult {
        let mut results: Vec<_> = proxies
            .iter()
            .map(|&proxy| ProxyResult {
                proxy,
                samples: Vec::new(),
                system_calls: None,
                idle_bytes: None,
            })
            .collect();
        let mut started: Vec<_> = proxies.iter().map(|&proxy| self.start(row, proxy)).collect();
        let rounds = if row == Row::Idle { 1 } else { self.rounds };
        for round in 0..rounds {
            println!("round {} of {rounds}", round + 1);
            // Each round begins with another proxy.
            for turn in 0..proxies.len() {
                let index = (turn + round) % proxies.len();
                let outcome = match &started[index] {
                    Some(started) => self.measure(row, started, &mut results[index]),
                    None => continue,
                };
                if let Err(error) = outcome {
                    println!("{} is left out: {error:#}", proxies[index]);
                    results[index].samples.clear();
                    started[index] = None;
                }
            }
        }
        for (result, started) in results.iter_mut().zip(&started) {
            if let Some(started) = started.as_ref().filter(|_| row.workload().traced_requests > 0) {
                match measure::system_calls(&row.workload(), started) {
                    Ok(calls) => result.system_calls = calls,
                    Err(error) => println!("the system calls of {} were not counted: {error:#}", result.proxy),
                }
            }
        }
        RowResult { row, proxies: results }
    }

    fn start(&self, row: Row, proxy: Proxy) -> Option<Started> {
        match proxy.start(self.origin, row.workload().tuning) {
            Ok(started) => Some(started),
            Err(error) => {
                println!("{proxy} is left out: {error:#}");
                None
            }
        }
    }

    fn measure(&self, row: Row, proxy: &Started, result: &mut ProxyResult) -> Result<()> {
        if row == Row::Idle {
            result.idle_bytes = Some(measure::idle_bytes(&row.workload(), proxy)?);
        } else {
            result.samples.push(measure::sample(&row.workload(), proxy, self.time)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::client::{Client, Load, Reuse};
    use super::*;

    /// A server behind a floor, in threads that end with the test's process; the floor's address.
    fn floor() -> SocketAddr {
        let (origin, floor) = (poll::listen().unwrap(), poll::listen().unwrap());
        let (to, address) = (origin.local_addr().unwrap(), floor.local_addr().unwrap());
        thread::spawn(move || origin::run(&origin));
        thread::spawn(move || floor::run(&floor, to));
        address
    }

    #[track_caller]
    fn check(path: &'static str, connections: usize, reuse: Reuse) {
        let mut client = Client::start(Load {
            address: floor(),
            connections,
            path,
            reuse,
        })
        .unwrap();
        client.run_requests(200).unwrap();
        assert!(client.answers >= 200);
    }

    #[test]
    fn answers_come_whole_through_the_floor() {
        check("/1k", 1, Reuse::KeepAlive);
        check("/1k", 64, Reuse::KeepAlive);
        check("/1k", 8, Reuse::Never);
        check("/64k", 16, Reuse::KeepAlive);
        check("/1m", 4, Reuse::KeepAlive);
        check("/1m", 4, Reuse::Never);
    }

    #[test]
    fn a_failing_proxy_is_not_measured() {
        let load = Load {
            address: floor(),
            connections: 1,
            path: "/unknown",
            reuse: Reuse::KeepAlive,
        };
        let error = Client::start(load).unwrap().run_requests(1).unwrap_err();
        assert!(error.to_string().contains("closed"), "{error:#}");
    }
}
