//! Who asks, and what are they answered?
//!
//! Each comes at its own rate, however long answers take: who waits for one asks for the next meanwhile, on another connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, header};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::super::chapter::Latencies;
use super::super::visitors::{Connection, connect};
use super::scene::{Person, USER_FIELD};

/// How often those come at least who come often.
const STEP: Duration = Duration::from_millis(20);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far back rates look.
const LATELY: Duration = Duration::from_secs(2);
/// Answers that are shown one by one.
const LAST: usize = 60;
/// Requests that one has under way at most.
const MOST_UNDER_WAY: usize = 512;

/// Everybody who asks. They leave when dropped.
pub(super) struct Users {
    users: Vec<(Person, Arc<Mutex<Log>>)>,
    _tasks: JoinSet<()>,
}

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// What was asked for.
    Served,
    /// 429.
    TooMany,
    /// Another refusal, or none at all.
    Failed,
}

/// What one was answered.
#[derive(Debug, Clone, Default)]
struct Log {
    counts: Counts,
    latencies: Latencies,
    last: VecDeque<Answer>,
    /// What the limit had left, as the last answer said.
    left: Option<u64>,
    /// Counts of before.
    before: VecDeque<(Instant, Counts)>,
}

/// Answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) served: u64,
    pub(super) too_many: u64,
    pub(super) failed: u64,
}

/// What one was answered until now.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) person: Person,
    pub(super) counts: Counts,
    /// Answers a second lately.
    pub(super) served_rate: f64,
    pub(super) too_many_rate: f64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
    pub(super) last: Vec<Answer>,
    pub(super) left: Option<u64>,
}

impl Counts {
    pub(super) const fn all(&self) -> u64 {
        self.served + self.too_many + self.failed
    }
}

impl Users {
    /// Sends people to an address.
    pub(super) fn come(address: SocketAddr, people: &[Person]) -> Self {
        let mut tasks = JoinSet::new();
        let user = |person: &Person| {
            let log = Arc::new(Mutex::new(Log::new(Instant::now())));
            tasks.spawn(comes(address, *person, Arc::clone(&log)));
            (*person, log)
        };
        Self {
            users: people.iter().map(user).collect(),
            _tasks: tasks,
        }
    }

    /// What each was answered until now.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let now = Instant::now();
        let users = self.users.iter();
        users.map(|(person, log)| lock(log).seen(*person, now)).collect()
    }
}

impl Log {
    fn new(now: Instant) -> Self {
        Self {
            before: VecDeque::from([(now, Counts::default())]),
            ..Self::default()
        }
    }

    fn add(&mut self, answer: Answer, took: Duration, left: Option<u64>) {
        match answer {
            Answer::Served => {
                self.counts.served += 1;
                self.latencies.add(took);
            }
            Answer::TooMany => self.counts.too_many += 1,
            Answer::Failed => self.counts.failed += 1,
        }
        self.left = left.or(self.left);
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(answer);
    }

    fn seen(&mut self, person: Person, now: Instant) -> Seen {
        while self.before.len() > 1 && self.before.front().is_some_and(|(at, _)| now - *at > LATELY) {
            self.before.pop_front();
        }
        let (since, before) = self.before.front().copied().unwrap_or((now, self.counts));
        self.before.push_back((now, self.counts));
        let seconds = (now - since).as_secs_f64().max(1e-3);
        Seen {
            person,
            counts: self.counts,
            served_rate: (self.counts.served - before.served) as f64 / seconds,
            too_many_rate: (self.counts.too_many - before.too_many) as f64 / seconds,
            p50: self.latencies.percentile(50),
            p99: self.latencies.percentile(99),
            last: self.last.iter().copied().collect(),
            left: self.left,
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections that are free for the next request.
type Free = Arc<Mutex<Vec<Connection>>>;

async fn comes(address: SocketAddr, person: Person, log: Arc<Mutex<Log>>) {
    let free = Free::default();
    let pause = Duration::from_secs(1) / person.rate;
    let step = pause.max(STEP);
    let mut tick = interval(step);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // Ends with this task, and every request with it.
    let mut under_way = JoinSet::new();
    let began = Instant::now();
    let mut asked = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let due = began.elapsed().as_nanos() / pause.as_nanos() + 1;
                // Who could not come in time, because the machine is busy, does not come all at once.
                let most = (step.as_nanos() / pause.as_nanos()).max(1) * 2;
                for _ in 0..(due - asked).min(most) {
                    if under_way.len() < MOST_UNDER_WAY {
                        under_way.spawn(visit(address, person, (Arc::clone(&free), Arc::clone(&log))));
                    }
                }
                asked = due;
            }
            Some(_) = under_way.join_next() => {}
        }
    }
}

async fn visit(address: SocketAddr, person: Person, (free, log): (Free, Arc<Mutex<Log>>)) {
    let began = Instant::now();
    let kept = lock(&free).pop();
    let asked = tokio::time::timeout(PATIENCE, ask(address, person, kept)).await;
    let (answer, left) = match asked.ok().flatten() {
        None => (Answer::Failed, None),
        Some((connection, status, left)) => {
            lock(&free).push(connection);
            (status, left)
        }
    };
    lock(&log).add(answer, began.elapsed(), left);
}

/// Asks once; none: there was no answer.
async fn ask(
    address: SocketAddr,
    person: Person,
    kept: Option<Connection>,
) -> Option<(Connection, Answer, Option<u64>)> {
    let mut connection = match kept.filter(Connection::is_ready) {
        Some(connection) => connection,
        None => connect(address).await?,
    };
    let request = Request::get("/")
        .header(header::HOST, address.to_string())
        .header(USER_FIELD, person.name)
        .body(Empty::new())
        .ok()?;
    let response = connection.send_request(request).await.ok()?;
    let left = response
        .headers()
        .get("ratelimit")
        .and_then(|field| remaining(field.to_str().ok()?));
    let answer = match response.status() {
        StatusCode::TOO_MANY_REQUESTS => Answer::TooMany,
        status if status.is_success() => Answer::Served,
        _ => Answer::Failed,
    };
    response.into_body().collect().await.ok()?;
    Some((connection, answer, left))
}

/// What `"name";r=7;t=1` has left.
fn remaining(field: &str) -> Option<u64> {
    let parameters = field.split(';').map(str::trim);
    parameters.filter_map(|one| one.strip_prefix("r=")).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read() {
        let check = |field, expected| assert_eq!(remaining(field), expected, "{field}");
        check("\"per-user\";r=7;t=1", Some(7));
        check("\"per-user\";r=0", Some(0));
        check("\"per-user\";t=1", None);
        check("", None);
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let now = Instant::now();
        let mut log = Log::new(now);
        let person = Person { name: "a", rate: 1 };
        (0..10).for_each(|_| log.add(Answer::Served, Duration::from_millis(10), None));
        log.add(Answer::TooMany, Duration::ZERO, Some(0));
        let seen = log.seen(person, now + Duration::from_secs(1));
        assert_eq!((seen.served_rate, seen.too_many_rate, seen.left), (10.0, 1.0, Some(0)));
        log.seen(person, now + Duration::from_secs(3));
        let seen = log.seen(person, now + Duration::from_secs(6));
        assert_eq!((seen.served_rate, seen.counts.all()), (0.0, 11));
    }
}
