//! What do health checks ask of the data plane?

mod fit;

use std::collections::HashMap;
use std::sync::Arc;

use isobar_plan::{Authorities, CheckTls, HealthProbe, HealthTls, HttpProbe, Trust, UdpProbe};

use super::names;
use crate::document::{
    BodyExpectation, CaFile, HealthCheck, HealthChecks, HealthKind, HealthMethod, HostField, Label, ServiceName,
    TcpStep, Text, UpstreamTls, Verify,
};
use crate::problem::{Path, Problem, Problems, Spot};
use crate::setting::Word;
use crate::units::Statuses;

/// Checks of one upstream at most.
const MAX_CHECKS: usize = 16;

/// Steps of one check at most.
const MAX_STEPS: usize = 64;

pub(super) fn checks(
    written: &HealthChecks,
    tls: Option<&UpstreamTls>,
    at: Path<'_>,
    problems: &mut Problems,
) -> Vec<Arc<isobar_plan::HealthCheck>> {
    let names = names::check_names(written, tls);
    match written {
        HealthChecks::One(only) => names
            .iter()
            .map(|name| Arc::new(check((only, name), tls, at, problems)))
            .collect(),
        HealthChecks::List(list) => {
            check_list(list, &names, at, problems);
            let each = list.iter().zip(&names).enumerate();
            each.map(|(index, (written, name))| Arc::new(check((written, name), tls, at.index(index), problems)))
                .collect()
        }
    }
}

fn check_list(list: &[HealthCheck], names: &[Label], at: Path<'_>, problems: &mut Problems) {
    if list.is_empty() {
        let problem = Problem::error(at, "the list has no check").on_key();
        problems.push(problem.help("write `health: none`, or `health: { type: tcp }`"));
    }
    if list.len() > MAX_CHECKS {
        let message = format!(
            "an upstream has {MAX_CHECKS} health checks at most, found {}",
            list.len()
        );
        problems.push(Problem::error(at, message).on_key());
    }
    let mut first: HashMap<&Label, usize> = HashMap::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let Some(&earlier) = first.get(name) else {
            first.insert(name, index);
            continue;
        };
        let (at, earlier) = (at.index(index), at.index(earlier));
        let problem = Problem::error(at.key("name"), format!("another check is called `{name}` already"));
        problems.push(problem.related(earlier.key("name"), Spot::Value, "first called so here"));
    }
}

fn check(
    (written, name): (&HealthCheck, &Label),
    of: Option<&UpstreamTls>,
    at: Path<'_>,
    problems: &mut Problems,
) -> isobar_plan::HealthCheck {
    let kind = kind(written, of);
    fit::check((written, kind), of, at, problems);
    let HealthCheck {
        r#type: _,
        name: _,
        port,
        method,
        path,
        host,
        headers,
        expect: _,
        body,
        send: _,
        steps: _,
        service,
        tls: _,
        server_name: _,
        ca: _,
        verify: _,
        interval,
        timeout,
        rise,
        fall,
    } = written;
    let host: Option<Box<str>> = host.as_ref().map(|host| HostField::as_str(host).into());
    let field = |(name, value): &(crate::document::HeaderName, crate::document::HeaderValue)| {
        (name.as_str().into(), value.as_str().into())
    };
    let probe = match kind {
        HealthKind::Tcp => HealthProbe::Tcp(tcp_steps(written, at, problems)),
        HealthKind::Http | HealthKind::Https => HealthProbe::Http(HttpProbe {
            method: method.unwrap_or(HealthMethod::Get).word().into(),
            path: path.clone().unwrap_or_default().as_str().into(),
            host,
            headers: headers.iter().map(field).collect(),
            expect: statuses(written, at, problems).ranges(),
            body: body
                .as_ref()
                .map(|BodyExpectation { contains }| contains.bytes().into()),
        }),
        HealthKind::Udp => HealthProbe::Udp(udp_probe(written, at, problems)),
        HealthKind::Grpc => HealthProbe::Grpc {
            service: service.as_ref().map_or("", ServiceName::as_str).into(),
            host,
        },
    };
    isobar_plan::HealthCheck {
        name: name.as_str().into(),
        proxy_protocol: None,
        port: port.and_then(|port| u16::try_from(port.value()).ok()),
        tls: match securing(written, kind, of) {
            Securing::Nothing => None,
            Securing::OfUpstream => Some(CheckTls::OfUpstream),
            Securing::Own => Some(CheckTls::Own(own_tls(written))),
        },
        probe,
        interval: interval.duration(),
        timeout: timeout.duration(),
        rise: rise.value(),
        fall: fall.value(),
    }
}

fn own_tls(written: &HealthCheck) -> HealthTls {
    HealthTls {
        server_name: written.server_name.as_ref().map(|name| HostField::as_str(name).into()),
        trust: match (written.verify, &written.ca) {
            (Some(Verify::None), _) => Trust::Anyone,
            (_, Some(file)) => Trust::File(Authorities::of_file(CaFile::as_str(file))),
            (_, None) => Trust::System,
        },
    }
}

/// What is asked of a server: what is written, or what the other keys are for. `of` is what secures requests to it.
pub(crate) fn kind(written: &HealthCheck, of: Option<&UpstreamTls>) -> HealthKind {
    let certificate = has_certificate(written);
    let asks = written.path.is_some() || written.host.is_some() || written.method.is_some();
    let asks = asks || written.expect.is_some() || written.body.is_some() || !written.headers.0.is_empty();
    let secured = certificate || written.tls == Some(true) || inherits(written, of);
    let implied = if written.service.is_some() {
        HealthKind::Grpc
    } else if written.send.is_some() || !written.steps.is_empty() {
        HealthKind::Tcp
    } else if asks && secured || certificate && written.tls.is_none() {
        HealthKind::Https
    } else if asks {
        HealthKind::Http
    } else {
        HealthKind::Tcp
    };
    written.r#type.unwrap_or(implied)
}

/// How the connections of a check are secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Securing {
    /// They are not.
    Nothing,
    /// As those of requests to the upstream.
    OfUpstream,
    /// By what the check says itself.
    Own,
}

/// How the connections of a check are secured; `of` is what secures requests to its servers.
pub(crate) fn securing(written: &HealthCheck, kind: HealthKind, of: Option<&UpstreamTls>) -> Securing {
    let is_secured = match kind {
        HealthKind::Https => true,
        HealthKind::Http | HealthKind::Udp => false,
        HealthKind::Tcp | HealthKind::Grpc => written.tls == Some(true) || inherits(written, of),
    };
    match of {
        _ if !is_secured => Securing::Nothing,
        Some(_) if !has_certificate(written) => Securing::OfUpstream,
        _ => Securing::Own,
    }
}

/// Whether a check is secured because requests are, unless its kind has it otherwise. Another port can be meant for checks alone.
fn inherits(written: &HealthCheck, of: Option<&UpstreamTls>) -> bool {
    of.is_some() && written.tls.is_none() && written.port.is_none()
}

/// Whether a check says itself what is wanted of certificates.
fn has_certificate(written: &HealthCheck) -> bool {
    written.server_name.is_some() || written.ca.is_some() || written.verify.is_some()
}

/// The statuses that count as good where nothing else is written.
pub(crate) fn default_expect() -> Statuses {
    Statuses::from_to(200, 399)
}

fn statuses(written: &HealthCheck, at: Path<'_>, problems: &mut Problems) -> Statuses {
    let Some(expect) = &written.expect else {
        return default_expect();
    };
    match expect.statuses() {
        Ok(statuses) if statuses.is_empty() => {
            let problem = Problem::error(at.key("expect"), "no status would count as good").on_key();
            problems.push(problem.help("did you mean `200-399`?"));
            statuses
        }
        Ok(statuses) => statuses,
        Err(misfit) => {
            let found = expect.text().map(Word::write).unwrap_or_default();
            let message = misfit.message.unwrap_or_else(|| {
                let expected = "expected a status or a range of them such as `200-399`, found";
                format!("{expected} `{}`", crate::tree::shorten(&found))
            });
            let help = misfit.help.unwrap_or_else(|| {
                "a text is looked for with `body: { contains: … }`, or without HTTP with `type: tcp`".to_owned()
            });
            problems.push(Problem::error(at.key("expect"), message).help(help));
            default_expect()
        }
    }
}

fn udp_probe(written: &HealthCheck, at: Path<'_>, problems: &mut Problems) -> UdpProbe {
    if written.send.is_none() {
        let problem = Problem::error(at.key("send"), "a udp probe sends something");
        problems.push(problem.help("{ type: udp, send: 'ping', expect: pong }"));
    }
    let expect = written.expect.as_ref();
    if expect.is_some_and(|expect| expect.text().is_none()) {
        let problem = Problem::error(at.key("expect"), "a udp probe expects a text, found a list");
        problems.push(problem.help("write what the answer begins with"));
    }
    UdpProbe {
        send: written.send.as_ref().map_or(&[][..], Text::bytes).into(),
        expect: expect.and_then(|expect| expect.text()).map(|text| text.bytes().into()),
    }
}

fn tcp_steps(written: &HealthCheck, at: Path<'_>, problems: &mut Problems) -> Vec<isobar_plan::TcpStep> {
    let bytes = |text: Option<&Text>| text.map_or(&[][..], Text::bytes).into();
    let expect = written.expect.as_ref();
    if expect.is_some_and(|expect| expect.text().is_none()) {
        let problem = Problem::error(at.key("expect"), "a tcp probe expects a text, found a list");
        problems.push(problem.help("write several texts as `steps`, each with an `expect` of its own"));
    }
    if written.steps.is_empty() {
        if written.send.is_none() && expect.is_none() {
            return Vec::new();
        }
        return vec![isobar_plan::TcpStep {
            send: bytes(written.send.as_ref()),
            expect: bytes(expect.and_then(|expect| expect.text())),
        }];
    }
    let list = at.key("steps");
    if written.steps.len() > MAX_STEPS {
        let message = format!("a check has {MAX_STEPS} steps at most, found {}", written.steps.len());
        problems.push(Problem::error(list, message).on_key());
    }
    let mut steps = Vec::with_capacity(written.steps.len());
    for (index, TcpStep { send, expect }) in written.steps.iter().enumerate() {
        if send.is_none() && expect.is_none() {
            let problem = Problem::error(list.index(index), "a step sends something, expects something, or both");
            problems.push(problem.help("{ send: 'PING\\r\\n', expect: +PONG }"));
        }
        steps.push(isobar_plan::TcpStep {
            send: bytes(send.as_ref()),
            expect: bytes(expect.as_ref()),
        });
    }
    steps
}
