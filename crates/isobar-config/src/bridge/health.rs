//! What does a health check ask of the data plane?

use isobar_plan::HealthProbe;

use crate::document::{HealthCheck, HealthKind, HostField};
use crate::problem::{Path, Problem, Problems};
use crate::units::Statuses;

pub(super) fn check(written: &HealthCheck, at: Path<'_>, problems: &mut Problems) -> isobar_plan::HealthCheck {
    let HealthCheck {
        r#type: _,
        path,
        host,
        expect,
        interval,
        timeout,
        rise,
        fall,
    } = written;
    if timeout >= interval {
        let message = format!("a probe may take {timeout}, as long as or longer than the interval of {interval}");
        let problem = Problem::warning(at.key("timeout"), message).needs(at.key("interval"));
        problems.push(problem.label("probes of one server would overlap"));
    }
    let probe = match kind(written) {
        HealthKind::Tcp => {
            let only_http = [
                ("path", path.is_some()),
                ("host", host.is_some()),
                ("expect", expect.is_some()),
            ];
            for (key, _) in only_http.into_iter().filter(|(_, is_written)| *is_written) {
                let problem = Problem::error(at.key(key), format!("a tcp probe has no `{key}`"));
                problems.push(problem.on_key().help("write `type: http`, or remove the key"));
            }
            HealthProbe::Tcp
        }
        HealthKind::Http => HealthProbe::Http {
            path: path.clone().unwrap_or_default().as_str().into(),
            host: host.as_ref().map(|host| HostField::as_str(host).into()),
            expect: self::expect(expect.as_ref(), at, problems).ranges(),
        },
    };
    isobar_plan::HealthCheck {
        probe,
        interval: interval.duration(),
        timeout: timeout.duration(),
        rise: rise.value(),
        fall: fall.value(),
    }
}

/// What is asked of a server: what is written, or what the other keys are for.
pub(crate) fn kind(written: &HealthCheck) -> HealthKind {
    let asks = written.path.is_some() || written.host.is_some() || written.expect.is_some();
    written
        .r#type
        .unwrap_or(if asks { HealthKind::Http } else { HealthKind::Tcp })
}

/// The statuses that count as good where nothing else is written.
pub(crate) fn default_expect() -> Statuses {
    Statuses::from_to(200, 399)
}

fn expect(written: Option<&Statuses>, at: Path<'_>, problems: &mut Problems) -> Statuses {
    if written.is_some_and(Statuses::is_empty) {
        let problem = Problem::error(at.key("expect"), "no status would count as good").on_key();
        problems.push(problem.help("did you mean `200-399`?"));
    }
    written.cloned().unwrap_or_else(default_expect)
}
