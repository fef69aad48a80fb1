//! May a request pass the limits that it falls under?
//!
//! All of them let it, or none has it in its books. How a limit counts is `isobar-limit`'s business, and whom it counts that of
//! [`key`]; here is what of that a request has to do with.

mod bandwidth;
mod cost;
mod fields;
mod held;
mod key;
mod running;
mod share;
pub mod trial;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use isobar_balance::Moment;
use isobar_l4::throttle::{Meter, Throttle, Way};
use isobar_limit::{
    Algorithm as _, Claim, Denial, Effect, Grant, Key, KeyName, Outcome, Standing, Transaction, Unit, Verdict,
};
use isobar_observe::{Cause, LimitOutcome};
use isobar_plan::{LimitHeaders, Listener, MissingKey};
use isobar_wire::BodyKind;
use smallvec::SmallVec;

pub(crate) use cost::{settle_by_bytes, settle_by_head, strips};
pub(crate) use fields::write_retry_after;
pub use running::{Limits, RunningLimit, Today};
pub use share::FairKeys;

use self::cost::Estimate;
use self::held::Held;
pub(crate) use self::key::Subject;
use self::trial::Facts;
use crate::connection::Client;
use crate::exchange::Exchange;
use crate::{Site, Worker, again, request};

/// Bytes of fields that are kept allocated for the next request.
const KEPT_FIELDS: usize = 512;

/// What limits came to for one request.
#[derive(Debug, Default)]
pub(crate) struct Limited {
    /// The limit that refused it.
    pub(crate) refusal: Option<Refusal>,
    /// The first that would have, were it enforced.
    pub(crate) shadow: Option<Arc<RunningLimit>>,
    /// What the tightest one had left, as far as it is told or logged.
    pub(crate) remaining: Option<u64>,
    /// How long it had to wait.
    pub(crate) delay: Duration,
    /// Fields of the answer that tell of it, each with its line end.
    pub(crate) fields: Vec<u8>,
    /// How long its bytes had to wait.
    pub(crate) throttled: Duration,
    /// What is given back when it ends.
    held: Vec<Held>,
    /// What it took of limits, as far as that is corrected when there is an answer.
    estimates: Vec<Estimate>,
    /// The rates that its bytes share.
    meters: Vec<Box<dyn Meter>>,
}

/// Why a request was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) limit: Arc<RunningLimit>,
    /// When the same request would pass if nobody else asked; none: waiting alone does not help.
    pub(crate) retry_in: Option<Duration>,
}

impl Limited {
    /// The request is over: what counts those in flight has one less.
    pub(crate) fn end(&mut self) {
        self.held.clear();
    }

    /// Forgets everything but what is allocated.
    pub(crate) fn clear(&mut self) {
        self.end();
        self.refusal = None;
        self.shadow = None;
        self.remaining = None;
        self.delay = Duration::ZERO;
        self.throttled = Duration::ZERO;
        self.estimates.clear();
        self.meters.clear();
        self.fields.clear();
        self.fields.shrink_to(KEPT_FIELDS);
    }

    fn refuses(&mut self, limit: &Arc<RunningLimit>, retry_in: Option<Duration>) {
        let limit = Arc::clone(limit);
        self.refusal = Some(Refusal { limit, retry_in });
    }

    fn would_refuse(&mut self, limit: &Arc<RunningLimit>) {
        self.shadow.get_or_insert_with(|| Arc::clone(limit));
    }
}

/// A request, and where it is.
pub(crate) struct Asked<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) client: &'a Client,
    pub(crate) site: &'a Site,
    /// As an index into the site's.
    pub(crate) route: usize,
    /// When it is asked.
    pub(crate) now: Moment,
}

/// The limits that have to be asked, and what each is asked.
#[derive(Default)]
struct Gathered<'a> {
    claims: Few<Claim<'a>>,
    counted: Few<Counted<'a>>,
}

/// One for each limit of a request, of which there are not many.
type Few<T> = SmallVec<[T; Transaction::MOST_CLAIMS]>;

/// A limit that has to be asked, and what its refusal comes to.
#[derive(Clone, Copy)]
struct Counted<'a> {
    limit: &'a Arc<RunningLimit>,
    effect: Effect,
}

impl Counted<'_> {
    /// What comes of a request that passes, by what the limit granted it; none: it would have been refused.
    fn outcome(&self, grant: Option<&Grant>) -> LimitOutcome {
        let Some(grant) = grant else {
            return LimitOutcome::ShadowRefused;
        };
        match grant.decision.verdict {
            Verdict::Delayed(_) if self.effect == Effect::Binding => LimitOutcome::Delayed,
            _ => LimitOutcome::Admitted,
        }
    }

    /// Counts a request that this limit let pass.
    fn passed(&self, outcome: LimitOutcome, worker: usize, now: Moment) {
        self.limit.decided(worker, (outcome, Verdict::Admitted), now);
    }
}

impl<'a> Gathered<'a> {
    fn add(&mut self, limit: &'a Arc<RunningLimit>, asked: Claim<'a>, now: Moment) {
        let effect = asked.enforcement.effect(asked.key, now);
        self.claims.push(asked);
        self.counted.push(Counted { limit, effect });
    }
}

/// How a limit looks at a request before it is asked.
enum Look {
    /// It does not hold for it, or would turn it away if it were enforced.
    Passes(LimitOutcome),
    /// It is turned away without being counted.
    Turned(LimitOutcome, Cause),
    /// It is counted.
    Counted {
        key: Key,
        /// What others call it with whom the limit is shared; none: they know it, or it is not shared.
        name: Option<KeyName>,
        cost: u64,
    },
}

/// Asks all limits of a request's route: *returns* how long it has to wait first.
///
/// *Errors*: the cause that a limit refuses it for; none has it in its books then.
///
/// *Cost*: that of each limit, of which the hash of the key is a part. No allocation, once the exchange has room for fields.
pub(crate) fn ask(asked: &Asked<'_>, exchange: &mut Exchange) -> Result<Duration, Cause> {
    let Some((_, route)) = asked.site.rules(asked.route) else {
        return Ok(Duration::ZERO);
    };
    if route.limits.is_empty() {
        return Ok(Duration::ZERO);
    }
    let mut gathered = Gathered::default();
    gather(asked, exchange, &route.limits, &mut gathered)?;
    let mut transaction = Transaction::default();
    match transaction.ask(&gathered.claims, asked.now) {
        Ok(outcome) => {
            admitted(asked, exchange, &gathered, (&transaction, outcome));
            Ok(outcome.delay)
        }
        Err(denial) => Err(refused(asked, exchange, &gathered, denial)),
    }
}

/// Finds out which of these limits have to be asked, and of which keys.
fn gather<'a>(
    asked: &Asked<'_>,
    exchange: &mut Exchange,
    limits: &'a [Arc<RunningLimit>],
    gathered: &mut Gathered<'a>,
) -> Result<(), Cause> {
    let now = asked.now;
    let listener = &asked.site.listener;
    let subject = Subject {
        client: asked.client,
        listener,
        route: asked.site.rules(asked.route).map(|(route, _)| route),
        exchange: &*exchange,
        address: client_address(asked.client, listener, exchange),
    };
    // What the limits make of it is put down in the exchange, which the subject has until then.
    let mut shadow = None;
    let mut turned = None;
    for limit in limits {
        match look(&subject, limit, now) {
            Look::Passes(outcome) => {
                limit.count(asked.worker.id, outcome);
                if outcome == LimitOutcome::ShadowRefused {
                    shadow = shadow.or(Some(limit));
                }
            }
            Look::Turned(outcome, cause) => {
                limit.count(asked.worker.id, outcome);
                turned = Some((limit, cause));
                break;
            }
            Look::Counted { key, name, cost } => {
                let claim = limit.claim(key).called(name);
                gathered.add(limit, Claim { cost, ..claim }, now);
            }
        }
    }
    if let Some(limit) = shadow {
        exchange.limited.would_refuse(limit);
    }
    let Some((limit, cause)) = turned else {
        return Ok(());
    };
    exchange.limited.refuses(limit, None);
    Err(cause)
}

/// Takes down what came of a request that is refused; *returns* the cause.
fn refused(asked: &Asked<'_>, exchange: &mut Exchange, gathered: &Gathered<'_>, denial: Denial) -> Cause {
    let now = asked.now;
    let Denial { claim: index, decision } = denial;
    for other in gathered.counted.iter().take(index) {
        other.passed(LimitOutcome::Returned, asked.worker.id, now);
    }
    let (Some(claim), Some(counted)) = (gathered.claims.get(index), gathered.counted.get(index)) else {
        return Cause::Internal;
    };
    let limit = counted.limit;
    limit.decided(asked.worker.id, (LimitOutcome::Refused, decision.verdict), now);
    let later = later(asked.worker, limit.settings().answer.jitter);
    let retry_in = match decision.verdict {
        Verdict::Refused { retry_in } => retry_in.map(|time| time.saturating_add(later)),
        Verdict::Admitted | Verdict::Delayed(_) => None,
    };
    let left = claim.standing(&decision);
    let standing = Standing {
        more_in: left.more_in.map(|time| time.saturating_add(later)),
        ..left
    };
    let quota = claim.limit.quota();
    let told = fields::Told {
        name: limit.name(),
        quota,
        standing,
    };
    fields::write(&mut exchange.limited.fields, &[told]);
    exchange.limited.refuses(limit, retry_in);
    exchange.limited.remaining = Some(left.remaining);
    match quota.unit {
        Unit::ConcurrentRequests => Cause::LimitedConcurrency,
        Unit::Requests | Unit::ContentBytes => Cause::RateLimited,
    }
}

/// By how much one that is refused is told to come later: whoever is refused at the same time is told another time.
fn later(worker: &Worker, jitter: Duration) -> Duration {
    let most = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
    match most {
        0 => Duration::ZERO,
        _ => Duration::from_nanos(worker.chance.borrow_mut().below(most)),
    }
}

/// Takes down what came of a request that passes.
fn admitted(
    asked: &Asked<'_>,
    exchange: &mut Exchange,
    gathered: &Gathered<'_>,
    (transaction, outcome): (&Transaction, Outcome),
) {
    let now = asked.now;
    let is_logged = asked.worker.world().world.log.is_some();
    let mut told = Few::new();
    for (index, (claim, counted)) in gathered.claims.iter().zip(&gathered.counted).enumerate() {
        let limit = counted.limit;
        if claim.limit.quota().unit == Unit::ContentBytes {
            let meter = bandwidth::meter(limit, claim.key, asked.worker.id);
            exchange.limited.meters.push(meter);
        }
        let grant = transaction.grant(index);
        counted.passed(counted.outcome(grant), asked.worker.id, now);
        let Some(grant) = grant else {
            exchange.limited.would_refuse(limit);
            continue;
        };
        let quota = claim.limit.quota();
        if quota.unit == Unit::ConcurrentRequests {
            exchange.limited.held.push(Held::new(limit, *claim.limit, *grant));
        }
        if limit.settlement().is_some() {
            exchange
                .limited
                .estimates
                .push(Estimate::new(limit, *claim.limit, *grant));
        }
        let is_told = limit.settings().answer.headers == LimitHeaders::Always;
        if counted.effect == Effect::Binding && (is_told || is_logged) {
            let standing = claim.standing(&grant.decision);
            let least = exchange.limited.remaining.unwrap_or(u64::MAX);
            exchange.limited.remaining = Some(least.min(standing.remaining));
            if is_told {
                told.push(fields::Told {
                    name: limit.name(),
                    quota,
                    standing,
                });
            }
        }
    }
    fields::write(&mut exchange.limited.fields, &told);
    exchange.limited.delay = outcome.delay;
}

/// The client's address, as far as trusted proxies tell.
pub(crate) fn client_address(client: &Client, listener: &Listener, exchange: &Exchange) -> IpAddr {
    let Exchange { request, inbound, .. } = exchange;
    let head = inbound.get(..request.len).unwrap_or_default();
    request::client_address(client.peer.ip(), head, request, &listener.forwarding)
}

/// How a limit looks at a request.
fn look(facts: &impl Facts, limit: &RunningLimit, now: Moment) -> Look {
    let settings = limit.settings();
    let address = facts.address();
    let is_among = |ranges: &[isobar_plan::Cidr]| ranges.iter().any(|range| range.contains(address));
    let turned = |outcome, cause| match limit.is_binding(now) {
        true => Look::Turned(outcome, cause),
        false => Look::Passes(LimitOutcome::ShadowRefused),
    };
    if limit.has_ended(now) {
        return Look::Passes(LimitOutcome::Ended);
    }
    if is_among(&settings.exempt) {
        return Look::Passes(LimitOutcome::Exempt);
    }
    if is_among(&settings.deny) {
        return turned(LimitOutcome::Denied, Cause::LimitDenied);
    }
    let (key, is_whole) = key::of(facts, limit);
    match settings.counting.missing {
        MissingKey::Skip if !is_whole => Look::Passes(LimitOutcome::Skipped),
        MissingKey::Refuse if !is_whole => turned(LimitOutcome::Refused, Cause::RateLimited),
        _ => Look::Counted {
            key,
            name: limit.wants_name(key).then(|| key::name(facts, &settings.counting)),
            cost: cost::of(facts, &settings.counting),
        },
    }
}

/// Has the client's bytes held to the rates that they share from here on, and counts those of the request that are here.
///
/// *Cost*: a branch where no limit counts bytes.
pub(crate) fn pace(client: &mut Client, exchange: &mut Exchange) {
    if exchange.limited.meters.is_empty() {
        return;
    }
    if let Some(mut throttle) = Throttle::new(std::mem::take(&mut exchange.limited.meters)) {
        let head = exchange.request.len;
        let body = match exchange.request.body {
            BodyKind::None => 0,
            BodyKind::Length(length) => length,
            _ => u64::MAX,
        };
        let here = exchange.inbound.len().saturating_sub(head) as u64;
        throttle.moved(Way::Up, head as u64 + here.min(body));
        client.stream.pace(throttle);
    }
}

/// Waits as long as limits want, unless the client leaves.
pub(crate) async fn wait(
    worker: &Worker,
    client: &mut Client,
    exchange: &mut Exchange,
    delay: Duration,
) -> Result<(), Cause> {
    exchange.report.time_passes();
    Box::pin(again::sleep(worker, client, exchange, delay)).await
}
