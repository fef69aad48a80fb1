//! What is an upstream told of reports, and does it need any?

use std::sync::Arc;
use std::time::Duration;

use isobar_balance::Balance;
use isobar_plan::{ORCA_FIELDS, Reports};

use crate::document::{self, HealthPath, HostField, LoadProbe, Orca, Prequal, Upstream};
use crate::problem::{Path, Problem, Problems};
use crate::setting::Setting;

/// The field of requests in flight, where no other is written.
const IN_FLIGHT_HEADER: &str = "x-requests-in-flight";

/// The shortest time between two computations of weights, as in gRPC.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// Fields that mean something else already, and that a number of requests would break.
const TAKEN: [&str; 17] = [
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expires",
    "keep-alive",
    "location",
    "retry-after",
    "server",
    "set-cookie",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The algorithm with its settings.
pub(super) fn balance(written: &Upstream, balance: Balance, at: Path<'_>, problems: &mut Problems) -> Balance {
    let sections = [
        (
            "prequal",
            written.prequal.is_some(),
            matches!(written.balance, Balance::Prequal(_)),
        ),
        (
            "orca",
            written.orca.is_some(),
            matches!(written.balance, Balance::OrcaWeightedRoundRobin(_)),
        ),
        ("reports", written.reports.is_some(), written.balance.goes_by_reports()),
    ];
    for (key, _, _) in sections
        .into_iter()
        .filter(|(_, is_written, is_used)| *is_written && !is_used)
    {
        let meant = if key == "orca" {
            "orca_weighted_round_robin"
        } else {
            "prequal"
        };
        let problem = Problem::error(at.key(key), format!("`{}` does not go by `{key}`", written.balance));
        problems.push(
            problem
                .on_key()
                .needs(at.key("balance"))
                .help(format!("did you mean `balance: {meant}`?")),
        );
    }
    match balance {
        Balance::Prequal(_) => Balance::Prequal(prequal(written.prequal.as_ref(), at.key("prequal"), problems)),
        Balance::OrcaWeightedRoundRobin(_) => {
            Balance::OrcaWeightedRoundRobin(orca(written.orca.as_ref(), at.key("orca"), problems))
        }
        other => other,
    }
}

/// What is read of answers; none: the algorithm needs nothing of it.
pub(super) fn reports(written: &Upstream, at: Path<'_>, problems: &mut Problems) -> Option<Arc<Reports>> {
    if !written.balance.goes_by_reports() {
        return None;
    }
    let document::Reports {
        in_flight_header,
        strip,
    } = effective_reports(written.reports.as_ref());
    let is_prequal = matches!(written.balance, Balance::Prequal(_));
    if let Some(header) = &in_flight_header {
        check_header(
            header.as_str(),
            is_prequal,
            at.key("reports").key("in_flight_header"),
            problems,
        );
    }
    let name = in_flight_header.as_ref().map_or(IN_FLIGHT_HEADER, |name| name.as_str());
    let asked = effective_prequal(written.prequal.as_ref());
    Some(Arc::new(Reports {
        in_flight_header: is_prequal.then(|| name.into()),
        strip,
        probe: asked.probe.0.as_ref().filter(|_| is_prequal).map(|probe| {
            let at = at.key("prequal");
            self::probe(probe, asked.max_age.duration(), at, problems)
        }),
    }))
}

fn check_header(name: &str, is_prequal: bool, at: Path<'_>, problems: &mut Problems) {
    if !is_prequal {
        let what = "`orca_weighted_round_robin` does not go by requests in flight";
        problems.push(
            Problem::error(at, what)
                .on_key()
                .help("did you mean `balance: prequal`?"),
        );
    } else if ORCA_FIELDS.contains(&name) {
        problems.push(Problem::error(
            at,
            format!("`{name}` has ORCA's reports, and is read as such anyway"),
        ));
    } else if TAKEN.contains(&name) {
        let problem = Problem::error(at, format!("`{name}` means something else already"));
        problems.push(problem.help(crate::suggest::did_you_mean(IN_FLIGHT_HEADER)));
    }
}

fn prequal(written: Option<&Prequal>, at: Path<'_>, problems: &mut Problems) -> isobar_balance::Prequal {
    let Prequal {
        q_rif,
        probes_per_request,
        pool_size,
        max_age,
        fresh,
        reuse,
        probe: _,
    } = effective_prequal(written);
    if fresh >= max_age {
        let message = format!("a report is fresh for {fresh}, and too old after {max_age}");
        let problem = Problem::error(at.key("fresh"), message).needs(at.key("max_age"));
        problems.push(problem.label("no server would be asked before its report is too old"));
    }
    let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    isobar_balance::Prequal {
        probes: small(probes_per_request.value()),
        pool: small(pool_size.value()),
        max_age: max_age.duration(),
        fresh: fresh.duration(),
        quantile_percent: q_rif.map(|percent| small(percent.value())),
        reuse: reuse.map(|times| small(times.value())),
    }
}

fn probe(written: &LoadProbe, max_age: Duration, at: Path<'_>, problems: &mut Problems) -> isobar_plan::LoadProbe {
    let LoadProbe {
        path,
        host,
        timeout,
        max_per_second,
    } = written;
    if let Some(timeout) = timeout.filter(|timeout| timeout.duration() > max_age) {
        let message = format!("an answer may take {timeout}, longer than a report may be old");
        let problem = Problem::error(at.key("probe").key("timeout"), message).needs(at.key("max_age"));
        problems.push(problem.label("what it says would be out of date"));
    }
    isobar_plan::LoadProbe {
        path: HealthPath::as_str(path).into(),
        host: host.as_ref().map(|host| HostField::as_str(host).into()),
        timeout: timeout.map_or(max_age, |timeout| timeout.duration()),
        max_per_second: max_per_second.value(),
    }
}

fn orca(written: Option<&Orca>, at: Path<'_>, problems: &mut Problems) -> isobar_balance::Orca {
    let Orca {
        blackout,
        expiration,
        update_period,
        error_penalty,
    } = effective_orca(written);
    if update_period.duration() < SHORTEST_PERIOD {
        let message = format!("weights would be computed anew every {update_period}");
        let problem = Problem::error(at.key("update_period"), message);
        problems.push(problem.help("100ms is the shortest period"));
    } else if expiration <= update_period {
        let message = format!("a report would expire after {expiration}, before weights are computed anew");
        problems.push(Problem::error(at.key("expiration"), message).needs(at.key("update_period")));
    }
    isobar_balance::Orca {
        blackout: blackout.0.map_or(Duration::ZERO, |blackout| blackout.duration()),
        expiration: expiration.duration(),
        update_period: update_period.duration(),
        error_penalty_percent: u16::try_from(error_penalty.value()).unwrap_or(u16::MAX),
    }
}

fn effective_reports(written: Option<&document::Reports>) -> document::Reports {
    written.cloned().unwrap_or_else(Setting::placeholder)
}

pub(super) fn effective_prequal(written: Option<&Prequal>) -> Prequal {
    written.cloned().unwrap_or_else(Setting::placeholder)
}

fn effective_orca(written: Option<&Orca>) -> Orca {
    written.cloned().unwrap_or_else(Setting::placeholder)
}

/// Puts into words what an algorithm by reports goes by.
pub(crate) fn fill_in(upstream: &mut Upstream) {
    match upstream.balance {
        Balance::Prequal(_) => {
            let mut reports = effective_reports(upstream.reports.as_ref());
            reports.in_flight_header.get_or_insert_with(in_flight_header);
            upstream.reports = Some(reports);
            let mut prequal = effective_prequal(upstream.prequal.as_ref());
            let max_age = prequal.max_age;
            if let Some(probe) = &mut prequal.probe.0 {
                probe.timeout.get_or_insert(max_age);
            }
            upstream.prequal = Some(prequal);
        }
        Balance::OrcaWeightedRoundRobin(_) => {
            upstream.reports = Some(effective_reports(upstream.reports.as_ref()));
            upstream.orca = Some(effective_orca(upstream.orca.as_ref()));
        }
        _ => {}
    }
}

fn in_flight_header() -> document::HeaderName {
    document::HeaderName::made(IN_FLIGHT_HEADER)
}
