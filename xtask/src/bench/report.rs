//! What came out, in a form for people and in one for programs?

use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use super::measure::Sample;
use super::proxy::Proxy;
use super::workload::{Bounds, Measure, Row};
use crate::cargo::workspace_root;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Where and when.
    pub(super) machine: Machine,
    /// How often each proxy was measured.
    pub(super) rounds: usize,
    /// How long each time.
    pub(super) seconds: f64,
    /// What was measured.
    pub(super) rows: Vec<RowResult>,
}

/// Where and when it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    date: String,
    versions: Vec<(Proxy, String)>,
}

/// One row of the table.
#[derive(Debug, Serialize)]
pub(super) struct RowResult {
    /// Which.
    pub(super) row: Row,
    /// Each proxy, in the order in which they were measured.
    pub(super) proxies: Vec<ProxyResult>,
}

/// One proxy in one row.
#[derive(Debug, Serialize)]
pub(super) struct ProxyResult {
    /// Which.
    pub(super) proxy: Proxy,
    /// A sample per round, in the order of the rounds; empty where memory is measured.
    pub(super) samples: Vec<Sample>,
    /// System calls per request, where they are counted.
    pub(super) system_calls: Option<f64>,
    /// Bytes per idle connection, where memory is measured.
    pub(super) idle_bytes: Option<f64>,
    /// Why there is no figure.
    pub(super) left_out: Option<String>,
}

/// The middle of some figures, with the least and the greatest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    /// None of no figures.
    fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (&min, &max) = (figures.first()?, figures.last()?);
        let half = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[half]
        } else {
            f64::midpoint(figures[half - 1], figures[half])
        };
        Some(Self { min, median, max })
    }

    fn ratio(self) -> String {
        format!("{:.2} ({:.2}–{:.2})", self.median, self.min, self.max)
    }

    fn figure(self) -> String {
        format!("{:.1} ({:.1}–{:.1})", self.median, self.min, self.max)
    }
}

impl Machine {
    /// This machine, now.
    pub(super) fn read(proxies: &[Proxy]) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let date = Command::new("date")
            .args(["-u", "+%F"])
            .output()
            .map(|output| output.stdout)
            .unwrap_or_default();
        Self {
            processor: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().split('-').next().unwrap_or_default().to_owned(),
            date: String::from_utf8_lossy(&date).trim().to_owned(),
            versions: proxies.iter().map(|&proxy| (proxy, proxy.version())).collect(),
        }
    }
}

impl RowResult {
    fn of(&self, proxy: Proxy) -> Option<&ProxyResult> {
        self.proxies
            .iter()
            .find(|result| result.proxy == proxy && !result.samples.is_empty())
    }

    /// CPU in ratio to the floor, round by round.
    fn to_floor(&self, result: &ProxyResult) -> Option<Spread> {
        let floor = self.of(self.row.workload().floor)?;
        let rounds = result.samples.iter().zip(&floor.samples);
        Spread::of(rounds.map(|(sample, floor)| sample.cpu_us / floor.cpu_us))
    }

    /// CPU in ratio to the better of the peers, round by round; where memory is measured, bytes in ratio to it.
    fn to_peer(&self, result: &ProxyResult) -> Option<Spread> {
        let peers = self
            .proxies
            .iter()
            .filter(|peer| peer.proxy.is_peer() && peer.proxy != result.proxy);
        if self.row.workload().measure == Measure::Memory {
            let least = Spread::of(peers.filter_map(|peer| peer.idle_bytes))?.min;
            return Spread::of(result.idle_bytes.map(|bytes| bytes / least));
        }
        let median = |peer: &&ProxyResult| peer.cpu().map_or(f64::INFINITY, |cpu| cpu.median);
        let better = peers.min_by(|a, b| median(a).total_cmp(&median(b)))?;
        let rounds = result.samples.iter().zip(&better.samples);
        Spread::of(rounds.map(|(sample, peer)| sample.cpu_us / peer.cpu_us))
    }

    /// The table of this row, and whether Isobar met what is asked of it.
    pub(super) fn markdown(&self) -> String {
        let workload = self.row.workload();
        let mut text = format!("### {}\n\n", workload.title);
        if workload.measure == Measure::Memory {
            text += "| | bytes per connection | to the better peer |\n|---|---:|---:|\n";
            for result in &self.proxies {
                let bytes = or_dash(result.idle_bytes.map(|bytes| format!("{bytes:.0}")));
                let ratio = or_dash(self.to_peer(result).map(|ratio| format!("{:.2}", ratio.median)));
                let _ = writeln!(text, "| {} | {bytes} | {ratio} |", result.proxy);
            }
        } else {
            let floor = floor_name(workload.floor);
            let _ = write!(
                text,
                "| | µs per request | own code | kernel | requests/s | to {floor} | to the better peer | system calls |\n\
                 |---|---:|---:|---:|---:|---:|---:|---:|\n"
            );
            for result in &self.proxies {
                text += &self.line(result);
            }
        }
        for result in &self.proxies {
            if let Some(reason) = &result.left_out {
                let needs = workload
                    .needs
                    .map_or_else(String::new, |what| format!("; this row needs {what}"));
                let _ = writeln!(text, "\n{} was not measured: {reason}{needs}", result.proxy);
            }
        }
        if let Some(verdict) = self.verdict() {
            let _ = writeln!(text, "\n{verdict}");
        }
        text
    }

    fn line(&self, result: &ProxyResult) -> String {
        let median = |of: fn(&Sample) -> f64| Spread::of(result.samples.iter().map(of)).map(|spread| spread.median);
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            result.proxy,
            or_dash(result.cpu().map(Spread::figure)),
            or_dash(median(|sample| sample.user_us).map(|us| format!("{us:.1}"))),
            or_dash(median(|sample| sample.system_us).map(|us| format!("{us:.1}"))),
            or_dash(median(|sample| sample.requests_per_second).map(|rate| format!("{rate:.0}"))),
            or_dash(self.to_floor(result).map(Spread::ratio)),
            or_dash(self.to_peer(result).map(Spread::ratio)),
            or_dash(result.system_calls.map(|calls| format!("{calls:.2}"))),
        )
    }

    /// What is asked of Isobar and what it did; none where it was not to be measured, or nothing is asked.
    fn verdict(&self) -> Option<String> {
        let isobar = self.proxies.iter().find(|result| result.proxy == Proxy::Isobar)?;
        let measured = Bounds {
            floor: self.to_floor(isobar).map(|spread| spread.median),
            peer: self.to_peer(isobar).map(|spread| spread.median),
            system_calls: isobar.system_calls,
            bytes: isobar.idle_bytes,
        };
        let workload = self.row.workload();
        let judged: Vec<_> = [("must", workload.must), ("aim", workload.aim)]
            .into_iter()
            .map(|(name, bounds)| (name, compare(bounds, measured, workload.floor)))
            .filter(|(_, judged)| !judged.is_empty())
            .map(|(name, judged)| format!("{name}: {}", judged.join(", ")))
            .collect();
        (!judged.is_empty()).then(|| judged.join("; "))
    }
}

impl ProxyResult {
    /// Says that a proxy failed, and forgets what was measured of it.
    pub(super) fn leave_out(&mut self, error: &anyhow::Error) {
        println!("{} is left out: {error:#}", self.proxy);
        self.samples.clear();
        self.left_out = Some(error.root_cause().to_string());
    }

    /// CPU time per request, in microseconds.
    pub(super) fn cpu(&self) -> Option<Spread> {
        Spread::of(self.samples.iter().map(|sample| sample.cpu_us))
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "—".to_owned())
}

/// What the lowest possible cost is called.
const fn floor_name(floor: Proxy) -> &'static str {
    match floor {
        Proxy::Unlimited => "no limit",
        _ => "the floor",
    }
}

/// One fragment per bound: whether it was met.
fn compare(bounds: Bounds, measured: Bounds, floor: Proxy) -> Vec<String> {
    let judge = |name: &str, bound: Option<f64>, measured: Option<f64>| {
        let bound = bound?;
        Some(match measured {
            None => format!("{name} <= {bound}: not measured"),
            Some(measured) if measured <= bound => format!("{name} <= {bound}: met"),
            Some(_) => format!("{name} <= {bound}: **not met**"),
        })
    };
    let judged = [
        judge(
            floor_name(floor).trim_start_matches("the "),
            bounds.floor,
            measured.floor,
        ),
        judge("peer", bounds.peer, measured.peer),
        judge("system calls", bounds.system_calls, measured.system_calls),
        judge("bytes", bounds.bytes, measured.bytes),
    ];
    judged.into_iter().flatten().collect()
}

impl Report {
    /// The part of `docs/benchmarks.md` that is written by the command.
    pub(super) fn markdown(&self) -> String {
        let Machine {
            processor,
            cores,
            kernel,
            date,
            versions,
        } = &self.machine;
        let versions: Vec<_> = versions
            .iter()
            .filter(|(proxy, _)| proxy.is_peer())
            .map(|(proxy, version)| format!("{proxy} {version}"))
            .collect();
        let mut text = format!(
            "Measured on {date}: {processor}, {cores} cores, Linux {kernel}; {}; {} rounds of {} s each.\n",
            versions.join(", "),
            self.rounds,
            self.seconds
        );
        for row in &self.rows {
            let _ = write!(text, "\n{}", row.markdown());
        }
        text
    }

    /// Puts the results into `docs/benchmarks.md`, in place of those that were there.
    pub(super) fn write_page(&self) -> Result<()> {
        let file = workspace_root().join("docs/benchmarks.md");
        let page = fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
        let page = replace_results(&page, &self.markdown()).context("docs/benchmarks.md has lost its two markers")?;
        fs::write(&file, page).with_context(|| format!("failed to write {}", file.display()))
    }
}

/// The marks between which the results are.
const BEGIN: &str = "<!-- results: begin -->\n";
const END: &str = "<!-- results: end -->";

fn replace_results(page: &str, results: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{results}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_figures() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        assert_eq!(
            spread(&[3.0, 1.0, 2.0]),
            Some(Spread {
                min: 1.0,
                median: 2.0,
                max: 3.0
            })
        );
        assert_eq!(
            spread(&[4.0, 1.0, 2.0, 3.0]),
            Some(Spread {
                min: 1.0,
                median: 2.5,
                max: 4.0
            })
        );
    }

    fn result(proxy: Proxy, cpu: &[f64]) -> ProxyResult {
        let sample = |&cpu_us| Sample {
            cpu_us,
            user_us: 0.0,
            system_us: cpu_us,
            requests_per_second: 1.0,
        };
        ProxyResult {
            proxy,
            samples: cpu.iter().map(sample).collect(),
            system_calls: None,
            idle_bytes: None,
            left_out: None,
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let proxies = vec![
            result(Proxy::Floor, &[10.0, 20.0]),
            result(Proxy::Isobar, &[11.0, 22.0]),
            result(Proxy::Haproxy, &[40.0, 40.0]),
            result(Proxy::Nginx, &[22.0, 44.0]),
        ];
        let row = RowResult {
            row: Row::Small,
            proxies,
        };
        let isobar = row.of(Proxy::Isobar).unwrap();
        assert_eq!(row.to_floor(isobar).unwrap().ratio(), "1.10 (1.10–1.10)");
        assert_eq!(row.to_peer(isobar).unwrap().ratio(), "0.50 (0.50–0.50)");
        let verdict = row.verdict().unwrap();
        assert_eq!(
            verdict,
            "must: floor <= 1.15: met, peer <= 0.85: met, system calls <= 4.3: not measured; \
             aim: floor <= 1.05: **not met**, peer <= 0.75: met"
        );
    }

    #[test]
    fn memory_is_compared_with_the_peer_that_needs_least() {
        let bytes = |proxy, bytes| ProxyResult {
            idle_bytes: bytes,
            ..result(proxy, &[])
        };
        let row = RowResult {
            row: Row::TlsIdle,
            proxies: vec![
                bytes(Proxy::Isobar, Some(3000.0)),
                bytes(Proxy::Haproxy, Some(4000.0)),
                bytes(Proxy::Nginx, Some(2000.0)),
            ],
        };
        assert!(
            row.markdown().contains("| Isobar | 3000 | 1.50 |"),
            "{}",
            row.markdown()
        );
        assert!(row.markdown().contains("| nginx | 2000 | 0.50 |"), "{}", row.markdown());
        assert_eq!(row.verdict().unwrap(), "must: peer <= 1: **not met**");
    }

    #[test]
    fn what_is_left_out_has_a_reason_and_no_figure() {
        let isobar = ProxyResult {
            left_out: Some("no protocol".to_owned()),
            ..result(Proxy::Isobar, &[])
        };
        let mut row = RowResult {
            row: Row::Http2,
            proxies: vec![isobar, result(Proxy::Nginx, &[10.0])],
        };
        let text = row.markdown();
        assert!(text.contains("| Isobar | — | — | — | — | — | — | — |"), "{text}");
        assert!(
            text.contains("\nIsobar was not measured: no protocol; this row needs HTTP/2 by ALPN\n"),
            "{text}"
        );
        assert!(text.ends_with("\nmust: peer <= 0.9: not measured\n"), "{text}");
        row.row = Row::Grpc;
        assert_eq!(row.verdict(), None);
    }

    #[test]
    fn results_take_the_place_of_results() {
        let page = format!("a\n{BEGIN}old\n{END}\nb\n");
        assert_eq!(
            replace_results(&page, "new\n"),
            Some(format!("a\n{BEGIN}new\n{END}\nb\n"))
        );
        assert_eq!(replace_results("a", "new"), None);
    }
}
