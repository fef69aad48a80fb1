//! Clients that come at a rate whatever happens to them and give up after a while, and a machine that does a fixed amount
//! of work.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use isobar_testkit::{Client, Origin};

/// Requests the machine works on at once.
pub(crate) const PLACES: usize = 4;

/// How long each takes.
pub(crate) const SERVICE: Duration = Duration::from_millis(40);

/// When clients give up.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(500);

/// One request in so many is critical.
const CRITICAL: usize = 10;

/// Requests a second the machine could do if it woke up in time.
fn capacity() -> f64 {
    PLACES as f64 / SERVICE.as_secs_f64()
}

/// A server with so many places, before which requests stand in line; it does not notice who gives up.
pub(crate) struct Machine {
    origin: Origin,
    line: Arc<Mutex<Line>>,
}

struct Line {
    /// How many were served, and how long all of them took.
    served: (u32, Duration),
    free: usize,
    waiting: VecDeque<mpsc::SyncSender<()>>,
}

impl Machine {
    pub(crate) fn start() -> Self {
        let line = Arc::new(Mutex::new(Line {
            served: (0, Duration::ZERO),
            free: PLACES,
            waiting: VecDeque::new(),
        }));
        let places = Arc::clone(&line);
        let origin = Origin::start(move |exchange| {
            if let Some(turn) = enter(&places) {
                // The machine is gone where nobody calls any more.
                turn.recv().map_err(|_| io::ErrorKind::ConnectionReset)?;
            }
            let start = Instant::now();
            thread::sleep(SERVICE);
            leave(&places, start.elapsed());
            exchange.reply(200, &[], b"done")
        });
        Self { origin, line }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.origin.address()
    }
}

impl Machine {
    /// Requests a second that it can do, by how long it took for each.
    fn capacity(&self) -> f64 {
        let (count, took) = self.line.lock().unwrap().served;
        PLACES as f64 * f64::from(count) / took.as_secs_f64()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.line.lock().unwrap().waiting.clear();
    }
}

/// Takes a place; otherwise where one is told that it is there.
fn enter(line: &Mutex<Line>) -> Option<mpsc::Receiver<()>> {
    let mut line = line.lock().unwrap();
    if let Some(free) = line.free.checked_sub(1) {
        line.free = free;
        return None;
    }
    let (call, turn) = mpsc::sync_channel(1);
    line.waiting.push_back(call);
    Some(turn)
}

fn leave(line: &Mutex<Line>, took: Duration) {
    let mut line = line.lock().unwrap();
    line.served.0 += 1;
    line.served.1 += took;
    match line.waiting.pop_front() {
        Some(next) => {
            let _ = next.send(());
        }
        None => line.free += 1,
    }
}

/// How long the load is how high.
pub(crate) struct Crowd {
    pub(crate) calm: Duration,
    pub(crate) overload: Duration,
    pub(crate) after: Duration,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            calm: Duration::from_secs(2),
            overload: Duration::from_secs(6),
            after: Duration::from_secs(3),
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// When it came.
    at: Duration,
    /// How long until its answer; none: it was refused or gave up.
    took: Option<Duration>,
    is_critical: bool,
}

impl Crowd {
    /// When each comes: evenly, as often as the time of the load says.
    fn arrivals(&self) -> Vec<Duration> {
        let (overload, end) = (self.calm + self.overload, self.calm + self.overload + self.after);
        let mut at = Duration::ZERO;
        let mut arrivals = Vec::new();
        while at < end {
            arrivals.push(at);
            let factor = if at < self.calm || at >= overload { 0.5 } else { 5.0 };
            at += Duration::from_secs_f64(1.0 / (capacity() * factor));
        }
        arrivals
    }

    pub(crate) fn run(self, address: SocketAddr, machine: &Machine) -> Report {
        let arrivals = self.arrivals();
        let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let start = Instant::now() + Duration::from_millis(50);
        // As many as can be about at once, and half as many again.
        let rounds = usize::try_from(TIMEOUT.as_millis() / SERVICE.as_millis()).unwrap();
        let threads = PLACES * 5 * rounds * 3 / 2;
        let visit = || {
            loop {
                let index = next.fetch_add(1, Ordering::SeqCst);
                let Some(&at) = arrivals.get(index) else { return };
                thread::sleep((start + at).saturating_duration_since(Instant::now()));
                let is_critical = index % CRITICAL == 0;
                let took = visit(address, start + at, is_critical);
                outcomes.lock().unwrap().push(Outcome { at, took, is_critical });
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads {
                thread::Builder::new()
                    .stack_size(128 << 10)
                    .spawn_scoped(scope, visit)
                    .unwrap();
            }
        });
        Report {
            capacity: machine.capacity(),
            crowd: self,
            outcomes: outcomes.into_inner().unwrap(),
        }
    }
}

/// One client: how long it had to wait for its answer, if it had one in time.
fn visit(address: SocketAddr, came: Instant, is_critical: bool) -> Option<Duration> {
    let left = || {
        (came + TIMEOUT)
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    };
    let answer = || -> io::Result<u16> {
        let mut client = Client::connect(address)?;
        client.stream().set_read_timeout(left())?;
        let path = if is_critical { "/health" } else { "/work" };
        let ms = TIMEOUT.as_millis();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nx-request-timeout: {ms}ms\r\n\r\n"
        ))?;
        Ok(client.receive()?.status)
    };
    left()?;
    (answer().ok() == Some(200))
        .then(|| came.elapsed())
        .filter(|took| *took <= TIMEOUT)
}

/// What became of all.
pub(crate) struct Report {
    capacity: f64,
    crowd: Crowd,
    outcomes: Vec<Outcome>,
}

impl Report {
    pub(crate) const HEADER: &str = "goodput  worst second  p50 ms  p99 ms  critical  recovery ms";

    /// Answers a client got in time while there was too much to do, as a part of what could be done.
    pub(crate) fn goodput(&self) -> f64 {
        let seconds = self.crowd.overload.as_secs_f64();
        self.done(self.crowd.calm, self.crowd.calm + self.crowd.overload) / self.capacity / seconds
    }

    /// The same in the worst second of it, but for the first and the last half one, which the bounds cut.
    pub(crate) fn worst_second(&self) -> f64 {
        let mut from = self.crowd.calm + Duration::from_millis(500);
        let mut worst = f64::MAX;
        while from + Duration::from_millis(1500) <= self.crowd.calm + self.crowd.overload {
            worst = worst.min(self.done(from, from + Duration::from_secs(1)) / self.capacity);
            from += Duration::from_millis(100);
        }
        worst
    }

    /// How many had their answer between these times.
    fn done(&self, from: Duration, until: Duration) -> f64 {
        let ends = |outcome: &&Outcome| {
            outcome
                .took
                .is_some_and(|took| (from..until).contains(&(outcome.at + took)))
        };
        self.outcomes.iter().filter(ends).count() as f64
    }

    /// The part of the critical requests that was answered in time.
    pub(crate) fn critical(&self) -> f64 {
        let critical = || self.outcomes.iter().filter(|outcome| outcome.is_critical);
        critical().filter(|outcome| outcome.took.is_some()).count() as f64 / critical().count() as f64
    }

    /// After the load fell, how long it took until all were answered again.
    pub(crate) fn recovery(&self) -> Duration {
        let calm = self.crowd.calm + self.crowd.overload;
        let failed = self.outcomes.iter().filter(|outcome| outcome.took.is_none());
        failed
            .map(|outcome| outcome.at)
            .max()
            .unwrap_or_default()
            .saturating_sub(calm)
    }

    /// What nine in ten stayed below before the overload began.
    pub(crate) fn before(&self) -> Duration {
        self.quantile(Duration::ZERO, self.crowd.calm, 90)
    }

    pub(crate) fn p99(&self) -> Duration {
        self.quantile(self.crowd.calm, self.crowd.calm + self.crowd.overload, 99)
    }

    fn quantile(&self, from: Duration, until: Duration, hundredths: usize) -> Duration {
        let came = self
            .outcomes
            .iter()
            .filter(|outcome| (from..until).contains(&outcome.at));
        let mut took: Vec<Duration> = came.filter_map(|outcome| outcome.took).collect();
        took.sort_unstable();
        let last = took.len() * hundredths / 100;
        took.get(last).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calm = self.crowd.calm;
        let median = self.quantile(calm, calm + self.crowd.overload, 50);
        write!(
            f,
            "{:>6.0}%  {:>11.0}%  {:>6}  {:>6}  {:>7.2}%  {:>11}",
            self.goodput() * 100.0,
            self.worst_second() * 100.0,
            median.as_millis(),
            self.p99().as_millis(),
            self.critical() * 100.0,
            self.recovery().as_millis()
        )
    }
}
