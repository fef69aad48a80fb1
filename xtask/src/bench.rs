//! How much CPU does a request cost: Isobar, a floor that parses nothing, HAProxy, nginx and Envoy, on the same machine in
//! the same minutes?
//!
//! One proxy at a time is under load, on a core of its own; client and server share another. Proxies take turns within
//! a round, so that a disturbance of the machine meets all of them. It knows nothing of how Isobar works.

mod client;
mod config;
mod dns;
mod floor;
mod frames;
mod grpc;
mod http1;
mod http2;
mod identity;
mod measure;
mod origin;
mod poll;
mod process;
mod proxy;
mod report;
mod slots;
mod transport;
mod workload;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use self::config::Origins;
use self::identity::Identity;
use self::process::Running;
use self::proxy::{OUR_CORE, Proxy, Setting, Started};
use self::report::{Machine, ProxyResult, Report, RowResult};
use self::workload::{Measure, Row};
use crate::Outcome;
use crate::cargo::{cargo, metadata};
use crate::{packages, python, release};

/// What is measured, how long, and where it goes.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench --quick                        a first look
  cargo xtask bench --only small,busy              two rows
  cargo xtask bench --isobar target/release/isobar a program that is built
  cargo xtask bench --write                        everything, into docs/benchmarks.md
  cargo xtask bench --proxies floor,isobar --json result.json")]
pub(crate) struct BenchOptions {
    /// Measures only these rows.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW")]
    only: Vec<Row>,
    /// Measures only these proxies; with Envoy among them, Envoy in every row.
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
    /// Measures this program of Isobar, and builds none; otherwise it is the one that `cargo xtask release` builds.
    #[arg(long, value_name = "FILE")]
    isobar: Option<PathBuf>,
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
    let isobar = match &options.isobar {
        Some(program) => program.clone(),
        None => match release::guided()? {
            Some(program) => program,
            None => return Ok(Outcome::Failed),
        },
    };
    ensure!(isobar.is_file(), "{} is not there", isobar.display());
    let rows: Vec<Row> = Row::value_variants()
        .iter()
        .copied()
        .filter(|row| options.only.is_empty() || options.only.contains(row))
        .collect();
    let proxies = proxies(options, &rows);
    // Pinned to one core, this process would see only that.
    let machine = Machine::read(&proxies);
    process::raise_descriptor_limit()?;
    process::pin(OUR_CORE)?;
    let (rounds, seconds) = if options.quick {
        (2, 1.0)
    } else {
        (options.rounds, options.seconds)
    };
    let (_http1, http1) = start_origin("bench-origin")?;
    let (_grpc, grpc) = start_origin("bench-grpc-origin")?;
    let (_dns, dns) = start_origin("bench-dns-origin")?;
    let directory = tempfile::tempdir()?;
    let bench = Bench {
        setting: Setting {
            origins: Origins { http1, grpc, dns },
            identity: Identity::create(directory.path())?,
            isobar,
        },
        rounds,
        time: Duration::from_secs_f64(seconds),
    };
    let mut report = Report {
        machine,
        rounds,
        seconds,
        rows: Vec::new(),
    };
    for row in rows {
        println!("\nmeasuring: {}", row.workload().title);
        let result = bench.row(row, &proxies_of(options, row, &proxies));
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

/// The names of the rows in which requests are served, as [`BenchOptions`] takes them.
pub(crate) fn rows_under_load() -> String {
    let rows = Row::value_variants().iter();
    let names = rows
        .filter(|row| row.workload().measure == Measure::Cpu)
        .filter_map(|row| Some(row.to_possible_value()?.get_name().to_owned()));
    names.collect::<Vec<_>>().join(",")
}

/// Serves until it is killed.
pub(crate) fn run_origin() -> Result<Outcome> {
    let listener = announced()?;
    origin::run(&listener)?;
    Ok(Outcome::Passed)
}

/// Answers calls of gRPC until it is killed.
pub(crate) fn run_grpc_origin() -> Result<Outcome> {
    let listener = announced()?;
    grpc::run(&listener)?;
    Ok(Outcome::Passed)
}

/// Answers questions of DNS until it is killed.
pub(crate) fn run_dns_origin() -> Result<Outcome> {
    process::end_with_parent()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", socket.local_addr()?);
    dns::run(&socket)?;
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

/// Starts a server behind the proxies; it and its address.
fn start_origin(chore: &str) -> Result<(Running, SocketAddr)> {
    let mut origin = Running::start(ourselves(chore)?.stdout(Stdio::piped()), OUR_CORE, OUR_CORE)?;
    let address = origin
        .first_line()?
        .parse()
        .context("the server did not say where it is")?;
    Ok((origin, address))
}

/// This program again, with another chore.
fn ourselves(chore: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(chore);
    Ok(command)
}

fn run_optimised() -> Result<Outcome> {
    println!("building for speed");
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--package", "xtask"]);
    if !build.status().context("failed to start cargo")?.success() {
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
fn proxies(options: &BenchOptions, rows: &[Row]) -> Vec<Proxy> {
    for package in packages::missing(packages::FOR_BENCH) {
        println!(
            "not here, and left out: {} (package {}): {}",
            package.program, package.package, package.why
        );
    }
    let is_measured = |proxy: &Proxy| rows.iter().any(|&row| is_wanted(options, row, *proxy));
    if is_measured(&Proxy::Envoy) {
        match python::ensure(&python::FOR_BENCH) {
            Ok(Outcome::Passed) => {}
            Ok(_) => println!("not here, and left out: Envoy"),
            Err(error) => println!("not here, and left out: Envoy: {error:#}"),
        }
    }
    let here = |proxy: &Proxy| proxy.is_here();
    let all = Proxy::value_variants().iter().copied();
    all.filter(is_measured).filter(here).collect()
}

/// Those that are measured in a row.
fn proxies_of(options: &BenchOptions, row: Row, proxies: &[Proxy]) -> Vec<Proxy> {
    let wanted = proxies.iter().filter(|&&proxy| is_wanted(options, row, proxy));
    wanted.copied().collect()
}

/// Whether a proxy is measured in a row: where it can be unless others are named, and Envoy in all when it is named.
fn is_wanted(options: &BenchOptions, row: Row, proxy: Proxy) -> bool {
    if options.proxies.is_empty() {
        return row.is_for(proxy);
    }
    options.proxies.contains(&proxy) && (row.is_for(proxy) || proxy == Proxy::Envoy)
}

/// What the rows have in common.
struct Bench {
    setting: Setting,
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
                left_out: None,
            })
            .collect();
        let mut started: Vec<_> = results.iter_mut().map(|result| self.start(row, result)).collect();
        let workload = row.workload();
        let rounds = match workload.measure {
            Measure::Cpu => self.rounds,
            Measure::Memory => 1,
        };
        for round in 0..rounds {
            println!("round {} of {rounds}", round + 1);
            // Each round begins with another proxy.
            for turn in 0..proxies.len() {
                let index = (turn + round) % proxies.len();
                let outcome = match &started[index] {
                    Some(started) => self.measure(workload.measure, started, &mut results[index]),
                    None => continue,
                };
                if let Err(error) = outcome {
                    results[index].leave_out(&error);
                    started[index] = None;
                }
            }
        }
        for (result, started) in results.iter_mut().zip(&started) {
            if let Some(started) = started.as_ref().filter(|_| workload.traced_requests > 0) {
                match measure::system_calls(workload.traced_requests, started) {
                    Ok(calls) => result.system_calls = calls,
                    Err(error) => println!("the system calls of {} were not counted: {error:#}", result.proxy),
                }
            }
        }
        RowResult { row, proxies: results }
    }

    fn start(&self, row: Row, result: &mut ProxyResult) -> Option<Started> {
        let started = result.proxy.start(&self.setting, row);
        started.inspect_err(|error| result.leave_out(error)).ok()
    }

    fn measure(&self, measure: Measure, proxy: &Started, result: &mut ProxyResult) -> Result<()> {
        match measure {
            Measure::Cpu => result.samples.push(measure::sample(proxy, self.time)?),
            Measure::Memory => result.idle_bytes = Some(measure::idle_bytes(proxy)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
