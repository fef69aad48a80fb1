//! Do the keys of a health check fit together?

use super::{Securing, securing};
use crate::bridge::certificates;
use crate::document::{HealthCheck, HealthKind, HealthMethod, UpstreamTls};
use crate::problem::{Path, Problem, Problems};

/// Fields that a probe writes itself: what they say has to be true of it.
const OWN_FIELDS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn check(
    (written, kind): (&HealthCheck, HealthKind),
    of: Option<&UpstreamTls>,
    at: Path<'_>,
    problems: &mut Problems,
) {
    times(written, at, problems);
    strangers(written, kind, at, problems);
    tls((written, kind), of, at, problems);
    if !written.steps.is_empty() {
        let other = [("send", written.send.is_some()), ("expect", written.expect.is_some())];
        for (key, _) in other.into_iter().filter(|(_, is_written)| *is_written) {
            let message = format!("`{key}` stands beside `steps`, which say everything");
            let problem = Problem::error(at.key(key), message).on_key();
            problems.push(problem.help(format!("make it the first step: steps: [{{ {key}: … }}, …]")));
        }
    }
    if written.method == Some(HealthMethod::Head) && written.body.is_some() {
        let problem = Problem::error(at.key("body"), "the answer to HEAD has no body").on_key();
        problems.push(problem.help("write `method: GET`, or remove the key"));
    }
    fields(written, at, problems);
}

fn times(written: &HealthCheck, at: Path<'_>, problems: &mut Problems) {
    let HealthCheck { interval, timeout, .. } = written;
    if timeout >= interval {
        let message = format!("a probe may take {timeout}, as long as or longer than the interval of {interval}");
        let problem = Problem::warning(at.key("timeout"), message).needs(at.key("interval"));
        problems.push(problem.label("probes of one server would overlap"));
    }
}

/// Reports keys that are for other kinds of probes.
fn strangers(written: &HealthCheck, kind: HealthKind, at: Path<'_>, problems: &mut Problems) {
    use HealthKind::{Grpc, Http, Https, Tcp, Udp};
    let keys: [(&str, bool, &[HealthKind]); 9] = [
        ("method", written.method.is_some(), &[Http, Https]),
        ("path", written.path.is_some(), &[Http, Https]),
        ("host", written.host.is_some(), &[Http, Https, Grpc]),
        ("headers", !written.headers.0.is_empty(), &[Http, Https]),
        ("expect", written.expect.is_some(), &[Http, Https, Tcp, Udp]),
        ("body", written.body.is_some(), &[Http, Https]),
        ("send", written.send.is_some(), &[Tcp, Udp]),
        ("steps", !written.steps.is_empty(), &[Tcp]),
        ("service", written.service.is_some(), &[Grpc]),
    ];
    for (key, is_written, kinds) in keys {
        let Some(first) = kinds.first().filter(|_| is_written && !kinds.contains(&kind)) else {
            continue;
        };
        // A text that a tcp probe would expect is a status to an http probe only where it looks like one.
        let of = match (key, &written.expect) {
            ("expect", Some(expect)) if expect.statuses().is_err() => Tcp,
            _ => *first,
        };
        let problem = Problem::error(at.key(key), format!("{} probe has no `{key}`", a(kind)));
        let help = format!("write `type: {}`, or remove the key", of.word());
        problems.push(problem.on_key().help(help));
    }
}

fn tls((written, kind): (&HealthCheck, HealthKind), of: Option<&UpstreamTls>, at: Path<'_>, problems: &mut Problems) {
    if kind == HealthKind::Http && of.is_some() && written.tls.is_none() && written.port.is_none() {
        let message = "the servers of this upstream speak TLS, and this check asks them in the clear";
        let problem = Problem::warning(at.key("type"), message);
        problems.push(problem.help("write `type: https`, or the `port` at which they speak plain HTTP"));
    }
    match (kind, written.tls) {
        (HealthKind::Http, Some(true)) => {
            let problem = Problem::error(at.key("tls"), "an http probe is not secured").on_key();
            problems.push(problem.help("write `type: https`, or remove the key"));
        }
        (HealthKind::Https, Some(false)) => {
            let problem = Problem::error(at.key("tls"), "an https probe is always secured").on_key();
            problems.push(problem.help("write `type: http`, or remove the key"));
        }
        (HealthKind::Udp, Some(true)) => {
            let problem = Problem::error(at.key("tls"), "a udp probe is not secured").on_key();
            problems.push(problem.help("remove the key"));
        }
        _ => {}
    }
    let keys = [
        ("server_name", written.server_name.is_some()),
        ("ca", written.ca.is_some()),
        ("verify", written.verify.is_some()),
    ];
    let is_secured = securing(written, kind, of) != Securing::Nothing;
    for (key, _) in keys.into_iter().filter(|(_, is_written)| *is_written && !is_secured) {
        let problem = Problem::error(
            at.key(key),
            format!("without TLS there is no certificate, and no `{key}`"),
        );
        let help = match kind {
            HealthKind::Http => "write `type: https`, or remove the key",
            HealthKind::Udp => "remove the key",
            _ => "write `tls: true`, or remove the key",
        };
        problems.push(problem.on_key().help(help));
    }
    certificates::check_trust(written.verify, written.ca.as_ref(), at, problems);
    certificates::check_name(written.server_name.as_ref(), at, problems);
}

fn fields(written: &HealthCheck, at: Path<'_>, problems: &mut Problems) {
    let headers = at.key("headers");
    for (name, value) in written.headers.iter() {
        let key = headers.key(name.as_str());
        if name.as_str() == "host" {
            let problem = Problem::error(key, "the host has a key of its own").on_key();
            problems.push(problem.help(format!("health: {{ host: {} }}", value.as_str())));
        } else if OWN_FIELDS.contains(&name.as_str()) {
            let message = format!("a probe writes the field `{}` itself", name.as_str());
            problems.push(Problem::error(key, message).on_key().help("remove the field"));
        }
    }
}

/// The kind with its article.
fn a(kind: HealthKind) -> String {
    let article = match kind {
        HealthKind::Http | HealthKind::Https => "an",
        HealthKind::Tcp | HealthKind::Grpc | HealthKind::Udp => "a",
    };
    format!("{article} {}", kind.word())
}
