//! What does the engine tell, in sentences?

use std::net::SocketAddr;

use isobar_plan::{Event, HealthState, LimitNote, ListenerChange, PanicChange, RateLimitState, ServiceChange, Tier};

/// Writes an event to the log. Applied plans are left to the reload, which knows why.
pub(crate) fn log(event: &Event) {
    match event {
        Event::Listener { .. } | Event::Drained { .. } => tracing::info!("{}", sentence(event)),
        Event::Health {
            to: HealthState::Unhealthy,
            ..
        }
        | Event::Panic {
            change: PanicChange::Entered,
            ..
        }
        | Event::Service {
            change: ServiceChange::Ejected { .. },
            ..
        }
        | Event::Check {
            to: HealthState::Unhealthy,
            ..
        }
        | Event::OutOfDescriptors => {
            tracing::warn!("{}", sentence(event));
        }
        Event::Reports { informed: false, .. } | Event::ServerTls { .. } => tracing::warn!("{}", sentence(event)),
        Event::Health { .. }
        | Event::Certificate { problem: None, .. }
        | Event::UpstreamTls { problem: None, .. }
        | Event::Check { .. }
        | Event::Panic { .. }
        | Event::Service { .. }
        | Event::Reports { .. } => {
            tracing::info!("{}", sentence(event));
        }
        Event::Limit {
            to: RateLimitState::Enforced | RateLimitState::Shadow,
            ..
        } => {
            tracing::info!("{}", sentence(event));
        }
        Event::Store { lost: None, .. } => tracing::info!("{}", sentence(event)),
        Event::Limit { .. } | Event::Store { .. } => tracing::warn!("{}", sentence(event)),
        Event::AccessLogFailed { .. }
        | Event::Certificate { problem: Some(_), .. }
        | Event::UpstreamTls { problem: Some(_), .. } => {
            tracing::error!("{}", sentence(event));
        }
        Event::Applied { .. } => tracing::debug!("{}", sentence(event)),
    }
}

fn panic(change: PanicChange) -> &'static str {
    match change {
        PanicChange::Entered => "is in panic: all its servers are used, well or not",
        PanicChange::Left => "is no longer in panic: only servers that are well are used",
    }
}

fn certificate(listener: &str, file: &str, problem: Option<&str>, in_use: bool) -> String {
    let Some(problem) = problem else {
        return format!("certificate {file} of listener {listener} is in use");
    };
    let then = if in_use {
        "the one read before stays in use"
    } else {
        "its names are not served over TLS"
    };
    format!("failed to read the certificate {file} of listener {listener}: {problem}; {then}")
}

fn reports(upstream: &str, informed: bool) -> String {
    if informed {
        format!("servers of {upstream} report their load, and are chosen by it")
    } else {
        format!(
            "servers of {upstream} do not report their load: they are chosen without (see docs/algorithms.md, \
             `Reports`)"
        )
    }
}

fn upstream_tls(upstream: &str, problem: Option<&str>, in_use: bool) -> String {
    let Some(problem) = problem else {
        return format!("new files for TLS to the servers of {upstream} are in use");
    };
    let then = if in_use {
        "what was read before stays in use"
    } else {
        "requests to it are answered with 502"
    };
    format!("failed to prepare TLS to the servers of {upstream}: {problem}; {then}")
}

/// An event in words.
pub(crate) fn sentence(event: &Event) -> String {
    match event {
        Event::Listener { name, address, change } => listener(name, *address, *change),
        Event::Health {
            upstream,
            server,
            from,
            to,
            reason,
        } => {
            let (to, from) = (health(*to), health(*from));
            format!("server {server} of {upstream} is {to} (was {from}): {reason}")
        }
        Event::Panic {
            upstream,
            tier,
            change,
            available,
            servers,
        } => {
            let (level, what) = (level(*tier), panic(*change));
            format!("{level} of {upstream} {what} ({available} of {servers} available)")
        }
        Event::Service {
            upstream,
            server,
            change,
        } => format!("server {server} of {upstream} {}", change.sentence()),
        Event::Check {
            upstream,
            server,
            to,
            from,
            reason,
            ..
        } => {
            let (to, from) = (health(*to), health(*from));
            format!("server {server} of {upstream}, by one of its checks, is {to} (was {from}): {reason}")
        }
        Event::Reports { upstream, informed } => reports(upstream, *informed),
        Event::Applied { generation, .. } => format!("plan {generation} is in service"),
        Event::Certificate {
            listener,
            file,
            problem,
            in_use,
        } => certificate(listener, file, problem.as_deref(), *in_use),
        Event::UpstreamTls {
            upstream,
            problem,
            in_use,
        } => upstream_tls(upstream, problem.as_deref(), *in_use),
        Event::ServerTls {
            upstream,
            server,
            reason,
        } => format!("failed to secure a connection to server {server} of {upstream}: {reason}"),
        Event::Limit { name, to, of, .. } => limit(name, *to, of),
        Event::Store { name, lost, instances } => store(name, lost.as_deref(), *instances),
        Event::AccessLogFailed { error } => format!("the access log cannot be written or opened anew: {error}"),
        Event::OutOfDescriptors => {
            "no file descriptors are left; accepting pauses for a moment (raise the limit: ulimit -n)".to_owned()
        }
        Event::Drained { cut: 0 } => "drained: every connection finished".to_owned(),
        Event::Drained { cut } => format!("drained: time was up for {cut} connections"),
    }
}

fn listener(name: &str, address: SocketAddr, change: ListenerChange) -> String {
    match change {
        ListenerChange::Added | ListenerChange::Moved => format!("listening on {address} ({name})"),
        ListenerChange::Removed => format!("no longer listening on {address} ({name})"),
        ListenerChange::Changed => format!("listener {name} on {address} has new rules"),
    }
}

fn limit(name: &str, to: RateLimitState, LimitNote { owner, reason }: &LimitNote) -> String {
    let what = match to {
        RateLimitState::Enforced => "is in force",
        RateLimitState::Shadow => "is in shadow: it counts, and refuses nobody",
        RateLimitState::Disarmed => {
            "refused more than its `disarm_above` allows and has disarmed itself: it refuses nobody until its rules change or it is armed again"
        }
        RateLimitState::Expired => "has expired: it is not asked any more",
    };
    let owner = owner.as_ref().map(|owner| format!("; ask {owner}")).unwrap_or_default();
    let reason = reason.as_ref().map(|reason| format!("; it is there for: {reason}"));
    format!("limit {name} {what}{owner}{}", reason.unwrap_or_default())
}

fn store(name: &str, lost: Option<&str>, instances: u32) -> String {
    match lost {
        None => format!("the limit store {name} answers; instances that share limits through it: {instances}"),
        Some(why) => format!("the limit store {name} is lost: {why}; limits do what their `on_loss` says"),
    }
}

/// The words for a level.
fn level(tier: Tier) -> String {
    match tier {
        Tier::Priority(priority) => format!("priority {priority}"),
        Tier::Backup => "the level of backups".to_owned(),
    }
}

/// The word for a state of health.
pub(crate) fn health(state: HealthState) -> &'static str {
    match state {
        HealthState::Unknown => "unknown",
        HealthState::Healthy => "healthy",
        HealthState::Unhealthy => "unhealthy",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use isobar_plan::{Comeback, Reason, ServiceState};

    use super::*;

    #[test]
    fn events_read_as_sentences() {
        let check = |event: Event, expected: &str| assert_eq!(sentence(&event), expected);
        let address = "127.0.0.1:80".parse().unwrap();
        check(
            Event::Check {
                upstream: "api".into(),
                server: "10.0.0.1:80".into(),
                check: "db".into(),
                from: HealthState::Healthy,
                to: HealthState::Unhealthy,
                reason: "check db: connection refused".to_owned(),
            },
            "server 10.0.0.1:80 of api, by one of its checks, is unhealthy (was healthy): check db: connection refused",
        );
        check(
            Event::Listener {
                name: "web".into(),
                address,
                change: ListenerChange::Added,
            },
            "listening on 127.0.0.1:80 (web)",
        );
        let store = |lost: Option<&str>| Event::Store {
            name: "main".into(),
            lost: lost.map(str::to_owned),
            instances: 2,
        };
        check(
            store(None),
            "the limit store main answers; instances that share limits through it: 2",
        );
        check(
            store(Some("READONLY")),
            "the limit store main is lost: READONLY; limits do what their `on_loss` says",
        );
        check(
            Event::Limit {
                name: "login".into(),
                from: RateLimitState::Enforced,
                to: RateLimitState::Expired,
                of: LimitNote {
                    owner: Some("network".into()),
                    reason: None,
                },
            },
            "limit login has expired: it is not asked any more; ask network",
        );
        check(
            Event::Health {
                upstream: "api".into(),
                server: "10.0.0.1:80".into(),
                from: HealthState::Healthy,
                to: HealthState::Unhealthy,
                reason: "connection refused".to_owned(),
            },
            "server 10.0.0.1:80 of api is unhealthy (was healthy): connection refused",
        );
        let panic = |tier, change| Event::Panic {
            upstream: "api".into(),
            tier,
            change,
            available: 2,
            servers: 6,
        };
        check(
            panic(Tier::PRIMARY, PanicChange::Entered),
            "priority 0 of api is in panic: all its servers are used, well or not (2 of 6 available)",
        );
        check(
            panic(Tier::Backup, PanicChange::Left),
            "the level of backups of api is no longer in panic: only servers that are well are used (2 of 6 available)",
        );
        let service = |change| Event::Service {
            upstream: "api".into(),
            server: "a".into(),
            change,
        };
        check(
            service(ServiceChange::Ejected {
                reason: Reason::ConsecutiveErrors(5),
                lasts: Duration::from_millis(30_500),
            }),
            "server a of api is ejected for 30.5 s: it failed 5 requests in a row",
        );
        check(
            service(ServiceChange::Returned(Comeback::TimeOver)),
            "server a of api serves again: its time was over",
        );
        check(
            service(ServiceChange::Ordered {
                from: ServiceState::Enabled,
                to: ServiceState::Drain,
                by: address,
                in_flight: 3,
            }),
            "server a of api is set to drain (was enabled) by 127.0.0.1:80; 3 requests are under way",
        );
        let reports = |informed| Event::Reports {
            upstream: "api".into(),
            informed,
        };
        check(reports(true), "servers of api report their load, and are chosen by it");
        check(
            reports(false),
            "servers of api do not report their load: they are chosen without (see docs/algorithms.md, `Reports`)",
        );
        let tls = |problem: Option<&str>, in_use| Event::UpstreamTls {
            upstream: "api".into(),
            problem: problem.map(str::to_owned),
            in_use,
        };
        check(tls(None, true), "new files for TLS to the servers of api are in use");
        check(
            tls(Some("ca.pem: no such file or directory"), true),
            "failed to prepare TLS to the servers of api: ca.pem: no such file or directory; what was read before stays \
             in use",
        );
        check(
            tls(Some("ca.pem: it has no certificate"), false),
            "failed to prepare TLS to the servers of api: ca.pem: it has no certificate; requests to it are answered \
             with 502",
        );
        check(
            Event::ServerTls {
                upstream: "api".into(),
                server: "a".into(),
                reason: "the certificate has expired".to_owned(),
            },
            "failed to secure a connection to server a of api: the certificate has expired",
        );
        check(Event::Drained { cut: 2 }, "drained: time was up for 2 connections");
    }
}
