//! What do tests of shared limits share?

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isobar_testkit::{Client, Configuration, Isobar, Origin, Redis, binary, eventually, serde_json};

/// Instances with one limit, and a server.
pub(crate) struct Together {
    pub(crate) instances: Vec<Isobar>,
    pub(crate) configuration: Configuration,
    _origin: Origin,
}

/// What became of requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// When each was let pass, since 1970.
    pub(crate) passed: Vec<Duration>,
    pub(crate) refused: usize,
    /// Neither the one nor the other.
    pub(crate) failures: Vec<String>,
    /// How long the slowest took.
    pub(crate) slowest: Duration,
    pub(crate) took: Duration,
}

/// What a limit promises.
#[derive(Clone, Copy)]
pub(crate) struct Promise {
    /// In a second.
    pub(crate) rate: usize,
    pub(crate) burst: usize,
}

/// How long a request may take on a machine that is busy with other tests; far less than any outage here.
const SLOW: Duration = Duration::from_millis(700);

impl Promise {
    /// `burst + rate * (w + ttl) + n * advance`, with the defaults of the settings.
    pub(crate) fn most(self, took: Duration, instances: usize) -> usize {
        let share = (self.burst / instances).max(1);
        let millis = usize::try_from(took.as_millis()).unwrap() + 1_000;
        self.burst + self.rate * millis / 1_000 + instances * (share / 2).max(1)
    }

    /// No more than may, and nearly all that may.
    #[track_caller]
    pub(crate) fn assert_kept(self, outcome: &Outcome, instances: usize, what: &str) {
        let (passed, most) = (outcome.passed.len(), self.most(outcome.took, instances));
        assert!(
            passed <= most,
            "{what}: {passed} of {most} passed in {:?}",
            outcome.took
        );
        let due = self.burst as f64 + self.rate as f64 * outcome.took.as_secs_f64();
        let part = passed as f64 / due;
        let (shared, bound) = (part * 100.0, most as f64 / due * 100.0);
        eprintln!("{instances} instances, {what}: {shared:.1} % passed, bound {bound:.0} %");
        assert!(
            part >= 0.95,
            "{what}: {passed} passed, {:.1} % of {due:.0}",
            part * 100.0
        );
    }
}

impl Outcome {
    /// Every request was answered in time: let pass, or told to come again.
    #[track_caller]
    pub(crate) fn assert_no_failure(&self) {
        eprintln!(
            "{} passed and {} were refused in {:?}, the slowest took {:?}",
            self.passed.len(),
            self.refused,
            self.took,
            self.slowest
        );
        assert!(
            self.failures.is_empty(),
            "{:?}",
            &self.failures[..self.failures.len().min(5)]
        );
        assert!(self.slowest < SLOW, "a request took {:?}", self.slowest);
        assert!(
            !self.passed.is_empty() && self.refused > 0,
            "{} were refused",
            self.refused
        );
    }

    /// How many passed in each second of the clock, first to last.
    pub(crate) fn by_second(&self) -> Vec<usize> {
        let second = |at: &Duration| at.as_secs();
        let first = self.passed.iter().map(second).min().unwrap();
        let last = self.passed.iter().map(second).max().unwrap();
        let of = |wanted| self.passed.iter().filter(|at| at.as_secs() == wanted).count();
        (first..=last).map(of).collect()
    }

    fn add(&mut self, other: Self) {
        self.passed.extend(other.passed);
        self.refused += other.refused;
        self.failures.extend(other.failures);
        self.slowest = self.slowest.max(other.slowest);
    }
}

impl Together {
    /// Starts so many instances with a limit `shared` on everything and a store `main`, and waits until they know of each other.
    #[track_caller]
    pub(crate) fn start(count: usize, limit: &str, store: &str) -> Self {
        let together = Self::apart(count, limit, store);
        together.know_each_other();
        together
    }

    /// Starts them without waiting.
    #[track_caller]
    pub(crate) fn apart(count: usize, limit: &str, store: &str) -> Self {
        let origin = Origin::named("a");
        let configuration = Configuration::to(&[origin.address()])
            .listener("request_limits: [shared]")
            .top(format!("limits:\n  shared: {limit}\nstores:\n  main: {store}"));
        Self {
            instances: (0..count).map(|_| binary!().run(&configuration)).collect(),
            configuration,
            _origin: origin,
        }
    }

    #[track_caller]
    pub(crate) fn know_each_other(&self) {
        let count = self.instances.len() as f64;
        eventually("all instances know of each other", || {
            self.all_say("isobar_limit_store_up", 1.0) && self.all_say("isobar_limit_store_instances", count)
        });
    }

    pub(crate) fn all_say(&self, metric: &str, value: f64) -> bool {
        let says = |isobar: &Isobar| isobar.metrics().sum(metric, &[("store", "main")]) == Some(value);
        self.instances.iter().all(says)
    }

    /// Waits until all instances have lost the store, or have it again.
    #[track_caller]
    pub(crate) fn have_store(&self, up: f64) {
        eventually("the store is lost, or answers", || {
            self.all_say("isobar_limit_store_up", up)
        });
    }

    /// The sum of a metric over all instances.
    pub(crate) fn sum(&self, metric: &str) -> f64 {
        let of = |isobar: &Isobar| isobar.metrics().sum(metric, &[]).unwrap_or(0.0);
        self.instances.iter().map(of).sum()
    }

    /// What an instance says of the store.
    #[track_caller]
    pub(crate) fn health(&self, index: usize) -> serde_json::Value {
        let health = self.instances[index].health();
        let checks = health["checks"].as_array().unwrap();
        checks
            .iter()
            .find(|check| check["name"] == "limit store main")
            .unwrap_or_else(|| panic!("no store in {health}"))
            .clone()
    }

    /// How many of so many requests, one after the other, an instance lets pass.
    #[track_caller]
    pub(crate) fn passes(&self, index: usize, lines: &str, times: usize) -> usize {
        let mut client = Client::connect(self.instances[index].address()).unwrap();
        let mut passed = 0;
        for _ in 0..times {
            passed += usize::from(ask(&mut client, lines) == 200);
            // As far apart as what comes from elsewhere.
            thread::sleep(Duration::from_millis(2));
        }
        passed
    }

    /// Has so many clients of each instance ask for so long, every few milliseconds.
    pub(crate) fn demand(&self, clients: usize, time: Duration) -> Outcome {
        self.demand_while(clients, time, || {})
    }

    /// The same, while something else happens.
    pub(crate) fn demand_while(&self, clients: usize, time: Duration, event: impl FnOnce()) -> Outcome {
        let began = Instant::now();
        let mut all = Outcome::default();
        thread::scope(|scope| {
            let addresses = self.instances.iter().flat_map(|isobar| vec![isobar.address(); clients]);
            let client = |address| scope.spawn(move || insist(address, began + time));
            let clients: Vec<_> = addresses.map(client).collect();
            event();
            for client in clients {
                all.add(client.join().unwrap());
            }
        });
        all.took = began.elapsed();
        all
    }

    /// The keys of limits in Redis.
    pub(crate) fn keys(&self, redis: &Redis) -> Vec<String> {
        let keys = redis.command(&["--scan"]);
        let of_limits = keys.lines().filter(|key| !key.ends_with("instances"));
        of_limits.map(str::to_owned).collect()
    }
}

/// A store that is not lost because the machine has much else to do.
pub(crate) fn patient(redis: &Redis) -> String {
    format!("{{ addresses: \"{}\", timeout: 5s }}", redis.address())
}

/// The status that a request with these lines is answered with.
#[track_caller]
pub(crate) fn ask(client: &mut Client, lines: &str) -> u16 {
    let request = format!("GET / HTTP/1.1\r\nhost: test.example\r\n{lines}\r\n");
    client.exchange(request).unwrap().status
}

fn insist(address: std::net::SocketAddr, until: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let mut client = Client::connect(address).unwrap();
    while Instant::now() < until {
        let began = Instant::now();
        match client.get("/").map(|response| response.status) {
            Ok(200) => outcome
                .passed
                .push(SystemTime::now().duration_since(UNIX_EPOCH).unwrap()),
            Ok(429) => outcome.refused += 1,
            other => {
                outcome.failures.push(format!("{other:?}"));
                client = Client::connect(address).unwrap();
            }
        }
        outcome.slowest = outcome.slowest.max(began.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    outcome
}
