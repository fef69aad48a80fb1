//! What is there to see right now?
//!
//! Plain values made of the engine's status and metrics and the visitors' statistics; knows no terminal.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use isobar_balance::Balance;
use isobar_observe::Snapshot;
use isobar_plan::{Event, HealthState, Status};

use super::servers::SERVERS;
use super::statistics::Seen;
use super::visitors::VISITORS;
use crate::arguments::DemoOptions;
use crate::events;

/// How far back shares and rates look.
const WINDOW: Duration = Duration::from_secs(2);
/// Notes that are kept.
const MAX_NOTES: usize = 4;

/// Everything the picture shows.
#[derive(Debug)]
pub(super) struct Model {
    /// Where visitors come in.
    pub(super) listen: SocketAddr,
    /// Whether the address that was asked for was taken.
    pub(super) moved_from: Option<SocketAddr>,
    /// How a server is chosen.
    pub(super) balance: Balance,
    /// The servers, in their order.
    pub(super) servers: [ServerRow; SERVERS.len()],
    /// The visitors.
    pub(super) visitors: VisitorsRow,
    /// Time since the start.
    pub(super) elapsed: Duration,
    /// What happened lately, with the time it happened, oldest first.
    pub(super) notes: VecDeque<(Duration, String)>,
    started: Instant,
    history: VecDeque<Moment>,
}

/// What the picture shows of a server.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServerRow {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it is.
    pub(super) address: String,
    /// Its part of the requests lately, 0 to 1.
    pub(super) share: f64,
    /// Requests it is answering.
    pub(super) in_flight: u32,
    /// The middle latency lately, as visitors see it; none: it answered none.
    pub(super) median: Option<Duration>,
    /// The latency that one in a hundred exceeds.
    pub(super) p99: Option<Duration>,
    /// What the probes say.
    pub(super) health: HealthState,
}

/// What the picture shows of the visitors.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct VisitorsRow {
    /// How many there are.
    pub(super) count: usize,
    /// Answers a second lately.
    pub(super) rate: f64,
    /// Answers since the start.
    pub(super) answers: u64,
    /// Failures since the start.
    pub(super) failures: u64,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    requests: [u64; SERVERS.len()],
    answers: u64,
}

impl Model {
    /// Nothing was seen yet.
    pub(super) fn new(listen: SocketAddr, options: &DemoOptions) -> Self {
        let row = |name| ServerRow {
            name,
            address: String::new(),
            share: 0.0,
            in_flight: 0,
            median: None,
            p99: None,
            health: HealthState::Unknown,
        };
        let asked_for = options.listen.0;
        let started = Instant::now();
        // What is seen first is compared with the nothing before it.
        let nothing = Moment {
            at: started,
            requests: [0; SERVERS.len()],
            answers: 0,
        };
        Self {
            listen,
            moved_from: (asked_for.port() != 0 && asked_for != listen).then_some(asked_for),
            balance: options.balance,
            servers: SERVERS.each_ref().map(|server| row(server.name)),
            visitors: VisitorsRow {
                count: VISITORS,
                ..VisitorsRow::default()
            },
            elapsed: Duration::ZERO,
            notes: VecDeque::new(),
            started,
            history: VecDeque::from([nothing]),
        }
    }

    /// Takes in what is true now.
    pub(super) fn update(&mut self, status: &Status, metrics: &Snapshot, seen: &Seen) {
        let now = Instant::now();
        self.elapsed = now.duration_since(self.started);
        for (row, server) in self
            .servers
            .iter_mut()
            .zip(status.upstreams.iter().flat_map(|u| &u.servers))
        {
            row.address = server.name.to_string();
            row.in_flight = server.in_flight;
            row.health = server.health;
        }
        for (row, samples) in self.servers.iter_mut().zip(&seen.samples) {
            (row.median, row.p99) = (samples.percentile(50, now), samples.percentile(99, now));
        }
        let requests = self.servers.each_ref().map(|row| {
            let of_row = metrics.servers.iter().find(|series| *series.labels[1] == *row.address);
            of_row.map_or(0, |series| series.totals.requests)
        });
        (self.visitors.answers, self.visitors.failures) = (seen.answers, seen.failures);
        self.remember(Moment {
            at: now,
            requests,
            answers: seen.answers,
        });
    }

    /// Shares and the rate are those between the oldest moment of the window and now.
    fn remember(&mut self, now: Moment) {
        self.history.push_back(now);
        while self.history.len() > 2 && now.at.duration_since(self.history[0].at) > WINDOW {
            self.history.pop_front();
        }
        let first = self.history[0];
        let lately: [u64; SERVERS.len()] = std::array::from_fn(|i| now.requests[i].saturating_sub(first.requests[i]));
        let all = lately.iter().sum::<u64>();
        for (row, count) in self.servers.iter_mut().zip(lately) {
            row.share = if all == 0 { 0.0 } else { count as f64 / all as f64 };
        }
        let seconds = now.at.duration_since(first.at).as_secs_f64();
        let answers = now.answers.saturating_sub(first.answers);
        self.visitors.rate = if seconds > 0.0 { answers as f64 / seconds } else { 0.0 };
    }

    /// Takes in something the engine tells.
    pub(super) fn take_event(&mut self, event: &Event) {
        match event {
            Event::Health {
                server,
                to,
                from,
                reason,
                ..
            } if *from != HealthState::Unknown => {
                let name = self
                    .servers
                    .iter()
                    .find(|row| row.address == **server)
                    .map_or(&**server, |row| row.name);
                let note = format!("{name} is {}: {reason}", events::health(*to));
                self.note(note);
            }
            Event::Service { .. } | Event::OutOfDescriptors | Event::AccessLogFailed { .. } => {
                self.note(events::sentence(event));
            }
            _ => {}
        }
    }

    /// Keeps a sentence to show.
    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() == MAX_NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back((self.started.elapsed(), text));
    }

    /// What it came to, in a line.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} requests in {:.0} s, {} failed",
            self.visitors.answers + self.visitors.failures,
            self.elapsed.as_secs_f64(),
            self.visitors.failures
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_rate_are_those_of_the_window() {
        let mut model = Model::new("127.0.0.1:8080".parse().unwrap(), &DemoOptions::default());
        let start = model.started;
        let mut check = |after_s, requests, answers, shares: [f64; 3], rate| {
            model.remember(Moment {
                at: start + Duration::from_secs(after_s),
                requests,
                answers,
            });
            assert_eq!(
                model.servers.each_ref().map(|row| row.share),
                shares,
                "after {after_s} s"
            );
            assert_eq!(model.visitors.rate, rate, "after {after_s} s");
        };
        check(0, [0, 0, 0], 0, [0.0, 0.0, 0.0], 0.0);
        check(1, [6, 3, 1], 10, [0.6, 0.3, 0.1], 10.0);
        check(3, [6, 3, 11], 20, [0.0, 0.0, 1.0], 5.0);
    }
}
