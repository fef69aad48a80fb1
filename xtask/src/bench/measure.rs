//! What does a request cost a proxy?

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::Serialize;

use super::client::{Client, Load};
use super::process::{CpuTime, Running, resident_bytes};
use super::proxy::{OUR_CORE, Started};
use crate::packages::find;

/// Time before the watch begins: connections are opened, caches and branch predictors learn.
const WARM_UP: Duration = Duration::from_millis(300);

/// How long a proxy may take to come to rest after its last answer.
const REST: Duration = Duration::from_millis(500);

/// One run against one proxy.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Sample {
    /// CPU time of the proxy for one request.
    pub(super) cpu_us: f64,
    /// The part of it that is the proxy's own code.
    pub(super) user_us: f64,
    /// The part of it that is the kernel.
    pub(super) system_us: f64,
    /// Requests answered in a second.
    pub(super) requests_per_second: f64,
}

/// Loads a proxy for `time` and reads what that cost it.
pub(super) fn sample(proxy: &Started, time: Duration) -> Result<Sample> {
    let family = proxy.running.family();
    let mut client = Client::start(proxy.load.clone())?;
    client.run_for(WARM_UP)?;
    let (answers, cpu, begin) = (client.answers, CpuTime::of(&family)?, Instant::now());
    client.run_for(time)?;
    let elapsed = begin.elapsed();
    let cpu = CpuTime::of(&family)? - cpu;
    let requests = (client.answers - answers) as f64;
    anyhow::ensure!(requests > 0.0, "no request was answered in {} s", elapsed.as_secs());
    let cpu_us = cpu.total_ns as f64 / 1000.0 / requests;
    let user_us = cpu_us * cpu.user_part();
    let requests_per_second = requests / elapsed.as_secs_f64();
    Ok(Sample {
        cpu_us,
        user_us,
        system_us: cpu_us - user_us,
        requests_per_second,
    })
}

/// Opens connections, uses each once and leaves them open: bytes of memory for each.
pub(super) fn idle_bytes(proxy: &Started) -> Result<f64> {
    let family = proxy.running.family();
    let one = Load {
        connections: 1,
        ..proxy.load.clone()
    };
    let open = || -> Result<Client> {
        let mut client = Client::start(one.clone())?;
        client.run_requests(1)?;
        Ok(client)
    };
    // What is allocated once, for the first connections, is not counted.
    let first = (0..64).map(|_| open()).collect::<Result<Vec<_>>>()?;
    thread::sleep(REST);
    let before = resident_bytes(&family)?;
    let clients = (0..proxy.load.connections)
        .map(|_| open())
        .collect::<Result<Vec<_>>>()?;
    thread::sleep(REST);
    let after = resident_bytes(&family)?;
    drop((first, clients));
    Ok(after.saturating_sub(before) as f64 / proxy.load.connections as f64)
}

/// Counts the system calls of a proxy; none: neither perf nor strace can do it here.
///
/// perf counts without slowing the proxy down. One that strace holds is slow, so that more sockets are ready at each wait
/// than usual: calls that read and write are exact, those that wait are too few.
pub(super) fn system_calls(requests: u64, proxy: &Started) -> Result<Option<f64>> {
    match calls_by_perf(requests, proxy)? {
        Some(calls) => Ok(Some(calls)),
        None => calls_by_strace(requests, proxy),
    }
}

/// How long perf may take to begin.
const PERF_BEGINS: Duration = Duration::from_millis(500);

/// None: perf is not here, or the kernel does not let it count.
fn calls_by_perf(requests: u64, proxy: &Started) -> Result<Option<f64>> {
    let Some(perf) = find("perf") else {
        return Ok(None);
    };
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("calls");
    let family: Vec<_> = proxy.running.family().iter().map(u32::to_string).collect();
    let mut command = Command::new(perf);
    command.args([
        "stat",
        "-x,",
        "-e",
        "raw_syscalls:sys_enter",
        "-p",
        &family.join(","),
        "-o",
    ]);
    command.arg(&file);
    let mut client = Client::start(proxy.load.clone())?;
    client.run_for(WARM_UP)?;
    let mut counter = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()), OUR_CORE, OUR_CORE)?;
    // Meanwhile the proxy has nothing to do.
    thread::sleep(PERF_BEGINS);
    let before = client.answers;
    client.run_requests(requests)?;
    let requests = client.answers - before;
    counter.signal(Signal::INT);
    counter.wait();
    let text = fs::read_to_string(&file).unwrap_or_default();
    Ok(counted_calls(&text).map(|calls| calls as f64 / requests as f64))
}

/// The first number of a line of perf's that has one.
fn counted_calls(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split(',').next()?.parse().ok())
}

/// None: strace is not here.
fn calls_by_strace(requests: u64, proxy: &Started) -> Result<Option<f64>> {
    let Some(strace) = find("strace") else {
        return Ok(None);
    };
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("calls");
    let mut command = Command::new(strace);
    command.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&file);
    for id in proxy.running.family() {
        command.arg("-p").arg(id.to_string());
    }
    let mut client = Client::start(proxy.load.clone())?;
    client.run_for(WARM_UP)?;
    let mut tracer = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()), OUR_CORE, OUR_CORE)?;
    wait_until_traced(&proxy.running.family());
    let before = client.answers;
    client.run_requests(requests)?;
    let requests = client.answers - before;
    tracer.signal(Signal::INT);
    tracer.wait();
    let text = fs::read_to_string(&file).context("failed to read what strace counted")?;
    let calls = total_calls(&text).context("strace counted nothing")?;
    Ok(Some(calls as f64 / requests as f64))
}

/// Waits, for a bounded time, until every process has a tracer.
fn wait_until_traced(family: &[u32]) {
    let traced = |id: &u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        !status.lines().any(|line| line.starts_with("TracerPid:\t0"))
    };
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end && !family.iter().all(traced) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// The sum of the column of calls, from the line of totals.
fn total_calls(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_totals_of_strace() {
        let text =
            "    calls syscall\n--------- ----\n      100 read\n       20 write\n--------- ----\n      120 total\n";
        assert_eq!(total_calls(text), Some(120));
        assert_eq!(total_calls(""), None);
    }

    #[test]
    fn reads_the_count_of_perf() {
        let text = "# started on Tue Nov 24 18:00:00 2026\n\n49902,,raw_syscalls:sys_enter,3002593250,100.00,,\n";
        assert_eq!(counted_calls(text), Some(49_902));
        let not_allowed = "# started on\n\n<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n";
        assert_eq!(counted_calls(not_allowed), None);
    }
}
