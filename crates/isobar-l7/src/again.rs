//! Is a request sent again, and when?
//!
//! It judges one failed try at a time. What a try is, is [`crate::attempt`]'s business; who gets the next one,
//! [`crate::forward`]'s.

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use isobar_balance::Outcome;
use isobar_observe::{Cause, Fault, GrpcStatus, RetryReason, RetrySafe};
use isobar_plan::{Backoff, Retry};
use isobar_upstream::{Place, Server, moment};

use crate::Worker;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::flow::poll_watch;
use crate::forward::{Ways, ask, others_wait};
use crate::pool::Pool;
use crate::record;

/// The room that is kept for what was tried.
const KEPT_BUFFER_BYTES: usize = 256;

/// What is known of a request's tries.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// When the head of an answer has to be there; none: whenever it comes.
    pub(crate) deadline: Option<Instant>,
    /// Bytes of the body that may be kept to be sent again.
    pub(crate) buffer: usize,
    /// Which answers are not passed on.
    pub(crate) declines: Declines,
    /// The answer that was not passed on in this try.
    declined: Option<Declined>,
    /// Tries after the first that were granted.
    tries: u32,
    /// Servers that failed, and why, as the access log has it.
    pub(crate) log: Vec<u8>,
    /// Whether a try was left out because the budget was used up.
    pub(crate) refused: bool,
    /// How long the next try, which has been granted, waits.
    pause: Option<Duration>,
}

/// Which answers are not passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Declines {
    /// Those for which the rules say that another server is asked, while there is one and the budget allows it.
    #[default]
    ByTheRules,
    /// Those, and all other failures of the server: another one is being asked already.
    EveryFailure,
}

/// An answer that was not passed on.
#[derive(Debug, Clone, Copy)]
struct Declined {
    why: Why,
    /// For how long the server asked to be spared.
    after: Option<Duration>,
}

/// Why a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// There was no answer.
    Cause(Cause),
    /// There was one with this status.
    Status(u16),
    /// A call of gRPC was answered with this status and nothing else.
    Call(GrpcStatus),
}

/// What one try at one server came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    pub(crate) why: Why,
    /// Whether the server can have seen nothing of the request.
    pub(crate) unsent: bool,
    /// Whether it was tried on a connection that carried others before.
    pub(crate) reused: bool,
}

/// What another try takes out of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Price {
    Nothing,
    One,
}

impl Failed {
    /// A try that ended before anything of it was sent.
    pub(crate) fn unsent(cause: Cause) -> Self {
        Self {
            why: Why::Cause(cause),
            unsent: true,
            reused: false,
        }
    }

    /// A try that reached nobody was no work for anybody: the next one adds nothing to the load. That it took until a
    /// deadline to find out may be for too much load, so that is not free.
    ///
    /// *Source*: what gRPC calls a transparent retry (proposal A6), which is not counted either.
    fn price(&self) -> Price {
        match self.why {
            Why::Cause(Cause::ConnectFailed | Cause::TlsFailed | Cause::ServerClosed) if self.unsent => Price::Nothing,
            _ => Price::One,
        }
    }

    /// Whether the server closed an idle connection just as it was used again: no failure of the server's.
    pub(crate) fn is_idle_close(&self) -> bool {
        self.reused && self.why == Why::Cause(Cause::ServerClosed)
    }
}

impl Again {
    pub(crate) fn clear(&mut self) {
        let mut log = std::mem::take(&mut self.log);
        log.clear();
        log.shrink_to(KEPT_BUFFER_BYTES);
        *self = Self { log, ..Self::default() };
    }

    /// What holds for another try at the same time.
    pub(crate) fn twin(&self) -> Self {
        Self {
            deadline: self.deadline,
            declines: Declines::EveryFailure,
            ..Self::default()
        }
    }

    /// Takes note of a server that did not answer, and why.
    pub(crate) fn note(&mut self, server: &Server, why: &str) {
        let space = if self.log.is_empty() { "" } else { " " };
        // Writing into a Vec cannot fail.
        let _ = write!(self.log, "{space}{}:{why}", server.name());
    }
}

/// Prepares the request for its tries.
pub(crate) fn begin(ways: &Ways<'_>, exchange: &mut Exchange) {
    let Retry {
        deadline, buffer, on, ..
    } = &ways.rules.retry;
    let all = deadline.and_then(|deadline| Some(exchange.report.began()? + deadline));
    exchange.again.deadline = all.into_iter().chain(exchange.report.call_until()).min();
    let repeats = ways.rules.retry.attempts > 0 || ways.rules.hedge.is_some();
    let repeatable = is_repeatable(ways, exchange) || (exchange.report.call.is_some() && !on.grpc.is_empty());
    exchange.again.buffer = if repeats && repeatable { *buffer as usize } else { 0 };
}

/// Whether the request may be sent again after a server may have acted on it.
pub(crate) fn is_repeatable(ways: &Ways<'_>, exchange: &Exchange) -> bool {
    ways.rules.retry.non_idempotent || exchange.request.method.is_idempotent()
}

/// Whether the request can be sent once more without doing its work twice.
pub(crate) fn may_repeat(ways: &Ways<'_>, exchange: &Exchange, failed: &Failed) -> bool {
    let safe = match failed.why {
        Why::Status(_) => is_repeatable(ways, exchange),
        // Whoever wrote the status down said so.
        Why::Call(_) => true,
        Why::Cause(cause) => match cause.retry_safe() {
            RetrySafe::Always => true,
            RetrySafe::Idempotent => failed.unsent || is_repeatable(ways, exchange),
            RetrySafe::Never => false,
        },
    };
    safe && (failed.unsent || is_kept(ways, exchange)) && exchange.replayable && !exchange.report.answer_begun
}

/// Whether what was sent of the request is here, and as little as may be kept to be sent again. How much a single read
/// brings along is chance, and says nothing of what is meant to be repeated.
pub(crate) fn is_kept(ways: &Ways<'_>, exchange: &Exchange) -> bool {
    exchange.replayable && exchange.body_here() <= u64::from(ways.rules.retry.buffer)
}

/// Tells everybody who wants to know that a try failed, whether or not there is another.
pub(crate) fn tell(ways: &Ways<'_>, exchange: &mut Exchange, place: &Place<Pool>, failed: &Failed) {
    let server = &place.server().server;
    let now = ways.worker.wheel.now();
    let stats = server.stats(ways.worker.id);
    let latency = now.saturating_duration_since(exchange.report.asked().unwrap_or(now));
    match failed.why {
        Why::Cause(cause) => {
            stats.failures.count(cause);
            // Who is to blame for a deadline of all tries together, or for limits of the upstream, is not known.
            if cause.blames_one_server() && !failed.is_idle_close() {
                match cause {
                    Cause::ConnectFailed | Cause::ConnectTimeout | Cause::TlsFailed => place.unreachable(now, latency),
                    _ => place.finished(now, latency, Outcome::Failure { retry_after: None }),
                }
            }
            if cause.fault() == Fault::Server {
                exchange.again.note(server, cause.text());
            }
        }
        Why::Status(status) => {
            stats.responses.count(status);
            stats.first_byte.observe(latency);
            let after = exchange.again.declined.and_then(|declined| declined.after);
            place.finished(now, latency, record::outcome(status, after));
            exchange.report.gives_up_answer();
            let mut digits = [0; 5];
            exchange.again.note(server, decimal(status, &mut digits));
        }
        Why::Call(status) => {
            stats.responses.count(exchange.response.status);
            stats.grpc_calls.count(Some(status));
            stats.first_byte.observe(latency);
            let after = exchange.again.declined.and_then(|declined| declined.after);
            place.finished(now, latency, record::call_outcome(status, after));
            exchange.report.gives_up_answer();
            exchange.again.note(server, status.text());
        }
    }
}

/// A status as text.
fn decimal(status: u16, digits: &mut [u8; 5]) -> &str {
    let mut rest = &mut digits[..];
    // Five digits are room for any.
    let _ = write!(rest, "{status}");
    let left = rest.len();
    digits
        .get(..digits.len() - left)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .unwrap_or_default()
}

/// Whether an answer is not passed on: another server is asked, or being asked, instead. `said` is what a call of gRPC was answered with
/// and nothing else; `after`: for how long the server asked to be spared.
pub(crate) fn declines(
    ways: &Ways<'_>,
    exchange: &mut Exchange,
    said: Option<GrpcStatus>,
    after: Option<Duration>,
) -> bool {
    let on = &ways.rules.retry.on;
    let others_run = exchange.again.declines == Declines::EveryFailure;
    let status = exchange.response.status;
    let (why, by_the_rules, is_failure) = match said {
        Some(said) => (Why::Call(said), on.grpc.contains(said.code()), said.blames_server()),
        None => (Why::Status(status), on.statuses.contains(status), status >= 500),
    };
    let is_declined = by_the_rules || (others_run && is_failure);
    if !is_declined {
        return false;
    }
    exchange.again.declined = Some(Declined { why, after });
    others_run || is_granted(ways, exchange, why, Price::One)
}

/// Why an answer was declined.
pub(crate) fn declined(exchange: &Exchange) -> Why {
    exchange.again.declined.map_or(Why::Status(0), |declined| declined.why)
}

/// Whether there is another try after a failure; it has been paid for then, and the failed server is avoided.
pub(crate) fn is_tried_again(ways: &Ways<'_>, exchange: &mut Exchange, failed: &Failed) -> bool {
    match failed.why {
        // That was decided, and paid for, when the answer was not passed on.
        Why::Status(_) | Why::Call(_) => true,
        why @ Why::Cause(_) => may_repeat(ways, exchange, failed) && is_granted(ways, exchange, why, failed.price()),
    }
}

fn is_granted(ways: &Ways<'_>, exchange: &mut Exchange, why: Why, price: Price) -> bool {
    let reason = match why {
        Why::Status(_) | Why::Call(_) => Some(RetryReason::Status),
        Why::Cause(cause) => RetryReason::of(cause),
    };
    let Some(reason) = reason else { return false };
    let Retry { attempts, on, .. } = &ways.rules.retry;
    let wanted = match reason {
        RetryReason::ConnectFailure => on.connect_failure,
        RetryReason::Closed => on.closed,
        RetryReason::Timeout => on.timeout,
        RetryReason::Status => {
            let is_repeatable = matches!(why, Why::Call(_)) || is_repeatable(ways, exchange);
            is_repeatable && is_kept(ways, exchange) && !exchange.report.answer_begun
        }
    };
    let Some(server) = exchange
        .report
        .server_arc()
        .filter(|_| wanted && exchange.again.tries < *attempts)
    else {
        return false;
    };
    exchange.tried.push(Arc::clone(&server));
    let granted = find_way(ways, exchange, reason).filter(|_| price == Price::Nothing || is_paid(ways, exchange));
    let Some((avoids, pause)) = granted else {
        exchange.tried.pop();
        return false;
    };
    if avoids == Avoids::Nobody {
        exchange.tried.clear();
    }
    exchange.again.tries += 1;
    exchange.again.pause = pause;
    server.stats(ways.worker.id).retries.increment();
    ways.local.upstream().stats(ways.worker.id).retries.count(reason);
    true
}

/// Whom the next try avoids.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Avoids {
    /// The servers that failed the request.
    Failed,
    /// Nobody, because no other is left.
    Nobody,
}

/// Where the next try may go, and how long it has to wait; none: nowhere, or there is no time for it.
///
/// A server that failed is asked again only after a pause, and not where it was too slow: what it did not do in time it
/// would not do in less. Nor is it where it asked to be spared for longer than a pause may be.
fn find_way(ways: &Ways<'_>, exchange: &Exchange, reason: RetryReason) -> Option<(Avoids, Option<Duration>)> {
    let backoff = ways.rules.retry.backoff;
    let after = exchange.again.declined.filter(|_| reason == RetryReason::Status);
    let after = after.and_then(|declined| declined.after).unwrap_or_default();
    if reason == RetryReason::Status && others_wait(ways, exchange) {
        return None;
    }
    let view = ways.local.view();
    let (avoids, least) = match view.room(&ask(ways, exchange, ways.worker.wheel.now())) {
        // An answer is not given up for a place in the queue.
        Some(0) if reason == RetryReason::Status => return None,
        // Another server is not bound by what this one asked for, unless it can be waited for.
        Some(_) => (
            Avoids::Failed,
            backoff.map_or(Duration::ZERO, |backoff| spared(after, backoff)),
        ),
        None if reason == RetryReason::Timeout => return None,
        None => {
            let backoff = backoff.filter(|backoff| after <= backoff.max)?;
            (Avoids::Nobody, spared(after, backoff))
        }
    };
    let pause = backoff.map(|backoff| pause_of(ways, exchange.again.tries, backoff).max(least));
    let now = ways.worker.wheel.now();
    let in_time = exchange
        .again
        .deadline
        .is_none_or(|deadline| now + pause.unwrap_or_default() < deadline);
    in_time.then_some((avoids, pause))
}

fn spared(after: Duration, backoff: Backoff) -> Duration {
    if after <= backoff.max { after } else { Duration::ZERO }
}

/// Full jitter: anything between nothing and the longest pause is as likely.
fn pause_of(ways: &Ways<'_>, tries: u32, backoff: Backoff) -> Duration {
    let longest = backoff.base.saturating_mul(1 << tries.min(20)).min(backoff.max);
    let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(ways.worker.chance.borrow_mut().below(nanoseconds.saturating_add(1)))
}

/// Takes a try out of the upstream's budget.
pub(crate) fn is_paid(ways: &Ways<'_>, exchange: &mut Exchange) -> bool {
    let upstream = ways.local.upstream();
    let allowance = ways.local.view().settings().retry_budget;
    let paid = upstream.may_repeat(allowance, moment(ways.worker.wheel.now()));
    if !paid {
        upstream.stats(ways.worker.id).retries_refused.increment();
        exchange.again.refused = true;
    }
    paid
}

/// Waits before the next try, where there is a pause; a client that leaves meanwhile ends it.
pub(crate) async fn pause(ways: &Ways<'_>, client: &mut Client, exchange: &mut Exchange) -> Result<(), Cause> {
    let Some(pause) = exchange.again.pause.take() else {
        return Ok(());
    };
    Box::pin(sleep(ways.worker, client, exchange, pause)).await
}

/// Waits, unless the client leaves.
pub(crate) async fn sleep(
    worker: &Worker,
    client: &mut Client,
    exchange: &mut Exchange,
    pause: Duration,
) -> Result<(), Cause> {
    // The wheel is too coarse for this, and its ticks would bring together what is spread by chance.
    let until = worker.wheel.now() + pause;
    let mut sleep = pin!(tokio::time::sleep_until(until.into()));
    if client.stream.watch().is_err() {
        return Err(Cause::OutOfResources);
    }
    poll_fn(|cx| {
        if sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        poll_watch(cx, client, exchange).map(Err)
    })
    .await
}
