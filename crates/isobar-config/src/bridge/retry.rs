//! What do retries and hedges ask of the data plane?

use isobar_plan::{Allowance, GrpcCodes, RetryOn, StatusRanges};

use crate::document::{
    Backoff, Condition, Conditions, Hedge, HedgeAfter, OrNone, Retry, RetryBudget, RouteRetry, Server, Sticky,
};
use crate::problem::{Path, Problem, Problems};

/// What is tried again where nothing else is written.
const USUAL: [Condition; 2] = [Condition::ConnectFailure, Condition::Closed];

/// What a route says, with that of its upstream where it says nothing.
pub(crate) fn effective_retry(own: &RouteRetry, inherited: &Retry) -> Retry {
    let RouteRetry {
        attempts,
        on,
        non_idempotent,
        try_timeout,
        deadline,
        backoff,
        buffer,
    } = own;
    let mut retry = Retry {
        attempts: attempts.unwrap_or(inherited.attempts),
        on: on.clone().or_else(|| inherited.on.clone()),
        non_idempotent: non_idempotent.unwrap_or(inherited.non_idempotent),
        try_timeout: try_timeout.unwrap_or(inherited.try_timeout),
        deadline: deadline.unwrap_or(inherited.deadline),
        budget: inherited.budget.clone(),
        backoff: backoff.clone().unwrap_or_else(|| inherited.backoff.clone()),
        buffer: buffer.unwrap_or(inherited.buffer),
    };
    retry.on = Some(effective_conditions(&retry));
    retry
}

/// What is tried again: as written, or what follows from the rest.
pub(crate) fn effective_conditions(retry: &Retry) -> OrNone<Conditions> {
    retry.on.clone().unwrap_or_else(|| {
        let timeout = retry.try_timeout.0.map(|_| Condition::Timeout);
        OrNone(Some(Conditions(USUAL.into_iter().chain(timeout).collect())))
    })
}

/// The plan of retries whose every value is written.
pub(super) fn retry(retry: &Retry) -> isobar_plan::Retry {
    let Retry {
        attempts,
        on: _,
        non_idempotent,
        try_timeout,
        deadline,
        budget: _,
        backoff,
        buffer,
    } = retry;
    isobar_plan::Retry {
        attempts: attempts.value(),
        on: on(&effective_conditions(retry)),
        non_idempotent: *non_idempotent,
        try_timeout: try_timeout.0.map(crate::units::Span::duration),
        deadline: deadline.0.map(crate::units::Span::duration),
        backoff: backoff.0.as_ref().map(|Backoff { base, max }| isobar_plan::Backoff {
            base: base.duration(),
            max: max.duration(),
        }),
        buffer: u32::try_from(buffer.bytes()).unwrap_or(u32::MAX),
    }
}

fn on(conditions: &OrNone<Conditions>) -> RetryOn {
    let conditions = conditions.0.as_ref().map_or(&[][..], |conditions| &conditions.0);
    let status = |condition: &Condition| match *condition {
        Condition::Statuses(low, high) => Some((low, high)),
        Condition::ConnectFailure | Condition::Closed | Condition::Timeout | Condition::Grpc(_) => None,
    };
    let code = |condition: &Condition| match *condition {
        Condition::Grpc(status) => Some(status.code()),
        _ => None,
    };
    RetryOn {
        connect_failure: conditions.contains(&Condition::ConnectFailure),
        closed: conditions.contains(&Condition::Closed),
        timeout: conditions.contains(&Condition::Timeout),
        statuses: StatusRanges(conditions.iter().filter_map(status).collect()),
        grpc: conditions
            .iter()
            .filter_map(code)
            .fold(GrpcCodes::default(), GrpcCodes::with),
    }
}

pub(crate) fn budget(budget: &OrNone<RetryBudget>) -> Option<Allowance> {
    let RetryBudget { percent, min } = budget.0.as_ref()?;
    Some(Allowance {
        percent: percent.value(),
        min_per_second: min.value(),
    })
}

pub(super) fn hedge(hedge: &OrNone<Hedge>) -> Option<isobar_plan::Hedge> {
    let Hedge { after, max } = hedge.0.as_ref()?;
    Some(isobar_plan::Hedge {
        after: match after {
            HedgeAfter::Thousandths(thousandths) => isobar_plan::HedgeAfter::Quantile(*thousandths),
            HedgeAfter::Fixed(span) => isobar_plan::HedgeAfter::Fixed(span.duration()),
        },
        max: max.value(),
    })
}

/// What an upstream says of retries, judged as a whole.
pub(super) fn check(retry: &Retry, at: Path<'_>, problems: &mut Problems) {
    check_conditions(retry.on.as_ref(), retry.try_timeout.0.is_some(), at, problems);
    check_backoff(&retry.backoff, at, problems);
    check_times(retry, at, problems);
}

/// What a route says of retries; `effective` is that with the upstream's settings.
pub(super) fn check_route(own: &RouteRetry, effective: &Retry, at: Path<'_>, problems: &mut Problems) {
    check_conditions(own.on.as_ref(), effective.try_timeout.0.is_some(), at, problems);
    if let Some(backoff) = &own.backoff {
        check_backoff(backoff, at, problems);
    }
    if own.try_timeout.is_some() || own.deadline.is_some() {
        check_times(effective, at, problems);
    }
}

// tidy: allow(boolean-parameter): whether a try has a timeout is what the check is about.
fn check_conditions(on: Option<&OrNone<Conditions>>, has_try_timeout: bool, at: Path<'_>, problems: &mut Problems) {
    let Some(OrNone(conditions)) = on else { return };
    let conditions = conditions.as_ref().map(|conditions| &conditions.0);
    if conditions.is_some_and(Vec::is_empty) {
        let problem = Problem::error(at.key("on"), "nothing would be tried again").on_key();
        problems.push(problem.help("write `none`, or what is to be tried again"));
        return;
    }
    if has_try_timeout && !conditions.is_some_and(|conditions| conditions.contains(&Condition::Timeout)) {
        let message = "a try that takes too long is not repeated: `timeout` is not among the conditions";
        problems.push(Problem::warning(at.key("on"), message).needs(at.key("try_timeout")));
    }
}

fn check_backoff(backoff: &OrNone<Backoff>, at: Path<'_>, problems: &mut Problems) {
    if let Some(Backoff { base, max }) = &backoff.0
        && base > max
    {
        let message = format!("the first pause of up to {base} is longer than the longest of {max}");
        let at = at.key("backoff");
        problems.push(Problem::error(at.key("base"), message).needs(at.key("max")));
    }
}

fn check_times(retry: &Retry, at: Path<'_>, problems: &mut Problems) {
    if let (Some(one), Some(all)) = (retry.try_timeout.0, retry.deadline.0)
        && one >= all
    {
        let message = format!("one try may take {one}, and all together {all}: there is no time for another");
        problems.push(Problem::warning(at.key("try_timeout"), message).needs(at.key("deadline")));
    }
}

/// Hedging needs a second server.
pub(super) fn check_hedge(hedge: &OrNone<Hedge>, servers: &[Server], at: Path<'_>, problems: &mut Problems) {
    if hedge.0.is_some()
        && let [server] = servers
        && matches!(server.address.address(), isobar_plan::ServerAddress::Socket(_))
    {
        let problem = Problem::warning(at.key("hedge"), "there is no second server that could be asked");
        problems.push(problem.on_key());
    }
}

/// Says that hedging has no effect where sessions stay with one server.
pub(super) fn check_hedged_sessions(
    hedge: &OrNone<Hedge>,
    sticky: &OrNone<Sticky>,
    at: Path<'_>,
    problems: &mut Problems,
) {
    if hedge.0.is_some() && sticky.0.is_some() {
        let message = "requests of a sticky upstream are not hedged: other servers know nothing of their session";
        problems.push(Problem::warning(at.key("hedge"), message).on_key());
    }
}
