//! What is counted while a run goes on?

use alloc::vec;
use alloc::vec::Vec;

use crate::histogram::Histogram;
use crate::report::{Ends, Little, Report, ServerReport};
use crate::scenario::Scenario;
use crate::series::{Cell, Point, Series};
use crate::station::Station;

/// Batches of requests whose means tell how sure the mean is.
const BATCHES: usize = 32;

/// Student's t for 31 degrees of freedom at 97.5 %.
const STUDENT: f64 = 2.04;

/// Intervals a run is cut into, if it takes as long as expected.
const INTERVALS: f64 = 120.0;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    Failed,
    TimedOut,
    Refused,
    Unavailable,
}

/// A request that ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) how: End,
    /// Its number, counted from 0.
    pub(crate) number: u64,
    /// How long it stayed.
    pub(crate) time: u64,
    /// Whether its key was asked for before, and then whether another server answered.
    pub(crate) moved: Option<bool>,
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Tally {
    warm_up: u64,
    measured: u64,
    ends: Ends,
    pub(crate) retries: u64,
    latency: Histogram,
    batches: [(u64, f64); BATCHES],
    servers: Vec<ServerTally>,
    keyed: u64,
    moved: u64,
    series: Series,
    point: Point,
    /// The time within which servers are measured.
    from: u64,
    until: u64,
    /// Requests present, and their number times nanoseconds until `since`.
    present: u64,
    area: u128,
    since: u64,
    come: u64,
    /// The time all requests stayed.
    stayed: u128,
}

#[derive(Debug, Clone, Copy, Default)]
struct ServerTally {
    sent: u64,
    failed: u64,
    ejections: u64,
    /// Sent in the current interval, and the load integral at its start.
    sent_lately: u32,
    load_before: u128,
    /// Integrals at the start and at the end of the measured time.
    busy: [u128; 2],
    load: [u128; 2],
}

impl Tally {
    #[expect(clippy::cast_possible_truncation, reason = "an interval is whole nanoseconds")]
    pub(crate) fn new(scenario: &Scenario, horizon: f64) -> Self {
        let interval = (horizon / INTERVALS).max(1.0) as u64;
        let servers = scenario.servers.len();
        Self {
            warm_up: scenario.warm_up,
            measured: scenario.requests - scenario.warm_up,
            ends: Ends::default(),
            retries: 0,
            latency: Histogram::default(),
            batches: [(0, 0.0); BATCHES],
            servers: vec![ServerTally::default(); servers],
            keyed: 0,
            moved: 0,
            series: Series::new(interval, servers),
            point: Point::default(),
            from: 0,
            until: 0,
            present: 0,
            area: 0,
            since: 0,
            come: 0,
            stayed: 0,
        }
    }

    /// The length of the intervals that are sampled.
    pub(crate) const fn interval(&self) -> u64 {
        self.series.interval()
    }

    /// Requests present now.
    pub(crate) const fn present(&self) -> u64 {
        self.present
    }

    fn account(&mut self, now: u64) {
        self.area += u128::from(now - self.since) * u128::from(self.present);
        self.since = now;
    }

    /// A request came; *returns* its number.
    pub(crate) fn came(&mut self, now: u64) -> u64 {
        self.account(now);
        self.present += 1;
        self.point.come += 1;
        self.come += 1;
        self.come - 1
    }

    /// A request was sent to a server.
    pub(crate) fn sent(&mut self, server: usize, number: u64) {
        let server = &mut self.servers[server];
        server.sent_lately += 1;
        server.sent += u64::from(number >= self.warm_up);
    }

    /// A server failed a request.
    pub(crate) fn server_failed(&mut self, server: usize, number: u64) {
        self.servers[server].failed += u64::from(number >= self.warm_up);
    }

    /// A balancer took a server out for how it answered.
    pub(crate) fn ejected(&mut self, server: usize) {
        self.servers[server].ejections += u64::from(self.come > self.warm_up);
    }

    /// A request ended.
    pub(crate) fn ended(&mut self, now: u64, ended: Ended) {
        self.account(now);
        self.present -= 1;
        self.stayed += u128::from(ended.time);
        let took_time = matches!(ended.how, End::Answered | End::TimedOut);
        if took_time {
            self.point.ended += 1;
            self.point.time += ended.time as f64;
        }
        self.point.failed += u64::from(ended.how != End::Answered);
        self.point.keyed += u64::from(ended.moved.is_some());
        self.point.moved += u64::from(ended.moved == Some(true));
        let Some(number) = ended.number.checked_sub(self.warm_up) else {
            return;
        };
        let count = match ended.how {
            End::Answered => &mut self.ends.answered,
            End::Failed => &mut self.ends.failed,
            End::TimedOut => &mut self.ends.timed_out,
            End::Refused => &mut self.ends.refused,
            End::Unavailable => &mut self.ends.unavailable,
        };
        *count += 1;
        self.keyed += u64::from(ended.moved.is_some());
        self.moved += u64::from(ended.moved == Some(true));
        if took_time {
            self.latency.record(ended.time);
            self.batch(number, ended.time as f64);
        }
    }

    fn batch(&mut self, number: u64, time: f64) {
        let batch = u128::from(number) * BATCHES as u128 / u128::from(self.measured);
        if let Some((count, sum)) = usize::try_from(batch)
            .ok()
            .and_then(|batch| self.batches.get_mut(batch))
        {
            *count += 1;
            *sum += time;
        }
    }

    /// An interval is over; *returns* when the next is.
    pub(crate) fn sample(&mut self, now: u64, stations: &mut [Station]) -> u64 {
        let interval = self.series.interval();
        let cells = self.servers.iter_mut().zip(stations).map(|(server, station)| {
            station.advance(now);
            let grown = station.load() - core::mem::replace(&mut server.load_before, station.load());
            let load = grown as f64 / interval as f64;
            let sent = core::mem::take(&mut server.sent_lately);
            #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough for a plot")]
            Cell {
                load: load as f32,
                sent,
            }
        });
        self.series.push(core::mem::take(&mut self.point), cells);
        self.series.make_room();
        now + self.series.interval()
    }

    /// The measured time of servers begins now.
    pub(crate) fn open(&mut self, now: u64, stations: &mut [Station]) {
        self.from = now;
        self.mark(now, stations, 0);
    }

    /// The measured time of servers ends now.
    pub(crate) fn close(&mut self, now: u64, stations: &mut [Station]) {
        self.until = now;
        self.mark(now, stations, 1);
    }

    fn mark(&mut self, now: u64, stations: &mut [Station], end: usize) {
        for (server, station) in self.servers.iter_mut().zip(stations) {
            station.advance(now);
            server.busy[end] = station.busy();
            server.load[end] = station.load();
        }
    }

    /// What came of it all.
    ///
    /// *Shape*: `open` holds how long each request that did not end has stayed.
    pub(crate) fn report(mut self, scenario: &Scenario, now: u64, open: impl Iterator<Item = u64>) -> Report {
        self.account(now);
        let mut unfinished = 0;
        for stayed in open {
            unfinished += 1;
            self.stayed += u128::from(stayed);
        }
        let (mean, half_width) = self.mean();
        let seconds = (now.max(1)) as f64 / 1e9;
        let little = Little {
            present: self.area as f64 / (now.max(1)) as f64,
            rate: self.come as f64 / seconds,
            time: self.stayed as f64 / 1e9 / (self.come.max(1)) as f64,
        };
        Report {
            balance: scenario.balance,
            ends: self.ends,
            retries: self.retries,
            mean,
            half_width,
            servers: self.servers(scenario),
            latency: self.latency,
            keyed: self.keyed,
            moved: self.moved,
            series: self.series,
            little,
            duration: now,
            events: 0,
            unfinished,
        }
    }

    fn servers(&self, scenario: &Scenario) -> Vec<ServerReport> {
        let all: u64 = self.servers.iter().map(|server| server.sent).sum();
        let window = (self.until.saturating_sub(self.from)).max(1) as f64;
        let one = |(tally, server): (&ServerTally, &crate::scenario::Server)| {
            let grown = |[from, until]: [u128; 2]| until.saturating_sub(from) as f64 / window;
            ServerReport {
                name: server.name.clone(),
                sent: tally.sent,
                failed: tally.failed,
                ejections: tally.ejections,
                share: tally.sent as f64 / (all.max(1)) as f64,
                utilisation: grown(tally.busy) / f64::from(server.slots),
                load: grown(tally.load),
                capacity: server.speed * f64::from(server.slots),
            }
        };
        self.servers.iter().zip(&scenario.servers).map(one).collect()
    }

    /// The mean and half the width of its confidence interval.
    fn mean(&self) -> (f64, f64) {
        let (count, sum) = self
            .batches
            .iter()
            .fold((0, 0.0), |(count, sum), (more, of)| (count + more, sum + of));
        let mean = sum / f64::max(count as f64, 1.0);
        let filled = self.batches.iter().filter(|(count, _)| *count > 0);
        let means: Vec<f64> = filled.map(|&(count, sum)| sum / count as f64).collect();
        if means.len() < BATCHES {
            return (mean, f64::INFINITY);
        }
        let middle = means.iter().sum::<f64>() / BATCHES as f64;
        let squares: f64 = means.iter().map(|mean| (mean - middle) * (mean - middle)).sum();
        let error = libm::sqrt(squares / (BATCHES * (BATCHES - 1)) as f64);
        (mean, STUDENT * error)
    }
}
